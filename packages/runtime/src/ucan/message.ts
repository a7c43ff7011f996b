import { hash } from 'node:crypto'
import type { Block, Invocation, Link, Receipt } from '@ucanto/interface'
import { type Failure, failure, type Result } from '@w3filecoin/capabilities'
import { type AnyLink, type BlockMap, encodeCar, findBlock, linkText } from '@w3filecoin/capabilities/codec'
import type { CID } from 'multiformats/cid'
import { MAX_EFFECTS } from '../receipts/receipt.ts'
import { readCar } from './car.ts'
import { type ChainLimits, Chains } from './proof-chain.ts'
import { UCAN_LIMITS, Ucans } from './ucans.ts'
import { buildMessage, linksIn, type Message, receiptsIn, toBlock, viewMessage } from './ucanto.ts'

/** The media type of agent messages. */
export const CAR = 'application/vnd.ipld.car'

/** Limits of one agent message over HTTP. */
export interface MessageLimits {
  /** Bytes of the body. A Lambda function behind an HTTP API accepts 6 MB, base64 included. */
  bytes: number
  blocks: number
  invocations: number
  receipts: number
  /** Limits of the proofs of all receipts, and of all invocations together. */
  chain: ChainLimits
  /** Maximum number of signature checks for one invocation. */
  checksPerInvocation: number
  /** Bytes of the answer. A Lambda function may return 6 MB, base64 included. */
  answer: number
}

export const MESSAGE_LIMITS: MessageLimits = {
  bytes: 4_400_000,
  blocks: 5_000,
  invocations: 500,
  receipts: 0,
  chain: { depth: 10, checks: 5_000 },
  checksPerInvocation: 100,
  answer: 4_600_000,
}

/** An agent message whose blocks hash to their CIDs. Its invocations are not read yet. */
export interface DecodedMessage {
  message: Message
  /** The links of the invocations, each of them once. */
  invocations: readonly Link[]
  ucans: Ucans
}

const SHA2_256 = 0x12
/** The digest is the content itself. */
const IDENTITY = 0x00

const malformedMessage = (message: string) => failure('MalformedMessage', message)
const messageTooLarge = (what: string, max: number, found = `more than ${max}`) =>
  failure('MessageTooLarge', `The message has ${found} ${what}; at most ${max} are allowed`)

/**
 * Decodes an agent message. Verifies every block against its CID: a CAR may claim any CID for any bytes, and receipts are
 * stored by these CIDs. A block whose hash function is not known is not usable. Bounds the number of invocations, and the
 * tasks of receipts with their proofs (see `Chains`). Invocations are read one by one later: a bad one concerns itself only.
 *
 * Fails with `MessageTooLarge` or `MalformedMessage`.
 *
 * @param body a CAR with one root, e.g. with one invocation (DAG-JSON):
 * `{ "ucanto/message@7.0.0": { "execute": [{ "/": "bafyrei…" }] } }`; with one receipt:
 * `{ "ucanto/message@7.0.0": { "report": { "bafyrei…": { "/": "bafyrei…" } } } }`, by the CID of its task
 */
export const decodeMessage = (body: Uint8Array, limits: MessageLimits): Result<DecodedMessage> => {
  if (body.byteLength > limits.bytes)
    return { error: messageTooLarge('bytes', limits.bytes, `${body.byteLength}`) }
  try {
    const { roots, sections } = readCar(body)
    const store = new Map<string, Block>()
    const unusable = new Map<string, Failure>()
    let count = 0
    for (const { cid, bytes } of sections) {
      count += 1
      if (count > limits.blocks) return { error: messageTooLarge('blocks', limits.blocks) }
      const verified = verifyHash(cid, bytes)
      if (verified.ok) store.set(linkText(cid as AnyLink), toBlock(cid, bytes))
      else if (verified.error.name === 'UnsupportedHash')
        unusable.set(linkText(cid as AnyLink), verified.error)
      else return verified
    }
    const [root, ...others] = roots
    if (root === undefined || others.length > 0)
      return { error: malformedMessage('The message must have one root') }
    if (
      root.multihash.code !== SHA2_256 ||
      (findBlock(root as AnyLink, store)?.bytes.byteLength ?? 0) > UCAN_LIMITS.bytes
    )
      return { error: malformedMessage('The root must be a small block of the message') }
    const message = viewMessage(root as AnyLink, store)
    const { invocations, receipts } = linksIn(message)
    if (invocations.length > limits.invocations)
      return { error: messageTooLarge('invocations', limits.invocations, `${invocations.length}`) }
    if (receipts.length > limits.receipts)
      return { error: messageTooLarge('receipts', limits.receipts, `${receipts.length}`) }
    for (const link of invocations)
      if ((link as unknown as CID).bytes.byteLength > UCAN_LIMITS.link)
        return { error: malformedMessage(`The link of an invocation has at most ${UCAN_LIMITS.link} bytes`) }
    const ucans = new Ucans(store, unusable)
    const chains = new Chains(ucans, limits.chain)
    for (const receipt of receiptsIn(message)) {
      const taken = chains.takeTasks(receipt)
      if (taken.error) return taken
    }
    // An invocation that is listed several times is checked and run once.
    const distinct = new Map(invocations.map(link => [linkText(link), link]))
    return { ok: { message, invocations: [...distinct.values()], ucans } }
  } catch (cause) {
    // Cut the message: errors of libraries may quote their whole input.
    return {
      error: malformedMessage(`The message cannot be read: ${(cause as Error).message.slice(0, 200)}`),
    }
  }
}

