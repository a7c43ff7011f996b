import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { DatabaseSync } from 'node:sqlite'
import { promisify } from 'node:util'
import type { Row, Table } from '@w3filecoin/runtime'
import type { TableSpec } from '@w3filecoin/runtime/resources'
import { UserError } from '@w3filecoin/runtime/user-error'
import { type RangeSample, SAMPLE_TABLES, type Sample, tableContract } from '@w3filecoin/testing'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { openTables, SqliteTables } from '../src/sqlite-tables.ts'
import { temporaryDirectory } from './echo/index.ts'

const MODULE = new URL('../src/sqlite-tables.ts', import.meta.url).href

describe('SqliteTables', () => {
  let directory: ReturnType<typeof temporaryDirectory>
  let tables: SqliteTables
  beforeEach(() => {
    directory = temporaryDirectory()
    tables = new SqliteTables(file())
  })
  afterEach(() => {
    tables.close()
    directory[Symbol.dispose]()
  })
  const file = () => join(directory.path, 'tables.sqlite')
  const reopen = () => {
    tables.close()
    tables = new SqliteTables(file())
  }
  const open = <R extends object = Row>(
    name: string,
    spec: TableSpec = SAMPLE_TABLES[name as 'sample'],
  ): Table<R> => {
    tables.create(name, spec)
    return tables.open<R>(() => name, spec)
  }

  it('keep their records when they are opened again', async () => {
    const record = { id: 'a', bytes: new Uint8Array([1]), due: 'x', checkAt: 5 }
    await open<Sample>('sample').putMany([record])
    reopen()
    const sample = open<Sample>('sample')
    expect(await sample.get({ id: 'a' })).toEqual({ ...record, revision: 1 })
    expect((await sample.find('due', 'x', { limit: 1 })).items).toEqual([{ id: 'a' }])
  })

  it('add an index of a later version, which finds earlier records too', async () => {
    const { indexes, ...before } = SAMPLE_TABLES.sample
    await open('sample', before).putMany([
      { id: 'a', due: 'x', checkAt: 1 },
      { id: 'b', due: 'x' },
    ])
    reopen()
    const sample = open('sample')
    expect((await sample.find('due', 'x', { limit: 9 })).items).toEqual([{ id: 'a' }])
    await sample.putMany([{ id: 'c', due: 'x', checkAt: 0 }])
    expect((await sample.find('due', 'x', { limit: 9 })).items).toEqual([{ id: 'c' }, { id: 'a' }])
  })

  it('refuse other keys of a table', async () => {
    open('sample')
    expect(() => tables.create('sample', { fields: { word: 'string' }, key: { hash: 'word' } })).toThrow(
      new UserError(
        'The table sample exists with other keys. Pass another --data or remove this data directory.',
      ),
    )
    // The refusal leaves no transaction open.
    await open('sample').putMany([{ id: 'a' }])
  })

  it('are created while another table is written in the same turn', async () => {
    const written = open('sample').insert({ id: 'a' })
    const other = open('rangeSample').insert({ group: 'g', order: '1' })
    const more = open('sample').insert({ id: 'b' })
    const results = await Promise.all([written, other, more])
    expect(results.map(({ ok }) => ok?.revision)).toEqual([1, 1, 1])
  })

  it('yield every row of a table once in a scan', async () => {
    const sample = open('sample')
    const ids = Array.from({ length: 250 }, (_, n) => `${n}`)
    await sample.putMany(ids.map(id => ({ id })))
    const pages = await Array.fromAsync(tables.scan('sample'))
    expect(pages.length).toBeGreaterThan(1)
    expect(pages.flat().map(({ id }) => id)).toEqual(ids)
  })

  it.each([1, 3, 7, 300])('yield every row once in a scan of %i segments', async segments => {
    const sample = open('sample')
    const ids = Array.from({ length: 250 }, (_, n) => `${n}`)
    await sample.putMany(ids.map(id => ({ id })))
    await sample.removeMany(ids.slice(0, 100).map(id => ({ id })))
    const parts = await Promise.all(
      Array.from({ length: segments }, (_, segment) =>
        Array.fromAsync(tables.scan('sample', { segment, segments })),
      ),
    )
    expect(parts.flat(2).map(({ id }) => id)).toEqual(ids.slice(100))
    const [, ...others] = parts.map(part => part.flat().length)
    expect(Math.max(0, ...others)).toBeLessThanOrEqual(Math.ceil(250 / segments))
  })

  it('yield a row that is added during a scan of segments', async () => {
    const sample = open('sample')
    await sample.putMany([{ id: 'a' }, { id: 'b' }])
    const last = tables.scan('sample', { segment: 1, segments: 2 })
    expect((await last.next()).value).toMatchObject([{ id: 'b' }])
    await sample.putMany([{ id: 'c' }])
    expect((await last.next()).value).toMatchObject([{ id: 'c' }])
  })

  it('store all writes of one turn of the event loop with one commit', async () => {
    const sample = open('sample')
    const exec = vi.spyOn(DatabaseSync.prototype, 'exec')
    const commits = () => exec.mock.calls.filter(([sql]) => sql === 'COMMIT').length
    await Promise.all(Array.from({ length: 50 }, (_, n) => sample.insert({ id: `${n}` })))
    expect(commits()).toBe(1)
    await sample.insert({ id: 'another' })
    expect(commits()).toBe(2)
    exec.mockRestore()
  })

  it('report a failed commit to each write of the turn and to each read that saw one, and store none', async () => {
    const sample = open('sample')
    const exec = DatabaseSync.prototype.exec
    const failing = vi.spyOn(DatabaseSync.prototype, 'exec').mockImplementation(function (
      this: DatabaseSync,
      sql,
    ) {
      if (sql === 'COMMIT') throw new Error('disk I/O error')
      return exec.call(this, sql)
    })
    const results = await Promise.allSettled([
      sample.insert({ id: 'a' }),
      sample.putMany([{ id: 'b' }]),
      sample.get({ id: 'a' }),
    ])
    failing.mockRestore()
    expect(results.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected'])
    expect(await sample.getMany([{ id: 'a' }, { id: 'b' }])).toEqual([undefined, undefined])
    expect((await sample.insert({ id: 'a' })).ok).toMatchObject({ revision: 1 })
  })

  it.each<[string, object]>([
    ['an empty key', { id: '' }],
    ['a missing key', {}],
    ['a key of another type', { id: 5 }],
    ['an attribute of an index with another type', { id: 'a', checkAt: 'soon' }],
    ['a number that is none', { id: 'a', count: Number.NaN }],
    ['a null', { id: 'a', text: null }],
    ['a date', { id: 'a', nested: { list: [new Date()] } }],
    ['more than 400 KB', { id: 'a', bytes: new Uint8Array(410_000) }],
  ])('refuse, as DynamoDB does, a record with %s', async (_, record) => {
    const sample = open<object>('sample')
    await expect(sample.insert(record)).rejects.toThrow(Error)
    await expect(sample.putMany([{ id: 'good' }, record])).rejects.toThrow(Error)
    expect(await Array.fromAsync(tables.scan('sample')), 'no record of the batch is stored').toEqual([])
  })

  it('are read and written by a second process, which the first one sees', async () => {
    const sample = open<Sample>('sample')
    const { revision } = (await sample.insert({ id: 'a', count: 1 })).ok!
    const { stdout } = await promisify(execFile)(process.execPath, [
      '--input-type=module',
      '-e',
      `const { SqliteTables } = await import(${JSON.stringify(MODULE)})
       const table = new SqliteTables(${JSON.stringify(file())}).open(() => 'sample', ${JSON.stringify(SAMPLE_TABLES.sample)})
       const record = await table.get({ id: 'a' })
       console.log(JSON.stringify((await table.replace({ ...record, count: 2 })).ok))`,
    ])
    expect(JSON.parse(stdout)).toEqual({ id: 'a', count: 2, revision: 2 })
    expect(await sample.get({ id: 'a' })).toMatchObject({ count: 2 })
    expect((await sample.replace({ id: 'a', revision })).error?.name).toBe('RevisionConflict')
  })

  it('have every write that was reported, after kill -9', async () => {
    open('sample')
    const child = spawn(process.execPath, [
      '--input-type=module',
      '-e',
      `const { SqliteTables } = await import(${JSON.stringify(MODULE)})
       const table = new SqliteTables(${JSON.stringify(file())}).open(() => 'sample', ${JSON.stringify(SAMPLE_TABLES.sample)})
       for (let n = 0; ; n++) {
         await Promise.all([table.insert({ id: n + '-a' }), table.insert({ id: n + '-b' })])
         process.stdout.write(n + '\\n')
       }`,
    ])
    const reported: string[] = []
    const lines = createInterface({ input: child.stdout })
    lines.on('line', line => {
      reported.push(line)
      if (reported.length === 30) child.kill('SIGKILL')
    })
    await once(child, 'exit')
    reopen()
    const sample = open<Sample>('sample')
    const ids = reported.flatMap(n => [`${n}-a`, `${n}-b`])
    expect(ids.length).toBeGreaterThanOrEqual(60)
    const found = await sample.getMany(ids.map(id => ({ id })))
    expect(found.map(record => record?.id)).toEqual(ids)
  })

  it('are one connection for all services of a thread', () => {
    const env = { TABLES_FILE: join(directory.path, 'shared.sqlite') }
    const shared = openTables(env)
    expect(openTables(env)).toBe(shared)
    shared.close()
    const again = openTables(env)
    expect(again).not.toBe(shared)
    again.close()
  })
})

describe('SqliteTables', () => {
  tableContract(() => {
    const tables = new SqliteTables(':memory:')
    const open = <R extends object>(name: keyof typeof SAMPLE_TABLES): Table<R> => {
      tables.create(name, SAMPLE_TABLES[name])
      return tables.open<R>(() => name, SAMPLE_TABLES[name])
    }
    return { sample: open<Sample>('sample'), rangeSample: open<RangeSample>('rangeSample') }
  })
})
