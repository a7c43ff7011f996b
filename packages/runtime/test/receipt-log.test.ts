import { Tasks } from '@w3filecoin/capabilities'
import { signersOf, somePiece, standInResources, startWorld, type World } from '@w3filecoin/testing'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { COMMON_FORMATS, issueReceipt, openStores, ReceiptLog, type StoresOf } from '../src/index.ts'

const DAY_SECONDS = 24 * 3600
const START = Date.UTC(2026, 0, 1)

const { service } = await signersOf('service')
let world: World
let stores: StoresOf<typeof COMMON_FORMATS>
let now = START

beforeAll(async () => {
  world = await startWorld()
  const aws = await world.provide(standInResources('receipts'))
  stores = openStores(aws, COMMON_FORMATS, {
    now: () => now,
    limits: { maxInlineBytes: 3_000, maxServedBytes: 100_000, minShared: 3 },
  })
})
afterAll(() => world.stop())

let count = 0
/** Returns a new task, and issues receipts of it. */
const freshTask = async () => {
  const task = await Tasks.pieceAccept(service, { piece: somePiece('receipt'), group: `${count++}` })
  return {
    key: { task: `${task.cid}` },
    issue: (said: string) => issueReceipt(service, task, { out: { ok: { said } } }),
  }
}
type Issued = Awaited<ReturnType<Awaited<ReturnType<typeof freshTask>>['issue']>>
const said = (receipt: Issued | undefined) => (receipt?.out.ok as { said: string } | undefined)?.said

describe('the receipt log', () => {
  it('stores receipts that are issued together in one block, and reads them one by one and together', async () => {
    const tasks = await Promise.all(Array.from({ length: 3 }, freshTask))
    const early = await freshTask()
    await stores.receipts.put(await early.issue('before'))
    const all = [...tasks, early]
    const put = await stores.receipts.putMany(await Promise.all(all.map(({ issue }, n) => issue(`${n}`))))
    expect(put.map(said)).toEqual(['0', '1', '2', 'before'])

    const keys = all.map(({ key }) => key)
    const records = await stores.receipt.getMany(keys)
    const blocks = new Set(records.map(record => record?.part?.block))
    expect([...blocks]).toEqual([expect.stringMatching(/^bafkrei/), undefined])
    for (const [n, { task }] of keys.entries())
      expect(said(await stores.receipts.get(task))).toBe(said(put[n]))

    const read = vi.spyOn(stores.blocks, 'get')
    const found = await stores.receipts.getMany([...keys.map(({ task }) => task), 'bafyunknown'])
    expect(found.map(said)).toEqual(['0', '1', '2', 'before', undefined])
    expect(read).toHaveBeenCalledTimes(1)
    read.mockRestore()

    const served = await stores.receipts.serve(keys[1]!.task)
    const many = await stores.receipts.serveMany([keys[1]!.task], 1_000)
    expect(many[0]).toEqual({ ...served, car: expect.any(Uint8Array) })
    expect(Buffer.from((served as { car: Uint8Array }).car)).toEqual(
      Buffer.from((many[0] as { car: Uint8Array }).car),
    )
  })

  it('stores few receipts in their records, packed, and reads what earlier code stored', async () => {
    const { key, issue } = await freshTask()
    const receipt = await issue('one')
    await stores.receipts.putMany([receipt])
    const { car } = (await stores.receipt.get(key)) as { car: Uint8Array }
    expect(car).toBeDefined()
    const format = COMMON_FORMATS.receipt
    const row = format.encode({ car })
    expect((row.car as Uint8Array).byteLength).toBeLessThan(car.byteLength * 0.6)
    expect(format.decode(row)).toEqual({ car })
    expect(format.decode({ v: 1, car })).toEqual({ car })
    expect(() => format.decode({ v: 2, car: Uint8Array.of(1, 255, 255) })).toThrow()
  })

  it('keeps the first receipt of a task for ever', async () => {
    const { key, issue } = await freshTask()
    await stores.receipts.put(await issue('first'))
    now += 1_000 * DAY_SECONDS * 1000
    expect(said(await stores.receipts.put(await issue('second')))).toBe('first')
    expect(said(await stores.receipts.get(key.task))).toBe('first')
    expect(await stores.receipt.get(key)).not.toHaveProperty('expiresAt')
  })

  it('treats a receipt as absent from the time at which it expires, though DynamoDB still has it', async () => {
    const { key, issue } = await freshTask()
    const stored = await stores.receipts.put(await issue('first'), { lifetimeSeconds: DAY_SECONDS })
    expect(said(stored)).toBe('first')
    expect(await stores.receipt.get(key)).toMatchObject({ expiresAt: now / 1000 + DAY_SECONDS })
    now += DAY_SECONDS * 1000 - 1
    expect(said(await stores.receipts.get(key.task))).toBe('first')
    expect(await stores.receipts.serve(key.task)).toBeDefined()
    expect(said(await stores.receipts.put(await issue('second')))).toBe('first')

    const other = await freshTask()
    await stores.receipts.put(await other.issue('first'), { lifetimeSeconds: 1 })
    now += 2_000
    expect(await stores.receipt.get(other.key)).toBeDefined()
    expect(await stores.receipts.get(other.key.task)).toBeUndefined()
    expect(await stores.receipts.serve(other.key.task)).toBeUndefined()
  })

  it('replaces an expired receipt once, whichever of concurrent runs is the first', async () => {
    const { key, issue } = await freshTask()
    await stores.receipts.put(await issue('expired'), { lifetimeSeconds: 1 })
    now += 2_000
    const runs = await Promise.all(
      Array.from({ length: 5 }, async (_, n) =>
        stores.receipts.put(await issue(`run ${n}`), { lifetimeSeconds: DAY_SECONDS }),
      ),
    )
    const words = new Set(runs.map(said))
    expect(words.size).toBe(1)
    expect([...words][0]).toMatch(/^run/)
    expect(said(await stores.receipts.get(key.task))).toBe([...words][0])
  })

  it('keeps a receipt that one run of a task stored as a repeat, and another run as the first', async () => {
    const { key, issue } = await freshTask()
    await stores.receipts.put(await issue('repeat'), { lifetimeSeconds: DAY_SECONDS })
    expect(said(await stores.receipts.put(await issue('first')))).toBe('repeat')
    now += 2 * DAY_SECONDS * 1000
    expect(said(await stores.receipts.get(key.task))).toBe('repeat')
    await stores.receipts.put(await issue('later'), { lifetimeSeconds: 1 })
    expect(await stores.receipt.get(key)).not.toHaveProperty('expiresAt')
  })

  it('does not store a large receipt that expires: blocks would stay', async () => {
    const { key, issue } = await freshTask()
    const large = await issue('x'.repeat(20_000))
    expect(await stores.receipts.put(large, { lifetimeSeconds: DAY_SECONDS })).toBe(large)
    expect(await stores.receipt.get(key)).toBeUndefined()
    await stores.receipts.put(large)
    expect(said(await stores.receipts.put(await issue('y'.repeat(20_000)), { lifetimeSeconds: 1 }))).toMatch(
      /^x/,
    )
  })
})

