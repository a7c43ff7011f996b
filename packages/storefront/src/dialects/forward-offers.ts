import type { Failure, Task } from '@w3filecoin/capabilities'
import { reach } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import { INVALID_PIECE } from './aggregator-words.ts'

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
    if (refusal === undefined || (answer.ok && INVALID_PIECE.has(refusal.name))) return true
    const [{ can, nb }] = offer.capabilities
    const piece = `${(nb as { piece?: unknown }).piece}`
    log('warn', 'piece refused', { ...aggregator.address, can, piece, refusal })
    return false
  })
}
