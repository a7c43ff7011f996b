import { PLACE_TYPES, Tasks } from '@w3filecoin/capabilities'
import {
  Authority,
  type Engine,
  encodeMessage,
  issueReceipt,
  openQueues,
  openStores,
  Peer,
  packTask,
  type Row,
} from '@w3filecoin/runtime'
import { bytesOf, signersOf, someContent, somePiece } from '@w3filecoin/testing'
import {
  Choices,
  DeterministicBlocks,
  DeterministicQueue,
  DeterministicTable,
  DeterministicWorld,
} from '@w3filecoin/testing/deterministic'
import { vi } from 'vitest'
import { BATCHING } from '../src/domain/batching.ts'
import { markQueued, markSubmitted, newPiece } from '../src/domain/piece.ts'
import { createStorefront, type Dependencies, messages, tables } from '../src/index.ts'
import { resources } from '../src/resources.ts'

const { storefront, aggregator, dealer, tracker } = await signersOf(
  'storefront',
  'aggregator',
  'dealer',
  'tracker',
)
export const timing = {
  retryMs: 60_000,
  pollMs: 900_000,
  contentWaitMs: 24 * 3_600_000,
}

const specOf = <T>(specs: Record<string, T>, name: string): T => specs[name] as T

/** Starts a storefront in a separate world, where all peers and all content hang. */
export const startStorefront = (
  read?: (world: DeterministicWorld, content: string) => AsyncIterable<Uint8Array>,
  more: Partial<Dependencies> = {},
) => {
  const world = new DeterministicWorld({ choices: new Choices(1) })
  vi.spyOn(AbortSignal, 'timeout').mockImplementation(world.timeout)
  const opened: Record<string, DeterministicTable<Row>> = {}
  const queues: Record<string, DeterministicQueue<object>> = {}
  const engine: Engine = {
    table: name => {
      const table = new DeterministicTable<Row>({ name, spec: specOf(resources.tables, name), world, lag: 0 })
      opened[name] = table
      return table as never
    },
    queue: name => {
      const queue = new DeterministicQueue({ name, spec: specOf(resources.queues, name), world })
      queues[name] = queue as never
      return queue as never
    },
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
      open: async content =>
        read?.(world, content) ??
        (async function* () {
          yield new Uint8Array(1000)
          await new Promise(() => {})
        })(),
      locate: async content => content,
    },
    addresses: { fetch: async (_, init) => hangs(init!.signal!), allowPrivate: false },
    pieceAccess: 'off',
    aggregator: peer(aggregator),
    dealer: dealer.did(),
    dealTracker: peer(tracker),
    placeTypes: PLACE_TYPES,
    authority,
    dialects: [],
    defaultGroup: 'did:web:default',
    missingContent: 'wait',
    admission: {
      spaces: 'open',
      offersPerDay: { listed: 1_000, shared: 1_000 },
      noncesPerDay: { listed: 1_000, shared: 1_000 },
    },
    timing,
    batching: BATCHING,
    now: world.now,
    random: world.nonce,
    log: () => {},
    metrics: () => {},
    checks: [],
    ...more,
  }
  /** Puts a record into a table without a call. */
  const seed = (
    name: 'piece' | 'task' | 'aggregate' | 'group' | 'space' | 'translation' | 'listener' | 'receipt',
    record: object,
  ) => opened[name]!.seed({ ...tables[name].encode(record), revision: 1 })
  return { world, dependencies, seed, queues, service: createStorefront(dependencies) }
}

export type World = ReturnType<typeof startStorefront>

/** Inserts a piece at a stage, and returns its message. */
export const insertPiece = async (
  { world, seed }: World,
  name: string,
  stage: 'offered' | 'submitted' | 'queued' | 'retried',
  offer: { content?: string; piece?: string; nonce?: string; space?: string } = {},
) => {
  const { content } = await someContent(name)
  const piece = somePiece(name, 24)
  const promised = { content, piece, nonce: name }
  const submit = await Tasks.filecoinSubmit(storefront, promised)
  const accept = await Tasks.filecoinAccept(storefront, promised)
  const record = newPiece(
    {
      content: `${content}`,
      piece: `${piece}`,
      group: 'g',
      submitCid: `${submit.cid}`,
      acceptCid: `${accept.cid}`,
      ...offer,
    },
    world.now(),
    timing,
  )
  for (const task of [submit, accept])
    seed('task', { task: `${task.cid}`, id: record.id, promise: await packTask(task) })
  if (stage !== 'offered') {
    const join = await Tasks.pieceOffer(storefront, aggregator, { piece, group: 'g' })
    const receipt = await issueReceipt(storefront, submit, { out: { ok: { piece } }, fx: { join } })
    const car = await encodeMessage({ receipts: [receipt] })
    const issuedAt = world.now()
    seed('receipt', { task: `${submit.cid}`, receipt: `${receipt.root.cid}`, car, issuedAt })
  }
  const first = { ...record, revision: 1 }
  const second = markSubmitted(first, world.now(), timing)!
  const third = markQueued(second, { waitsFor: `${accept.cid}`, nonce: undefined }, world.now(), timing)!
  const fourth = { ...third, stage: 'retried', retryOfferCid: `${submit.cid}` }
  seed('piece', { offered: first, submitted: second, queued: third, retried: fourth }[stage])
  return { id: record.id }
}

/** Yields chunks of this size, one each second, for ever. */
export async function* trickle(world: DeterministicWorld, bytes: number) {
  for (;;) {
    await new Promise<void>(resolve => world.timeline.after(1000, resolve))
    yield bytesOf('trickle', bytes)
  }
}

/** Reads a record in the time of the world. */
export const recordOf = async ({ world, dependencies }: World, { id }: { id: string }) => {
  const reading = dependencies.stores.piece.get({ id })
  let isRead = false
  void reading.then(() => {
    isRead = true
  })
  await world.timeline.run(() => isRead)
  return reading
}
