import { Session } from 'node:inspector/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { connect, delegate, invoke } from '@ucanto/client'
import { Delegation, isDelegation } from '@ucanto/core'
import type { Signer } from '@ucanto/interface'
import { ed25519 } from '@ucanto/principal'
import { create, provideAdvanced, ok as succeed } from '@ucanto/server'
import { CAR } from '@ucanto/transport'
import { BATCHING } from '../packages/aggregator/src/domain/batching.ts'
import { newPiece, pieceId } from '../packages/aggregator/src/domain/piece.ts'
import { createAggregator, messages, tables } from '../packages/aggregator/src/index.ts'
import { listByMessage } from '../packages/aggregator/src/offers/list-pieces.ts'
import { resources } from '../packages/aggregator/src/resources.ts'
import { pieceOffer, Tasks } from '../packages/capabilities/src/index.ts'
import { canHold, decodePiece } from '../packages/piece/src/index.ts'
import {
  Authority,
  CAR as CAR_TYPE,
  configuredPeers,
  decodeMessage,
  encodeMessage,
  MESSAGE_LIMITS,
  openQueues,
  openStores,
  Peer,
  parseSigner,
  receiptIn,
  recordFormat,
} from '../packages/runtime/src/index.ts'
import { somePiece } from '../packages/testing/src/pieces.ts'
import { keyOf } from '../packages/testing/src/principals.ts'
import { openMemory } from './memory-engine.ts'
import type { Aim, Table } from './table.ts'

/** The authority of an offer: the storefront itself, or a delegation from the aggregator. */
type Authorization = 'self-issued' | 'one delegation'

/** A way to offer pieces and to read the promises. */
interface Way {
  /** Offers pieces in one message: builds, signs, encodes, serves and reads it. Returns the number of promised tasks. */
  offer(authorization: Authorization, pieces: readonly Piece[]): Promise<number>
  /** Forgets the offered pieces. */
  clear(): void
}

type Piece = ReturnType<typeof somePiece>

const CASES = [
  { authorization: 'self-issued', batch: 1, aim: 5 },
  { authorization: 'self-issued', batch: 10 },
  { authorization: 'self-issued', batch: 100 },
  { authorization: 'one delegation', batch: 1, aim: 5 },
  { authorization: 'one delegation', batch: 10 },
  { authorization: 'one delegation', batch: 100, aim: 7 },
] as const satisfies { authorization: Authorization; batch: number; aim?: number }[]

const GROUP = 'photos.example'
const NOW = () => 1_700_000_000_000
const LIMITS = { paddedBytes: 2 ** 35, minPaddedBytes: 0, maxPieces: 262_144, maxWaitMs: 3_600_000 }
const TIMING = { retryMs: 60_000, pollMs: 900_000 }
/** Invocations of one measurement of each way, so that both take about as long, and measurements of each case. */
const INVOCATIONS = { ours: 400, stock: 100 }
const ROUNDS = 9
const WARM_UP_INVOCATIONS = 1_000
const PROFILED_INVOCATIONS = 4_000

const [storefrontKey, aggregatorKey, dealerKey] = await Promise.all(
  ['storefront', 'aggregator', 'dealer'].map(keyOf),
)

/**
 * The formats of the records, without packing: it saves bytes in DynamoDB, and is no part of a round trip. It takes as long in
 * both ways.
 */
const formats = Object.fromEntries(
  Object.entries(tables).map(([name, { workflow }]) => [name, recordFormat({ workflow: workflow as never })]),
) as unknown as typeof tables

