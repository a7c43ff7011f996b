import type { Inclusion, PieceAcceptSuccess, PieceLink } from '@w3filecoin/capabilities'
import {
  batchesOf,
  CONCLUDE_BATCH,
  type Consumer,
  DONE,
  each,
  getValue,
  issueReceipt,
  type Stored,
  unpackTask,
  update,
} from '@w3filecoin/runtime'
import { parse as parseLink } from 'multiformats/link'
import pMap from 'p-map'
import type { Dependencies } from '../dependencies.ts'
import { type AggregateRecord, closeRange, type RangeEntry } from '../domain/aggregate.ts'
import { groupId, markIncluded, type PieceRecord } from '../domain/piece.ts'
import { type IncludeMessage, includeMessage } from '../queues.ts'

type Parts = Pick<Dependencies, 'id' | 'stores' | 'queues' | 'timing' | 'now'>

/**
 * On `include`, tell a range of the pieces of an aggregate that they are in it: the list of its members and the receipt
 * of `piece/accept` first, then the piece's record, then its place in the list; then hand the receipts to the storefront.
 */
export const onInclude = ({ id, stores, queues, timing, now }: Parts): Consumer<IncludeMessage> =>
  each(
    includeMessage,
    async ({ aggregate: aggregateId, range }) => {
      const aggregate = await stores.aggregate.get({ id: aggregateId })
      if (!aggregate?.rangesToInclude.includes(range)) return DONE
      const entries = await readRange(stores, aggregate, range)
      const records = await stores.piece.getMany(entries.map(({ id }) => ({ id })))
      const offer = await unpackTask(aggregate.offerTask)

      await stores.member.putMany(
        entries.map(({ id, piece }) => ({ aggregate: aggregate.id, piece: `${piece}`, id })),
      )
      const tell = async (record: Stored<PieceRecord>, { piece, inclusion }: RangeEntry): Promise<string> => {
        const accept = await unpackTask(record.acceptTask)
        const success: PieceAcceptSuccess = {
          piece: piece as PieceLink,
          aggregate: parseLink(aggregate.aggregate) as unknown as PieceLink,
          inclusion: inclusion as Inclusion,
        }
        await stores.receipts.put(
          await issueReceipt(id, accept, { out: { ok: success }, fx: { join: offer } }),
        )
        await update(stores.piece, { id: record.id }, current => markIncluded(current, aggregate.id))
        return `${accept.cid}`
      }
      const tasks = await pMap(
        entries,
        (entry, n) => {
          const record = records[n]
          if (record === undefined)
            throw new Error(`The piece ${entry.id} of ${aggregate.aggregate} has no record`)
          return tell(record, entry)
        },
        { concurrency: 10 },
      )
      const group = groupId(aggregate)
      await stores.pending.removeMany(entries.map(({ order }) => ({ group, order })))
      await queues.conclude.send(
        batchesOf(tasks, CONCLUDE_BATCH).map(batch => ({ to: aggregate.storefront, tasks: batch })),
      )
      await update(stores.aggregate, { id: aggregate.id }, current =>
        closeRange(current, range, now(), timing),
      )
      return DONE
    },
    { concurrency: 1 },
  )

const readRange = async (
  { blocks }: Pick<Parts['stores'], 'blocks'>,
  { ranges }: AggregateRecord,
  range: number,
): Promise<RangeEntry[]> => {
  const links = await getValue<string[]>(blocks, ranges)
  return getValue(blocks, links[range] as string)
}
