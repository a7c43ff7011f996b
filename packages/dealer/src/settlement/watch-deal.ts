import { type Failure, failure, Tasks } from '@w3filecoin/capabilities'
import { reach } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'

/**
 * Has the deal tracker search a deal. Repeating it changes nothing.
 *
 * @returns `undefined`, or the failure: `PeerUnreachable` without an answer, `DealNotWatched` if the deal tracker refuses
 */
export const watchDeal = async (
  { id, dealTracker, random, log }: Pick<Dependencies, 'id' | 'dealTracker' | 'random' | 'log'>,
  dealID: number,
): Promise<Failure | undefined> => {
  const answers = await reach(
    dealTracker,
    async () =>
      dealTracker.execute([await Tasks.dealWatch(id, dealTracker.principal, { dealID, nonce: random() })]),
    log,
  )
  const answer = answers.ok?.[0]
  const problem = answers.error ?? answer?.error
  if (problem || answer?.ok === undefined)
    return failure('PeerUnreachable', problem?.message ?? 'The deal tracker gives no answer')
  const refusal = answer.ok.out.error as Failure | undefined
  if (refusal === undefined) return undefined
  log('warn', 'deal tracker refused', { ...dealTracker.address, deal: dealID, refusal })
  const message = `The deal tracker does not search the deal ${dealID}: ${refusal.name}: ${refusal.message}`
  return failure('DealNotWatched', message)
}
