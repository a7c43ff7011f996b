import { failure, type PieceLink } from '@w3filecoin/capabilities'
import { type Consumer, DONE, each, getValue } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import { isFinal } from '../domain/aggregate.ts'
import { parseDocumentName } from '../domain/offer-document.ts'
import { type ReportMessage, reportMessage } from '../queues.ts'
import { createFailureOutcome } from '../settlement/failure-outcome.ts'
import { settleAggregate } from '../settlement/settle-aggregate.ts'

/**
 * On `report`, fail an aggregate that deal making has abandoned, or that waited too long for a deal. The report names
 * the invalid pieces, if any; the other pieces are retried. A report that names an unknown aggregate, or a piece that
 * is not in the aggregate, goes to the dead-letter queue. Orders that were not sent to a target end with the aggregate.
 */
export const onReport = (
  dependencies: Pick<
    Dependencies,
    'id' | 'stores' | 'queues' | 'aggregators' | 'timing' | 'batching' | 'now'
  >,
): Consumer<ReportMessage> => {
  const { id, stores } = dependencies
  return each(
    reportMessage,
    async ({ offer, message, invalid: reported }) => {
      const key = parseDocumentName(offer)
      const record = key === undefined ? undefined : await stores.aggregate.get({ id: key })
      if (record === undefined)
        return {
          error: failure('UnknownOffer', `${offer} is not the name of an offer document of this dealer`),
        }
      if (isFinal(record)) return DONE
      const pieces = await getValue<PieceLink[]>(stores.blocks, record.piecesCid)
      const links = new Map(pieces.map(piece => [`${piece}`, piece]))
      const stray = reported.find(({ piece }) => !links.has(piece))
      if (stray) return { error: failure('UnknownPiece', `${stray.piece} is not in ${record.aggregate}`) }
      const invalid = reported.map(({ piece, message }) =>
        failure('InvalidPieceCID', message, { piece: links.get(piece) as PieceLink }),
      )
      const outcome = await createFailureOutcome(id, record, pieces, { message, invalid })
      await settleAggregate(dependencies, record, outcome)
      await dependencies.queues.order.send([{ offer: record.id }])
      return DONE
    },
    { concurrency: 1 },
  )
}
