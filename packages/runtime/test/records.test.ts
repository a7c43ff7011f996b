import type { Invocation } from '@ucanto/interface'
import { Tasks } from '@w3filecoin/capabilities'
import {
  bytesOf,
  linkOf,
  type Provided,
  signerOf,
  somePiece,
  startWorld,
  type World,
} from '@w3filecoin/testing'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import {
  createHttpApp,
  DUE,
  type Due,
  dueAt,
  each,
  environmentKey,
  issueReceipt,
  jsonLog,
  type Key,
  loggedUrl,
  type Metrics,
  notDue,
  packTask,
  ReceiptLog,
  type ReceiptRecord,
  readConfig,
  readReceipt,
  readSigner,
  recordId,
  type Server,
  sweep,
  sweepAll,
  type Table,
  toTiming,
  unpackTask,
  update,
} from '../src/index.ts'

interface Work extends Due {
  id: string
  count: number
}

const resources = {
  service: 'records',
  api: { timeout: 1, memory: 128, uses: {} },
  tables: {
    work: {
      fields: { id: 'string', due: 'string', checkAt: 'number' },
      key: { hash: 'id' },
      indexes: { due: { hash: 'due', range: 'checkAt' } },
    },
    receipt: { fields: { task: 'string' }, key: { hash: 'task' } },
  },
  queues: {},
  buckets: { blocks: { holds: 'large receipts' } },
  schedules: {},
} as const

let world: World
let aws: Provided<typeof resources>
let table: Table<Work>

beforeAll(async () => {
  world = await startWorld()
  aws = await world.provide(resources)
  table = aws.table('work')
})
afterAll(() => world.stop())

describe('recordId', () => {
  it('differs for different values, and for an absent value', () => {
    const ids = [['ab', 'c'], ['a', 'bc'], ['abc'], ['abc', undefined], ['abc', ''], ['abc', 'null']].map(
      parts => recordId(...parts),
    )
    expect(new Set(ids).size).toBe(6)
    expect(recordId('abc', undefined)).toBe(recordId('abc', undefined))
    expect(ids[0]).toMatch(/^[\w-]{43}$/)
  })
})

describe('update', () => {
  it('loses no change when many writers change a record at the same time', async () => {
    await table.insert({ id: 'contended', count: 0 })
    const add = () => update(table, { id: 'contended' }, record => ({ ...record, count: record.count + 1 }))
    const results = await Promise.all(Array.from({ length: 8 }, add))
    expect(results.every(({ changed }) => changed)).toBe(true)
    expect(await table.get({ id: 'contended' })).toMatchObject({ count: 8, revision: 9 })
    expect(results.map(({ record }) => record?.count).toSorted()).toEqual([1, 2, 3, 4, 5, 6, 7, 8])
  })

  it('passes the present record to the change, so that a decision is made once', async () => {
    await table.insert({ id: 'once', count: 0 })
    const results = await Promise.all(
      Array.from({ length: 8 }, () =>
        update(table, { id: 'once' }, record => (record.count === 0 ? { ...record, count: 1 } : undefined)),
      ),
    )
    expect(results.filter(({ changed }) => changed)).toHaveLength(1)
    expect(await table.get({ id: 'once' })).toMatchObject({ count: 1, revision: 2 })
  })

  it('does nothing if the record is missing', async () => {
    const result = await update(table, { id: 'nowhere' }, record => record)
    expect(result).toEqual({ record: undefined, changed: false })
  })

  it('throws after too many conflicts', async () => {
    await table.insert({ id: 'busy', count: 0 })
    const busy: Table<Work> = Object.create(table, {
      get: { value: (key: Key) => table.get(key) },
      replace: { value: async () => ({ error: { name: 'RevisionConflict', message: '' } }) },
    })
    await expect(update(busy, { id: 'busy' }, record => record)).rejects.toThrow('busy')
  })
})

