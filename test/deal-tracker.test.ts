import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { delegate } from '@ucanto/core'
import type { Receipt, Signer } from '@ucanto/interface'
import { ed25519 } from '@ucanto/principal'
import type { Deal, DealNotFound, SourceState } from '@w3filecoin/capabilities'
import { type PieceLink, toV1 } from '@w3filecoin/piece'
import { somePiece } from '@w3filecoin/testing'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { invoke } from './invoke.ts'
import { fetchReceipt, PATIENCE } from './receipts.ts'
import { useSystem } from './system.ts'

/** The chain's start, in seconds since 1970, and the length of its epochs. */
const GENESIS_SECONDS = 1_598_306_400
const EPOCH_SECONDS = 30
/** Epochs of a day. */
const DAY = (24 * 3600) / EPOCH_SECONDS
const epochNow = () => Math.floor((Date.now() / 1000 - GENESIS_SECONDS) / EPOCH_SECONDS)
const timeOf = (epoch: number) => new Date((GENESIS_SECONDS + epoch * EPOCH_SECONDS) * 1000).toISOString()

interface ChainDeal {
  id: number
  provider: number
  endEpoch: number
  activationEpoch?: number
}

/** The deals on the chain, by aggregate. Each test changes them. */
const chain = new Map<PieceLink, ChainDeal[]>()
/** The roots of the data in aggregates, where the source has them. */
const roots = new Map<PieceLink, unknown>()

/** Returns the file of active replicas that the deal tracker reads. */
const activeReplicas = () => ({
  state_epoch: epochNow(),
  active_replicas: [...chain].map(([piece, deals]) => ({
    piece_cid: `${toV1(piece).ok?.root}`,
    piece_log2_size: toV1(piece).ok?.log2Size,
    optional_dag_root: roots.get(piece) ?? null,
    contracts: deals.map(({ id, provider, endEpoch, activationEpoch }) => ({
      provider_id: provider,
      legacy_market_id: id,
      legacy_market_end_epoch: endEpoch,
      activation_epoch: activationEpoch,
    })),
  })),
})

let source: Server
beforeAll(async () => {
  source = createServer((_, response) => response.end(JSON.stringify(activeReplicas())))
  await new Promise<void>(resolve => source.listen(0, '127.0.0.1', resolve))
})
afterAll(() => source.close())

const system = useSystem({
  configure: (role, config) => {
    if (role !== 'dealTracker') return config
    const url = `http://127.0.0.1:${(source.address() as AddressInfo).port}/`
    // This chain is so small that one terminated deal is a large share of it.
    return { ...config, maxLossShare: 1, sources: [{ name: 'chain', kind: 'active-replicas', url }] }
  },
})

const askAs = (issuer: Signer, nb: Record<string, unknown>, nonce?: string): Promise<Receipt> =>
  invoke(system.at('dealTracker'), { issuer, can: 'deal/info', nb, nonce })
const ask = (piece: PieceLink, nonce?: string): Promise<Receipt> =>
  askAs(ed25519.parse(system.local.agent.key), { piece }, nonce)
const errorNameOf = ({ out }: Receipt) => (out.error as { name: string } | undefined)?.name
const dealsIn = ({ out }: Receipt): Record<string, Deal> =>
  (out.ok as { deals: Record<string, Deal> } | undefined)?.deals ?? {}

let nonces = 0
/** Asks until the deals of an aggregate are as expected: the tracker reads the chain at an interval. */
const awaitDeals = (piece: PieceLink, expected: Record<string, unknown>): Promise<Record<string, Deal>> =>
  vi.waitFor(async () => {
    nonces += 1
    const deals = dealsIn(await ask(piece, `${nonces}`))
    expect(deals).toEqual(expected)
    return deals
  }, PATIENCE)

/** A time in ISO 8601. */
const TIME = expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/)

/** The kinds of places that the source of the system can see. */
const TYPES = ['market', 'provider']

/** Returns a deal in the form of `deal/info`. */
const infoOf = (piece: PieceLink, { provider, endEpoch }: ChainDeal, status: string) => ({
  provider: `f0${provider}`,
  storageProvider: `f0${provider}`,
  status,
  pieceCid: `${toV1(piece).ok?.root}`,
  expiration: timeOf(endEpoch),
  created: TIME,
  updated: TIME,
  seen: { at: TIME, epoch: expect.any(Number) },
  ...(status === 'Terminated' && { reason: 'The source does not list it any more' }),
})

