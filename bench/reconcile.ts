import { mkdtempDisposableSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { resources } from '../packages/aggregator/src/resources.ts'
import { reconcile } from '../packages/cli/src/ops/reconcile.ts'
import { findServices } from '../packages/cli/src/ops/services.ts'
import { SqliteTables } from '../packages/local/src/sqlite-tables.ts'
import { dueAt } from '../packages/runtime/src/index.ts'
import { variable } from '../packages/runtime/src/resources.ts'
import { readOptions, wholeNumber } from '../test/options.ts'

const HELP = `Measures how long "ops reconcile" takes on a table in SQLite, by the index of the sweeps and with --scan.

  npm run bench:reconcile -- [options]

  --records N      pieces of the aggregator (default: 50000)
  --stalled N      overdue ones among them; a tenth of the others are unfinished (default: 100)
  --help           print this
`

const { records, stalled } = readOptions({
  script: 'bench:reconcile',
  help: HELP,
  options: {
    records: wholeNumber(1, 1_000_000).default(50_000),
    stalled: wholeNumber(0, 1_000).default(100),
  },
})

using directory = mkdtempDisposableSync(join(tmpdir(), 'reconcile-'))
const tables = new SqliteTables(join(directory.path, 'tables.sqlite'))
const services = findServices('aggregator')
const places: Record<string, string> = {}
for (const [name, spec] of Object.entries(resources.tables)) {
  places[variable('table', name)] = name
  tables.create(name, spec)
}
process.env.AWS_REGION ??= 'us-east-1'

const now = Date.now()
const HOUR = 3_600_000
const pieces = tables.open<object>(() => 'piece', resources.tables.piece)
const rowOf = (n: number) => {
  const id = `piece-${n}`
  const row = { id, offeredAt: now - 2 * HOUR, group: 'free', accept: new Uint8Array(700) }
  if (n < stalled) return { ...row, stage: 'offered', ...dueAt(id, now - HOUR) }
  return n % 10 === 0 ? { ...row, stage: 'offered', ...dueAt(id, now + HOUR) } : { ...row, stage: 'included' }
}
for (let n = 0; n < records; n += 1_000)
  await pieces.putMany(Array.from({ length: Math.min(1_000, records - n) }, (_, more) => rowOf(n + more)))

const target = { env: {}, placesOf: async () => places }
const common = { target, tables, services, send: false, graceMs: 300_000, limit: 10_000, now: Date.now }
for (const [name, options] of [
  ['the index', { all: false }],
  ['the index, --all', { all: true }],
  ['--scan, 1 segment', { all: false, segments: 1 }],
  ['--scan, 8 segments', { all: false, segments: 8 }],
] as const) {
  const started = performance.now()
  let read = 0
  let found = 0
  for await (const report of reconcile({ ...common, ...options })) {
    read += report.read
    found += report.found.length
  }
  const ms = performance.now() - started
  console.log(`${name.padEnd(20)} ${ms.toFixed(0)} ms, ${read} records read, ${found} found`)
}
tables.close()
