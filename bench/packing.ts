import { BATCHING } from '../packages/aggregator/src/domain/batching.ts'
import { newGroup } from '../packages/aggregator/src/domain/group.ts'
import { isRipe, type Limits } from '../packages/aggregator/src/domain/limits.ts'
import { newPendingRow, type PendingRecord } from '../packages/aggregator/src/domain/piece.ts'
import { choosePieces } from '../packages/aggregator/src/sealing/choose-pieces.ts'
import { capacityOf, decodePiece, type PieceLink } from '../packages/piece/src/index.ts'
import { somePiece } from '../packages/testing/src/pieces.ts'
import { count, medianOf } from './measure.ts'
import { publishedAggregator } from './published-aggregator.ts'
import type { Aim, Table } from './table.ts'

const AGGREGATE_BYTES = 2 ** 35
const CAPACITY = capacityOf(AGGREGATE_BYTES)
const LARGE_BYTES = 2 ** 30
/** All arrivals together would fill so many aggregates. */
const AGGREGATES = 30
/** Pieces that arrive together. */
const AT_ONCE = [10, 1_000]

/** Returns numbers from 0 to 1 that look random, the same in every run. */
const randomNumbers = (): (() => number) => {
  let state = 1
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 2 ** 32
  }
}

/** Returns a power of two of bytes, each as often as the others. */
const between = (from: number, to: number, random: number): number =>
  2 ** (from + Math.floor(random * (to - from + 1)))

/** The padded bytes of the next piece. `allowsFull` if there are always enough small pieces to fill an aggregate. */
const MIXES: { name: string; allowsFull: boolean; bytesOf: (random: () => number) => number }[] = [
  {
    name: '1 to 64 MiB, one in 500 of 8 GiB',
    allowsFull: true,
    bytesOf: random => (random() < 0.002 ? 2 ** 33 : between(20, 26, random())),
  },
  { name: '1 MiB to 8 GiB', allowsFull: true, bytesOf: random => between(20, 33, random()) },
  { name: '4 GiB only', allowsFull: false, bytesOf: () => 2 ** 32 },
]

type Packer = (arrivals: PieceLink[]) => Promise<PieceLink[][]>

/** Packs arriving pieces as the sealer of our aggregator does. */
const openOurs = (): Packer => {
  const limits: Limits = {
    paddedBytes: AGGREGATE_BYTES,
    minPaddedBytes: AGGREGATE_BYTES / 2,
    maxPieces: 262_144,
    maxWaitMs: Number.MAX_SAFE_INTEGER,
  }
  let now = 0
  let rows: PendingRecord[] = []
  let bytes = 0
  const links = new Map<string, PieceLink>()
  const storefront = 'did:web:storefront.example'
  const group = newGroup({ storefront, group: 'g' }, 0)
  const stores = {
    pending: {
      list: async (_: string, { limit, after = '0' }: { limit: number; after?: string }) => {
        const end = Number(after) + limit
        return {
          items: rows.slice(Number(after), end),
          ...(end < rows.length && { next: `${end}` }),
        }
      },
      removeMany: async () => {},
    },
    piece: { getMany: async (keys: object[]) => keys.map(key => ({ ...key, stage: 'pending' })) },
  }
  return async arrivals => {
    now += 1
    for (const link of arrivals) {
      const piece = `${link}`
      const { size } = decodePiece(link).ok!
      links.set(piece, link)
      rows.push(newPendingRow({ id: piece, storefront, group: 'g', piece, size, offeredAt: now } as never))
      bytes += size
    }
    const aggregates: PieceLink[][] = []
    // The tally says when the group may be full.
    while (bytes >= CAPACITY) {
      const dependencies = { stores: stores as never, batching: BATCHING, now: () => now }
      const { chosen, fill, backlog } = await choosePieces(dependencies, group, limits)
      if (!isRipe(backlog, fill, limits, now)) break
      const ids = new Set(chosen.map(({ row }) => row.id))
      rows = rows.filter(({ id }) => !ids.has(id))
      bytes -= fill.bytes
      aggregates.push([...ids].map(id => links.get(id)!))
    }
    return aggregates
  }
}

