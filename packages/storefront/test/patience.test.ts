import { Draft2, failure, Tasks } from '@w3filecoin/capabilities'
import { encodeMessage, issueReceipt, packTask } from '@w3filecoin/runtime'
import { linkOf, someContent, somePiece } from '@w3filecoin/testing'
import { afterEach, expect, it, vi } from 'vitest'
import { readContent } from '../src/content/read.ts'
import { newAggregate } from '../src/domain/aggregate.ts'
import { newListener } from '../src/domain/listener.ts'
import { resources } from '../src/resources.ts'
import { insertPiece, recordOf, startStorefront, timing, trickle, type World } from './simulated.ts'

/**
 * Every peer and every source of content hangs until the caller times out. A function that is still running at its own
 * timeout is killed, and so is every retry of its messages: nothing is recorded, and no work is ever abandoned in order.
 */

afterEach(() => void vi.restoreAllMocks())

/** Inserts the batch of each queue whose messages wait longest. */
const worst: Record<keyof typeof resources.queues, (world: World, size: number) => Promise<object[]>> = {
  submit: (world, size) =>
    Promise.all(Array.from({ length: size }, (_, n) => insertPiece(world, `submit ${n}`, 'offered'))),
  aggregation: (world, size) =>
    Promise.all(
      Array.from({ length: size }, (_, n) =>
        insertPiece(world, `offer ${n}`, n === 0 ? 'submitted' : 'retried'),
      ),
    ),
  poll: async world => {
    const pieces = await Promise.all(
      Array.from({ length: 50 }, (_, n) => insertPiece(world, `poll ${n}`, 'queued')),
    )
    return [{ pieces: pieces.map(({ id }) => id) }]
  },
  outcome: async ({ world, seed }, size) => {
    const records = Array.from({ length: size }, (_, n) => {
      const offer = {
        aggregate: `${somePiece(n)}`,
        nonce: undefined,
        aggregateOfferCid: `${linkOf(new Uint8Array([n]))}`,
      }
      return newAggregate(offer, world.now(), timing)
    })
    for (const record of records) seed('aggregate', record)
    return records.map(({ id }) => ({ aggregate: id }))
  },
  notify: ({ world, dependencies: { id }, seed }, size) =>
    Promise.all(
      Array.from({ length: size }, async (_, n) => {
        const task = await Tasks.filecoinAccept(id, {
          content: linkOf(new Uint8Array([n])),
          piece: somePiece(n),
        })
        const receipt = await issueReceipt(id, task, { out: { error: failure('ContentNotFound', 'gone') } })
        const car = await encodeMessage({ receipts: [receipt] })
        seed('receipt', { task: `${task.cid}`, receipt: `${receipt.root.cid}`, car, issuedAt: world.now() })
        const listening = { task: `${task.cid}`, audience: id.did(), url: 'https://hangs.test/' }
        const record = newListener(listening, world.now(), timing.retryMs)
        seed('listener', record)
        return { id: record.id }
      }),
    ),
  translate: ({ world, dependencies, seed }, size) =>
    Promise.all(
      Array.from({ length: size }, async (_, n) => {
        const { id, aggregator } = dependencies
        const offer = { piece: somePiece(n), group: 'a', storefront: id.did() }
        const task = await Draft2.aggregateAddTask(id, aggregator.principal, offer)
        const offerTask = await packTask(task)
        const translation = {
          dialect: 'draft-2',
          of: 'a',
          subject: 'a',
          task: 'a',
          promisedTask: offerTask,
          since: world.now(),
        }
        seed('translation', { id: `${n}`, ...translation, stage: 'filed', offerTask })
        return { id: `${n}` }
      }),
    ),
}

it.each(Object.keys(worst) as (keyof typeof worst)[])(
  'a run for %s ends before its timeout, even if every peer hangs',
  async name => {
    const storefront = startStorefront()
    const {
      world,
      service: { consumers },
    } = storefront
    const { batch, run } = resources.queues[name]
    const messages = await worst[name](storefront, batch)
    const running = world.execute({ name, seconds: run.timeout }, () =>
      consumers[name]!.handle(messages as never),
    )
    await world.timeline.run(() => world.running === 0)
    expect(await running).toEqual({ ok: messages.map(() => ({ ok: {} })) })
  },
)

it('no second run reads content while a read hangs', async () => {
  const storefront = startStorefront()
  const {
    world,
    service: { consumers },
    dependencies,
  } = storefront
  const message = await insertPiece(storefront, 'claimed', 'offered')
  const running = world.execute({ name: 'submit', seconds: resources.queues.submit.run.timeout }, () =>
    consumers.submit!.handle([message] as never),
  )
  const free: number[] = []
  for (let second = 10; second < 90; second += 10)
    world.timeline.after(second * 1000, async () => {
      const record = await dependencies.stores.piece.get(message)
      if ((record?.checkAt as number) <= world.now()) free.push(second)
    })
  await world.timeline.run(() => world.running === 0)
  expect(await running).toMatchObject({ ok: [{ ok: {} }] })
  expect(free).toEqual([])
})

it('a read ends at its longest time, even if it is not slow yet', async () => {
  const { world, dependencies } = startStorefront()
  const { content } = await someContent('long')
  const options = { maxBytes: 2 ** 30, maxReadMs: 60_000, claim: async () => true, renewalMs: 30_000 }
  const reading = readContent(dependencies.content, `${content}`, { ...options, log: () => {} })
  let isRead = false
  void reading.then(() => {
    isRead = true
  })
  await world.timeline.run(() => isRead)
  expect((await reading)?.error).toContain('cannot be read in 1 minutes')
})

const LOWEST_SPEED = 64 * 1024

it('B3: a read that is slower than the lowest speed ends, and is retried later', async () => {
  const storefront = startStorefront(world => trickle(world, LOWEST_SPEED - 6_000))
  const {
    world,
    service: { consumers },
  } = storefront
  const start = world.now()
  const message = await insertPiece(storefront, 'slow', 'offered')
  const running = world.execute({ name: 'submit', seconds: resources.queues.submit.run.timeout }, () =>
    consumers.submit!.handle([message] as never),
  )
  await world.timeline.run(() => world.running === 0)
  expect(await running).toMatchObject({ ok: [{ ok: {} }] })
  expect(world.now() - start).toBeLessThan(2 * 60_000)
  const record = await recordOf(storefront, message)
  expect(record?.trouble?.message).toContain('cannot be read: less than 64 KiB a second arrived')
  expect(record).toMatchObject({ stage: 'offered' })
})
