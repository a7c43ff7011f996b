import { encode } from '@ipld/dag-cbor'
import { decode as decodeUcan, type View } from '@ipld/dag-ucan'
import type { Capability } from '@ucanto/interface'
import {
  type FilecoinAcceptSuccess,
  type PieceLink,
  type Place,
  placeIn,
  toPlaceKey,
  type UnknownLink,
} from '@w3filecoin/capabilities'
import { platform } from '#platform'
import { areEqual, type Block, readCar, writeCar } from './car.ts'
import { reasonOf, W3Error } from './error.ts'
import { invocationOf, type Receipt, viewReceipt } from './service.ts'
import { openSource } from './source.ts'

/** Maximum size of a proof, in bytes. One of a 32 GiB aggregate has about 3,000. */
const MAX_PROOF_BYTES = 64 * 1024

const DAG_CBOR = 0x71
const SHA2_256 = 0x12

/** A proof, or where to read one from: its path or `file:` URL (in Node), a `File` or `Blob`, or its bytes. */
export type ProofSource = Proof | string | URL | Blob | Uint8Array | ArrayBuffer

/**
 * A storefront's receipt of `filecoin/accept`: it proves that a piece is in an aggregate, and names a place of the aggregate on chain.
 * The fields are claims of the file. Only `verify` checks them against the storefront's key.
 */
export class Proof {
  /** The contents of a `.w3proof` file: a CAR (version 1) with two blocks, the receipt (its root) and the task. */
  readonly bytes: Uint8Array<ArrayBuffer>
  /** The receipt. Its `out.ok` is the result of `filecoin/accept`: piece, aggregate, inclusion proof and place on chain. */
  readonly receipt: Receipt<FilecoinAcceptSuccess>
  /** The task that the receipt is of, a UCAN. */
  readonly invocation: View<[Capability, ...Capability[]]>
  /** CID of the task. */
  readonly task: string

  private constructor({ bytes, receipt, invocation, task }: Decoded) {
    this.bytes = bytes
    this.receipt = receipt
    this.invocation = invocation
    this.task = task
  }

  /**
   * Creates the proof of a receipt of `filecoin/accept`.
   *
   * @param receipt with the block of its task, e.g. of {@link Service.receipt}
   * @throws W3Error `InvalidProof` if it is not one, or lacks the block of its task
   */
  static async fromReceipt(receipt: Receipt): Promise<Proof> {
    const task = invocationOf(receipt.ran)
    if (task === undefined) throw invalid(`the receipt lacks the block of its task ${receipt.ran.link()}`)
    const blocks = [receipt.root, task.root] as unknown as [Block, Block]
    return Proof.read(writeCar(blocks))
  }

  /**
   * Reads a proof. Every block must hash to its CID, and the file must have the only form that a proof has. It checks no
   * signature: {@link verify} does.
   *
   * @param source at most 64 KiB
   * @throws W3Error `InvalidProof`
   */
  static async read(source: ProofSource): Promise<Proof> {
    if (source instanceof Proof) return source
    const blob = await openSource(source)
    if (blob.size > MAX_PROOF_BYTES) throw invalid(`it has ${blob.size} bytes, more than ${MAX_PROOF_BYTES}`)
    const bytes = new Uint8Array(await blob.arrayBuffer())
    try {
      return new Proof(await decode(bytes))
    } catch (cause) {
      throw cause instanceof W3Error ? cause : invalid(reasonOf(cause).slice(0, 300), cause)
    }
  }

