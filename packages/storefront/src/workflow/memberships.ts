import type { Dependencies } from '../dependencies.ts'
import { type Membership, membershipsOf } from '../domain/inclusion.ts'
import type { PieceRecord } from '../domain/piece.ts'

/** Reads the aggregates that each piece is or was in by its record, the newest first, with their proofs. */
export const readMemberships = async (
  { inclusion }: Pick<Dependencies['stores'], 'inclusion'>,
  records: readonly PieceRecord[],
): Promise<Membership[][]> => {
  const named = records.map(membershipsOf)
  const rows = await inclusion.getMany(
    named.flatMap(memberships => memberships.flatMap(one => ('key' in one ? [one.key] : []))),
  )
  const proofs = rows.values()
  return named.map(memberships =>
    memberships.map(one => {
      if ('inclusion' in one) return one
      const row = proofs.next().value
      if (row === undefined)
        throw new Error(`The row with the proof of ${one.key.piece} in ${one.aggregate} is missing`)
      return { aggregate: row.aggregate, inclusion: row.inclusion }
    }),
  )
}
