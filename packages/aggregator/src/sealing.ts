import { type PieceLink, Tasks } from '@w3filecoin/capabilities'
import { buildAggregate } from '@w3filecoin/piece'
import { batchesOf, getValue, packTask, putValue, type Stored } from '@w3filecoin/runtime'
import { parse as parseLink } from 'multiformats/link'
import pMap from 'p-map'
import type { Dependencies } from './dependencies.ts'
import { type AggregateRecord, isOf, newAggregate, type RangeEntry, sealNonce } from './domain/aggregate.ts'
import type { GroupRecord, Seal } from './domain/group.ts'
import type { Limits } from './domain/limits.ts'
import type { PendingRecord } from './domain/piece.ts'

/** A pending piece that may go into an aggregate. */
export interface Candidate {
  piece: PieceLink
  row: PendingRecord
}

/** Blocks that are written at a time. */
const PARALLEL = 4

/**
 * Computes the aggregate of the chosen pieces, and stores its blocks: the pieces, and their proofs by ranges. No
 * decision yet: blocks that nothing refers to do no harm.
 */
export const makeAggregate = async (
  { stores, batching, now }: Pick<Dependencies, 'stores' | 'batching' | 'now'>,
  group: GroupRecord,
  chosen: readonly Candidate[],
  { paddedBytes }: Limits,
): Promise<Seal> => {
  const rows = new Map(chosen.map(({ piece, row }) => [`${piece}`, row]))
  const built = buildAggregate({ pieces: chosen.map(({ piece }) => piece), size: paddedBytes })
  if (built.error) throw new Error(`Pieces that were taken do not make an aggregate: ${built.error.message}`)
  const aggregate = built.ok
  const { link, pieces } = aggregate
  const entryOf = (n: number): RangeEntry => {
    const piece = pieces[n] as PieceLink
    const { id, order } = rows.get(`${piece}`) as PendingRecord
    return { id, order, piece, inclusion: aggregate.proof(n) }
  }
  const ranges = await pMap(
    // Places in the aggregate, so that the proofs of one range at a time are in memory.
    batchesOf([...pieces.keys()], batching.rangePieces),
    places => putValue(stores.blocks, places.map(entryOf)),
    { concurrency: PARALLEL },
  )
  return {
    sequence: group.sequence + 1,
    aggregate: `${link}`,
    pieces: await putValue(stores.blocks, pieces),
    members: await putValue(
      stores.blocks,
      chosen.map(({ row }) => row.id),
    ),
    ranges: await putValue(stores.blocks, ranges),
    sealedAt: now(),
  }
}

/**
 * Does what follows from the decision to seal: the aggregate's own record, the offer to the dealer, and telling
 * the pieces, range by range. May be done twice. Returns the aggregate's record.
 */
export const completeSeal = async (
  parts: Pick<Dependencies, 'id' | 'stores' | 'queues' | 'dealer' | 'timing' | 'now'>,
  group: GroupRecord,
  seal: Seal,
): Promise<AggregateRecord> => {
  const { record, isNew } = await recordSeal(parts, group, seal)
  if (isNew) {
    await parts.queues.deal.send([{ aggregate: record.id }])
    await parts.queues.include.send(record.rangesToInclude.map(range => ({ aggregate: record.id, range })))
  }
  return record
}

/** The same pieces in the same size are the same aggregate: another sealing of them gets a nonce. */
const recordSeal = async (
  { id, stores, dealer, timing, now }: Pick<Dependencies, 'id' | 'stores' | 'dealer' | 'timing' | 'now'>,
  group: GroupRecord,
  seal: Seal,
): Promise<{ record: Stored<AggregateRecord>; isNew: boolean }> => {
  const ranges = await getValue<string[]>(stores.blocks, seal.ranges)
  for (const nonce of [undefined, sealNonce(group, seal)]) {
    const offer = await Tasks.aggregateOffer(id, dealer.principal, {
      aggregate: parseLink(seal.aggregate) as unknown as PieceLink,
      pieces: parseLink(seal.pieces) as never,
      nonce,
      tenant: {
        storefront: group.storefront,
        group: group.group,
        label: `${group.group} #${seal.sequence}`,
      },
    })
    const inserted = await stores.aggregate.insert(
      newAggregate(
        group,
        seal,
        { nonce, offerTask: await packTask(offer), ranges: ranges.length },
        now(),
        timing,
      ),
    )
    if (inserted.ok) return { record: inserted.ok, isNew: true }
    if (isOf(inserted.error.record, group, seal)) return { record: inserted.error.record, isNew: false }
  }
  throw new Error(`Sealing ${seal.sequence} of group ${group.id} has no record of its own`)
}
