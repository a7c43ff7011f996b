import type { Block, Invocation, Principal, Receipt, Signer } from '@ucanto/interface'
import { conclude, type Failure, failure, type Result, type Task, Tasks } from '@w3filecoin/capabilities'
import * as z from 'zod'
import { type Consumer, DONE, each } from '../messages/consumer.ts'
import { type MessageOf, messageFormat } from '../messages/message-format.ts'
import type { Clock, Log } from '../ports.ts'
import type { Authority } from '../ucan/authority.ts'
import { type Handler, provide } from '../ucan/handler.ts'
import { MESSAGE_LIMITS } from '../ucan/message.ts'
import { type Peer, reach } from '../ucan/peer.ts'
import type { Peers } from '../ucan/peers.ts'
import { Chains } from '../ucan/proof-chain.ts'
import { isTask, parseTaskCid } from '../ucan/task.ts'
import { Ucans } from '../ucan/ucans.ts'
import { viewReceipt } from '../ucan/ucanto.ts'
import { isReadable, MAX_EFFECTS } from './receipt.ts'
import type { ReceiptLog } from './receipt-log.ts'

/** Handles the final receipt of a task that this service waits for. `message` is the same object for all receipts of one message. */
export type ReceiptHandler = (receipt: Receipt, ran: Invocation, message: object) => Promise<Result<object>>

export interface ConcludeOptions {
  authority: Authority
  /** The handler of receipts by the ability of their task. Receipts of other tasks are rejected. */
  routes: Record<string, ReceiptHandler>
  /**
   * Handles the receipt of a task that an agent ran. Neither its signature nor its result is checked. Returns `undefined` if
   * the service promised no such task.
   *
   * @param task CID of the task
   */
  receiveFromAgent?: (task: string) => Promise<Result<object> | undefined>
  /** DIDs of the services that may deliver receipts, by the setting that names them. */
  senders: Readonly<Record<string, string>>
  now: Clock
}

/**
 * Handles `ucan/conclude`, by which another service delivers a receipt. The receipt must be signed by the service that ran
 * its task. The route of the task's ability checks whether a record waits for the task.
 */
export const concludeHandler = ({ authority, now, ...options }: ConcludeOptions): Handler => {
  const senders = new Set(Object.values(options.senders))
  const routes = new Map(Object.entries(options.routes))
  return provide(conclude, async ({ capability, invocation, candidate }) => {
    const blocks = new Map([...invocation.iterateIPLDBlocks()].map(block => [`${block.cid}`, block]))
    const receipt = tryRead(() => viewReceipt(capability.nb.receipt, blocks))
    // A stranger chooses this CID: one that no task has may be longer than a key of a table.
    const ran = receipt && tryRead(() => parseTaskCid(`${receipt.ran.link()}`).ok)
    const answer = ran === undefined ? undefined : await options.receiveFromAgent?.(ran)
    if (answer) return { out: answer.error ? answer : { ok: { time: now() } } }
    if (!senders.has(capability.with))
      return {
        out: {
          error: failure(
            'UnknownSender',
            `${invocation.audience.did()} does not accept receipts from ${capability.with}. It accepts those of the services in its settings ${Object.keys(options.senders).join(' and ')}, which its operator can change.`,
          ),
        },
      }
    const task = receipt && tryRead(() => receipt.ran)
    const taken =
      receipt && tryRead(() => new Chains(new Ucans(blocks), MESSAGE_LIMITS.chain).takeTasks(receipt))
    // Views decode lazily, so the block with the task's CID may be something else.
    if (!receipt || !isTask(task) || !taken?.ok || !isReadable(receipt))
      return {
        out: {
          error: failure(
            'ReceiptNotFound',
            'The blocks of the receipt and of its task must be attached and valid',
          ),
        },
      }
    const route = routes.get(task.capabilities[0]?.can as string)
    if (!route)
      return {
        out: {
          error: failure(
            'UnknownTask',
            `This service does not wait for receipts of ${task.capabilities[0]?.can}`,
          ),
        },
      }
    if (!(await authority.signed(receipt, task.audience)))
      return {
        out: { error: failure('InvalidReceipt', `The receipt is not signed by ${task.audience.did()}`) },
      }
    const { error } = await route(receipt, task, candidate.ucans)
    return { out: error ? { error } : { ok: { time: now() } } }
  })
}

/** Returns `undefined` if a view throws because its bytes are malformed. */
const tryRead = <T>(read: () => T): T | undefined => {
  try {
    return read()
  } catch {
    return undefined
  }
}

/**
 * Asks a consumer to deliver receipts to another service.
 *
 * @example {"v":1,"to":"did:web:storefront.example.com","tasks":["bafyrei…"]}
 */
export const concludeMessage = messageFormat(
  z.object({
    /** DID of the service. */
    to: z.string().startsWith('did:'),
    /** CIDs of tasks whose receipts are in the receipt log. */
    tasks: z.array(z.string()).min(1).max(100),
  }),
)
export type ConcludeMessage = MessageOf<typeof concludeMessage>

/** Returns the blocks of a receipt, without those of its effects if there are more than `MAX_EFFECTS`. */
const blocksToSend = (receipt: Receipt): Block[] => {
  if (receipt.fx.fork.length <= MAX_EFFECTS) return [...receipt.iterateIPLDBlocks()]
  return [receipt.root, ...(receipt.ran as Invocation).iterateIPLDBlocks()]
}

/** Builds the `ucan/conclude` invocation that delivers a receipt to a principal. */
export const concludeReceipt = (id: Signer, audience: Principal, receipt: Receipt): Promise<Task> =>
  Tasks.conclude(id, audience, { root: receipt.root, blocks: blocksToSend(receipt) })

/** Number of tasks in one `conclude` message. Their receipts fit into one HTTP message. */
export const CONCLUDE_BATCH = 50

interface Delivery {
  id: Signer
  receipts: ReceiptLog
  /** The services that receipts may be handed to. */
  peers: Peers<Peer>
  log: Log
}

/**
 * On `conclude`, deliver receipts to the service that waits for them. A failed delivery is not retried: a service that
 * misses a receipt fetches it.
 */
export const onConclude = ({ id, receipts, peers, log }: Delivery): Consumer<ConcludeMessage> =>
  each(
    concludeMessage,
    async ({ to, tasks }) => {
      const peer = await peers.find(to)
      if (!peer?.reachable) return DONE
      const known = (await receipts.getMany(tasks)).filter(receipt => receipt !== undefined)
      const conclusions = await Promise.all(
        known.map(receipt => concludeReceipt(id, peer.principal, receipt)),
      )
      const answers = await reach(peer, () => peer.execute(conclusions), log)
      for (const { ok, error } of answers.ok ?? []) {
        const refusal = (error ?? ok?.out.error) as Failure | undefined
        if (refusal) log('warn', 'receipt refused', { ...peer.address, refusal })
      }
      return DONE
    },
    { concurrency: 4 },
  )
