import { failure, type PieceLink } from '@w3filecoin/capabilities'
import { type Consumer, DONE, each, getValue } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import { recordIn } from '../domain/offer-document.ts'
import { failureOutcome, settleAggregate } from '../failure.ts'
import { type ReportMessage, reportMessage } from '../queues.ts'

/**
 * On `report`, end the workflow of an aggregate that deal making has given up, or that waited too long: those who make
 * deals say which pieces are at fault, if any; the others are tried again. A report that names no aggregate of ours, or a
 * piece that is not in it, is for people to look at.
 */
export const onReport = (
  parts: Pick<Dependencies, 'id' | 'stores' | 'queues' | 'aggregators' | 'timing' | 'batching' | 'now'>,
): Consumer<ReportMessage> => {
  const { id, stores } = parts
  return each(
    reportMessage,
    async ({ offer, message, invalid }) => {
      const key = recordIn(offer)
      const record = key === undefined ? undefined : await stores.aggregate.get({ id: key })
      if (record === undefined)
        return { error: failure('UnknownOffer', `${offer} is no offer document of this dealer`) }
      if (record.stage !== 'offered') return DONE
      const pieces = await getValue<PieceLink[]>(stores.blocks, record.piecesCid)
      const links = new Map(pieces.map(piece => [`${piece}`, piece]))
      const stray = invalid.find(({ piece }) => !links.has(piece))
      if (stray) return { error: failure('UnknownPiece', `${stray.piece} is not in ${record.aggregate}`) }
      const faults = invalid.map(({ piece, message }) =>
        failure('InvalidPieceCID', message, { piece: links.get(piece) as PieceLink }),
      )
      await settleAggregate(parts, record, await failureOutcome(id, record, pieces, { message, faults }))
      return DONE
    },
    { concurrency: 1 },
  )
}
