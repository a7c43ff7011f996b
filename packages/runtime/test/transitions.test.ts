import { beforeEach, describe, expect, it } from 'vitest'
import {
  type Entered,
  formatted,
  type Key,
  observed,
  type Row,
  recordFormat,
  type Stored,
  type Table,
  update,
} from '../src/index.ts'

interface Work extends Entered {
  id: string
  stage: 'new' | 'done' | 'failed'
  startedAt: number
  reason?: { name: string; message: string }
  count?: number
}

/** The rows of a table in memory, and the number of calls. */
const rows = new Map<string, Stored<Row>>()
let calls = 0
const table: Table<Row> = {
  ...({} as Table<Row>),
  get: async ({ id }: Key) => {
    calls++
    return rows.get(id as string)
  },
  getMany: async keys => keys.map(({ id }) => rows.get(id as string)),
  insert: async record => {
    calls++
    const known = rows.get(`${record.id}`)
    if (known) return { error: { name: 'RecordExists', message: '', record: known } }
    const row = { ...record, revision: 1 }
    rows.set(`${record.id}`, row)
    return { ok: row }
  },
  replace: async record => {
    calls++
    if (rows.get(`${record.id}`)?.revision !== record.revision)
      return { error: { name: 'RevisionConflict', message: '' } }
    const row = { ...record, revision: record.revision + 1 }
    rows.set(`${record.id}`, row)
    return { ok: row }
  },
}

let now: number
let lines: object[]
let measured: [values: object, dimensions: object | undefined][]
const works = observed<Work>(
  formatted(table, recordFormat<Work>()),
  'work',
  {
    stageOf: ({ stage }) => stage,
    isFinal: ({ stage }) => stage !== 'new',
    startedAt: ({ startedAt }) => startedAt,
    reasonOf: ({ reason }) => reason,
    identify: ({ id }) => {
      if (id === 'damaged') throw new Error('The packed task is damaged')
      return { piece: `piece of ${id}` }
    },
  },
  {
    now: () => now,
    log: (level, event, fields) => lines.push({ level, event, ...fields }),
    metrics: (values, dimensions) => measured.push([values, dimensions]),
  },
)
const finish = (id: string) =>
  update(works, { id }, record =>
    record.stage === 'new' ? { ...record, stage: 'done' as const } : undefined,
  )

beforeEach(() => {
  rows.clear()
  now = 100_000
  lines = []
  measured = []
  calls = 0
})

describe('the transitions of records', () => {
  it('are each one log line and the metrics, without a further read or write', async () => {
    await works.insert({ id: 'a', stage: 'new', startedAt: 99_000 })
    now += 2500
    await finish('a')
    expect(calls).toBe(3)
    const common = { level: 'info', event: 'stage entered', record: 'work', id: 'a', piece: 'piece of a' }
    expect(lines).toEqual([
      { ...common, stage: 'new' },
      { ...common, stage: 'done', from: 'new', afterSeconds: 2.5 },
    ])
    expect(measured).toEqual([
      [{ StageSeconds: 2.5 }, { record: 'work', stage: 'new' }],
      [{ TotalSeconds: 3.5 }, { record: 'work', stage: 'done' }],
    ])
  })

  it('are reported only by the run whose write succeeded', async () => {
    await works.insert({ id: 'a', stage: 'new', startedAt: now })
    const same = await works.insert({ id: 'a', stage: 'new', startedAt: now })
    expect(same.error?.name).toBe('RecordExists')
    const record = (await works.get({ id: 'a' })) as Stored<Work>
    await Promise.all([finish('a'), finish('a'), works.replace({ ...record, stage: 'done' })])
    expect(lines).toMatchObject([{ stage: 'new' }, { stage: 'done' }])
  })

  it('show the time since the stage began, although other writes changed the record in between', async () => {
    await works.insert({ id: 'a', stage: 'new', startedAt: now })
    for (const count of [1, 2]) {
      now += 1000
      await update(works, { id: 'a' }, record => ({ ...record, count }))
    }
    expect(lines).toHaveLength(1)
    now += 1000
    await finish('a')
    expect(lines[1]).toMatchObject({ from: 'new', afterSeconds: 3 })
  })

  it('are found by a direct write of a record that was read with others, or that an insert returned', async () => {
    const { ok } = await works.insert({ id: 'a', stage: 'new', startedAt: now })
    const [record] = await works.getMany([{ id: 'a' }])
    expect(record).toEqual(ok)
    await works.replace({ ...(record as Stored<Work>), stage: 'failed' })
    expect(lines[1]).toMatchObject({ from: 'new', stage: 'failed' })
  })

  it('do not fail the work that is done, if they cannot be reported', async () => {
    const { ok } = await works.insert({ id: 'damaged', stage: 'new', startedAt: now })
    expect(ok?.stage).toBe('new')
    expect(lines).toMatchObject([
      { level: 'error', event: 'transition not reported', record: 'work', id: 'damaged' },
    ])
  })

  it('of records of earlier code are reported without the time in the stage before', async () => {
    rows.set('a', { id: 'a', stage: 'new', startedAt: 1000, revision: 1, v: 1 })
    await finish('a')
    expect(lines).toMatchObject([{ stage: 'done', from: 'new', afterSeconds: undefined }])
    expect(measured.map(([values]) => Object.keys(values))).toEqual([['TotalSeconds']])
  })

  it('that earlier code made leave an outdated attribute, which counts as absent', async () => {
    rows.set('a', {
      id: 'a',
      stage: 'new',
      startedAt: 1000,
      entered: { stage: 'failed', at: 2000 },
      revision: 1,
      v: 1,
    })
    await update(works, { id: 'a' }, record => ({ ...record, count: 1 }))
    expect(lines).toEqual([])
    await finish('a')
    expect(lines).toMatchObject([{ stage: 'done', from: 'new', afterSeconds: undefined }])
  })

  it('take no time if a clock was wrong', async () => {
    await works.insert({ id: 'a', stage: 'new', startedAt: now + 99_000 })
    now -= 50_000
    await finish('a')
    expect(lines[1]).toMatchObject({ afterSeconds: 0 })
    expect(measured).toEqual([
      [{ StageSeconds: 0 }, expect.anything()],
      [{ TotalSeconds: 0 }, expect.anything()],
    ])
  })

  it('to a failure name its reason, of which a metric has only known names', async () => {
    for (const name of ['ContentNotFound', 'A name of another service'])
      await works.insert({
        id: name,
        stage: 'failed',
        startedAt: now,
        reason: { name, message: 'x'.repeat(10_000) },
      })
    expect(lines).toMatchObject([
      { reason: { name: 'ContentNotFound', message: 'x'.repeat(500) } },
      { reason: { name: 'A name of another service' } },
    ])
    expect(measured.filter(([values]) => 'Failed' in values)).toEqual([
      [{ Failed: 1 }, { record: 'work', reason: 'ContentNotFound' }],
      [{ Failed: 1 }, { record: 'work', reason: 'Other' }],
    ])
  })
})
