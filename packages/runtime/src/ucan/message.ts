import { hash } from 'node:crypto'
import type { AgentMessage, Block, Invocation, Receipt } from '@ucanto/interface'
import { type Failure, failure, type Result } from '@w3filecoin/capabilities'
import type { CID } from 'multiformats/cid'
import { MAX_EFFECTS } from '../receipts/receipt.ts'
import { readCar } from './car.ts'
import { type ChainLimits, Chains, UCAN_LIMITS } from './proof-chain.ts'
import { buildMessage, encodeCar, linksIn, toBlock, viewMessage, viewReceipt } from './ucanto.ts'

/** The media type of agent messages. */
export const CAR = 'application/vnd.ipld.car'

/** Limits of one agent message over HTTP, checked before anything in it is run. */
export interface MessageLimits {
  /** Bytes of the body. A Lambda function behind an HTTP API accepts 6 MB, base64 included. */
  bytes: number
  blocks: number
  invocations: number
  receipts: number
  chain: ChainLimits
  /** Bytes of the answer. A Lambda function may return 6 MB, base64 included. */
  answer: number
}

export const MESSAGE_LIMITS: MessageLimits = {
  bytes: 4_400_000,
  blocks: 5_000,
  invocations: 500,
  receipts: 0,
  chain: { depth: 10, checks: 5_000 },
  answer: 4_600_000,
}

const SHA2_256 = 0x12

const malformedMessage = (message: string) => failure('MalformedMessage', message)
const messageTooLarge = (what: string, max: number, found = `more than ${max}`) =>
  failure('MessageTooLarge', `The message has ${found} ${what}; at most ${max} are allowed`)

/**
 * Reads an agent message. Verifies every block against its CID: a CAR may claim any CID for any bytes, and receipts are
 * stored by these CIDs. Bounds the invocations, the tasks of receipts, and their proofs (see `Chains`).
 *
 * Fails with `MessageTooLarge` or `MalformedMessage`.
 *
 * @param body a CAR with one root, e.g. with one invocation (DAG-JSON):
 * `{ "ucanto/message@7.0.0": { "execute": [{ "/": "bafyrei…" }] } }`; with one receipt:
 * `{ "ucanto/message@7.0.0": { "report": { "bafyrei…": { "/": "bafyrei…" } } } }`, by the CID of its task
 */
export const decodeMessage = (body: Uint8Array, limits: MessageLimits): Result<AgentMessage> => {
  if (body.byteLength > limits.bytes)
    return { error: messageTooLarge('bytes', limits.bytes, `${body.byteLength}`) }
  try {
    const { roots, sections } = readCar(body)
    const store = new Map<string, Block>()
    let count = 0
    for (const { cid, bytes } of sections) {
      count += 1
      if (count > limits.blocks) return { error: messageTooLarge('blocks', limits.blocks) }
      const invalid = checkHash(cid, bytes)
      if (invalid) return { error: invalid }
      store.set(`${cid}`, toBlock(cid, bytes))
    }
    const [root, ...others] = roots
    if (root === undefined || others.length > 0)
      return { error: malformedMessage('The message must have one root') }
    if (root.multihash.code !== SHA2_256 || (store.get(`${root}`)?.bytes.byteLength ?? 0) > UCAN_LIMITS.bytes)
      return { error: malformedMessage('The root must be a small block of the message') }
    const message = viewMessage(root, store)
    const { invocations, receipts } = linksIn(message)
    if (invocations.length > limits.invocations)
      return { error: messageTooLarge('invocations', limits.invocations, `${invocations.length}`) }
    if (receipts.length > limits.receipts)
      return { error: messageTooLarge('receipts', limits.receipts, `${receipts.length}`) }
    const chains = new Chains(store, limits.chain)
    // An invocation that is listed several times is checked and run once.
    for (const link of new Set(invocations.map(String))) {
      const taken = chains.take(link)
      if (taken.error) return taken
    }
    for (const link of receipts) {
      const taken = chains.takeTasks(viewReceipt(link, store))
      if (taken.error) return taken
    }
    return { ok: message }
  } catch (cause) {
    // Cut the message: errors of libraries may quote their whole input.
    return {
      error: malformedMessage(`The message cannot be read: ${(cause as Error).message.slice(0, 200)}`),
    }
  }
}

/** Returns a failure if the bytes do not hash to the CID. */
const checkHash = ({ multihash }: CID, bytes: Uint8Array): Failure | undefined => {
  if (multihash.code !== SHA2_256) return malformedMessage('All blocks must be hashed with sha2-256')
  if (!hash('sha256', bytes, 'buffer').equals(multihash.digest))
    return malformedMessage('A block does not hash to its CID')
  return undefined
}

/** Encodes an agent message with these invocations and receipts. */
export const encodeMessage = async (content: {
  invocations?: readonly Invocation[]
  receipts?: readonly Receipt[]
}): Promise<Uint8Array<ArrayBuffer>> => carOf(await buildMessage(content))

/**
 * Encodes the answer to the message `asked`: an agent message with the receipts. If it exceeds its limit, the blocks of
 * `asked` are left out, because the caller has them. If it still does, so are the effects of receipts with more than
 * `MAX_EFFECTS`, because `GET /receipt/{task}` serves them.
 *
 * Fails with `AnswerTooLarge`.
 */
export const encodeAnswer = async (
  receipts: readonly Receipt[],
  asked: AgentMessage,
  limits: MessageLimits,
): Promise<Result<Uint8Array<ArrayBuffer>>> => {
  const message = await buildMessage({ receipts })
  const complete = carOf(message)
  if (complete.byteLength <= limits.answer) return { ok: complete }
  const sent = new Set([...asked.iterateIPLDBlocks()].map(({ cid }) => `${cid}`))
  const short = carOf(message, block => !sent.has(`${block.cid}`))
  if (short.byteLength <= limits.answer) return { ok: short }
  const listed = receipts.flatMap(({ fx }) => (fx.fork.length > MAX_EFFECTS ? fx.fork : []))
  const effects = new Set(listed.map(effect => `${effect.link()}`))
  const bare = carOf(message, ({ cid }) => !sent.has(`${cid}`) && !effects.has(`${cid}`))
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
  message: AgentMessage,
  isWanted: (block: Block) => boolean = () => true,
): Uint8Array<ArrayBuffer> => {
  const blocks = new Map<string, Block>()
  for (const block of message.iterateIPLDBlocks()) if (isWanted(block)) blocks.set(`${block.cid}`, block)
  return encodeCar(message.root, blocks)
}
