import { somePiece } from '../packages/testing/src/pieces.ts'
import { aggregate } from '../test/backlog/backlog.ts'
import { callInFreshProcess, count } from './measure.ts'
import { publishedAggregator } from './published-aggregator.ts'
import type { Table } from './table.ts'

const AGGREGATE_BYTES = 2 ** 35
/** Bytes of the area of the index in an aggregate of 32 GiB: 2^18 entries. */
const INDEX_BYTES = 2 ** 24
/** Pieces of 4 MiB. */
const PIECE_HEIGHT = 17
const PIECE_BYTES = 2 ** 22

type Arrival = 'burst' | 'batches of 100' | 'one by one'

/** How many pieces one call for arriving pieces has. */
const AT_ONCE: Record<Arrival, { published: number; ours?: number }> = {
  // The deployment of the published aggregator takes up to 10,000 inserted pieces at once; ours takes a batch of its queue.
  burst: { published: 10_000 },
  'batches of 100': { published: 100 },
  'one by one': { published: 1, ours: 1 },
}

const CASES: { way: 'published' | 'ours'; arrival: Arrival; pieces: number[] }[] = [
  { way: 'published', arrival: 'burst', pieces: [1_000, 4_000] },
  { way: 'published', arrival: 'batches of 100', pieces: [1_000, 4_000] },
  // Its time grows with the square of the pieces, or more.
  { way: 'published', arrival: 'one by one', pieces: [1_000] },
  { way: 'ours', arrival: 'burst', pieces: [1_000, 4_000, 16_000, 64_000] },
  { way: 'ours', arrival: 'one by one', pieces: [1_000, 4_000] },
]

/** Bytes that were written to tables and to blocks. */
interface Written {
  tables: number
  blocks: number
}

/** Puts pieces into one aggregate with the published buffer reduction. Counts only the blocks of buffers. */
export const writePublished = async (pieces: number, atOnce: number): Promise<Written> => {
  const aggregator = publishedAggregator({
    paddedBytes: AGGREGATE_BYTES,
    minBytes: pieces * PIECE_BYTES + INDEX_BYTES,
    // It attempts no aggregate before the last piece: that would write nothing and take hours.
    minUtilizationFactor: AGGREGATE_BYTES / ((pieces - 0.5) * PIECE_BYTES),
  })
  const aggregates = []
  for (let n = 0; n < pieces; n += atOnce)
    aggregates.push(
      ...(await aggregator.add(
        Array.from({ length: Math.min(atOnce, pieces - n) }, (_, more) => somePiece(n + more, PIECE_HEIGHT)),
      )),
    )
  if (aggregates.length === 0) aggregates.push(...(await aggregator.finish()))
  if (aggregates.length !== 1 || aggregates[0]!.length !== pieces)
    throw new Error(
      `The published aggregator put ${aggregates.map(({ length }) => length)} pieces into aggregates`,
    )
  return { tables: 0, blocks: aggregator.written.bytes }
}

/** Puts pieces into one aggregate with the consumers of our aggregator. Counts everything that they write. */
export const writeOurs = async (pieces: number, atOnce: number | undefined): Promise<Written> => {
  const { included, writtenBytes } = await aggregate({ pieces, ...(atOnce !== undefined && { atOnce }) })
  if (included !== pieces) throw new Error(`${included} of ${pieces} pieces were included`)
  return writtenBytes
}

/** Measures the bytes that an aggregator writes for a piece until it is in an aggregate. */
export const run = async (): Promise<Table> => {
  const rows: Table['rows'] = []
  const perPiece = new Map<string, number[]>()
  for (const { way, arrival, pieces } of CASES)
    for (const many of pieces) {
      const { tables, blocks } = await callInFreshProcess<Written>(
        import.meta.url,
        way === 'ours' ? 'writeOurs' : 'writePublished',
        many,
        AT_ONCE[arrival][way],
      )
      const key = `${way}, ${arrival}`
      perPiece.set(key, [...(perPiece.get(key) ?? []), (tables + blocks) / many])
      rows.push([
        way,
        arrival,
        count(many),
        ...[tables, blocks, tables + blocks].map(bytes => count(Math.round(bytes / many))),
      ])
    }
  const ours = perPiece.get('ours, burst')!
  const change = (ours.at(-1)! / ours[0]! - 1) * 100
  return {
    title: 'Bytes that an aggregator writes for a piece',
    columns: ['way', 'arrival', 'pieces', 'to tables', 'to blocks', 'in all'],
    rows,
    aims: [
      {
        name: 'ours from 1,000 to 64,000 pieces',
        aim: 'flat, ±10 %',
        seen: `${change >= 0 ? '+' : ''}${change.toFixed(1)} %`,
        met: Math.max(...ours) <= ours[0]! * 1.1 && Math.min(...ours) >= ours[0]! * 0.9,
      },
    ],
    notes: [
      'Published: only the blocks of buffers of @storacha/filecoin-api, written by its own handlers. Its records of pieces, aggregates and proofs are not counted.',
      'Ours: everything that the consumers of the aggregator write, with the records of the offers, the list of the group, the aggregate, proofs and receipts. Entries of indexes and messages are not counted.',
      'One by one means that each piece arrives after the previous one was buffered. The published aggregator then writes every waiting piece again for each piece that arrives.',
    ],
  }
}
