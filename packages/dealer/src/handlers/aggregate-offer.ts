import { aggregateOffer } from '@w3filecoin/capabilities'
import { attachedBlock, type Handler, provide, unpackTask } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import { promiseBeside } from '../dialects/promises.ts'
import { authorizeOffer } from '../offers/authorize-offer.ts'
import { offerAggregate } from '../offers/offer-aggregate.ts'

/**
 * `aggregate/offer`: has deals made for an aggregate, and promises the `aggregate/accept` that will name its deal, and the
 * tasks of dialects whose readers find no link of their own. A repeated offer gets the same promise. An offer with another nonce is processed anew.
 */
export const aggregateOfferHandler = (
  dependencies: Pick<
    Dependencies,
    | 'id'
    | 'authority'
    | 'stores'
    | 'queues'
    | 'offerDocuments'
    | 'pieceSources'
    | 'policies'
    | 'targets'
    | 'aggregators'
    | 'allowedTenants'
    | 'storefronts'
    | 'timing'
    | 'batching'
    | 'dialects'
    | 'now'
    | 'log'
  >,
): Handler =>
  provide(
    aggregateOffer,
    async ({ capability, ...input }) => {
      const { aggregate, pieces } = capability.nb
      const { invocation } = input
      const parties = await authorizeOffer(dependencies, aggregateOffer, capability.with, input)
      if (parties.error) return { out: parties }
      const { record, refusal } = await offerAggregate(dependencies, {
        aggregate,
        pieces,
        piecesBytes: attachedBlock(invocation, pieces),
        nonce: invocation.nonce,
        ...parties.ok,
        task: invocation,
      })
      if (refusal) return refusal
      return {
        out: { ok: { aggregate } },
        fx: {
          fork: await promiseBeside(dependencies, record),
          join: await unpackTask(record.acceptTask as Uint8Array),
        },
      }
    },
    { keep: true },
  )
