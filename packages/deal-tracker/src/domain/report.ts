import type { ChainDeal } from './deal.ts'

/** The greatest number of deals in one report. Memory holds all of them while they are compared. */
export const MAX_DEALS = 1_000_000

/** The deals on chain at one epoch, as a source reports them. */
export interface Report {
  /** The epoch of the chain state that the source read. */
  stateEpoch: number
  /** The deals, by their ids. */
  deals: ReadonlyMap<number, ChainDeal>
  /** The number of records and deals that could not be parsed. */
  malformed: number
  /** Ids of deals that the source lists but that could not be parsed. The tracker does not treat them as gone. */
  unreadable: ReadonlySet<number>
}
