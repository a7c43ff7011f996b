import { mkdtempDisposableSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { resources } from '../packages/aggregator/src/resources.ts'
import { reconcile } from '../packages/cli/src/ops/reconcile.ts'
import { findServices } from '../packages/cli/src/ops/services.ts'
import { SqliteTables } from '../packages/local/src/sqlite-tables.ts'
import { dueAt } from '../packages/runtime/src/index.ts'
import { variable } from '../packages/runtime/src/resources.ts'
import { costOf, count, ms } from './measure.ts'
import type { Table } from './table.ts'

const RECORDS = 50_000
/** Overdue records. A tenth of the others are unfinished. */
const STALLED = 100
const HOUR = 3_600_000

/** Measures `ops reconcile` on a table of the aggregator in SQLite, by the index of the sweeps and with `--scan`. */
export const run = async (): Promise<Table> => {
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
  const pieces = tables.open<object>(() => 'piece', resources.tables.piece)
  const rowOf = (n: number) => {
    const id = `piece-${n}`
    const row = { id, offeredAt: now - 2 * HOUR, group: 'free', accept: new Uint8Array(700) }
    if (n < STALLED) return { ...row, stage: 'offered', ...dueAt(id, now - HOUR) }
    return n % 10 === 0
      ? { ...row, stage: 'offered', ...dueAt(id, now + HOUR) }
      : { ...row, stage: 'included' }
  }
  for (let n = 0; n < RECORDS; n += 1_000)
    await pieces.putMany(Array.from({ length: Math.min(1_000, RECORDS - n) }, (_, more) => rowOf(n + more)))

  const target = { env: {}, placesOf: async () => places }
  const common = { target, tables, services, send: false, graceMs: 300_000, limit: 10_000, now: Date.now }
  const rows: Table['rows'] = []
  for (const [name, options] of [
    ['the index', { all: false }],
    ['the index, --all', { all: true }],
    ['--scan, 1 segment', { all: false, segments: 1 }],
    ['--scan, 8 segments', { all: false, segments: 8 }],
  ] as const) {
    let read = 0
    let found = 0
    const { cpuMs, elapsedMs } = await costOf(async () => {
      for await (const report of reconcile({ ...common, ...options })) {
        read += report.read
        found += report.found.length
      }
    })
    rows.push([name, ms(cpuMs), ms(elapsedMs), count(read), found])
  }
  tables.close()

  return {
    title: `\`ops reconcile\` on ${count(RECORDS)} records in SQLite, ${STALLED} of them stalled`,
    columns: ['way', 'ms CPU', 'ms', 'records read', 'found'],
    rows,
    aims: [],
    notes: ['One run of each way. There is no published way.'],
  }
}
