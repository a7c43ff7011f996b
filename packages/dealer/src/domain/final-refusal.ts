import type { Failure } from '@w3filecoin/capabilities'

/** Refusals of a retry that an aggregator stores: it gives the same answer when it is asked again. */
const FINAL_REFUSALS = new Set(['InvalidPieceCID', 'ProofNotFound', 'UnknownAggregate'])

/**
 * Whether the refusal of a retry is final. The receipt of the retry then gives the storefront the reason. Every other
 * refusal concerns the sender, the request or the time, and may change: e.g. the aggregator does not know a new key of
 * the dealer yet.
 */
export const isFinalRefusal = ({ name }: Failure): boolean => FINAL_REFUSALS.has(name)
