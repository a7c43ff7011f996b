import { hash } from 'node:crypto'
import type { AgentMessage, Block, Invocation, Receipt } from '@ucanto/interface'
import { type Failure, failure, type Result } from '@w3filecoin/capabilities'
import type { CID } from 'multiformats/cid'
import { MAX_EFFECTS } from '../receipts/receipt.ts'
import { readCar } from './car.ts'
import { type ChainLimits, Chains, UCAN_LIMITS } from './proof-chain.ts'
import { buildMessage, encodeCar, linksIn, toBlock, viewMessage, viewReceipt } from './ucanto.ts'

/** The media type of messages. */
export const CAR = 'application/vnd.ipld.car'

/** What one HTTP message may hold, checked before anything in it is run. */
export interface MessageLimits {
  /** Bytes of the body. A Lambda behind an HTTP API takes 6 MB, base64 included. */
  bytes: number
  blocks: number
  invocations: number
  receipts: number
  chain: ChainLimits
  /** Bytes of the answer to it, with the same reason. */
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

const malformed = (message: string) => failure('MalformedMessage', message)
const tooLarge = (what: string, most: number, found = `more than ${most}`) =>
  failure('MessageTooLarge', `The message has ${found} ${what}, at most ${most} are taken`)

/**
 * Reads an agent message (`application/vnd.ipld.car`). Every block is checked against its CID: a CAR may claim
 * any name for any bytes, and receipts are filed by those names. Invocations, the tasks of receipts, and what
 * they rest on are within bounds (see `Chains`).
 *
 * Fails with `MessageTooLarge` or `MalformedMessage`.
 */
export const decodeMessage = (body: Uint8Array, limits: MessageLimits): Result<AgentMessage> => {
  if (body.byteLength > limits.bytes) return { error: tooLarge('bytes', limits.bytes, `${body.byteLength}`) }
  try {
    const { roots, sections } = readCar(body)
    const store = new Map<string, Block>()
    let count = 0
    for (const { cid, bytes } of sections) {
      count += 1
      if (count > limits.blocks) return { error: tooLarge('blocks', limits.blocks) }
      const wrong = misnamed(cid, bytes)
      if (wrong) return { error: wrong }
      store.set(`${cid}`, toBlock(cid, bytes))
    }
    const [root, ...others] = roots
    if (root === undefined || others.length > 0) return { error: malformed('The message must have one root') }
    if (root.multihash.code !== SHA2_256 || (store.get(`${root}`)?.bytes.byteLength ?? 0) > UCAN_LIMITS.bytes)
      return { error: malformed('The root must be a small block of the message') }
    const message = viewMessage(root, store)
    const { invocations, receipts } = linksIn(message)
    if (invocations.length > limits.invocations)
      return { error: tooLarge('invocations', limits.invocations, `${invocations.length}`) }
    if (receipts.length > limits.receipts)
      return { error: tooLarge('receipts', limits.receipts, `${receipts.length}`) }
    const chains = new Chains(store, limits.chain)
    for (const link of invocations) {
      const taken = chains.take(link)
      if (taken.error) return taken
    }
    for (const link of receipts) {
      const taken = chains.takeTasks(viewReceipt(link, store))
      if (taken.error) return taken
    }
    return { ok: message }
  } catch (cause) {
    // Libraries may quote all that they were given.
    return { error: malformed(`The message can not be read: ${(cause as Error).message.slice(0, 200)}`) }
  }
}

const misnamed = ({ multihash }: CID, bytes: Uint8Array): Failure | undefined => {
  if (multihash.code !== SHA2_256) return malformed('All blocks must be hashed with sha2-256')
  if (!hash('sha256', bytes, 'buffer').equals(multihash.digest))
    return malformed('A block does not hash to its CID')
  return undefined
}

/** The CAR of an agent message with these invocations and receipts. */
export const encodeMessage = async (content: {
  invocations?: readonly Invocation[]
  receipts?: readonly Receipt[]
}): Promise<Uint8Array<ArrayBuffer>> => carOf(await buildMessage(content))

/**
 * The CAR of an agent message with the receipts of what `asked` holds. Invocations travel back with their receipts as
 * long as they have room: the caller has them. So do those of very many effects: the log has them.
 *
 * Fails with `AnswerTooLarge`.
 */
export const encodeAnswer = async (
  receipts: readonly Receipt[],
  asked: AgentMessage,
  limits: MessageLimits,
): Promise<Result<Uint8Array<ArrayBuffer>>> => {
  const message = await buildMessage({ receipts })
  const whole = carOf(message)
  if (whole.byteLength <= limits.answer) return { ok: whole }
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
      `The answer has ${bare.byteLength} bytes, at most ${limits.answer} are sent: ask for less in one message`,
    ),
  }
}

const carOf = (
  message: AgentMessage,
  wanted: (block: Block) => boolean = () => true,
): Uint8Array<ArrayBuffer> => {
  const blocks = new Map<string, Block>()
  for (const block of message.iterateIPLDBlocks()) if (wanted(block)) blocks.set(`${block.cid}`, block)
  return encodeCar(message.root, blocks)
}
