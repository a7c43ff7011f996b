import type { AgentMessage, Invocation, Receipt, Signer } from '@ucanto/interface'
import { type Failure, failure } from '@w3filecoin/capabilities'
import type { Log } from '../ports.ts'
import { issueReceipt, issueUnsigned } from '../receipts/receipt.ts'
import type { ReceiptLog } from '../receipts/receipt-log.ts'
import type { Authority } from './authority.ts'
import type { Handler } from './handler.ts'
import { revokeHandler } from './revocation.ts'

export interface ServerOptions {
  /** The service, which signs the receipts. */
  id: Signer
  authority: Authority
  handlers: readonly Handler[]
  receipts: ReceiptLog
  log: Log
}

/** The receipt of a repeated offer is stored for a day: see decision 0037. */
const REPEAT_LIFETIME_SECONDS = 24 * 3600

/**
 * Runs the invocations of agent messages. A map from abilities to handlers rejects names that JavaScript objects inherit,
 * such as `constructor/call`; `@ucanto/server` walks a tree of objects, and would call them.
 */
export class Server {
  readonly id: Signer
  /** The `did:key`s of its present and former keys, the present one first. */
  readonly keys: readonly string[]
  readonly #handlers: ReadonlyMap<string, Handler>
  readonly #context: object
  readonly #receipts: ReceiptLog
  readonly #log: Log

  constructor({ id, authority, handlers, receipts, log }: ServerOptions) {
    this.id = id
    this.keys = authority.keysOf(id)
    const { revocations } = authority
    const all = revocations ? [...handlers, revokeHandler(revocations)] : handlers
    this.#handlers = new Map(all.map(handler => [handler.can, handler]))
    this.#context = authority.context(id)
    this.#receipts = receipts
    this.#log = log
  }

  /** Runs each distinct invocation of a message once, and returns their receipts in the order of the message. */
  execute(message: AgentMessage): Promise<Receipt[]> {
    const distinct = new Map(message.invocations.map(invocation => [`${invocation.cid}`, invocation]))
    const counts = new Map<string, number>()
    return Promise.all([...distinct.values()].map(invocation => this.#run(invocation, counts)))
  }

  /** @param counts the invocations of the message so far, by ability */
  async #run(invocation: Invocation, counts: Map<string, number>): Promise<Receipt> {
    const [capability, ...others] = invocation.capabilities
    if (capability === undefined || others.length > 0)
      return this.#fail(
        invocation,
        failure('InvocationCapabilityError', 'An invocation has exactly one capability'),
      )
    const handler = this.#handlers.get(capability.can)
    if (handler === undefined)
      return this.#fail(
        invocation,
        failure('HandlerNotFound', `This service has no handler for ${capability.can}`, {
          capability: { can: capability.can, with: capability.with },
        }),
      )
    const count = (counts.get(handler.can) ?? 0) + 1
    counts.set(handler.can, count)
    if (count > handler.maxPerMessage)
      return this.#fail(
        invocation,
        failure(
          'TooManyInvocations',
          `This service runs at most ${handler.maxPerMessage} invocations of ${handler.can} in one message. Send the remaining ones in further messages.`,
        ),
      )
    const own = invocation.issuer.did() === this.id.did() && capability.with === this.id.did()
    if (handler.own && !own)
      return this.#fail(
        invocation,
        failure(
          'UnsupportedCapability',
          `Only ${this.id.did()} may invoke ${capability.can}, with itself as the resource`,
        ),
      )
    // A promised task has one receipt, with its outcome. An error that concerns this request only is not signed.
    const refuse = (error: Failure) =>
      handler.own ? issueUnsigned(this.id, invocation, error) : this.#fail(invocation, error)
    try {
      const outcome = await handler.run(invocation, this.#context)
      if ('filed' in outcome) return outcome.filed
      if ('pending' in outcome) return await issueUnsigned(this.id, invocation, outcome.pending)
      if ('error' in outcome) return await refuse(outcome.error)
      const receipt = await issueReceipt(this.id, invocation, outcome)
      if (!handler.keep || outcome.out.error !== undefined) return receipt
      return await this.#receipts.put(
        receipt,
        outcome.isRepeat ? { lifetimeSeconds: REPEAT_LIFETIME_SECONDS } : {},
      )
    } catch (cause) {
      // A bug, or an unreachable store. Report no details: the caller can only try again.
      this.#log('error', 'invocation failed', { can: capability.can, task: `${invocation.cid}`, cause })
      return await refuse(
        failure('HandlerExecutionError', `The service could not run ${capability.can}; try again later`),
      )
    }
  }

  #fail(invocation: Invocation, error: Failure): Promise<Receipt> {
    return issueReceipt(this.id, invocation, { out: { error } })
  }
}
