import { Tasks } from '@w3filecoin/capabilities'
import { Authority, type Engine, openQueues, openStores, Peer, packTask, type Row } from '@w3filecoin/runtime'
import { linkOf, signersOf, someContent, somePiece } from '@w3filecoin/testing'
import {
  Choices,
  DeterministicBlocks,
  DeterministicQueue,
  DeterministicTable,
  DeterministicWorld,
} from '@w3filecoin/testing/deterministic'
import { afterEach, expect, it, vi } from 'vitest'
import { newAggregate } from '../src/domain/aggregate.ts'
import { BATCHING } from '../src/domain/batching.ts'
import { markQueued, markSubmitted, newPiece } from '../src/domain/piece.ts'
import { createStorefront, type Dependencies, messages, tables } from '../src/index.ts'
import { resources } from '../src/resources.ts'

/**
 * Every peer and every source of content hangs until the caller times out. A function that is still running at its own
 * timeout is killed, and so is every retry of its messages: nothing is recorded, and no work is ever abandoned in order.
 */

const { storefront, aggregator, dealer, tracker } = await signersOf(
  'storefront',
  'aggregator',
  'dealer',
  'tracker',
)
const timing = {
  retryMs: 60_000,
  pollMs: 900_000,
  contentWaitMs: 24 * 3_600_000,
  safetyCheckMs: 7 * 24 * 3_600_000,
}

afterEach(() => void vi.restoreAllMocks())

const specOf = <T>(specs: Record<string, T>, name: string): T => specs[name] as T

/** Starts a storefront in a separate world, where all peers and all content hang. */
const startStorefront = () => {
  const world = new DeterministicWorld({ choices: new Choices(1) })
  vi.spyOn(AbortSignal, 'timeout').mockImplementation(world.timeout)
  const opened: Record<string, DeterministicTable<Row>> = {}
  const engine: Engine = {
    table: name => {
      const table = new DeterministicTable<Row>({ name, spec: specOf(resources.tables, name), world, lag: 0 })
      opened[name] = table
      return table as never
    },
    queue: name => new DeterministicQueue({ name, spec: specOf(resources.queues, name), world }),
    blocks: name => new DeterministicBlocks({ name, world }),
  }
  const authority = new Authority()
  const hangs = (signal: AbortSignal) =>
    new Promise<never>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
  const peer = (id: typeof aggregator) =>
    new Peer(
      { did: id.did(), url: 'https://hangs.test' },
      { authority, fetch: async (_, init) => hangs(init!.signal!) },
    )
  const dependencies: Dependencies = {
    id: storefront,
    stores: openStores(engine, tables, { now: world.now }),
    queues: openQueues(engine, messages),
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
    batching: BATCHING,
    now: world.now,
    random: world.nonce,
    log: () => {},
  }
  /** Puts a record into a table without a call. */
  const seed = (name: 'piece' | 'aggregate', record: object) =>
    opened[name]!.seed({ ...tables[name].encode(record), revision: 1 })
  return { world, dependencies, seed, consumers: createStorefront(dependencies).consumers }
}

type World = ReturnType<typeof startStorefront>

/** Inserts a piece at a stage, and returns its message. */
const insertPiece = async (
  { world, seed }: World,
  name: string,
  stage: 'offered' | 'submitted' | 'queued',
) => {
  const { content, piece } = await someContent(name)
  const task = await packTask(await Tasks.pieceOffer(storefront, aggregator, { piece, group: 'g' }))
  const record = newPiece(
    { content: `${content}`, piece: `${piece}`, group: 'g', submitTask: task, acceptTask: task },
    world.now(),
    timing,
  )
  const first = { ...record, revision: 1 }
  const second = markSubmitted(first, task, world.now(), timing)!
  const third = markQueued(second, { waitsFor: `${linkOf(task)}`, nonce: undefined }, world.now(), timing)!
  seed('piece', { offered: first, submitted: second, queued: third }[stage])
  return { id: record.id }
}

/** Inserts the batch of each queue whose messages wait longest. */
const worst: Record<keyof typeof resources.queues, (world: World, size: number) => Promise<object[]>> = {
  submit: (world, size) =>
    Promise.all(Array.from({ length: size }, (_, n) => insertPiece(world, `submit ${n}`, 'offered'))),
  aggregation: (world, size) =>
    Promise.all(
      Array.from({ length: size }, (_, n) =>
        insertPiece(world, `offer ${n}`, n === 0 ? 'submitted' : 'queued'),
      ),
    ),
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
}

it.each(Object.keys(worst) as (keyof typeof worst)[])(
  'a run for %s ends before its timeout, even if every peer hangs',
  async name => {
    const storefront = startStorefront()
    const { world, consumers } = storefront
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
  const { world, consumers, dependencies } = storefront
  const message = await insertPiece(storefront, 'claimed', 'offered')
  const running = world.execute({ name: 'submit', seconds: resources.queues.submit.run.timeout }, () =>
    consumers.submit!.handle([message] as never),
  )
  const free: number[] = []
  for (let minute = 1; minute < 14; minute++)
    world.timeline.after(minute * 60_000, async () => {
      const record = await dependencies.stores.piece.get(message)
      if ((record?.checkAt as number) <= world.now()) free.push(minute)
    })
  await world.timeline.run(() => world.running === 0)
  expect(await running).toMatchObject({ ok: [{ ok: {} }] })
  expect(free).toEqual([])
})
