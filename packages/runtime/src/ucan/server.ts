import type { Invocation, Receipt, Signer } from '@ucanto/interface'
import { type Failure, failure, type Result } from '@w3filecoin/capabilities'
import { linkText } from '@w3filecoin/capabilities/codec'
import type { Log } from '../ports.ts'
import { issueReceipt, issueUnsigned } from '../receipts/receipt.ts'
import type { ReceiptLog } from '../receipts/receipt-log.ts'
import type { Authority } from './authority.ts'
import type { Checked, Handler } from './handler.ts'
import type { DecodedMessage, MessageLimits } from './message.ts'
import { type Candidate, viewsOf, viewWithoutProofs } from './proof-chain.ts'
import { revokeHandler } from './revocation.ts'

export interface ServerOptions {
  /** The service, which signs the receipts. */
  id: Signer
  authority: Authority
  /** An ability may have several handlers: see {@link Server}. */
  handlers: readonly Handler[]
  receipts: ReceiptLog
  log: Log
}

/** The limits of a message that bound the checks of its invocations. */
type ExecutionLimits = Pick<MessageLimits, 'chain' | 'checksPerInvocation'>

/** The receipt of a repeated offer is stored for a day: see decision 0037. */
const REPEAT_LIFETIME_SECONDS = 24 * 3600

/**
 * Runs the invocations of agent messages. A map from abilities to handlers rejects names that JavaScript objects inherit,
 * such as `constructor/call`; `@ucanto/server` walks a tree of objects, and would call them.
 *
 * Of several handlers of an ability, the first one runs that is for the invocation: `own` handlers are only for
 * invocations by the service itself, if there are others, and `matches` compares the arguments. Handlers with `matches` are
 * first.
 */
export class Server {
  readonly id: Signer
  /** The `did:key`s of its present and former keys, the present one first. */
  readonly keys: readonly string[]
  /** Other DIDs that it accepts invocations for. */
  readonly aliases: readonly string[]
  readonly #handlers: ReadonlyMap<string, readonly Handler[]>
  /** The abilities in the order of the handlers, for errors. */
  readonly #abilities: readonly string[]
  readonly #authority: Authority
  readonly #receipts: ReceiptLog
  readonly #log: Log

  constructor({ id, authority, handlers, receipts, log }: ServerOptions) {
    this.id = id
    this.keys = authority.keysOf(id)
    this.aliases = authority.aliases
    const { revocations } = authority
    const all = revocations ? [...handlers, revokeHandler(revocations)] : handlers
    this.#handlers = Map.groupBy(all.toSorted(byArguments), ({ can }) => can)
    this.#abilities = [...new Set(all.map(({ can }) => can))]
    this.#authority = authority
    this.#receipts = receipts
    this.#log = log
  }

  /**
   * Runs the invocations of a message, and returns their receipts in the order of the message. An invocation that cannot be
   * read, or is over a bound, has an error in its receipt, and does not affect the others.
   */
  execute(
    { invocations, ucans }: DecodedMessage,
    { chain, checksPerInvocation }: ExecutionLimits,
  ): Promise<Receipt[]> {
    const counts = new Map<string, number>()
    // The share of an invocation does not depend on the other ones, so that none can use up the checks of others.
    const checks = Math.min(checksPerInvocation, Math.floor(chain.checks / Math.max(1, invocations.length)))
    return Promise.all(
      invocations.map(link => {
        const cid = linkText(link)
        const { error } = ucans.read(cid)
        if (error) return issueReceipt(this.id, link, { out: { error } })
        const limits = { depth: chain.depth, checks }
        return this.#run({ ucans, cid, limits, revoked: new Set() }, counts)
      }),
    )
  }

