import type { Signer } from '@ucanto/interface'
import * as aggregatorFormats from '@w3filecoin/aggregator'
import { createAggregator } from '@w3filecoin/aggregator'
import { resources as aggregatorResources } from '@w3filecoin/aggregator/resources'
import { DynamoTable } from '@w3filecoin/aws'
import { type PieceLink, PLACE_TYPES, Tasks } from '@w3filecoin/capabilities'
import {
  Authority,
  type Blocks,
  batchesOf,
  configuredPeers,
  dueAt,
  type Engine,
  type Lane,
  openQueues,
  openStores,
  Peer,
  packTask,
  type Service,
} from '@w3filecoin/runtime'
import type { Resources, TableSpec } from '@w3filecoin/runtime/resources'
import * as storefrontFormats from '@w3filecoin/storefront'
import { createStorefront } from '@w3filecoin/storefront'
import { resources as storefrontResources } from '@w3filecoin/storefront/resources'
import { linkOf, signerOf, somePiece } from '@w3filecoin/testing'
import { Timeline } from '@w3filecoin/testing/deterministic'
import { SimulatedDynamo } from '../aws/dynamodb.ts'

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const TIMING = { retryMs: MINUTE, pollMs: 15 * MINUTE }

/** Runs something in simulated time, in which timers and the stand-in for DynamoDB wait. */
const inSimulatedTime = async <T>(run: (timeline: Timeline) => Promise<T>): Promise<T> => {
  const timeline = new Timeline(Date.UTC(2026, 0, 1))
  const { setTimeout } = globalThis
  globalThis.setTimeout = ((then: () => void, milliseconds: number) =>
    timeline.after(milliseconds, then)) as never
  try {
    let ended = false
    const running = run(timeline).finally(() => {
      ended = true
    })
    if (!(await timeline.run(() => ended))) throw new Error('The run waits for something that never happens')
    return await running
  } finally {
    globalThis.setTimeout = setTimeout
  }
}

/** The tables of a service on the stand-in for DynamoDB. Queues and blocks are in memory. */
const openEngine = (resources: Resources, client: SimulatedDynamo) => {
  const sent = new Map<string, object[]>()
  const stored = new Map<string, Uint8Array>()
  const count = { blockBytes: 0 }
  const blocks: Blocks = {
    put: async (bytes, codec) => {
      const link = linkOf(bytes, codec)
      stored.set(`${link}`, bytes)
      count.blockBytes += bytes.byteLength
      return link
    },
    get: async link => stored.get(`${link}`),
    locate: async link => `${link}`,
  }
  const engine: Engine = {
    table: <R extends object>(name: string) =>
      new DynamoTable<R>({
        client: client as never,
        name: () => name,
        spec: resources.tables[name] as TableSpec,
      }),
    queue: name => ({
      send: async messages => {
        sent.set(name, [...(sent.get(name) ?? []), ...(messages as readonly object[])])
      },
    }),
    blocks: () => blocks,
  }
  return { engine, sent, count }
}

/** Hands all messages of a queue to its consumer, as many at once as the queue allows, or as `atOnce` says. */
const consume = async (
  { queues }: Resources,
  { consumers }: Service,
  name: string,
  messages: readonly object[],
  atOnce?: number,
): Promise<void> => {
  const { concurrency, ...queue } = queues[name]!
  const consumer = consumers[name]!
  const batches = batchesOf(messages, atOnce ?? queue.batch)
  const work = async () => {
    for (let batch = batches.shift(); batch !== undefined; batch = batches.shift()) {
      const decoded = batch.map(message => consumer.decode(JSON.parse(JSON.stringify(message))))
      for (const { error } of await consumer.handle(decoded)) if (error) throw error
    }
  }
  await Promise.all(Array.from({ length: concurrency }, work))
}

export interface Aggregated {
  included: number
  /** Bytes that were written to tables, records of the offers among them, and to blocks. */
  writtenBytes: { tables: number; blocks: number }
}

/**
 * Puts pieces of one group into one aggregate, with the aggregator's own consumers.
 *
 * @param options.atOnce pieces that arrive at once. Default: as many as a batch of their queue has.
 */