describe('many receipts', () => {
  const issueMany = (sizes: readonly number[]) =>
    Promise.all(
      sizes.map(async size => {
        const { key, issue } = await freshTask()
        await stores.receipts.put(await issue('x'.repeat(size)))
        return key.task
      }),
    )
  /** Describes how each receipt is served. */
  const serve = async (tasks: readonly string[], maxBytes: number) =>
    (await stores.receipts.serveMany(tasks, maxBytes)).map(one =>
      one === undefined ? 'none' : 'car' in one ? 'served' : 'isTooLarge' in one ? 'too large' : 'omitted',
    )

  it('are served in the order of the tasks, from records and blocks, as many as have room', async () => {
    const [inline, block, large, last] = await issueMany([10, 20_000, 150_000, 10])
    const { key } = await freshTask()
    const tasks = [inline!, key.task, large!, block!, last!]
    expect(await serve(tasks, 100_000)).toEqual(['served', 'none', 'too large', 'served', 'served'])
    expect(await serve(tasks, 10_000)).toEqual(['served', 'none', 'too large', 'omitted', 'omitted'])
  })

  it('always include one, so that asking again comes to an end', async () => {
    const tasks = await issueMany([20_000, 20_000])
    expect(await serve(tasks, 1)).toEqual(['served', 'omitted'])
  })

  it('are read no further when there is no room', async () => {
    const tasks = await issueMany(Array(250).fill(1_000))
    const getMany = vi.spyOn(stores.receipt, 'getMany')
    const log = new ReceiptLog({ table: stores.receipt, blocks: undefined as never, now: () => now })
    const served = await log.serveMany(tasks, 60_000)
    expect(getMany.mock.calls.map(([keys]) => keys.length)).toEqual([100])
    expect(served).toHaveLength(250)
    expect(served.findLastIndex(one => one && 'car' in one)).toBeLessThan(100)
    getMany.mockRestore()
  })
})
