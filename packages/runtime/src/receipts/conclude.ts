import { Receipt as Receipts } from '@ucanto/core'
import { isDelegation } from '@ucanto/core/delegation'
import type { Block, Invocation, Receipt, Signer } from '@ucanto/interface'
import { conclude, type Failure, failure, type Result, Tasks } from '@w3filecoin/capabilities'
import pMap from 'p-map'
import { z } from 'zod'
import { type Consumer, DONE, each } from '../messages/consumer.ts'
import { type MessageOf, messageFormat } from '../messages/message-format.ts'
import type { Clock, Log } from '../ports.ts'
import type { Authority } from '../ucan/authority.ts'
import { type Handler, provide } from '../ucan/handler.ts'
import { MESSAGE_LIMITS } from '../ucan/message.ts'
import { type Peer, reach } from '../ucan/peer.ts'
import type { Peers } from '../ucan/peers.ts'
import { Chains } from '../ucan/proof-chain.ts'
import { isReadable, MAX_EFFECTS } from './receipt.ts'
import type { ReceiptLog } from './receipt-log.ts'

/** Takes the final receipt of a task that this service waits for. */
export type ReceiptHandler = (receipt: Receipt, ran: Invocation) => Promise<Result<object>>

export interface ConcludeOptions {
  authority: Authority
  /** Who takes the receipts of which ability; others are refused. */
  routes: Record<string, ReceiptHandler>
  /** Who may hand receipts over. */
  senders: readonly string[]
  now: Clock
}

/**
 * `ucan/conclude`: another service hands over a receipt. The receipt must be signed by the service that ran the
 * task; the route of its ability decides whether a record waits for the task.
 */
export const concludeHandler = ({ authority, now, ...options }: ConcludeOptions): Handler => {
  const senders = new Set(options.senders)
  const routes = new Map(Object.entries(options.routes))
  return provide(conclude, async ({ capability, invocation }) => {
    if (!senders.has(capability.with))
      return {
        out: { error: failure('UnknownSender', `This service takes no receipts from ${capability.with}`) },
      }
    const blocks = new Map([...invocation.iterateIPLDBlocks()].map(block => [`${block.cid}`, block]))
    const receipt = readable(
      () => Receipts.view({ root: capability.nb.receipt as never, blocks: blocks as never }) as Receipt,
    )
    const ran = receipt && readable(() => receipt.ran)
    const taken = receipt && readable(() => new Chains(blocks, MESSAGE_LIMITS.chain).takeTasks(receipt))
    // Views decode lazily: what carries the name of a task need not be one.
    if (!ran || !isDelegation(ran as never) || !taken?.ok || !isReadable(receipt))
      return {
        out: {
          error: failure(
            'ReceiptNotFound',
            'The blocks of the receipt and of its task must be attached, and be what they are called',
          ),
        },
      }
    const task = ran as Invocation
    const route = routes.get(task.capabilities[0]?.can as string)
    if (!route)
      return {
        out: { error: failure('UnknownTask', `This service waits for no ${task.capabilities[0]?.can}`) },
      }
    if (!(await authority.signed(receipt, task.audience)))
      return {
        out: { error: failure('InvalidReceipt', `The receipt is not signed by ${task.audience.did()}`) },
      }
    const { error } = await route(receipt, task)
    return { out: error ? { error } : { ok: { time: now() } } }
  })
}

const readable = <T>(read: () => T): T | undefined => {
  try {
    return read()
  } catch {
    return undefined
  }
}

/** "Hand these receipts to that service." */
export const concludeMessage = messageFormat(
  z.object({
    to: z.string().startsWith('did:'),
    /** CIDs of the tasks whose receipts are in the log. */
    tasks: z.array(z.string()).min(1).max(100),
  }),
)
export type ConcludeMessage = MessageOf<typeof concludeMessage>

/** The receipt, with the blocks of its effects if there are not too many. */
const attached = (receipt: Receipt): Block[] => {
  if (receipt.fx.fork.length <= MAX_EFFECTS) return [...receipt.iterateIPLDBlocks()]
  return [receipt.root, ...(receipt.ran as Invocation).iterateIPLDBlocks()]
}

/** Tasks in one `conclude` message: as many receipts as fit in one HTTP message with room to spare. */
export const CONCLUDE_BATCH = 50

interface Delivery {
  id: Signer
  receipts: ReceiptLog
  /** The services that receipts may be handed to. */
  peers: Peers<Peer>
  log: Log
}

/**
 * On `conclude`, hand receipts of the log to the service that waits for them. A peer that can not be called, or not now,
 * or that refuses a receipt, fetches what it waits for itself when it finds that nothing came.
 */
export const onConclude = ({ id, receipts, peers, log }: Delivery): Consumer<ConcludeMessage> =>
  each(
    concludeMessage,
    async ({ to, tasks }) => {
      const peer = await peers.find(to)
      if (!peer?.reachable) return DONE
      const found = await pMap(tasks, task => receipts.get(task), { concurrency: 8 })
      const known = found.filter(receipt => receipt !== undefined)
      const conclusions = await Promise.all(
        known.map(receipt =>
          Tasks.conclude(id, peer.principal, { root: receipt.root, blocks: attached(receipt) }),
        ),
      )
      const answers = await reach(peer, () => peer.execute(conclusions), log)
      for (const { ok, error } of answers.ok ?? []) {
        const refusal = (error ?? ok?.out.error) as Failure | undefined
        if (refusal) log('warn', 'receipt refused', { to, refusal })
      }
      return DONE
    },
    { concurrency: 4 },
  )