test('T1: deal/info returns every deal of an aggregate, and no others', async () => {
  const [aggregate, other] = [somePiece('T1', 20), somePiece('T1 other', 20)]
  const [one, two, ended, elsewhere] = [
    { id: 11, provider: 1001, endEpoch: epochNow() + 500 * DAY },
    { id: 12, provider: 1002, endEpoch: epochNow() + 400 * DAY },
    { id: 13, provider: 1001, endEpoch: epochNow() - DAY },
    { id: 14, provider: 1003, endEpoch: epochNow() + 500 * DAY },
  ] as const
  chain.set(aggregate, [one, two, ended])
  chain.set(other, [elsewhere])
  await awaitDeals(aggregate, {
    11: infoOf(aggregate, one, 'Active'),
    12: infoOf(aggregate, two, 'Active'),
    13: infoOf(aggregate, ended, 'Expired'),
  })
  await awaitDeals(other, { 14: infoOf(other, elsewhere, 'Active') })
})

test('T1: deal/info reports deals that are renewed, expired or terminated on chain', async () => {
  const aggregate = somePiece('T1 changes', 20)
  const renewed = { id: 21, provider: 1001, endEpoch: epochNow() + 10 * DAY }
  const ended = { id: 22, provider: 1002, endEpoch: epochNow() + 10 * DAY }
  const terminated = { id: 23, provider: 1003, endEpoch: epochNow() + 10 * DAY }
  chain.set(aggregate, [renewed, ended, terminated])
  const before = await awaitDeals(aggregate, {
    21: infoOf(aggregate, renewed, 'Active'),
    22: infoOf(aggregate, ended, 'Active'),
    23: infoOf(aggregate, terminated, 'Active'),
  })

  renewed.endEpoch += 500 * DAY
  ended.endEpoch = epochNow() - 1
  chain.set(aggregate, [renewed, ended])
  const after = await awaitDeals(aggregate, {
    21: infoOf(aggregate, renewed, 'Active'),
    22: infoOf(aggregate, ended, 'Expired'),
    23: infoOf(aggregate, terminated, 'Terminated'),
  })
  for (const id of ['21', '22', '23'] as const) {
    expect(after[id]?.created).toBe(before[id]?.created)
    expect(Date.parse(after[id]?.updated as string)).toBeGreaterThan(
      Date.parse(before[id]?.updated as string),
    )
  }
})

test('T2: deal/info of an aggregate without a deal on chain fails with DealNotFound, and says how recent that is', async () => {
  const aggregate = somePiece('T2', 20)
  const asked = epochNow()
  // Sources are read at an interval. A run after the question shows that there was no deal when it was asked.
  const { out, fx } = await vi.waitFor(async () => {
    nonces += 1
    const receipt = await ask(aggregate, `${nonces}`)
    expect(receipt.out.error).toMatchObject({ asOf: [{ epoch: expect.any(Number) }] })
    return receipt
  }, PATIENCE)
  expect(out).toEqual({
    error: {
      name: 'DealNotFound',
      message: expect.stringMatching(
        new RegExp(
          `^No deal of ${aggregate} is known\\. By source: chain was read last at .*Z, when it knew the chain until`,
        ),
      ),
      piece: aggregate,
      asOf: [{ source: 'chain', types: TYPES, at: TIME, epoch: expect.any(Number) }],
    },
  })
  const [{ epoch }] = (out.error as unknown as DealNotFound).asOf as [SourceState]
  expect(epoch).toBeGreaterThanOrEqual(asked - 120)
  expect(fx).toEqual({ fork: [] })
})

test('T1, A4: deal/info reports a piece on chain without a market id as a place, and not as a deal', async () => {
  const aggregate = somePiece('T1 place', 20)
  const place = { id: 0, provider: 1004, endEpoch: epochNow() + 10 * DAY }
  chain.set(aggregate, [place])
  const { ok } = await vi.waitFor(async () => {
    nonces += 1
    const { out } = await ask(aggregate, `${nonces}`)
    expect(out.ok).toBeDefined()
    return out
  }, PATIENCE)
  expect(ok).toEqual({
    deals: {},
    places: [
      {
        type: 'provider',
        key: 'f01004',
        provider: 'f01004',
        status: 'Active',
        expiration: timeOf(place.endEpoch),
        pieceCid: `${toV1(aggregate).ok?.root}`,
        epoch: expect.any(Number),
        seen: { at: TIME, epoch: expect.any(Number) },
      },
    ],
    asOf: [{ source: 'chain', types: TYPES, at: TIME, epoch: expect.any(Number) }],
  })
})

