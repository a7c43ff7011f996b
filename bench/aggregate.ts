import { Aggregate, Piece } from '@web3-storage/data-segment'
import {
  buildAggregate,
  encodePiece,
  layout,
  type PieceLink,
  toInclusionProof,
} from '../packages/piece/src/index.ts'
import {
  type Cost,
  callInFreshProcess,
  compare,
  costOf,
  count,
  medianCost,
  ms,
  peakMb,
  times,
} from './measure.ts'
import type { Table } from './table.ts'

const SIZE = 2 ** 35
const COMPARED = [1_000, 2_000, 4_000]
const OURS_ALONE = [16_384, 65_536, 262_144]
const ROUNDS = 3

/** Returns links of pieces of 128 bytes to 128 KiB, in the order of an aggregate. */
const somePieces = (pieces: number): PieceLink[] =>
  layout(
    Array.from({ length: pieces }, (_, n) => {
      const root = new Uint8Array(32)
      new DataView(root.buffer).setUint32(0, n + 1)
      return encodePiece({ root, height: 2 + (n % 11), padding: 0n })
    }),
  )

const buildOurs = (pieces: readonly PieceLink[]) => {
  const { ok, error } = buildAggregate({ pieces, size: SIZE })
  if (error) throw new Error(error.message)
  return ok
}

const buildPublished = (pieces: readonly PieceLink[]) => {
  const builder = Aggregate.createBuilder({ size: Aggregate.Size.from(SIZE) })
  for (const piece of pieces) builder.write(Piece.fromLink(piece))
  return builder.build()
}

const provePublished = (aggregate: ReturnType<typeof buildPublished>, pieces: readonly PieceLink[]) =>
  pieces.map(piece => {
    const { ok, error } = aggregate.resolveProof(piece)
    if (error) throw error
    return ok
  })

const textOf = (value: unknown): string =>
  JSON.stringify(value, (_, v) => (typeof v === 'bigint' ? `${v}` : v instanceof Uint8Array ? [...v] : v))

/** Throws if roots or proofs of both ways differ. */
const checkEqual = (pieces: readonly PieceLink[]): void => {
  const [ours, published] = [buildOurs(pieces), buildPublished(pieces)]
  const proofs = [...ours.proofs()].map(toInclusionProof)
  if (`${ours.link}` !== `${published.link}` || textOf(proofs) !== textOf(provePublished(published, pieces)))
    throw new Error('Root or proofs differ')
}

interface Whole {
  build: Cost
  prove: Cost
  /** Peak memory in MB: before the aggregate, with the links of the pieces; after the aggregate; after all proofs. */
  peaks: [before: number, built: number, proved: number]
}

/** Builds an aggregate and computes all its proofs once, one after the other, as the aggregator does. */
export const buildOnce = async (pieces: number): Promise<Whole> => {
  const links = somePieces(pieces)
  const before = peakMb()
  let aggregate: ReturnType<typeof buildOurs> | undefined
  const build = await costOf(() => {
    aggregate = buildOurs(links)
  })
  const built = peakMb()
  let proofs = 0
  const prove = await costOf(() => {
    for (const _ of aggregate!.proofs()) proofs++
  })
  if (proofs !== pieces) throw new Error(`${proofs} proofs of ${pieces} pieces`)
  return { build, prove, peaks: [before, built, peakMb()] }
}

/** Measures aggregates of 32 GiB: the tree, and an inclusion proof for each piece. */
export const run = async (): Promise<Table> => {
  checkEqual(somePieces(200))
  const rows: Table['rows'] = []
  for (const size of COMPARED) {
    const pieces = somePieces(size)
    const [ours, published] = [buildOurs(pieces), buildPublished(pieces)]
    const build = await compare(
      { ours: () => buildOurs(pieces), published: () => buildPublished(pieces) },
      ROUNDS,
    )
    const prove = await compare(
      {
        ours: () => {
          for (const _ of ours.proofs());
        },
        published: () => provePublished(published, pieces),
      },
      ROUNDS,
    )
    for (const name of ['ours', 'published'] as const)
      rows.push([
        name,
        count(size),
        ...[build[name], prove[name]].flatMap(({ cpuMs, elapsedMs, ratio }) => [
          ms(cpuMs),
          ms(elapsedMs),
          times(ratio),
        ]),
        '',
      ])
  }
  let whole: { build: Cost; prove: Cost; peakMb: number } | undefined
  let links = 0
  for (const size of OURS_ALONE) {
    const runs: Whole[] = []
    for (let round = 0; round < ROUNDS; round++)
      runs.push(await callInFreshProcess<Whole>(import.meta.url, 'buildOnce', size))
    links = Math.max(...runs.map(({ peaks: [before] }) => before))
    whole = {
      build: medianCost(runs.map(({ build }) => build)),
      prove: medianCost(runs.map(({ prove }) => prove)),
      peakMb: Math.max(...runs.map(({ peaks: [, , proved] }) => proved)),
    }
    const { build, prove, peakMb } = whole
    rows.push([
      'ours',
      count(size),
      ...[build, prove].flatMap(({ cpuMs, elapsedMs }) => [ms(cpuMs), ms(elapsedMs), '']),
      `${peakMb.toFixed(0)}`,
    ])
  }
  const { build, prove, peakMb } = whole!
  const most = count(OURS_ALONE.at(-1)!)
  const secondsAim = (name: string, { cpuMs }: Cost, seconds: number) => ({
    name: `${name}, ${most} pieces, CPU`,
    aim: `≤ ${seconds} s`,
    seen: `${(cpuMs / 1000).toFixed(1)} s`,
    met: cpuMs <= seconds * 1000,
  })
  return {
    title: 'Aggregates of 32 GiB, and an inclusion proof for each piece',
    columns: [
      'way',
      'pieces',
      'build ms CPU',
      'build ms',
      'ratio',
      'proofs ms CPU',
      'proofs ms',
      'ratio',
      'peak RSS MB',
    ],
    rows,
    aims: [
      secondsAim('whole aggregate', build, 2.5),
      secondsAim('all proofs', prove, 5),
      {
        name: `peak RSS, ${most} pieces with all proofs`,
        aim: '< 1,000 MB',
        seen: `${count(Math.round(peakMb))} MB`,
        met: peakMb < 1_000,
      },
    ],
    notes: [
      `Medians of ${ROUNDS} runs, in turns where both ways run. Those without a published way run in a fresh process each, and their peak is the largest of ${ROUNDS}: ${links.toFixed(0)} MB of the last one are the process and the links of the pieces.`,
      `The published way is Aggregate.createBuilder, write, build and resolveProof of @web3-storage/data-segment. Roots and proofs are equal. It hashes the path to the root for each node that it adds, and searches each piece in the index from its start: proofs of n pieces take n² steps.`,
    ],
  }
}
