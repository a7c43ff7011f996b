import { aggregateOffer } from '@w3filecoin/capabilities'
import { type Handler, newNotListed, provide } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import { readTenant } from '../domain/offer-document.ts'
import { offerAggregate } from '../offers/offer-aggregate.ts'

/**
 * `aggregate/offer`: has deals made for an aggregate, and promises the `aggregate/accept` that will name its deal. A
 * repeated offer gets the same promise. An offer with another nonce is processed anew.
 */
export const aggregateOfferHandler = (
  dependencies: Pick<
    Dependencies,
    'id' | 'stores' | 'queues' | 'offerDocuments' | 'aggregators' | 'timing' | 'batching' | 'now'
  >,
): Handler => {
  const { id, aggregators } = dependencies
  return provide(
    aggregateOffer,
    async ({ capability, invocation }) => {
      const { aggregate, pieces } = capability.nb
      // If the resource is the dealer, the issuer holds a delegation, which the server has verified.
      const isDelegated = capability.with === id.did()
      const aggregator = isDelegated ? invocation.issuer.did() : capability.with
      if (!isDelegated && !(await aggregators.find(aggregator)))
        return {
          out: {
            error: newNotListed('UnknownAggregator', {
              did: aggregator,
              setting: 'aggregators',
              self: id,
              invocation,
            }),
          },
        }
      const block = [...invocation.iterateIPLDBlocks()].find(({ cid }) => `${cid}` === `${pieces}`)
      return offerAggregate(dependencies, {
        aggregate,
        pieces,
        piecesBytes: block?.bytes,
        nonce: invocation.nonce,
        aggregator,
        tenant: readTenant(invocation.facts as Record<string, unknown>[], aggregator),
        task: invocation,
      })
    },
    { keep: true },
  )
}
