import {
  type Inclusion,
  type PieceAcceptSuccess,
  type PieceLink,
  parsePieceLink,
  type Task,
} from '@w3filecoin/capabilities'
import {
  batchesOf,
  CONCLUDE_BATCH,
  type Consumer,
  DONE,
  each,
  getValue,
  issueReceipt,
  type Stored,
  translationsOf,
  unpackTask,
  update,
} from '@w3filecoin/runtime'
import pMap from 'p-map'
import type { Dependencies } from '../dependencies.ts'
import { type AggregateRecord, closeRange, type RangeEntry } from '../domain/aggregate.ts'
import { groupId, markIncluded, type PieceRecord } from '../domain/piece.ts'
import { type IncludeMessage, includeMessage } from '../queues.ts'

/** Receipts that are signed, and records that are written, in parallel. */
const MAX_PARALLEL = 10

/**
 * On `include`, issue the `piece/accept` receipts of a range of an aggregate's pieces. The receipts are written first, then
 * the pieces' records; then the rows leave the list of the group, and the receipts are sent to the storefront. An aggregate of
 * earlier code gets its rows of `member` before them.
 */
export const onInclude = ({
  id,
  stores,
  queues,
  timing,
  now,
}: Pick<Dependencies, 'id' | 'stores' | 'queues' | 'timing' | 'now'>): Consumer<IncludeMessage> =>
  each(
    includeMessage,
    async ({ aggregate: aggregateId, range }) => {
      const aggregate = await stores.aggregate.get({ id: aggregateId })
      if (!aggregate?.rangesToInclude.includes(range)) return DONE
      const entries = await readRange(stores, aggregate, range)
      const records = await stores.piece.getMany(entries.map(({ id }) => ({ id })))
      const offer = await unpackTask(aggregate.offerTask)

      if (aggregate.memberShards === undefined)
        await stores.member.putMany(
          entries.map(({ id, piece }) => ({ aggregate: aggregate.id, piece: `${piece}`, id })),
        )
      const pieces = entries.map(({ id }, n) => {
        const record = records[n]
        if (record === undefined)
          throw new Error(`The record ${id} of a piece in ${aggregate.aggregate} is missing`)
        return record
      })
      const accepts = await Promise.all(pieces.map(({ acceptTask }) => unpackTask(acceptTask)))
      const issueOne = ({ piece, inclusion }: RangeEntry, n: number) => {
        const success: PieceAcceptSuccess = {
          piece: piece as PieceLink,
          aggregate: parsePieceLink(aggregate.aggregate),
          inclusion: inclusion as Inclusion,
        }
        return issueReceipt(id, accepts[n] as Task, { out: { ok: success }, fx: { join: offer } })
      }
      // The receipts of a range share a block: one write each to the table, and of few bytes.
      await stores.receipts.putMany(await pMap(entries, issueOne, { concurrency: MAX_PARALLEL }))
      const included = await pMap(
        pieces,
        async record => {
          const include = (current: Stored<PieceRecord>) => markIncluded(current, aggregate.id)
          return (await update(stores.piece, { id: record.id }, include, { known: record })).record
        },
        { concurrency: MAX_PARALLEL },
      )
      const group = groupId(aggregate)
      await stores.pending.removeMany(entries.map(({ order }) => ({ group, order })))
      await queues.conclude.send(
        batchesOf(
          accepts.map(({ cid }) => `${cid}`),
          CONCLUDE_BATCH,
        ).map(batch => ({ to: aggregate.storefront, tasks: batch })),
      )
      await queues.translate.send(translationsOf(...included))
      await update(stores.aggregate, { id: aggregate.id }, current =>
        closeRange(current, range, now(), timing),
      )
      return DONE
    },
    { concurrency: 1 },
  )

const readRange = async (
  { blocks }: Pick<Dependencies['stores'], 'blocks'>,
  { ranges }: AggregateRecord,
  range: number,
): Promise<RangeEntry[]> => {
  const links = await getValue<string[]>(blocks, ranges)
  return getValue(blocks, links[range] as string)
}