/** The service of this repository, called by its own code over its HTTP API. */
const openOurs = async (): Promise<Way> => {
  const [storefront, aggregator, dealer] = [storefrontKey, aggregatorKey, dealerKey].map(key =>
    parseSigner(key!),
  ) as [Signer, Signer, Signer]
  const { engine, clear } = openMemory(resources)
  const authority = new Authority()
  const peer = (id: Signer) =>
    new Peer({ did: id.did() }, { authority, fetch: () => Promise.reject(new Error('Offers call no peer')) })
  const { api } = createAggregator({
    id: aggregator,
    stores: openStores(engine, formats, { now: NOW }),
    queues: openQueues(engine, messages),
    storefronts: configuredPeers([peer(storefront)]),
    bounds: configuredPeers([]),
    delegationOf: async () => undefined,
    dealer: peer(dealer),
    authority,
    dialects: [],
    limitsOf: () => LIMITS,
    timing: TIMING,
    batching: BATCHING,
    now: NOW,
    log: (_, event, fields) => {
      throw new Error(event, { cause: fields })
    },
    metrics: () => {},
    checks: [],
  })
  const delegation = await delegate({
    issuer: aggregator,
    audience: storefront,
    capabilities: [{ can: 'piece/offer', with: aggregator.did() }],
    expiration: Infinity,
  } as never)
  const authorities = {
    'self-issued': undefined,
    'one delegation': { with: aggregator.did(), proofs: [delegation as never] },
  }
  const answers = { ...MESSAGE_LIMITS, receipts: 500 }
  return {
    clear,
    async offer(authorization, pieces) {
      const tasks = await Promise.all(
        pieces.map(piece =>
          Tasks.pieceOffer(storefront, aggregator, { piece, group: GROUP }, authorities[authorization]),
        ),
      )
      const body = await encodeMessage({ invocations: tasks })
      const response = await api.request('/', {
        method: 'POST',
        // `fetch` sends the length of a body that it knows.
        headers: { 'content-type': CAR_TYPE, 'content-length': `${body.byteLength}` },
        body,
      })
      const { ok } = decodeMessage(new Uint8Array(await response.arrayBuffer()), answers)
      return tasks.filter(({ cid }) => {
        const receipt = ok && receiptIn(ok.message, `${cid}`)
        return receipt?.out.ok && isDelegation(receipt.fx.join as never)
      }).length
    },
  }
}

/** The published way: `@ucanto/server` and `@ucanto/client`, with a handler that does the same work. */
const openStock = async (): Promise<Way> => {
  const [storefront, aggregator] = [storefrontKey, aggregatorKey].map(key => ed25519.parse(key!)) as [
    ReturnType<typeof ed25519.parse>,
    ReturnType<typeof ed25519.parse>,
  ]
  const { engine, clear } = openMemory(resources)
  const stores = openStores(engine, formats, { now: NOW })
  const queues = openQueues(engine, messages)
  const storefronts = configuredPeers([{ did: storefront.did() }])
  const list = listByMessage({ stores, queues, limitsOf: () => LIMITS, timing: TIMING, now: NOW })
  let message = {}
  const handler = async ({ capability, invocation }: { capability: never; invocation: never }) => {
    const { nb, with: resource } = capability as { nb: { piece: Piece; group: string }; with: string }
    const { piece, group } = nb
    const { issuer, nonce } = invocation as { issuer: Signer; nonce?: string }
    if (resource !== aggregator.did() && !(await storefronts.find(resource as never)))
      return { error: { name: 'UnknownStorefront', message: resource } }
    const decoded = decodePiece(piece)
    if (decoded.error) return decoded
    if (!canHold(piece, LIMITS.paddedBytes))
      return { error: { name: 'InvalidPieceCID', message: `${piece}` } }
    const { size } = decoded.ok
    const offer = { storefront: issuer.did(), group, piece: `${piece}`, size, nonce }
    const id = pieceId(offer)
    const accept = await invoke({
      issuer: aggregator,
      audience: aggregator,
      capability: { can: 'piece/accept', with: aggregator.did(), nb: { piece, group } },
      expiration: Infinity,
      ...(nonce !== undefined && { nonce }),
    } as never).delegate()
    const packed = await accept.archive()
    if (packed.error) throw packed.error
    const inserted = await stores.piece.insert(newPiece({ ...offer, id, acceptTask: packed.ok }, NOW()))
    await list(message, { record: inserted.ok ?? inserted.error.record, isNew: inserted.ok !== undefined })
    return succeed({ piece }).join(accept as never)
  }
  const server = create({
    id: aggregator as never,
    codec: CAR.inbound as never,
    service: {
      piece: { offer: provideAdvanced({ capability: pieceOffer as never, handler: handler as never }) },
    },
    validateAuthorization: () => ({ ok: {} }),
  } as never)
  const connection = connect({ id: aggregator, codec: CAR.outbound, channel: server } as never)
  const delegation = await Delegation.delegate({
    issuer: aggregator,
    audience: storefront,
    capabilities: [{ can: 'piece/offer', with: aggregator.did() }],
    expiration: Infinity,
  } as never)
  const authorities = {
    'self-issued': { with: storefront.did() },
    'one delegation': { with: aggregator.did(), proofs: [delegation] },
  }
  return {
    clear,
    async offer(authorization, pieces) {
      message = {}
      const { with: resource, ...proofs } = authorities[authorization] as { with: string }
      const invocations = pieces.map(piece =>
        invoke({
          issuer: storefront,
          audience: aggregator,
          capability: { can: 'piece/offer', with: resource, nb: { piece, group: GROUP } },
          expiration: Infinity,
          ...proofs,
        } as never),
      )
      const receipts = (await connection.execute(...(invocations as never as [never]))) as unknown as {
        out: { ok?: object }
        fx: { join?: object }
      }[]
      return receipts.filter(({ out, fx }) => out.ok && isDelegation(fx.join as never)).length
    },
  }
}

