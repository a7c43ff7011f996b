import { randomFillSync } from 'node:crypto'
import {
  buildAggregate,
  encodePiece,
  type PieceLink,
  recompute,
  select,
  toInclusionProof,
  verifyInclusion,
} from '../packages/piece/src/index.ts'
import { readOptions, wholeNumber } from '../test/options.ts'

const HELP = `Measures the work on an aggregate of 32 GiB.

  npm run bench:aggregate -- [options]

  --pieces N       number of pieces (default: 262144)
  --help           print this

Prints the time to select the pieces, to build and to recompute the aggregate, and to prove 1,000 pieces. Then it does the
same with the published library and at most 2,000 pieces. Root and proofs must be equal, else the exit code is 1.
`

const { pieces: count } = readOptions({
  script: 'bench:aggregate',
  help: HELP,
  options: { pieces: wholeNumber(1, 1_000_000).default(262_144) },
})
const size = 2 ** 35
const fewCount = Math.min(count, 2000)

const links: PieceLink[] = Array.from({ length: count }, (_, n) => {
  const root = randomFillSync(new Uint8Array(32))
  root[31]! &= 0b0011_1111
  // 128 bytes to 128 KiB
  return encodePiece({ root, height: 2 + (n % 11), padding: 0n })
})

const medianOf = (values: number[]) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)]!

/** Prints the median time of `runs` runs, and of each of `steps` if there are several. Returns the last result. */
const measure = <T>(name: string, run: () => T, { runs = 1, steps = 1 } = {}): T => {
  const elapsedMs: number[] = []
  const processorMs: number[] = []
  let result: T
  do {
    const start = performance.now()
    const before = process.threadCpuUsage()
    result = run()
    const { user, system } = process.threadCpuUsage(before)
    processorMs.push((user + system) / 1000)
    elapsedMs.push(performance.now() - start)
  } while (elapsedMs.length < runs)
  const ms = medianOf(elapsedMs)
  const digits = ms < 100 ? 1 : 0
  const each = steps > 1 ? `, ${((ms * 1000) / steps).toFixed(0)} µs each` : ''
  const repeated = runs > 1 ? `, median of ${runs}` : ''
  console.log(
    `${name.padEnd(36)} ${ms.toFixed(digits)} ms${each} (processor ${medianOf(processorMs).toFixed(digits)} ms${repeated})`,
  )
  return result
}

const printPeak = (when: string) =>
  console.log(`peak RSS ${(process.resourceUsage().maxRSS / 1024).toFixed(0)} MB ${when}`)

printPeak('with the links in memory')
console.log(`@w3filecoin/piece, ${count} pieces`)
const { chosen } = measure('select', () =>
  select(
    links.map(piece => ({ piece })),
    { size },
  ),
)
const pieces = chosen.map(({ piece }) => piece)
measure('build, first run', () => buildAggregate({ pieces, size }))
printPeak('after one build')
const { ok: aggregate } = measure('build', () => buildAggregate({ pieces, size }), { runs: 5 })
if (!aggregate) throw new Error('No aggregate')
measure('recompute', () => recompute(aggregate.pieces, aggregate.link), { runs: 5 })
printPeak('after all builds')

const sample = Array.from({ length: 1000 }, (_, n) => Math.floor((n * pieces.length) / 1000))
const proofs = measure('1,000 proofs', () => sample.map(i => aggregate.proof(i)), { steps: 1000 })
measure(
  'verify 1,000 proofs',
  () => {
    for (const [n, i] of sample.entries()) {
      const { error } = verifyInclusion({
        piece: aggregate.pieces[i]!,
        aggregate: aggregate.link,
        inclusion: proofs[n]!,
      })
      if (error) throw new Error(error.message)
    }
  },
  { steps: 1000 },
)
measure('all proofs, one after the other', () => Array.from(aggregate.proofs(), () => 0), {
  steps: pieces.length,
})
printPeak('at the end\n')

// Imported by path because it is a dependency of the package, not of the workspace.
const { Aggregate, Piece } = await import(
  new URL('../packages/piece/node_modules/@web3-storage/data-segment/src/lib.js', import.meta.url).href
)
console.log(`Both, ${fewCount} pieces`)
const few = pieces.slice(0, fewCount)
const { ok: ours } = measure('@w3filecoin/piece: build', () => buildAggregate({ pieces: few, size }), {
  runs: 101,
})
if (!ours) throw new Error('No aggregate')
const published = measure('published library: build', () =>
  Aggregate.build({ pieces: ours.pieces.map(Piece.fromLink), size: BigInt(size) }),
)
const some = Array.from({ length: 100 }, (_, n) => Math.floor((n * fewCount) / 100))
const ourProofs = measure('@w3filecoin/piece: 100 proofs', () => some.map(i => ours.proof(i)), { steps: 100 })
const publishedProofs = measure(
  'published library: 100 proofs',
  () => some.map(i => published.resolveProof(ours.pieces[i]!).ok),
  { steps: 100 },
)

const textOf = (value: unknown) =>
  JSON.stringify(value, (_, v) => (typeof v === 'bigint' ? `${v}` : v instanceof Uint8Array ? [...v] : v))
if (
  `${ours.link}` !== `${published.link}` ||
  textOf(ourProofs.map(toInclusionProof)) !== textOf(publishedProofs)
) {
  throw new Error('Root or proofs differ')
}
console.log('Root and proofs are equal.')