describe('sweep', () => {
  const NOW = 1_000_000
  const HOUR = 3_600_000
  beforeEach(async () => {
    const { ids } = sent()
    await table.removeMany(ids.map(id => ({ id })))
  })
  const sent = () => ({ ids: Array.from({ length: 300 }, (_, n) => `swept-${n}`) })
  const put = (ids: string[], checkAt: number) =>
    table.putMany(ids.map(id => ({ id, count: 0, ...dueAt(id, checkAt) })))
  type Options = Partial<Parameters<typeof sweep<Work>>[0] & Parameters<typeof sweepAll>[1]>
  const run = async ({
    now = () => NOW,
    timeoutSeconds = 55,
    metrics = () => {},
    pageRecords,
    ...options
  }: Options = {}) => {
    const resent: string[] = []
    const swept = sweep<Work>({
      kind: 'work',
      table,
      intervalMs: () => 60,
      longestMs: { own: HOUR, waiting: HOUR },
      resend: async records => void resent.push(...records.map(({ id }) => id)),
      ...options,
    })
    const count = await sweepAll([swept], {
      now,
      timeoutSeconds,
      metrics,
      ...(pageRecords && { pageRecords }),
    })
    return { count, resent: resent.toSorted() }
  }

  it('sends overdue records once per interval, and no others', async () => {
    const ids = sent().ids.slice(0, 40)
    await put(ids.slice(0, 20), NOW)
    await put(ids.slice(20, 30), NOW + 1)
    await table.putMany(ids.slice(30).map(id => ({ id, count: 0, ...notDue })))
    expect(await run()).toEqual({ count: 20, resent: ids.slice(0, 20).toSorted() })
    expect((await run()).count).toBe(0)
    expect((await run({ now: () => NOW + 59 })).resent).toEqual(ids.slice(20, 30).toSorted())
    expect((await run({ now: () => NOW + 60 })).resent).toEqual(ids.slice(0, 20).toSorted())
  })

  it('measures overdue records, and the oldest one at each stage', async () => {
    const entered = {
      'swept-1': ['new', NOW - 5000],
      'swept-2': ['new', NOW - 9000],
      'swept-3': ['old', NOW + 1],
    }
    for (const [id, [stage, at]] of Object.entries(entered))
      await table.putMany([{ id, count: 0, entered: { stage, at }, ...dueAt(id, NOW) } as Work])
    await put(['swept-4'], NOW)
    await put(['swept-5'], NOW + 1)
    const measured: unknown[][] = []
    const metrics: Metrics = (...values) => measured.push(values)
    await run({ metrics })
    expect(measured).toEqual([
      [{ Overdue: 4 }, { record: 'work' }],
      [{ OldestSeconds: 9 }, { record: 'work', stage: 'new' }],
      [{ OldestSeconds: 0 }, { record: 'work', stage: 'old' }],
    ])
    measured.length = 0
    await run({ metrics })
    expect(measured).toEqual([[{ Overdue: 0 }, { record: 'work' }]])
  })

  it('costs calls for overdue records, not for pending ones', async () => {
    const { ids } = sent()
    await put(ids, NOW + 1000)
    await put(ids.slice(0, 3), NOW)
    const read = { keys: 0, writes: 0 }
    const counting: Table<Work> = Object.create(table, {
      find: {
        value: async (...given: Parameters<typeof table.find>) => {
          const page = await table.find(...given)
          read.keys += page.items.length
          return page
        },
      },
      getMany: { value: (keys: never[]) => table.getMany(keys) },
      replace: {
        value: (record: never) => {
          read.writes += 1
          return table.replace(record)
        },
      },
    })
    expect((await run({ table: counting })).count).toBe(3)
    expect(read).toEqual({ keys: 3, writes: 3 })
  })

  it('goes on page by page while it has time, the oldest records first, and the next sweep does the remaining ones', async () => {
    // All in one shard.
    const shard = dueAt('swept-0', 0).due
    const ids = sent().ids.filter(id => dueAt(id, 0).due === shard)
    expect(ids.length).toBeGreaterThan(9)
    for (const [n, id] of ids.entries()) await put([id], NOW - n)
    // The time of this run is over when it starts.
    const short = { pageRecords: 4, timeoutSeconds: 10 }
    expect((await run(short)).resent).toEqual(ids.slice(-4).toSorted())
    expect((await run(short)).resent).toEqual(ids.slice(-8, -4).toSorted())
    expect((await run({ pageRecords: 4 })).resent).toEqual(ids.slice(0, -8).toSorted())
  })

  it('sends its own work before records that wait for another party, however many and however old these are', async () => {
    const waiting = sent().ids.slice(0, 200)
    await table.putMany(waiting.map(id => ({ id, count: 1, ...dueAt(id, NOW - HOUR, 'waiting') })))
    await put(['swept-299'], NOW)
    const order: string[] = []
    const options: Options = {
      isWaiting: ({ count }) => count === 1,
      resend: async records => void order.push(...records.map(({ id }) => id)),
    }
    expect((await run(options)).count).toBe(201)
    expect(order[0]).toBe('swept-299')
    expect((await run(options)).count).toBe(0)
  })

  it('moves records that wait out of the way of its own work, where earlier code put them', async () => {
    const options: Options = {
      isWaiting: ({ count }) => count === 1,
      longestMs: { own: HOUR, waiting: 7 * 24 * HOUR },
      intervalMs: () => 24 * HOUR,
    }
    const [now, later] = ['swept-10', 'swept-11'] as const
    await table.putMany([
      { id: now, count: 1, ...dueAt(now, NOW) },
      { id: later, count: 1, ...dueAt(later, NOW + 5 * 24 * HOUR) },
    ])
    // Both waited in the lane `own`: one is due, the other one only looks as if a wrong clock had set its time.
    expect(await run(options)).toEqual({ count: 1, resent: [now] })
    expect(await table.get({ id: now })).toMatchObject(dueAt(now, NOW + 24 * HOUR, 'waiting'))
    expect(await table.get({ id: later })).toMatchObject(dueAt(later, NOW + 5 * 24 * HOUR, 'waiting'))
    expect((await run(options)).count).toBe(0)
    expect((await run({ ...options, now: () => NOW + 24 * HOUR })).resent).toEqual([now])
  })

  it('takes records out of the index that another record covers, where earlier code put them', async () => {
    const options: Options = {
      isKept: ({ count }) => count === 1,
      isWaiting: ({ count }) => count === 1,
      longestMs: { own: HOUR, waiting: 7 * 24 * HOUR },
    }
    const [now, later, own] = ['swept-10', 'swept-11', 'swept-12'] as const
    await table.putMany([
      { id: now, count: 1, ...dueAt(now, NOW, 'waiting') },
      // In the lane of other records.
      { id: later, count: 1, ...dueAt(later, NOW + 5 * 24 * HOUR) },
      { id: own, count: 0, ...dueAt(own, NOW) },
    ])
    expect((await run(options)).resent.toSorted()).toEqual([now, own])
    for (const id of [now, later]) expect(await table.get({ id })).toEqual({ id, count: 1, revision: 2 })
    expect(await table.get({ id: own })).toMatchObject({ due: dueAt(own, 0).due })
    expect((await run(options)).count).toBe(0)
  })

  it('treats a check as overdue that lies further ahead than the longest interval: a wrong clock has set it', async () => {
    const [days, soon] = ['swept-20', 'swept-21'] as const
    // A sweep whose clock is ten days ahead.
    await put([days], NOW)
    expect((await run({ now: () => NOW + 10 * 24 * HOUR })).resent).toEqual([days])
    expect((await table.get({ id: days }))?.checkAt).toBe(NOW + 10 * 24 * HOUR + 60)
    await put([soon], NOW + HOUR)
    expect(await run()).toEqual({ count: 1, resent: [days] })
    expect((await table.get({ id: days }))?.checkAt).toBe(NOW + 60)
    expect((await run()).count).toBe(0)
  })

  it('searches for such checks every five minutes, and at once after its own clock was wrong', async () => {
    const ends: number[] = []
    const counting: Table<Work> = Object.create(table, {
      find: {
        value: async (_: string, shard: string, { from }: { from?: number }) => {
          if (shard === '0' && from !== undefined) ends.push(from)
          return { items: [] }
        },
      },
    })
    const longestMs = { own: 1, waiting: 1 }
    const swept = sweep<Work>({
      kind: 'work',
      table: counting,
      intervalMs: () => 1,
      longestMs,
      resend: async () => {},
    })
    const minutes = [0, 1, 4, 5, 6, 14_400, 6]
    for (const minute of minutes)
      await sweepAll([swept], {
        now: () => NOW + minute * 60_000,
        metrics: () => {},
        timeoutSeconds: 55,
      })
    const searched = [0, 5, 14_400, 6].map(minute => NOW + (minute + 5) * 60_000 + 1)
    expect(ends).toEqual(searched)
  })

  it('leaves records due if they could not be sent', async () => {
    await put(['swept-1'], NOW)
    await expect(run({ resend: async () => Promise.reject(new Error('no queue')) })).rejects.toThrow(
      'no queue',
    )
    expect((await run()).resent).toEqual(['swept-1'])
  })

  it('does not overwrite concurrent changes', async () => {
    await put(['swept-2', 'swept-3'], NOW)
    await run({
      resend: async records => {
        for (const record of records.filter(({ id }) => id === 'swept-2'))
          await table.replace({ ...record, ...notDue, count: 7 })
      },
    })
    expect(await table.get({ id: 'swept-2' })).toEqual({ id: 'swept-2', count: 7, revision: 2 })
    expect(await table.get({ id: 'swept-3' })).toMatchObject({ checkAt: NOW + 60 })
  })

  it('trusts the record, not the index', async () => {
    await put(['swept-4'], NOW + 5)
    const lagging: Table<Work> = Object.create(table, {
      find: {
        value: async (_: string, shard: string) => ({
          items: shard === dueAt('swept-4', 0).due ? [{ id: 'swept-4' }, { id: 'gone' }] : [],
        }),
      },
      getMany: { value: (keys: never[]) => table.getMany(keys) },
    })
    expect(await run({ table: lagging })).toEqual({ count: 0, resent: [] })
    expect(DUE).toBe('due')
  })
})

