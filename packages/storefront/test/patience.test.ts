import { Tasks } from '@w3filecoin/capabilities'
import { Authority, Peer, packTask, ReceiptLog } from '@w3filecoin/runtime'
import { linkOf, signersOf, someContent, somePiece } from '@w3filecoin/testing'
import {
  Choices,
  DeterministicBlocks,
  DeterministicQueue,
  DeterministicTable,
  DeterministicWorld,
} from '@w3filecoin/testing/deterministic'
import { afterEach, expect, it, vi } from 'vitest'
import { aggregateOffered } from '../src/domain/aggregate.ts'
import { offered, queued, submitted } from '../src/domain/piece.ts'
import { SIZES } from '../src/domain/sizes.ts'
import { createStorefront, type Dependencies } from '../src/index.ts'
import { resources } from '../src/resources.ts'

/**
 * Whoever is asked hangs, for as long as it is waited for. A function that is not done then is killed, and so is everybody
 * who tries its messages again: nothing of what it found out is noted, and no work is given up in order.
 */

const { storefront, aggregator, dealer, tracker } = await signersOf(
  'storefront',
  'aggregator',
  'dealer',
  'tracker',
)
const timing = { retry: 60_000, poll: 900_000, longestWait: 24 * 3_600_000, safetyCheck: 7 * 24 * 3_600_000 }

afterEach(() => void vi.restoreAllMocks())

/** A storefront in a world of its own, all of whose peers hang, and its content. */
const startStorefront = () => {
  const world = new DeterministicWorld({ choices: new Choices(1) })
  vi.spyOn(AbortSignal, 'timeout').mockImplementation(world.timeout)
  const table = (name: keyof typeof resources.tables) =>
    new DeterministicTable<never>({ name, spec: resources.tables[name], world, lag: 0 }) as never
  const queue = (name: keyof typeof resources.queues) =>
    new DeterministicQueue<never>({ name, spec: resources.queues[name], world })
  const blocks = new DeterministicBlocks({ name: 'blocks', world })
  const authority = new Authority([])
  const hangs = (signal: AbortSignal) =>
    new Promise<never>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
  const peer = (id: typeof aggregator) =>
    new Peer(
      { did: id.did(), url: 'https://hangs.test' },
      { authority, fetch: async (_, init) => hangs(init!.signal!) },
    )
  const parts: Dependencies = {
    id: storefront,
    stores: {
      pieces: table('piece'),
      aggregates: table('aggregate'),
      spaces: table('space'),
      receipts: new ReceiptLog({ table: table('receipt'), blocks, now: world.now }),
      blocks,
    },
    queues: { submit: queue('submit'), pieceOffer: queue('pieceOffer'), accept: queue('accept') },
    content: {
      has: async () => true,
      open: async () =>
        (async function* () {
          yield new Uint8Array(1000)
          await new Promise(() => {})
        })(),
    },
    aggregator: peer(aggregator),
    dealer: dealer.did(),
    dealTracker: peer(tracker),
    authority,
    defaultGroup: 'did:web:default',
    missingContent: 'wait',
    timing,
    sizes: SIZES,
    now: world.now,
    random: world.nonce,
    log: () => {},
  }
  return { world, parts, consumers: createStorefront(parts).consumers }
}

type World = ReturnType<typeof startStorefront>

/** Notes a piece that is ready to be submitted, or waits for the aggregator already; returns its message. */
const note = async ({ world, parts }: World, seed: string, stage: 'offered' | 'submitted' | 'queued') => {
  const { content, piece } = await someContent(seed)
  const task = await packTask(await Tasks.pieceOffer(storefront, aggregator, { piece, group: 'g' }))
  const record = offered(
    { content: `${content}`, piece: `${piece}`, group: 'g', submit: task, accept: task },
    world.now(),
    timing,
  )
  const first = { ...record, revision: 1 }
  const second = submitted(first, task, world.now(), timing)!
  const third = queued(second, { waitsFor: `${linkOf(task)}`, nonce: undefined }, world.now(), timing)!
  const { pieces } = parts.stores
  ;(pieces as DeterministicTable<never>).seed(
    { offered: first, submitted: second, queued: third }[stage] as never,
  )
  return { id: record.id }
}

/** Of each queue, the batch whose messages have the most to wait for. */
const worst: Record<keyof typeof resources.queues, (world: World, size: number) => Promise<object[]>> = {
  submit: (world, size) =>
    Promise.all(Array.from({ length: size }, (_, n) => note(world, `submit ${n}`, 'offered'))),
  pieceOffer: (world, size) =>
    Promise.all(
      Array.from({ length: size }, (_, n) => note(world, `offer ${n}`, n === 0 ? 'submitted' : 'queued')),
    ),
  accept: async ({ world, parts }, size) =>
    Array.from({ length: size }, (_, n) => {
      const offer = {
        aggregate: `${somePiece(n)}`,
        nonce: undefined,
        aggregateOffer: `${linkOf(new Uint8Array([n]))}`,
      }
      const record = aggregateOffered(offer, world.now(), timing)
      ;(parts.stores.aggregates as DeterministicTable<never>).seed({ ...record, revision: 1 } as never)
      return { aggregate: record.id }
    }),
}

it.each(Object.keys(worst) as (keyof typeof worst)[])(
  'a run for %s is done in its time, also when all that it asks hang',
  async name => {
    const storefront = startStorefront()
    const { world, consumers } = storefront
    const { batch, run } = resources.queues[name]
    const messages = await worst[name](storefront, batch)
    const running = world.execute({ name, seconds: run.timeout }, () =>
      consumers[name]!.take(messages as never),
    )
    await world.timeline.run(() => world.running === 0)
    expect(await running).toEqual({ ok: messages.map(() => ({ ok: {} })) })
  },
)

it('content that hangs is not read by anybody else meanwhile', async () => {
  const storefront = startStorefront()
  const { world, consumers, parts } = storefront
  const message = await note(storefront, 'claimed', 'offered')
  const running = world.execute({ name: 'submit', seconds: resources.queues.submit.run.timeout }, () =>
    consumers.submit!.take([message] as never),
  )
  const free: number[] = []
  for (let minute = 1; minute < 14; minute++)
    world.timeline.after(minute * 60_000, async () => {
      const record = await parts.stores.pieces.get(message)
      if ((record?.checkAt as number) <= world.now()) free.push(minute)
    })
  await world.timeline.run(() => world.running === 0)
  expect(await running).toMatchObject({ ok: [{ ok: {} }] })
  expect(free).toEqual([])
})
