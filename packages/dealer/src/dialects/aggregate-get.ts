import { type DealInfoSuccess, Draft1, type Failure, failure } from '@w3filecoin/capabilities'
import { type Handler, provide, reach, refuseStranger, trackerQuestion } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'

/** Maximum number of invocations in one message: each asks the deal tracker. */
const MAX_PER_MESSAGE = 10

/** `aggregate/get` of draft 1, which has no deal tracker: the dealer asks its own, for aggregators and storefronts that it lists. */
export const aggregateGetHandler = ({
  id,
  aggregators,
  storefronts,
  dealTracker,
  random,
  log,
}: Pick<Dependencies, 'id' | 'aggregators' | 'storefronts' | 'dealTracker' | 'random' | 'log'>): Handler => {
  const listed = {
    find: async (did: string) => (await aggregators.find(did)) ?? (await storefronts.find(did)),
  }

  return provide(
    Draft1.aggregateGet,
    async input => {
      const stranger = await refuseStranger('UnknownClient', input, {
        self: id,
        listed,
        setting: 'storefronts',
        command: 'w3fil storefront add --at dealer',
      })
      if (stranger) return { out: { error: stranger } }
      const { nb } = input.capability
      const question = await trackerQuestion(id, dealTracker, { piece: nb.piece, nonce: random() })
      const answers = await reach(dealTracker, () => dealTracker.execute([question]), log)
      const answer = answers.ok?.[0]
      const { ok, error } = answer?.ok?.out ?? {}
      if (ok) return { out: { ok: ok as DealInfoSuccess } }
      const refusal = (error ?? answer?.error ?? answers.error) as Failure
      if (refusal.name === 'DealNotFound') return { out: { error: refusal } }
      return {
        out: { error: failure('PeerUnreachable', `The deal tracker gave no answer: ${refusal.message}`) },
      }
    },
    { maxPerMessage: MAX_PER_MESSAGE },
  )
}
