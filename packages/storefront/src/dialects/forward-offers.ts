import type { Failure, Task } from '@w3filecoin/capabilities'
import { reach } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'

/** Refusals that the aggregator never takes back: the piece itself is invalid. */
const FINAL_REFUSALS = new Set(['InvalidPieceCID', 'InvaildPieceCID'])

/**
 * Makes offers to the aggregator that it understands in a dialect, for pieces that it gets in the protocol too. Returns for each
 * whether the aggregator gave a final answer. Its receipts are where agents follow the link to it.
 */
export const forwardOffers = async (
  { aggregator, log }: Pick<Dependencies, 'aggregator' | 'log'>,
  offers: readonly Task[],
): Promise<boolean[]> => {
  const answers = await reach(aggregator, () => aggregator.execute(offers), log)
  return offers.map((offer, n) => {
    const answer = answers.ok?.[n]
    if (answer === undefined) return false
    const refusal = (answer.error ?? answer.ok?.out.error) as Failure | undefined
    if (refusal === undefined || (answer.ok && FINAL_REFUSALS.has(refusal.name))) return true
    const [{ can, nb }] = offer.capabilities
    log('warn', 'piece refused', { can, piece: `${(nb as { piece?: unknown }).piece}`, refusal })
    return false
  })
}