  /** @param counts the invocations of the message so far, by ability */
  async #run(candidate: Candidate, counts: Map<string, number>): Promise<Receipt> {
    const invocation = viewWithoutProofs(candidate)
    const issuer = this.#addressedAs(invocation)
    const fail = (error: Failure) => issueReceipt(issuer, invocation, { out: { error } })
    const [capability, ...others] = invocation.capabilities
    if (capability === undefined || others.length > 0)
      return fail(failure('InvocationCapabilityError', 'An invocation has exactly one capability'))
    const own = invocation.issuer.did() === this.id.did() && capability.with === this.id.did()
    const handler = chooseHandler(this.#handlers.get(capability.can) ?? [], own, capability.nb)
    if (handler === undefined)
      return fail(
        failure(
          'HandlerNotFound',
          `This service does not have the ability ${capability.can}. It has: ${this.#abilities.join(', ')}.`,
          { capability: { can: capability.can, with: capability.with } },
        ),
      )
    const count = (counts.get(handler.can) ?? 0) + 1
    counts.set(handler.can, count)
    if (count > handler.maxPerMessage)
      return fail(
        failure(
          'TooManyInvocations',
          `This service runs at most ${handler.maxPerMessage} invocations of ${handler.can} in one message. Send the remaining ones in further messages.`,
        ),
      )
    if (handler.own && !own)
      return fail(
        failure(
          'UnsupportedCapability',
          `Only ${this.id.did()} may invoke ${capability.can}, with itself as the resource`,
        ),
      )
    // A promised task has one receipt, with its outcome. An error that concerns this request only is not signed.
    const refuse = (error: Failure) => (handler.own ? issueUnsigned(issuer, invocation, error) : fail(error))
    try {
      const checked = await this.#authorize(handler, candidate)
      if (checked.error) return await refuse(checked.error)
      const outcome = await handler.run({ ...checked.ok, candidate })
      if ('filed' in outcome) return outcome.filed
      if ('pending' in outcome) return await issueUnsigned(issuer, invocation, outcome.pending)
      const receipt = await issueReceipt(issuer, checked.ok.invocation, outcome)
      if (!handler.keep || outcome.isUnstored || outcome.out.error !== undefined) return receipt
      return await this.#receipts.put(
        receipt,
        outcome.isRepeat ? { lifetimeSeconds: REPEAT_LIFETIME_SECONDS } : {},
      )
    } catch (cause) {
      // A bug, or an unreachable store. Report no details: the caller can only try again.
      this.#log('error', 'invocation failed', { can: capability.can, task: candidate.cid, cause })
      return await refuse(
        failure('HandlerExecutionError', `The service could not run ${capability.can}; try again later`),
      )
    }
  }

  /** Returns the service under the DID that an invocation is addressed to. Its receipt has this issuer. */
  #addressedAs({ audience }: Invocation): Signer {
    const alias = this.#authority.aliases.find(alias => alias === audience.did())
    return alias === undefined ? this.id : this.id.withDID(alias)
  }

  /** Checks views of an invocation until one is authorized. Fails with the error of the first one. */
  async #authorize(handler: Handler, candidate: Candidate): Promise<Result<Checked>> {
    const context = this.#authority.context(this.id, candidate)
    let denied: Failure | undefined
    for (const view of viewsOf(candidate)) {
      const checked = await handler.authorize(view, context)
      if (checked.ok) return checked
      denied ??= checked.error
    }
    return { error: denied ?? tooManyProofs(candidate) }
  }
}

/** Puts the handlers that compare the arguments before the others. */
const byArguments = (a: Handler, b: Handler): number =>
  Number(b.matches !== undefined) - Number(a.matches !== undefined)

/** Returns the handler that an invocation is for; the last one, which describes the error, if it is for none. */
const chooseHandler = (handlers: readonly Handler[], own: boolean, nb: unknown): Handler | undefined =>
  handlers.find(handler => (own || !handler.own) && (handler.matches?.(Object(nb)) ?? true)) ??
  handlers.at(-1)

const tooManyProofs = ({ limits }: Candidate): Failure =>
  failure(
    'TooManyProofs',
    `The delegations need more than ${limits.checks} signature checks, or form a chain of more than ${limits.depth}. Send only the delegations that lead to the capability.`,
  )
