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

  /** Runs all invocations of a message, and returns their receipts in the same order. */
  execute(message: AgentMessage): Promise<Receipt[]> {
    return Promise.all(message.invocations.map(invocation => this.#run(invocation)))
  }

  async #run(invocation: Invocation): Promise<Receipt> {
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
      return handler.keep && outcome.out.error === undefined ? await this.#receipts.put(receipt) : receipt
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
