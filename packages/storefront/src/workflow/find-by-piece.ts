import type { Stored } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import type { PieceRecord } from '../domain/piece.ts'
import { rootOf } from '../domain/piece-link.ts'

/** A piece by its CID v1, which may be that of pieces of several sizes, or by its CID v2. */
export type PieceQuery = { root: string; piece?: undefined } | { piece: string; root?: undefined }

/** Finds the workflows of a piece by the indexes, which lag behind. `more`: there are more than the limit. */
export const findByPiece = async (
  { piece: table }: Pick<Dependencies['stores'], 'piece'>,
  { root, piece }: PieceQuery,
  limit: number,
): Promise<{ records: Stored<PieceRecord>[]; more: boolean }> => {
  const find = async (index: 'root' | 'piece', value: string) => {
    const { items, next } = await table.find(index, value, { limit })
    const records = (await table.getMany(items)).filter(record => record !== undefined)
    return { records, more: next !== undefined }
  }
  if (piece === undefined) return find('root', root)
  const { records, more } = await find('root', rootOf(piece))
  const found = records.filter(record => record.piece === piece)
  // Records of version 0.1.0 have no root, and are in the index `piece`.
  const earlier = await find('piece', piece)
  const known = new Set(found.map(({ id }) => id))
  return {
    records: [...found, ...earlier.records.filter(({ id }) => !known.has(id))],
    more: more || earlier.more,
  }
}