  get #claim() {
    return this.invocation.capabilities[0].nb as { content: UnknownLink; piece: PieceLink }
  }

  /** CID of the content. */
  get content(): UnknownLink {
    return this.#claim.content
  }

  /** Piece CID v2 of the content. */
  get piece(): PieceLink {
    return this.#claim.piece
  }

  /** Piece CID v2 of the aggregate that contains the piece. */
  get aggregate(): PieceLink {
    return this.receipt.out.ok!.aggregate
  }

  /** The place of the aggregate on chain; `undefined` if this version does not know its kind. */
  get place(): Place | undefined {
    return placeIn(this.receipt.out.ok!.aux)
  }

  /** The id of a deal of the aggregate; `undefined` if the receipt names another kind of place. */
  get dealID(): number | undefined {
    const { place } = this
    return place?.type === 'market' ? place.dealID : undefined
  }

  /**
   * Prints the claims in Node.
   *
   * @internal
   */
  [Symbol.for('nodejs.util.inspect.custom')](): object {
    return this.toJSON()
  }

  /** The claims, with CIDs as text. */
  toJSON(): object {
    const { task, dealID, place } = this
    return {
      task,
      content: `${this.content}`,
      piece: `${this.piece}`,
      aggregate: `${this.aggregate}`,
      dealID,
      place: place && toPlaceKey(place),
    }
  }

  /**
   * Writes the proof to a file; in a browser, as a download. An existing file is replaced in one step.
   *
   * @param path in a browser, the name of the download
   * @throws W3Error `SaveFailed`
   * @example await proof.save('photo.jpg.w3proof')
   */
  save(path: string): Promise<void> {
    return platform.saveFile(path, this.bytes)
  }
}

interface Decoded {
  bytes: Uint8Array<ArrayBuffer>
  receipt: Receipt<FilecoinAcceptSuccess>
  invocation: View<[Capability, ...Capability[]]>
  task: string
}

const invalid = (reason: string, cause?: unknown): W3Error =>
  new W3Error('InvalidProof', `The proof is not valid: ${reason}`, { cause })

const decode = async (bytes: Uint8Array<ArrayBuffer>): Promise<Decoded> => {
  const { roots, blocks } = await readCar(bytes, 2)
  const [root, taskBlock] = blocks
  if (root === undefined || taskBlock === undefined || roots.length !== 1 || !roots[0]!.equals(root.cid))
    throw invalid('it does not have two blocks, of which the first one is the only root')
  for (const { cid } of blocks)
    if (cid.version !== 1 || cid.code !== DAG_CBOR || cid.multihash.code !== SHA2_256)
      throw invalid(`the block ${cid} is not DAG-CBOR with a CID by SHA-256`)
  // Otherwise a changed length or header could be read as the same blocks.
  if (!areEqual(bytes, writeCar([root, taskBlock])))
    throw invalid('it is not in the form in which proofs are written')

  const receipt = viewReceipt(root.cid, new Map(blocks.map(block => [`${block.cid}`, block as never])))
  const { data } = receipt.root as unknown as { data: { ocm?: object; sig?: unknown } }
  // The signature covers `ocm`. No other part of the block may say anything.
  if (!isMapOf(data, ['ocm', 'sig']) || Object.keys(data).length > 2 || !areEqual(encode(data), root.bytes))
    throw invalid('its root is not a receipt')
  if (`${receipt.ran.link()}` !== `${taskBlock.cid}`)
    throw invalid('its second block is not the task of the receipt')
  const invocation = decodeUcan(taskBlock.bytes as never) as unknown as Decoded['invocation']
  const [capability, ...others] = invocation.capabilities
  if (others.length > 0 || capability.can !== 'filecoin/accept')
    throw invalid(`it is a receipt of ${capability.can}, not of filecoin/accept`)
  if (!isMapOf(capability.nb, ['content', 'piece'])) throw invalid('its task does not name content and piece')
  const { error } = receipt.out
  if (error) throw invalid(`the task failed with ${error.name}: ${error.message}`)
  if (!isMapOf(receipt.out.ok, ['aggregate', 'aux', 'inclusion', 'piece']))
    throw invalid('the result of its task is not that of filecoin/accept')
  return { bytes, receipt: receipt as Decoded['receipt'], invocation, task: `${taskBlock.cid}` }
}

/** Whether the value is a map that has these keys. */
const isMapOf = (value: unknown, keys: readonly string[]): boolean =>
  typeof value === 'object' && value !== null && keys.every(key => Object.hasOwn(value, key))
