import type { ChainDeal, DealIdentity } from './deal.ts'

/**
 * The greatest number of deals in the snapshot of a source, and in one report. Memory holds all of them while they are
 * compared.
 */
export const MAX_DEALS = 1_000_000

/** The deals on chain at one epoch, as a source reports them. */
export interface Report {
  /** The epoch of the chain state that the source read. */
  stateEpoch: number
  /** The deals, by their identity. */
  deals: ReadonlyMap<DealIdentity, ChainDeal>
  /** The number of records and deals that could not be parsed. */
  malformed: number
  /** The number of new deals that were skipped because of {@link MAX_DEALS}, or of a lower limit of the source. */
  refused: number
  /** Known deals that the source lists but that could not be parsed. The tracker does not treat them as gone. */
  unreadable: ReadonlySet<DealIdentity>
  /**
   * Set if the source saw on chain that each missing deal ended, e.g. by its state. Then the share of losses is not limited: of ten
   * sectors, two may well end in one run.
   */
  hasSeenEnds?: true
  /** Why known deals that are missing ended, each in a sentence, as far as the source knows. */
  ends?: ReadonlyMap<DealIdentity, string>
}