/**
 * Verifies that the bytes hash to the CID.
 *
 * Fails with `UnsupportedHash` if the hash function is not known, and with `MalformedMessage`.
 */
const verifyHash = (cid: CID, bytes: Uint8Array): Result<object> => {
  const { code, digest } = cid.multihash
  if (code !== SHA2_256 && code !== IDENTITY)
    return {
      error: failure(
        'UnsupportedHash',
        `${`${cid}`.slice(0, 100)} has the hash function 0x${code.toString(16)}. This service verifies blocks with sha2-256 (0x12) and identity (0x0)`,
      ),
    }
  const computed = code === IDENTITY ? Buffer.from(bytes) : hash('sha256', bytes, 'buffer')
  return computed.equals(digest)
    ? { ok: {} }
    : { error: malformedMessage('A block does not hash to its CID') }
}

/** Encodes an agent message with these invocations and receipts. */
export const encodeMessage = async (content: {
  invocations?: readonly Invocation[]
  receipts?: readonly Receipt[]
}): Promise<Uint8Array<ArrayBuffer>> => carOf(await buildMessage(content))

/** The messages with one receipt that were encoded: the receipt log stores the same message that is the answer. */
const encoded = new WeakMap<Receipt, Uint8Array<ArrayBuffer>>()

/** Encodes an agent message with one receipt; that of the same receipt once. */
export const encodeReceipt = async (receipt: Receipt): Promise<Uint8Array<ArrayBuffer>> => {
  const car = encoded.get(receipt) ?? (await encodeMessage({ receipts: [receipt] }))
  encoded.set(receipt, car)
  return car
}

/**
 * Encodes the answer to a message: an agent message with the receipts. If it exceeds its limit, the blocks of the question
 * are left out, because the caller has them. If it still does, so are the effects of receipts with more than `MAX_EFFECTS`,
 * because `GET /receipt/{task}` serves them.
 *
 * Fails with `AnswerTooLarge`.
 *
 * @param asked the blocks of the question
 */
export const encodeAnswer = async (
  receipts: readonly Receipt[],
  asked: BlockMap,
  limits: MessageLimits,
): Promise<Result<Uint8Array<ArrayBuffer>>> => {
  const [first, ...others] = receipts
  const stored = first && others.length === 0 ? encoded.get(first) : undefined
  if (stored && stored.byteLength <= limits.answer) return { ok: stored }
  const message = await buildMessage({ receipts })
  const complete = carOf(message)
  if (complete.byteLength <= limits.answer) return { ok: complete }
  const short = carOf(message, ({ cid }) => !asked.has(linkText(cid)))
  if (short.byteLength <= limits.answer) return { ok: short }
  const listed = receipts.flatMap(({ fx }) => (fx.fork.length > MAX_EFFECTS ? fx.fork : []))
  const effects = new Set(listed.map(effect => linkText(effect.link())))
  const bare = carOf(message, ({ cid }) => !asked.has(linkText(cid)) && !effects.has(linkText(cid)))
  if (bare.byteLength <= limits.answer) return { ok: bare }
  return {
    error: failure(
      'AnswerTooLarge',
      `The answer has ${bare.byteLength} bytes; the maximum is ${limits.answer}. Send fewer invocations in one message.`,
    ),
  }
}

/** Encodes a message with those of its blocks that `isWanted`. */
const carOf = (
  { root, blocks }: { root: Block; blocks: BlockMap },
  isWanted: (block: Block) => boolean = () => true,
): Uint8Array<ArrayBuffer> => encodeCar(root.cid, [...blocks.values()].filter(isWanted))