/** Packs arriving pieces with the buffer reduction of the published aggregator, with the limits of its deployment. */
const openPublished = (): Packer => {
  const aggregator = publishedAggregator({ paddedBytes: AGGREGATE_BYTES, minBytes: AGGREGATE_BYTES / 2 })
  return async arrivals => {
    const aggregates = await aggregator.add(arrivals)
    // The buffer that is left may hold more than one aggregate.
    let more: typeof aggregates
    do {
      more = await aggregator.finish()
      aggregates.push(...more)
    } while (more.length > 0)
    return aggregates.map(pieces => pieces.map(({ piece }) => piece))
  }
}

interface Packed {
  /** In percent of the capacity. */
  fills: number[]
  /** Aggregates that were made while the piece waited, its own not counted. The longest of large and of small pieces. */
  longest: { large: number; small: number }
  left: number
}

/** Packs the same arrivals with a packer. Pieces that are never packed count as waiting until the end. */
const pack = async (
  packer: Packer,
  bytesOf: (random: () => number) => number,
  atOnce: number,
): Promise<Packed> => {
  const random = randomNumbers()
  const waiting = new Map<string, { size: number; since: number }>()
  const fills: number[] = []
  const longest = { large: 0, small: 0 }
  const addWait = ({ size, since }: { size: number; since: number }, until: number) => {
    const kind = size >= LARGE_BYTES ? 'large' : 'small'
    longest[kind] = Math.max(longest[kind], until - since)
  }
  let seed = 0
  for (let total = 0; total < AGGREGATES * CAPACITY; ) {
    const arrivals = Array.from({ length: atOnce }, () => {
      const size = bytesOf(random)
      total += size
      const piece = somePiece(seed++, Math.log2(size / 32))
      waiting.set(`${piece}`, { size, since: fills.length })
      return piece
    })
    for (const pieces of await packer(arrivals)) {
      const packed = pieces.map(piece => waiting.get(`${piece}`)!)
      for (const one of packed) addWait(one, fills.length)
      for (const piece of pieces) waiting.delete(`${piece}`)
      fills.push((packed.reduce((sum, { size }) => sum + size, 0) / CAPACITY) * 100)
    }
  }
  for (const one of waiting.values()) addWait(one, fills.length)
  return { fills, longest, left: waiting.size }
}

const percent = (value: number): string => value.toFixed(2)

/** Measures how full aggregates are, and how long pieces wait, with both packers on the same arrivals. */
export const run = async (): Promise<Table> => {
  const rows: Table['rows'] = []
  const aims: Aim[] = []
  for (const { name: mix, allowsFull, bytesOf } of MIXES)
    for (const atOnce of AT_ONCE)
      for (const [name, open] of Object.entries({ ours: openOurs, published: openPublished })) {
        const { fills, longest, left } = await pack(open(), bytesOf, atOnce)
        const mean = fills.reduce((sum, fill) => sum + fill, 0) / fills.length
        rows.push([
          mix,
          count(atOnce),
          name,
          fills.length,
          ...[mean, medianOf(fills), Math.min(...fills)].map(percent),
          longest.large,
          longest.small,
          count(left),
        ])
        if (name === 'ours' && allowsFull)
          aims.push({
            name: `mean fill, ${mix}, ${count(atOnce)} at once`,
            aim: '≥ 99 %',
            seen: `${percent(mean)} %`,
            met: mean >= 99,
          })
      }
  return {
    title: 'Packing of arriving pieces into aggregates of 32 GiB',
    columns: [
      'mix',
      'packer',
      'aggregates',
      'mean %',
      'median %',
      'least %',
      'large wait',
      'small wait',
      'left',
    ],
    rows,
    aims,
    notes: [
      `Both packers get the same pieces, enough for ${AGGREGATES} aggregates. Fill is in percent of the capacity, to which the area of the index does not belong. Waits are the longest, in aggregates that were made meanwhile; a piece is large from 1 GiB. The pieces that are left were in no aggregate at the end.`,
      'Ours: choosePieces and isRipe of the sealer. It seals when the waiting pieces have the bytes of an aggregate, also if a large one of them does not fit: with few small pieces waiting, the aggregate is then not full.',
      'Published: the handlers of @storacha/filecoin-api with the limits of their deployment. They sort pieces by size, smallest first, and build an aggregate once half of it is used.',
      'Pieces of 4 GiB fill at most 7 eighths, because the index takes a part of the last one.',
    ],
  }
}
