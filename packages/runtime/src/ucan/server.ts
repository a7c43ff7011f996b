import type { AgentMessage, Invocation, Receipt, Signer } from '@ucanto/interface'
import { type Failure, failure } from '@w3filecoin/capabilities'
import type { Log } from '../ports.ts'
import { issueReceipt, issueUnsigned } from '../receipts/receipt.ts'
import type { ReceiptLog } from '../receipts/receipt-log.ts'
import type { Authority } from './authority.ts'
import type { Handler } from './handler.ts'
import { revokeHandler } from './revocation.ts'

export interface ServerOptions {
  id: Signer
  authority: Authority
  handlers: readonly Handler[]
  receipts: ReceiptLog
  log: Log
}

/**
 * Runs the invocations of agent messages. Handlers are found in a map by the whole ability, so that names which
 * JavaScript objects inherit are no handlers; `@ucanto/server` walks a tree of objects and would call them.
 */
export class Server {
  readonly id: Signer
  /** The keys that sign for it, or did: the present one first. */
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

  /** The receipts of all invocations of a message, in their order. */
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
        failure('UnsupportedCapability', `Only ${this.id.did()} may invoke ${capability.can}, with itself`),
      )
    // A promised task has one receipt, with its outcome: what only concerns this request is not signed.
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
      // A bug, or a store that can not be reached: the caller may try again, and learns no more than that.
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
