import { DID as Dids, Signature as Signatures } from '@ucanto/core'
import type { Block, Invocation, Link, Proof, ReceiptModel, Signature, Verifier } from '@ucanto/interface'
import { type BlockMap, encodeCbor, viewUcan } from '@w3filecoin/capabilities/codec'

/** A block with its decoded value. */
type ReceiptBlock = Block & { data: ReceiptModel }

/** The tasks that a receipt promises. A task whose block is missing is a link. */
interface Effects {
  fork: (Invocation | Link)[]
  join?: Invocation | Link
}

/**
 * A receipt, as `@ucanto/core` views it: its root is decoded already, the other blocks when they are needed. It throws when a
 * malformed part is read.
 */
export class ReceiptView {
  readonly root: ReceiptBlock
  readonly #blocks: BlockMap
  #ran: Invocation | Link | undefined
  #fx: Effects | undefined
  #proofs: Proof[] | undefined

  /** @param ran the task, if it is known */
  constructor(root: ReceiptBlock, blocks: BlockMap, ran?: Invocation | Link) {
    this.root = root
    this.#blocks = blocks
    this.#ran = ran
  }

  link() {
    return this.root.cid
  }

  get ran() {
    this.#ran ??= this.#view(this.root.data.ocm.ran)
    return this.#ran
  }

  get out() {
    return this.root.data.ocm.out
  }

  get meta() {
    return this.root.data.ocm.meta
  }

  get issuer() {
    const { iss } = this.root.data.ocm
    return iss ? Dids.parse(iss) : undefined
  }

  get fx(): Effects {
    const { fork, join } = this.root.data.ocm.fx
    this.#fx ??= { fork: fork.map(link => this.#view(link)), ...(join && { join: this.#view(join) }) }
    return this.#fx
  }

  get proofs(): Proof[] {
    this.#proofs ??= (this.root.data.ocm.prf ?? []).map(link => this.#view(link) as Proof)
    return this.#proofs
  }

  get signature() {
    return Signatures.view(this.root.data.sig as never) as unknown as Signature & {
      verify(verifier: Verifier, payload: Uint8Array): Promise<unknown>
    }
  }

  verifySignature(verifier: Verifier) {
    return this.signature.verify(verifier, encodeCbor(this.root.data.ocm))
  }

  buildIPLDView() {
    return this
  }

  /** Iterates over the blocks of the task, of the effects and of the proofs, then the root. */
  iterateIPLDBlocks(): IterableIterator<Block> {
    const { fork, join } = this.fx
    const blocks: Block[] = []
    for (const task of [this.ran, ...fork, ...(join ? [join] : []), ...this.proofs])
      blocks.push(...blocksIn(task))
    blocks.push(this.root)
    return blocks.values()
  }

  #view(link: Link): Invocation | Link {
    return viewUcan(link, this.#blocks) ?? link
  }
}

/** Returns the blocks of a task; none for the link of one. */
export const blocksIn = (task: object): Iterable<Block> =>
  'iterateIPLDBlocks' in task ? (task as Invocation).iterateIPLDBlocks() : []
