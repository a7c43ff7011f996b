import { type Stored, update } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import { ensurePolled, newGroup, recordNews } from '../domain/group.ts'
import { addToQueued, markQueued, type PieceRecord } from '../domain/piece.ts'

type QueueDependencies = Pick<Dependencies, 'stores' | 'timing' | 'now'>

/**
 * Records that the aggregator promised to put a piece into an aggregate. Its group must be polled from before on, see
 * {@link pollGroup}: if this run is killed in between, only the check of the group finds the piece.
 */
export const queuePiece = async (
  dependencies: QueueDependencies,
  record: Stored<PieceRecord>,
  promise: { waitsFor: string; nonce: string | undefined },
): Promise<void> => {
  const { stores, timing, now } = dependencies
  await update(stores.piece, { id: record.id }, current => markQueued(current, promise, now(), timing), {
    known: record,
  })
}

/** Has the group of a queued piece polled: earlier code, or a restored table of groups, may lack it. */
export const enrollQueued = async (
  dependencies: QueueDependencies,
  record: Stored<PieceRecord>,
): Promise<void> => {
  const { stores, now } = dependencies
  if (record.stage !== 'queued') return
  await pollGroup(dependencies, record.group)
  await update(stores.piece, { id: record.id }, current => addToQueued(current, now()), { known: record })
}

/** Has a group polled, because pieces of it are about to be queued. */
export const pollGroup = async ({ stores, timing, now }: QueueDependencies, id: string): Promise<void> => {
  const { record } = await update(stores.group, { id }, current => ensurePolled(current, now(), timing))
  if (record === undefined) await stores.group.insert(newGroup(id, now(), timing))
}

/** Has the aggregator asked about the other queued pieces of a group, because a piece of it got into an aggregate. */
export const reportNews = async (
  { stores, timing, now }: QueueDependencies,
  { group: id }: PieceRecord,
): Promise<void> => {
  await update(stores.group, { id }, current => recordNews(current, now(), timing))
}
