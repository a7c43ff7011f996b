import { type PieceLink, parsePieceLink } from '@w3filecoin/capabilities'
import { Selection } from '@w3filecoin/piece'
import { isFromWrongClock } from '@w3filecoin/runtime'
import pMap from 'p-map'
import type { Dependencies } from '../dependencies.ts'
import type { GroupRecord, Seal } from '../domain/group.ts'
import { type Backlog, type Fill, isEnough, isFull, type Limits } from '../domain/limits.ts'
import { canBecome, type PendingRecord } from '../domain/piece.ts'
import { readMembers } from './members.ts'

/** A pending piece that may be put into an aggregate. */
export interface Candidate {
  piece: PieceLink
  row: PendingRecord
}

/** Rows that are read if few of them fit into one aggregate. Reading so many takes about two minutes. */
const MAX_ROWS = 1_000_000

/**
 * Reads the list of a group in its order, and chooses the pieces that fit into one aggregate. It stops when there is
 * enough and the following rows are unlikely to add much. An aggregate contains a piece only once: of a piece offered
 * with several nonces, the first row is chosen, and the other rows do not count.
 *
 * @returns the chosen pieces, their fill, the backlog that was read, and whether the list has no row at all
 */
export const choosePieces = async (
  { stores, batching, now }: Pick<Dependencies, 'stores' | 'batching' | 'now'>,
  group: GroupRecord,
  limits: Limits,
): Promise<{ chosen: readonly Candidate[]; fill: Fill; backlog: Backlog; isEmpty: boolean }> => {
  const sealedBefore = await readSealed(stores, group.openSeals)
  const selection = new Selection<Candidate>({ size: limits.paddedBytes, maxPieces: limits.maxPieces })
  const taken = new Set<string>()
  const backlog: Backlog = { pieces: 0, bytes: 0 }
  const fillOf = (): Fill => ({ pieces: selection.chosen.length, bytes: selection.bytes })
  // A piece that was offered under a wrong clock, which was ahead, has waited long enough.
  const offeredAtOf = ({ offeredAt }: PendingRecord): number =>
    isFromWrongClock(offeredAt, now()) ? now() - limits.maxWaitMs : offeredAt
  let { lookaheadRows } = batching
  let read = 0
  let after: string | undefined
  do {
    const page = await stores.pending.list(group.id, { limit: batching.pageRows, after })
    const rows = page.items.filter(({ id, piece }) => !sealedBefore.has(id) && !taken.has(piece))
    const records = await stores.piece.getMany(rows.map(({ id }) => ({ id })))
    const stale: PendingRecord[] = []
    for (const [n, row] of rows.entries()) {
      if (taken.has(row.piece)) continue
      const record = records[n]
      // A duplicate message that arrives late may add the row of an included piece again.
      if (record === undefined || !canBecome(record, 'included')) {
        stale.push(row)
        continue
      }
      const fits = selection.offer({ piece: parsePieceLink(row.piece), row })
      if (fits) taken.add(row.piece)
      backlog.pieces += 1
      backlog.bytes += row.size
      backlog.oldestAt = Math.min(backlog.oldestAt ?? Infinity, offeredAtOf(row))
    }
    await stores.pending.removeMany(stale.map(row => ({ group: row.group, order: row.order })))
    if (isEnough(fillOf(), limits) && isFull(backlog, limits)) lookaheadRows -= page.items.length
    read += page.items.length
    after = page.next
  } while (after !== undefined && !selection.full && lookaheadRows > 0 && read < MAX_ROWS)
  return { chosen: selection.chosen, fill: fillOf(), backlog, isEmpty: read === 0 }
}

/** Returns the record ids of sealed pieces. Their records may not say so yet. */
const readSealed = async (stores: Dependencies['stores'], seals: readonly Seal[]): Promise<Set<string>> => {
  const members = await pMap(seals, seal => readMembers(stores, seal), { concurrency: 2 })
  return new Set(members.flat())
}
