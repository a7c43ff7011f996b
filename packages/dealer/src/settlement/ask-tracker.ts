import type { DealInfoSuccess, Failure, Result } from '@w3filecoin/capabilities'
import { failure, parsePieceLink } from '@w3filecoin/capabilities'
import { reach, trackerQuestion } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'

/** Everything that the deal tracker says of an aggregate. Lists that its version does not have are empty. */
export type TrackerAnswer = Pick<DealInfoSuccess, 'deals' | 'places' | 'asOf'>

/**
 * Asks the deal tracker about aggregates, in one HTTP message.
 *
 * @returns in their order, the answers. An aggregate of which it knows nothing has an answer with `asOf` only. The failure is that of
 * the tracker, or `PeerUnreachable` if there is no answer.
 */
export const askTracker = async (
  { id, dealTracker, random, log }: Pick<Dependencies, 'id' | 'dealTracker' | 'random' | 'log'>,
  aggregates: readonly string[],
): Promise<Result<TrackerAnswer, Failure>[]> => {
  const answers = await reach(
    dealTracker,
    async () => {
      const questions = aggregates.map(aggregate =>
        trackerQuestion(id, dealTracker, { piece: parsePieceLink(aggregate), nonce: random() }),
      )
      return dealTracker.execute(await Promise.all(questions))
    },
    log,
  )
  return aggregates.map((aggregate, n) => {
    const answer = answers.ok?.[n]
    const problem = answers.error ?? answer?.error
    if (problem || answer?.ok === undefined) {
      if (problem && answers.ok)
        log('warn', 'deal tracker did not answer', { ...dealTracker.address, aggregate, reason: problem })
      return { error: failure('PeerUnreachable', problem?.message ?? 'The deal tracker gives no answer') }
    }
    const refusal = answer.ok.out.error as Failure | undefined
    if (refusal && refusal.name !== 'DealNotFound') {
      log('warn', 'deal tracker refused', { ...dealTracker.address, aggregate, refusal })
      return { error: refusal }
    }
    const { deals = {}, places = [], asOf = [] } = (answer.ok.out.ok ?? refusal) as Partial<DealInfoSuccess>
    return { ok: { deals, places, asOf } }
  })
}
