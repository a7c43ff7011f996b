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
const publishedCount = Math.min(count, 2000)

const links: PieceLink[] = Array.from({ length: count }, (_, n) => {
  const root = randomFillSync(new Uint8Array(32))
  root[31]! &= 0b0011_1111
  // 128 bytes to 128 KiB
  return encodePiece({ root, height: 2 + (n % 11), padding: 0n })
})

const timed = <T>(what: string, run: () => T, each = 0): T => {
  const start = performance.now()
  const result = run()
  const ms = performance.now() - start
  console.log(
    `${what.padEnd(44)} ${ms.toFixed(0)} ms${each ? `, ${((ms * 1000) / each).toFixed(0)} µs each` : ''}`,
  )
  return result
}

const peak = () => (process.resourceUsage().maxRSS / 1024).toFixed(0)

console.log(`peak RSS ${peak()} MB with the links in memory`)
console.log(`@w3filecoin/piece, ${count} pieces`)
const { chosen } = timed('select', () =>
  select(
    links.map(piece => ({ piece })),
    { size },
  ),
)
const pieces = chosen.map(({ piece }) => piece)
const { ok: aggregate } = timed('build, cold', () => buildAggregate({ pieces, size }))
console.log(`peak RSS ${peak()} MB`)
timed('build, warm', () => buildAggregate({ pieces, size }))
if (!aggregate) throw new Error('No aggregate')
timed('recompute from the pieces', () => recompute(aggregate.pieces, aggregate.link))

const sample = Array.from({ length: 1000 }, (_, n) => Math.floor((n * pieces.length) / 1000))
const proofs = timed('1,000 proofs', () => sample.map(i => aggregate.proof(i)), 1000)
timed('all proofs, one after the other', () => Array.from(aggregate.proofs(), () => 0), pieces.length)
timed(
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
  1000,
)
console.log(`peak RSS ${peak()} MB\n`)

// A dependency of the package, not of the workspace.
const { Aggregate, Piece } = await import(
  new URL('../packages/piece/node_modules/@web3-storage/data-segment/src/lib.js', import.meta.url).href
)
console.log(`Both, ${publishedCount} pieces`)
const { ok: few } = timed('@w3filecoin/piece: build', () =>
  buildAggregate({ pieces: pieces.slice(0, publishedCount), size }),
)
if (!few) throw new Error('No aggregate')
const published = timed('published library: build', () =>
  Aggregate.build({ pieces: few.pieces.map(Piece.fromLink), size: BigInt(size) }),
)
const some = Array.from({ length: 100 }, (_, n) => Math.floor((n * publishedCount) / 100))
const ours = timed('@w3filecoin/piece: 100 proofs', () => some.map(i => toInclusionProof(few.proof(i))), 100)
const theirs = timed(
  'published library: 100 proofs',
  () => some.map(i => published.resolveProof(few.pieces[i]!).ok),
  100,
)

const text = (value: unknown) =>
  JSON.stringify(value, (_, v) => (typeof v === 'bigint' ? `${v}` : v instanceof Uint8Array ? [...v] : v))
if (`${few.link}` !== `${published.link}` || text(ours) !== text(theirs)) throw new Error('They differ')
console.log('Root and proofs are equal.')