let seeds = 0
const batchesOf = (batch: number, invocations: number): Piece[][] =>
  Array.from({ length: Math.ceil(invocations / batch) }, () =>
    Array.from({ length: batch }, () => somePiece(seeds++)),
  )

interface Cost {
  processorMs: number
  elapsedMs: number
}

setFlagsFromString('--expose-gc')
/** A full collection would also clear what V8 learned about types, which a service keeps. */
const collectGarbage = runInNewContext('gc') as (options: { type: 'minor' }) => void

/** Offers pieces in messages of one size, and returns the cost of an invocation. */
const measure = async (
  way: Way,
  authorization: Authorization,
  batches: readonly Piece[][],
): Promise<Cost> => {
  way.clear()
  // Of the way that was measured before.
  collectGarbage({ type: 'minor' })
  const before = process.cpuUsage()
  const start = performance.now()
  let promised = 0
  for (const pieces of batches) promised += await way.offer(authorization, pieces)
  const elapsedMs = performance.now() - start
  const { user, system } = process.cpuUsage(before)
  const count = batches.reduce((sum, { length }) => sum + length, 0)
  if (promised !== count) throw new Error(`${promised} of ${count} offers were promised`)
  return { processorMs: (user + system) / 1000 / count, elapsedMs: elapsedMs / count }
}

const medianOf = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1]!
const medians = (costs: readonly Cost[]): Cost => ({
  processorMs: medianOf(costs.map(({ processorMs }) => processorMs)),
  elapsedMs: medianOf(costs.map(({ elapsedMs }) => elapsedMs)),
})

/** The package that a function of a CPU profile is in; `undefined` if the caller's package counts. */
const packageOf = ({ functionName, url }: { functionName: string; url: string }): string | undefined => {
  if (functionName === '(garbage collector)') return 'garbage collection'
  if (functionName.startsWith('(')) return 'V8 and libuv'
  // Functions of V8 and of Node in C++, e.g. the one that signs.
  if (url === '') return undefined
  if (url.startsWith('node:internal/crypto')) return 'node:crypto'
  if (url.startsWith('node:internal/deps/undici')) return 'undici'
  if (url.startsWith('node:')) return 'other of Node'
  const installed = /node_modules\/((?:@[^/]+\/)?[^/]+)\/(?!.*node_modules)/.exec(url)?.[1]
  return installed ?? /\/(packages\/[^/]+|bench)\//.exec(url)?.[1] ?? url
}

/** Returns the share of each package in the time of one case, from the largest. */
const profile = async (
  way: Way,
  authorization: Authorization,
  batch: number,
): Promise<[string, number][]> => {
  const batches = batchesOf(batch, PROFILED_INVOCATIONS)
  const session = new Session()
  session.connect()
  await session.post('Profiler.enable')
  await session.post('Profiler.setSamplingInterval', { interval: 200 })
  await session.post('Profiler.start')
  await measure(way, authorization, batches)
  const { profile } = await session.post('Profiler.stop')
  session.disconnect()
  const packages = new Map<number, string>()
  const callers = new Map(
    profile.nodes.flatMap(({ id, children = [] }) => children.map(child => [child, id])),
  )
  for (const { id, callFrame } of profile.nodes)
    packages.set(id, packageOf(callFrame) ?? packages.get(callers.get(id) ?? 0) ?? 'V8 and libuv')
  const times = new Map<string, number>()
  for (const [n, id] of (profile.samples ?? []).entries()) {
    const name = packages.get(id)!
    times.set(name, (times.get(name) ?? 0) + (profile.timeDeltas?.[n] ?? 0))
  }
  const total = [...times.values()].reduce((sum, time) => sum + time, 0)
  return [...times]
    .map(([name, time]): [string, number] => [name, time / total])
    .toSorted(([, a], [, b]) => b - a)
}

