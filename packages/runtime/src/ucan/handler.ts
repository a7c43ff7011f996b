import type { CapabilityParser, Invocation, Match, ParsedCapability, Receipt } from '@ucanto/interface'
import type { Failure, Result } from '@w3filecoin/capabilities'
import type { Outcome } from '../receipts/receipt.ts'
import type { Candidate } from './proof-chain.ts'
import { abilityOf, type Context, checkWith, type Parser } from './ucanto.ts'

/**
 * The answer to a promised task without a final outcome: an error to this request. It is not a receipt of the task,
 * because a task has one receipt only, with its final outcome.
 */
export interface Pending {
  pending: Failure
}

/** The answer to a task that has a receipt: this receipt, byte for byte. */
export interface Filed {
  filed: Receipt
}

/** The input of a handler. */
export interface Input<C> {
  capability: C
  invocation: Invocation
  /** The invocation with all its proofs, to check further claims. */
  candidate: Candidate
}

/** An invocation that `@ucanto/server` accepts. */
export type Checked = Omit<Input<never>, 'candidate'>

/** The handler of one ability of a service. */
export interface Handler {
  /** The ability, e.g. `piece/offer`. */
  readonly can: string
  /**
   * Whether the handler is for this invocation, where an ability has several meanings. Absent if the handler is for all that
   * no handler before it is for.
   */
  readonly matches?: ((nb: object) => boolean) | undefined
  /** Whether the receipt of a success is stored in the receipt log before it is returned. */
  readonly keep: boolean
  /** Whether only the service itself may invoke it: issuer, audience and resource are the service. */
  readonly own: boolean
  /** Maximum number of its invocations that run for one message. Set it if one invocation makes the service call others. */
  readonly maxPerMessage: number
  /**
   * Checks an invocation: audience, time, signatures, delegations, schema. Returns the error with which `@ucanto/server`
   * rejects the invocation, if it does.
   */
  readonly authorize: (invocation: Invocation, context: Context) => Promise<Result<Checked>>
  /** Runs a checked invocation. */
  readonly run: (input: Input<never>) => Promise<Outcome | Pending | Filed>
}

/** The capability that a parser returns. */
export type CapabilityOf<C> = C extends CapabilityParser<Match<infer T extends ParsedCapability>> ? T : never

/** Returns the handler of a capability. */
export const provide = <C extends Parser>(
  capability: C,
  run: (input: Input<CapabilityOf<C>>) => Promise<Outcome | Pending | Filed>,
  {
    keep = false,
    own = false,
    maxPerMessage = Infinity,
    matches,
  }: Partial<Pick<Handler, 'keep' | 'own' | 'maxPerMessage' | 'matches'>> = {},
): Handler => ({
  can: abilityOf(capability),
  matches,
  keep,
  own,
  maxPerMessage,
  authorize: checkWith(capability),
  run: run as Handler['run'],
})
