import { aggregateOffer } from '@w3filecoin/capabilities'
import { type Handler, provide } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import { authorizeOffer } from '../offers/authorize-offer.ts'
import { offerAggregate } from '../offers/offer-aggregate.ts'

/**
 * `aggregate/offer`: has deals made for an aggregate, and promises the `aggregate/accept` that will name its deal. A
 * repeated offer gets the same promise. An offer with another nonce is processed anew.
 */
export const aggregateOfferHandler = (
  dependencies: Pick<
    Dependencies,
    | 'id'
    | 'authority'
    | 'stores'
    | 'queues'
    | 'offerDocuments'
    | 'aggregators'
    | 'allowedTenants'
    | 'storefronts'
    | 'timing'
    | 'batching'
    | 'now'
  >,
): Handler =>
  provide(
    aggregateOffer,
    async ({ capability, ...input }) => {
      const { aggregate, pieces } = capability.nb
      const { invocation } = input
      const parties = await authorizeOffer(dependencies, capability.with, input)
      if (parties.error) return { out: parties }
      const block = [...invocation.iterateIPLDBlocks()].find(({ cid }) => `${cid}` === `${pieces}`)
      return offerAggregate(dependencies, {
        aggregate,
        pieces,
        piecesBytes: block?.bytes,
        nonce: invocation.nonce,
        ...parties.ok,
        task: invocation,
      })
    },
    { keep: true },
  )
