import type { PieceLink } from '@w3filecoin/capabilities'
import { buildAggregate } from '@w3filecoin/piece'
import { batchesOf, putValue } from '@w3filecoin/runtime'
import pMap from 'p-map'
import type { Dependencies } from '../dependencies.ts'
import type { RangeEntry } from '../domain/aggregate.ts'
import type { GroupRecord, Seal } from '../domain/group.ts'
import type { Limits } from '../domain/limits.ts'
import type { PendingRecord } from '../domain/piece.ts'
import type { Candidate } from './choose-pieces.ts'
import { putMembers } from './members.ts'

/** Blocks that are written in parallel. */
const MAX_PARALLEL_WRITES = 4

/**
 * Computes the aggregate of the chosen pieces, and stores its blocks: the list of pieces, their record ids by shards, and their
 * proofs by ranges.
 * It decides nothing: if the seal is not added to the group, no record refers to the blocks.
 */
export const computeSeal = async (
  { stores, batching, now }: Pick<Dependencies, 'stores' | 'batching' | 'now'>,
  group: GroupRecord,
  chosen: readonly Candidate[],
  { paddedBytes }: Limits,
): Promise<Seal> => {
  const rows = new Map(chosen.map(({ piece, row }) => [`${piece}`, row]))
  const built = buildAggregate({ pieces: chosen.map(({ piece }) => piece), size: paddedBytes })
  if (built.error)
    throw new Error(
      `The pieces chosen from group ${group.id} do not make an aggregate of ${paddedBytes} padded bytes: ${built.error.message}`,
    )
  const aggregate = built.ok
  const { link, pieces } = aggregate
  const createEntry = (n: number): RangeEntry => {
    const piece = pieces[n] as PieceLink
    const { id, order } = rows.get(`${piece}`) as PendingRecord
    return { id, order, piece, inclusion: aggregate.proof(n) }
  }
  const ranges = await pMap(
    // Batches of positions, not of proofs: only the proofs of the ranges being written are in memory.
    batchesOf([...pieces.keys()], batching.rangePieces),
    positions => putValue(stores.blocks, positions.map(createEntry)),
    { concurrency: MAX_PARALLEL_WRITES },
  )
  return {
    sequence: group.sequence + 1,
    aggregate: `${link}`,
    pieces: await putValue(stores.blocks, pieces),
    memberShards: await putMembers(
      stores,
      chosen.map(({ row: { piece, id } }) => ({ piece, id })),
      batching.rangePieces,
    ),
    ranges: await putValue(stores.blocks, ranges),
    sealedAt: now(),
  }
}