const describeShares = (shares: readonly [string, number][]): string =>
  shares
    .filter(([, share]) => share >= 0.01)
    .map(([name, share]) => `${name} ${(share * 100).toFixed(0)} %`)
    .join(', ')

/**
 * Measures a round trip of `piece/offer`: build, sign, encode, serve, read. Ours is the aggregator behind its HTTP API, called as
 * services call one another. The published way has no HTTP. Both keep records in memory, and neither verifies the receipt.
 */
export const run = async (): Promise<Table> => {
  const [ours, stock] = await Promise.all([openOurs(), openStock()])
  const costs = CASES.map(() => ({ ours: [] as Cost[], stock: [] as Cost[] }))
  // A service runs warm: both have optimized code before the first round.
  for (const { authorization } of CASES.filter(({ batch }) => batch === 10))
    for (const way of [ours, stock]) await measure(way, authorization, batchesOf(10, WARM_UP_INVOCATIONS))
  for (let round = 0; round < ROUNDS; round++)
    for (const [n, { authorization, batch }] of CASES.entries()) {
      const measured = {
        ours: await measure(ours, authorization, batchesOf(batch, INVOCATIONS.ours)),
        stock: await measure(stock, authorization, batchesOf(batch, INVOCATIONS.stock)),
      }
      costs[n]!.ours.push(measured.ours)
      costs[n]!.stock.push(measured.stock)
    }
  const results = CASES.map((one, n) => {
    const { ours, stock } = costs[n]!
    // The ratio of each round, because other work on the machine slows down both of a round.
    const ratio = medianOf(ours.map(({ processorMs }, round) => stock[round]!.processorMs / processorMs))
    return { ...one, ours: medians(ours), stock: medians(stock), ratio }
  })
  const profiles = [
    { authorization: 'self-issued', batch: 1 },
    { authorization: 'one delegation', batch: 100 },
  ] as const
  const shares: string[] = []
  for (const { authorization, batch } of profiles)
    shares.push(
      `Ours, ${authorization}, batch ${batch}: ${describeShares(await profile(ours, authorization, batch))}`,
    )
  return {
    title: 'Round trip of an invocation: build, sign, encode, serve, read',
    columns: ['authority', 'batch', 'published ms CPU', 'ours ms CPU', 'ratio', 'published ms', 'ours ms'],
    rows: results.map(({ authorization, batch, ours, stock, ratio }) => [
      authorization,
      batch,
      ...[stock.processorMs, ours.processorMs].map(ms => ms.toFixed(3)),
      `${ratio.toFixed(1)}×`,
      ...[stock.elapsedMs, ours.elapsedMs].map(ms => ms.toFixed(3)),
    ]),
    aims: results.flatMap(({ authorization, batch, ratio, ...one }): Aim[] =>
      'aim' in one
        ? [
            {
              name: `CPU of an invocation, ${authorization}, batch ${batch}`,
              aim: `≥ ${one.aim}× less`,
              seen: `${ratio.toFixed(1)}×`,
              met: ratio >= one.aim,
            },
          ]
        : [],
    ),
    notes: [
      `Medians of ${ROUNDS} rounds of ${INVOCATIONS.ours} invocations of ours and ${INVOCATIONS.stock} of the published way, in turns; per invocation. CPU is that of the whole process.`,
      'Ours includes HTTP in the process (Request, Hono, Response), checks the hashes of the blocks in the answer, and bounds its proofs. The published way does none of these.',
      ...shares,
    ],
  }
}

if (import.meta.main) console.dir(await run(), { depth: 5, maxStringLength: null, breakLength: 160 })