export const aggregate = async ({
  pieces,
  atOnce,
}: {
  pieces: number
  atOnce?: number
}): Promise<Aggregated> => {
  const [id, dealer, storefront] = (await Promise.all(
    ['aggregator', 'dealer', 'storefront'].map(name => signerOf(name)),
  )) as [Signer, Signer, Signer]
  const resources: Resources = aggregatorResources
  const tasks: { piece: PieceLink; accept: Uint8Array }[] = []
  for (let n = 0; n < pieces; n++) {
    const piece = somePiece(n)
    tasks.push({ piece, accept: await packTask(await Tasks.pieceAccept(id, { piece, group: 'g' })) })
  }
  return inSimulatedTime(async timeline => {
    const client = new SimulatedDynamo({ timeline, tables: resources.tables })
    const { engine, sent, count } = openEngine(resources, client)
    const now = () => timeline.now
    const service = createAggregator({
      id,
      dialects: [],
      stores: openStores(engine, aggregatorFormats.tables, { now }),
      queues: openQueues(engine, aggregatorFormats.messages),
      storefronts: configuredPeers([]),
      bounds: configuredPeers([]),
      delegationOf: async () => undefined,
      dealer: new Peer({ did: dealer.did() }, { authority: new Authority(), fetch }),
      authority: new Authority(),
      limitsOf: () => ({ paddedBytes: 2 ** 35, minPaddedBytes: 0, maxPieces: pieces, maxWaitMs: 6 * HOUR }),
      timing: TIMING,
      batching: { rangePieces: 400, pageRows: 500, lookaheadRows: 5_000 },
      now,
      log: () => {},
      metrics: () => {},
      checks: [],
    }) as Service
    for (const [n, { piece, accept }] of tasks.entries())
      client.seed('piece', {
        id: `piece-${n}`,
        storefront: storefront.did(),
        group: 'g',
        piece: `${piece}`,
        size: 128,
        stage: 'offered',
        offeredAt: now(),
        accept,
      })
    const offered = tasks.map((_, n) => ({ v: 1, id: `piece-${n}` }))
    await consume(resources, service, 'piece', offered, atOnce)
    // The tally says that the group is full.
    await consume(resources, service, 'seal', sent.get('seal') ?? [])
    await consume(resources, service, 'include', sent.get('include') ?? [])
    const conclude = (sent.get('conclude') ?? []) as { tasks: string[] }[]
    const included = new Set(conclude.flatMap(({ tasks }) => tasks)).size
    return { included, writtenBytes: { tables: client.count.writtenBytes, blocks: count.blockBytes } }
  })
}

export interface Mended {
  /** The sweep that sent the lost message again, from 1; `undefined` if none did. */
  sweep: number | undefined
  /** Records that were sent again, and the time of the sweeps that did. */
  swept: number
  seconds: number
}

/**
 * Sweeps a storefront with pieces that wait for their aggregate and have been due for longer than a piece whose message
 * was lost.
 *
 * @param options.lane where the waiting pieces are in the sweep index: earlier code put them among the other ones, `own`
 */
export const mendLostMessage = async ({
  waiting,
  lane,
  sweeps,
}: {
  waiting: number
  lane: Lane
  sweeps: number
}): Promise<Mended> => {
  const id = await signerOf('storefront')
  const peerDid = (await signerOf('peer')).did()
  const resources: Resources = storefrontResources
  return inSimulatedTime(async timeline => {
    // A call costs about a millisecond of the processor of a function with 1,024 MB.
    const client = new SimulatedDynamo({ timeline, tables: resources.tables, processorMs: 1 })
    const { engine, sent } = openEngine(resources, client)
    const now = () => timeline.now
    const authority = new Authority()
    const peer = new Peer({ did: peerDid, url: 'https://peer.test' }, { authority, fetch })
    const service = createStorefront({
      id,
      dialects: [],
      stores: openStores(engine, storefrontFormats.tables, { now }),
      queues: openQueues(engine, storefrontFormats.messages),
      content: { has: async () => false, open: async () => undefined } as never,
      addresses: { fetch, allowPrivate: false },
      pieceAccess: 'off',
      aggregator: peer,
      dealer: peerDid,
      dealTracker: peer,
      placeTypes: PLACE_TYPES,
      authority,
      defaultGroup: 'default',
      missingContent: 'wait',
      admission: {
        spaces: 'open',
        offersPerDay: { listed: 1, shared: 1 },
        noncesPerDay: { listed: 1, shared: 1 },
      },
      timing: { ...TIMING, contentWaitMs: 24 * HOUR },
      batching: { pageRecords: 100 } as never,
      now,
      random: () => 'random',
      log: () => {},
      metrics: () => {},
      checks: [],
    })
    const startedAt = now()
    const seed = (id: string, stage: string, due: object) =>
      client.seed('piece', { id, stage, history: [{ stage, at: startedAt - 24 * HOUR }], ...due })
    for (let n = 0; n < waiting; n++)
      seed(`waiting-${n}`, 'queued', dueAt(`waiting-${n}`, startedAt - HOUR + n / waiting, lane))
    seed('lost', 'offered', dueAt('lost', startedAt))

    let sweep: number | undefined
    let seconds = 0
    for (let n = 1; n <= sweeps && sweep === undefined; n++) {
      timeline.now = Math.max(timeline.now, startedAt + n * MINUTE)
      const beganAt = timeline.now
      await service.schedules.sweep()
      seconds += (timeline.now - beganAt) / 1000
      if (sent.get('submit')?.some(message => (message as { id: string }).id === 'lost')) sweep = n
    }
    return { sweep, swept: sent.get('poll')?.length ?? 0, seconds }
  })
}