test('K7: deal/info names the aggregate as `aggregate` or `piece`, and reports dataCid and activation where the source has them', async () => {
  const [known, malformed] = [somePiece('K7', 20), somePiece('K7 malformed', 20)]
  const root = 'bafybeia22rwl3x3kwyfe6k4hnh3wwzhyr4uulm4rqkxd6ydjm5ut5cqinu'
  const active = {
    id: 41,
    provider: 1001,
    endEpoch: epochNow() + 10 * DAY,
    activationEpoch: epochNow() - 10 * DAY,
  }
  const other = { id: 42, provider: 1002, endEpoch: epochNow() + 10 * DAY }
  chain.set(known, [active, other])
  roots.set(known, root)
  chain.set(malformed, [{ id: 43, provider: 1001, endEpoch: other.endEpoch }])
  roots.set(malformed, { not: 'a CID' })
  const deals = {
    41: { ...infoOf(known, active, 'Active'), dataCid: root, activation: timeOf(active.activationEpoch) },
    42: { ...infoOf(known, other, 'Active'), dataCid: root },
  }
  await awaitDeals(known, deals)
  // A root that is not a CID does not make the record malformed.
  await awaitDeals(malformed, { 43: infoOf(malformed, { ...other, provider: 1001 }, 'Active') })

  // The aggregator of the system is a client of the deal tracker.
  const aggregator = system.signer('aggregator')
  for (const nb of [{ aggregate: known }, { piece: known }, { aggregate: known, piece: known }])
    expect(dealsIn(await askAs(aggregator, nb))).toEqual(deals)
  for (const nb of [{}, { aggregate: known, piece: malformed }])
    expect((await askAs(aggregator, nb)).out.error).toMatchObject({
      name: 'MalformedCapability',
      field: 'nb.piece',
      expected: expect.stringContaining('nb.aggregate'),
    })
  expect((await askAs(aggregator, { aggregate: somePiece('K7 none', 20) })).out.error).toMatchObject({
    name: 'DealNotFound',
    piece: somePiece('K7 none', 20),
  })
})

test('K7: a delegation of deal/info for one aggregate covers this aggregate under both names, and no other', async () => {
  const tracker = system.signer('dealTracker')
  const [piece, other] = [somePiece('K7 delegated', 20), somePiece('K7 other', 20)]
  const issuer = await ed25519.generate()
  for (const name of ['aggregate', 'piece']) {
    const proof = await delegate({
      issuer: tracker,
      audience: issuer,
      capabilities: [{ can: 'deal/info', with: tracker.did(), nb: { [name]: piece } }],
    })
    const nameOf = async (nb: Record<string, unknown>) => {
      const request = { issuer, can: 'deal/info', with: tracker.did(), nb, proofs: [proof] } as const
      return errorNameOf(await invoke(system.at('dealTracker'), request))
    }
    expect(await nameOf({ piece })).toBe('DealNotFound')
    expect(await nameOf({ aggregate: piece })).toBe('DealNotFound')
    for (const nb of [{ piece: other }, { aggregate: other }, {}])
      expect(await nameOf(nb)).toBe('Unauthorized')
    expect(await nameOf({ piece, aggregate: other })).toMatch(/^(Unauthorized|MalformedCapability)$/)
  }
})

test('T3: a query with another nonce returns the present state, and no answer is stored as a receipt', async () => {
  const aggregate = somePiece('T3', 20)
  const deal = { id: 31, provider: 1001, endEpoch: epochNow() + 10 * DAY }
  const before = await ask(aggregate, 'before')
  expect(before.out.error).toMatchObject({ name: 'DealNotFound' })
  chain.set(aggregate, [deal])
  await awaitDeals(aggregate, { 31: infoOf(aggregate, deal, 'Active') })
  const live = await ask(aggregate, 'live')
  expect(dealsIn(live)).toEqual({ 31: infoOf(aggregate, deal, 'Active') })
  chain.delete(aggregate)
  await awaitDeals(aggregate, { 31: infoOf(aggregate, deal, 'Terminated') })
  const gone = await ask(aggregate, 'gone')
  expect(dealsIn(gone)).toEqual({ 31: infoOf(aggregate, deal, 'Terminated') })

  const tasks = [before, live, gone].map(({ ran }) => `${ran.link()}`)
  expect(new Set(tasks).size).toBe(3)
  for (const task of tasks) expect(await fetchReceipt(system.at('dealTracker'), task)).toBeUndefined()
})
