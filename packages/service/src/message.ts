import { hash } from 'node:crypto'
import { CarBufferReader } from '@ipld/car/buffer-reader'
import { CAR, Message } from '@ucanto/core'
import type { AgentMessage, Block, Invocation, Receipt } from '@ucanto/interface'
import { type Failure, failure, type Result } from '@w3filecoin/capabilities'

/** What one HTTP message may hold, checked before anything in it is decoded or run. */
export interface MessageLimits {
  /** Bytes of the body. A Lambda behind an HTTP API takes 6 MB, base64 included. */
  bytes: number
  blocks: number
  invocations: number
}

export const MESSAGE_LIMITS: MessageLimits = { bytes: 4_400_000, blocks: 5_000, invocations: 500 }

const SHA2_256 = 0x12

const malformed = (message: string): { error: Failure } => ({ error: failure('MalformedMessage', message) })

/**
 * Reads an agent message (`application/vnd.ipld.car`). Every block is checked against its CID: a CAR may claim
 * any name for any bytes, and receipts are filed by those names.
 *
 * Fails with `MessageTooLarge` or `MalformedMessage`.
 */
export const decodeMessage = (body: Uint8Array, limits: MessageLimits): Result<AgentMessage> => {
  if (body.byteLength > limits.bytes)
    return {
      error: failure(
        'MessageTooLarge',
        `The message has ${body.byteLength} bytes, at most ${limits.bytes} are taken`,
      ),
    }
  try {
    const reader = CarBufferReader.fromBytes(body)
    const blocks = reader.blocks()
    if (blocks.length > limits.blocks)
      return {
        error: failure(
          'MessageTooLarge',
          `The message has ${blocks.length} blocks, at most ${limits.blocks} are taken`,
        ),
      }
    const store = new Map<string, Block>()
    for (const { cid, bytes } of blocks) {
      if (cid.multihash.code !== SHA2_256) return malformed(`Block ${cid} is not hashed with sha2-256`)
      if (!hash('sha256', bytes, 'buffer').equals(cid.multihash.digest))
        return malformed(`Block ${cid} does not hash to its CID`)
      store.set(`${cid}`, { cid, bytes } as unknown as Block)
    }
    const [root, ...others] = reader.getRoots()
    if (root === undefined || others.length > 0) return malformed('The message must have one root')
    const message = Message.view({ root: root as never, store: store as never })
    const count = message.invocationLinks.length
    if (count > limits.invocations)
      return {
        error: failure(
          'MessageTooLarge',
          `The message has ${count} invocations, at most ${limits.invocations} are taken`,
        ),
      }
    // Views decode lazily and throw on what is not a UCAN: look at each now.
    for (const invocation of message.invocations) void invocation.capabilities
    return { ok: message }
  } catch (cause) {
    return malformed(`The message can not be read: ${(cause as Error).message}`)
  }
}

/** The CAR of an agent message with these invocations and receipts. */
export const encodeMessage = async (content: {
  invocations?: readonly Invocation[]
  receipts?: readonly Receipt[]
}): Promise<Uint8Array> => {
  const message = await Message.build(content as never)
  const blocks = new Map<string, Block>()
  for (const block of message.iterateIPLDBlocks()) blocks.set(`${block.cid}`, block)
  return CAR.encode({ roots: [message.root], blocks } as never)
}