describe('the receipt log', () => {
  const log = () =>
    new ReceiptLog({
      table: aws.table<ReceiptRecord>('receipt'),
      blocks: aws.blocks('blocks'),
      now: () => 5,
    })
  const piece = somePiece('piece')
  const receiptOf = async (nonce: string, size: number, word = '') => {
    const signer = await signerOf('service')
    const task = (await Tasks.pieceAccept(signer, { piece, group: 'g', nonce })) as Invocation
    return issueReceipt(signer, task, { out: { ok: { bytes: bytesOf(nonce, size), word } } })
  }

  it.each([
    ['small', 10],
    ['just under the limit of a record', 99_000],
    ['large', 300_000],
  ])('returns a %s receipt', async (nonce, size) => {
    const receipt = await receiptOf(nonce, size)
    await log().put(receipt)
    const task = `${receipt.ran.link()}`
    const found = await log().get(task)
    expect(`${found?.root.cid}`).toBe(`${receipt.root.cid}`)
    expect(found?.out).toEqual(receipt.out)
    const record = await aws.table<ReceiptRecord>('receipt').get({ task })
    expect(record).toMatchObject({ receipt: `${receipt.root.cid}`, issuedAt: 5 })
    expect(record?.block === undefined).toBe(size < 100_000)
  })

  it.each([
    ['serves', 300_000, 200],
    ['redirects to', 5_000_000, 302],
  ])('%s a receipt of %i bytes', async (verb, size, status) => {
    const receipt = await receiptOf(verb, size)
    const receipts = log()
    await receipts.put(receipt)
    const id = await signerOf('service')
    const server = { id, keys: [] } as unknown as Server
    const app = createHttpApp({ server, receipts, name: 'records', log: () => {} })
    const task = `${receipt.ran.link()}`
    const answer = await app.request(`/receipt/${task}`)
    expect(answer.status).toBe(status)
    const served = status === 302 ? await fetch(answer.headers.get('location') as string) : answer
    expect(served.headers.get('content-type')).toBe('application/vnd.ipld.car')
    const found = readReceipt(task, new Uint8Array(await served.arrayBuffer()))
    expect(`${found?.root.cid}`).toBe(`${receipt.root.cid}`)
  })

  it('keeps the first receipt of a task when another one is stored', async () => {
    const [one, two] = [await receiptOf('twice', 10, 'one'), await receiptOf('twice', 200_000, 'two')]
    const first = await log().put(one)
    const second = await log().put(two)
    expect([`${first.root.cid}`, `${second.root.cid}`]).toEqual(Array(2).fill(`${one.root.cid}`))
    expect(second.out).toEqual(one.out)
  })

  it('returns undefined for a receipt that was never issued', async () => {
    expect(await log().get(`${piece}`)).toBeUndefined()
  })
})

