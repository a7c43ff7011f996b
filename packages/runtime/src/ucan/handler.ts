import type { CapabilityParser, Invocation, Match, ParsedCapability, Receipt } from '@ucanto/interface'
import type { Failure } from '@w3filecoin/capabilities'
import type { Outcome } from '../receipts/receipt.ts'
import { abilityOf, checkAndRun } from './ucanto.ts'

/**
 * The answer to a task that was promised and is not finished: an error to this request, without a receipt for
 * the task, which has one receipt only, when its outcome is final.
 */
export interface Pending {
  pending: Failure
}

/** The answer to a task that has a receipt: that one, as it is. */
export interface Filed {
  filed: Receipt
}

export interface Input<C> {
  capability: C
  invocation: Invocation
}

/** One ability of a service. */
export interface Handler {
  readonly can: string
  /** Whether the receipt of a success is filed before it is answered. */
  readonly keep: boolean
  /** Whether only the service itself may ask for it: issuer, audience and resource are the service. */
  readonly own: boolean
  /** Checks the invocation (audience, time, signatures, delegations, schema) and runs it. */
  readonly run: (invocation: Invocation, context: object) => Promise<Outcome | Pending | Filed | Denied>
}

/** What `@ucanto/server` answers to an invocation that it does not let through. */
type Denied = { error: Failure }

type Parser = CapabilityParser<Match<ParsedCapability>>
export type Parsed<C> = C extends CapabilityParser<Match<infer T extends ParsedCapability>> ? T : never

/** Declares the handler of a capability. */
export const provide = <C extends Parser>(
  capability: C,
  run: (input: Input<Parsed<C>>) => Promise<Outcome | Pending | Filed>,
  { keep = false, own = false }: { keep?: boolean; own?: boolean } = {},
): Handler => ({
  can: abilityOf(capability),
  keep,
  own,
  run: checkAndRun(capability, run),
})
