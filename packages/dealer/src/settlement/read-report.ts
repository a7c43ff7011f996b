import { failure, type PieceLink, type Result } from '@w3filecoin/capabilities'
import type { InvalidPieceCID } from '@w3filecoin/piece'
import { getValue, type Stored } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import type { AggregateRecord } from '../domain/aggregate.ts'
import { parseDocumentName } from '../domain/offer-document.ts'
import type { ReportMessage } from '../queues.ts'

type ReportDependencies = { stores: Pick<Dependencies['stores'], 'aggregate' | 'blocks'> }

/** Finds the offer that a report names. Fails with `UnknownOffer`. */
export const findReported = async (
  { stores }: ReportDependencies,
  offer: string,
): Promise<Result<Stored<AggregateRecord>>> => {
  const key = parseDocumentName(offer)
  const record = key === undefined ? undefined : await stores.aggregate.get({ id: key })
  return record
    ? { ok: record }
    : { error: failure('UnknownOffer', `${offer} is not the name of an offer document of this dealer`) }
}

/** Reads the pieces of a reported offer, and the failures of those that the report calls invalid. Fails with `UnknownPiece`. */
export const readInvalid = async (
  { stores }: ReportDependencies,
  { aggregate, piecesCid }: AggregateRecord,
  reported: ReportMessage['invalid'],
): Promise<Result<{ pieces: PieceLink[]; invalid: InvalidPieceCID[] }>> => {
  const pieces = await getValue<PieceLink[]>(stores.blocks, piecesCid)
  const links = new Map(pieces.map(piece => [`${piece}`, piece]))
  const stray = reported.find(({ piece }) => !links.has(piece))
  if (stray) return { error: failure('UnknownPiece', `${stray.piece} is not in ${aggregate}`) }
  const invalid = reported.map(({ piece, message }) =>
    failure('InvalidPieceCID', message, { piece: links.get(piece) as PieceLink }),
  )
  return { ok: { pieces, invalid } }
}