describe('a packed task', () => {
  it('unpacks to the same bytes, with its proofs', async () => {
    const signer = await signerOf('service')
    const task = await Tasks.pieceAccept(signer, { piece: somePiece(1), group: 'g', nonce: 'n' })
    const unpacked = await unpackTask(await packTask(task))
    expect(`${unpacked.cid}`).toBe(`${task.cid}`)
    expect(unpacked.root.bytes).toEqual(task.root.bytes)
    await expect(unpackTask(new Uint8Array([1, 2, 3]))).rejects.toThrow()
  })

  it('unpacks a new task each time, so that a block is attached to one only', async () => {
    const bytes = new Uint8Array([1, 2, 3])
    const signer = await signerOf('service')
    const pieces = linkOf(bytes, 0x71)
    const tenant = { storefront: signer.did(), group: 'g', label: 'g #1' }
    const offer = { aggregate: somePiece('aggregate', 20), pieces, tenant }
    const packed = await packTask(await Tasks.aggregateOffer(signer, signer, offer))
    const [one, other] = [await unpackTask(packed), await unpackTask(packed)]
    one.attach({ cid: pieces, bytes } as never)
    const blocksOf = (task: typeof one) => [...task.iterateIPLDBlocks()].map(({ cid }) => `${cid}`)
    expect(blocksOf(one)).toEqual([`${pieces}`, `${one.cid}`])
    for (const task of [other, await unpackTask(packed)]) expect(blocksOf(task)).toEqual([`${one.cid}`])
  })
})

describe('a consumer of single messages', () => {
  it('returns a result per message, in order, with limited concurrency, and an error that was thrown as the reason', async () => {
    let [now, most] = [0, 0]
    const consumer = each(
      { decode: body => body as number },
      async n => {
        most = Math.max(most, ++now)
        await new Promise(resolve => setImmediate(resolve))
        now -= 1
        if (n === 1) throw new Error('one')
        if (n === 2) return Promise.reject('two')
        return { ok: {} }
      },
      { concurrency: 2 },
    )
    const taken = await consumer.handle([0, 1, 2, 3])
    expect(taken.map(({ error }) => error?.message)).toEqual([undefined, 'one', 'two', undefined])
    expect(most).toBe(2)
  })
})

describe('configuration', () => {
  it('is read from the environment, and an invalid one is rejected with the reason', async () => {
    const { z } = await import('zod')
    const schema = z.strictObject({ name: z.string() })
    expect(readConfig(schema, { CONFIG: '{"name":"a"}' })).toEqual({ name: 'a' })
    expect(() => readConfig(schema, {})).toThrow('CONFIG')
    expect(() => readConfig(schema, { CONFIG: '{"name":1,"more":2}' })).toThrow(/name|more/)
    await expect(readSigner(environmentKey({}))).rejects.toThrow('SERVICE_KEY')
    const timing = { retrySeconds: 1.5, pollSeconds: 2 }
    expect(toTiming({ timing })).toEqual({ retryMs: 1500, pollMs: 2000 })
  })
})

describe('the log', () => {
  it('names URLs without user, password and query, which may be secret', () => {
    expect(loggedUrl('https://user:secret@gateway.test:8443/ipfs/bafy?token=secret#part')).toBe(
      'https://gateway.test:8443/ipfs/bafy',
    )
  })

  it('writes a JSON line per event from its level on, with errors and their causes', () => {
    const lines: string[] = []
    const now = () => Date.UTC(2026, 0, 1)
    const log = jsonLog(line => lines.push(line), { service: 's', level: 'warn', now, request: () => '8f5e' })
    log('info', 'unheard')
    log('error', 'heard', { cause: new Error('outer', { cause: new TypeError('inner') }), big: 7n })
    expect(lines.map(line => JSON.parse(line))).toMatchObject([
      {
        time: '2026-01-01T00:00:00.000Z',
        level: 'error',
        service: 's',
        request: '8f5e',
        event: 'heard',
        big: 7,
        cause: { name: 'Error', message: 'outer', cause: { name: 'TypeError', message: 'inner' } },
      },
    ])
  })
})
