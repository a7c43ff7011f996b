import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { zstdCompressSync } from 'node:zlib'
import { delegate } from '@ucanto/core'
import type { Delegation, Signer } from '@ucanto/interface'
import { type DealInfoQuestion, type DealInfoSuccess, dealInfo, epochToMs } from '@w3filecoin/capabilities'
import { type PieceLink, toV1 } from '@w3filecoin/piece'
import {
  Authority,
  ConfigurationError,
  configuredPeers,
  openQueues,
  openStores,
  putValue,
  readConfig,
} from '@w3filecoin/runtime'
import { ask, type Provided, signersOf, somePiece, startWorld, type World } from '@w3filecoin/testing'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { stageNamed } from '../../../stacks/stages.ts'
import { configSchema } from '../src/config.ts'
import { createDealTracker } from '../src/deal-tracker.ts'
import { BATCHING } from '../src/domain/batching.ts'
import { toPieceKey } from '../src/domain/deal.ts'
import { messages } from '../src/queues.ts'
import { resources } from '../src/resources.ts'
import { openSource } from '../src/sources/open-source.ts'
import { tables } from '../src/stores.ts'
import { type Replica, replica } from './replica.ts'

const EPOCH = 1000
const END = 5000

/** The kinds of places that a file of active replicas has. */
const types = ['market', 'provider']

describe('the deal tracker', () => {
  let world: World
  let aws: Provided<typeof resources>
  let signers: Record<'tracker' | 'client' | 'stranger', Signer>
  /** The files that the HTTP server serves, by path. */
  const files = new Map<string, Uint8Array>()
  const web = createServer((request, response) => {
    const file = files.get(request.url as string)
    if (file) response.writeHead(200).end(file)
    else response.writeHead(500).end('Out of order')
  })

  beforeAll(async () => {
    world = await startWorld()
    aws = await world.provide(resources)
    signers = await signersOf('tracker', 'client', 'stranger')
    const listening = Promise.withResolvers<void>()
    web.listen(0, '127.0.0.1', listening.resolve)
    await listening.promise
  })
  afterAll(async () => {
    web.close()
    await world?.stop()
  })

  /** Starts a tracker with its own clock. Tests share the tables, so each test uses its own sources and pieces. */
  const start = (...names: string[]) => {
    const batching = names.includes('a1-open') ? { rangeDeals: 1 } : BATCHING
    const { tracker, client, stranger } = signers
    const clock = { now: epochToMs(EPOCH) }
    const logged: unknown[][] = []
    const measured: unknown[][] = []
    const origin = `http://127.0.0.1:${(web.address() as AddressInfo).port}`
    const now = () => clock.now
    const stores = openStores(aws, tables, {
      now,
      log: (...line) => logged.push(line),
      metrics: (...values) => measured.push(values),
    })
    const service = createDealTracker({
      id: tracker,
      stores,
      queues: openQueues(aws, messages),
      clients: configuredPeers([{ did: client.did() }]),
      sources: names.map(name =>
        openSource({ name, kind: 'active-replicas', url: `${origin}/${name}` }, { fetch }),
      ),
      limits: { maxAgeMs: 3 * 24 * 3600 * 1000, maxLossShare: 0.5 },
      batching,
      checks: [],
      authority: new Authority(),
      dialects: [],
      now,
      log: (...line) => logged.push(line),
      metrics: (...values) => measured.push(values),
    })
    const { api, consumers, schedules } = aws.host(service)
    const [first = ''] = names
    let nonce = 0
    const info = async (
      piece: PieceLink,
      options: { issuer?: Signer; with?: Signer; proofs?: Delegation[]; nb?: DealInfoQuestion } = {},
    ) => {
      const { issuer = client, with: resource = issuer, proofs = [], nb = { piece } } = options
      const receipt = await ask(
        api,
        dealInfo.invoke({
          issuer,
          audience: tracker,
          with: resource.did(),
          nb: nb as never,
          nonce: `${nonce++}`,
          proofs,
        }),
      )
      return receipt.out
    }
    return {
      api,
      clock,
      logged,
      measured,
      blocks: stores.blocks,
      sources: stores.source,
      deals: stores.deal,
      update: consumers.update!,
      settle: () => aws.settle(consumers),
      sync: schedules.sync!,
      source: (name = first) => stores.source.get({ name }),
      deal: (piece: PieceLink, id: number) =>
        stores.deal.get({ piece: toPieceKey(toV1(piece).ok!), deal: `${id}@${first}` }),
      publish: (
        replicas: unknown[],
        { name = first, epoch = EPOCH }: { name?: string; epoch?: number } = {},
      ) => {
        const file = JSON.stringify({ state_epoch: epoch, active_replicas: replicas })
        files.set(`/${name}`, zstdCompressSync(file))
      },
      info,
      /** Returns how recent the knowledge of each source is. */
      asOf: async (piece: PieceLink) => {
        const { ok, error } = await info(piece)
        return ((ok ?? error) as Pick<DealInfoSuccess, 'asOf'>).asOf
      },
      delegateTo: (audience: Signer) =>
        delegate({
          issuer: tracker,
          audience,
          capabilities: [{ can: 'deal/info', with: tracker.did() }],
        }),
      tracker,
      stranger,
    }
  }
  const piecesOf = (seed: string, count: number): PieceLink[] =>
    Array.from({ length: count }, (_, n) => somePiece(`${seed} ${n}`, 30))

  it('T1: deal/info reports every known deal of an aggregate', async () => {
    const { publish, sync, settle, info } = start('t1')
    const piece = somePiece('t1', 30)
    publish([replica(piece, [11, END], [12, EPOCH]), replica(somePiece('t1 other', 30), [13, END])])
    await sync()
    await settle()
    const common = {
      provider: 'f01001',
      storageProvider: 'f01001',
      pieceCid: `${toV1(piece).ok!.root}`,
      created: '2020-08-25T06:20:00.000Z',
      updated: '2020-08-25T06:20:00.000Z',
      seen: { at: '2020-08-25T06:20:00.000Z', epoch: EPOCH },
    }
    expect(await info(piece)).toEqual({
      ok: {
        deals: {
          '11': { ...common, status: 'Active', expiration: '2020-08-26T15:40:00.000Z' },
          '12': { ...common, status: 'Expired', expiration: '2020-08-25T06:20:00.000Z' },
        },
        places: [],
        asOf: [{ source: 't1', types, at: '2020-08-25T06:20:00.000Z', epoch: EPOCH }],
      },
    })
  })

  it('T2: deal/info reports that no deal of an aggregate is known', async () => {
    const piece = somePiece('t2', 30)
    const { error } = await start().info(piece)
    expect(error).toEqual({
      name: 'DealNotFound',
      message: `No deal of ${piece} is known. The deal tracker has no source of deals.`,
      piece,
      asOf: [],
    })
  })

  it('A1, T2: deal/info reports how recent the knowledge of every configured source is', async () => {
    const { publish, sync, settle, info, asOf, clock } = start('a1-one', 'a1-two')
    const piece = somePiece('a1', 30)
    expect(await asOf(piece)).toEqual([
      { source: 'a1-one', types },
      { source: 'a1-two', types },
    ])
    publish([])
    await expect(sync()).rejects.toThrow('a1-two')
    await settle()
    const { error } = await info(piece)
    expect(error).toEqual({
      name: 'DealNotFound',
      message: `No deal of ${piece} is known. By source: a1-one was read last at 2020-08-25T06:20:00.000Z, when it knew the chain until 2020-08-25T06:20:00.000Z; a1-two was never read completely.`,
      piece,
      asOf: [
        { source: 'a1-one', types, at: '2020-08-25T06:20:00.000Z', epoch: EPOCH },
        { source: 'a1-two', types },
      ],
    })
    // A source that is not configured any more is not reported.
    clock.now = epochToMs(EPOCH + 1)
    expect(await start('a1-two').asOf(piece)).toEqual([{ source: 'a1-two', types }])
  })

  it('A1: a source that is not configured any more cannot keep a deal live that another source lost', async () => {
    const { publish, sync, settle } = start('a1-removed', 'a1-kept')
    const piece = somePiece('a1 removed', 30)
    const only = somePiece('a1 removed only', 30)
    const rest = replica(somePiece('a1 removed rest', 30), [33, END])
    publish([replica(piece, [31, END]), replica(only, [32, END]), rest])
    publish([replica(piece, [31, END]), rest], { name: 'a1-kept' })
    await sync()
    await settle()

    const after = start('a1-kept')
    after.clock.now = epochToMs(EPOCH + 1)
    after.publish([rest], { epoch: EPOCH + 1 })
    await after.sync()
    await after.settle()
    expect(await after.info(piece)).toMatchObject({ ok: { deals: { '31': { status: 'Terminated' } } } })
    expect(await after.info(only)).toMatchObject({ error: { name: 'DealNotFound' } })
    // Its records are still there: it may be configured again.
    const both = await start('a1-kept', 'a1-removed').info(only)
    expect(both).toMatchObject({ ok: { deals: { '32': { status: 'Active' } } } })
  })

  it('A1: a run that changes nothing counts as good; a failed run leaves the last good one', async () => {
    const { publish, sync, settle, asOf, clock } = start('a1-runs')
    const pieces = piecesOf('a1-runs', 4)
    const all = pieces.map((piece, n) => replica(piece, [21 + n, END]))
    const read = async (epoch: number, clockEpoch: number, records: Replica[] | undefined) => {
      clock.now = epochToMs(clockEpoch)
      if (records) publish(records, { epoch })
      else files.delete('/a1-runs')
      await sync().catch(() => {})
      await settle()
      return (await asOf(pieces[0]!))[0]
    }
    const good = { source: 'a1-runs', types, at: '2020-08-25T06:20:00.000Z', epoch: EPOCH }
    expect(await read(EPOCH, EPOCH, all)).toEqual(good)
    expect(await read(EPOCH, EPOCH + 1, all)).toEqual({ ...good, at: '2020-08-25T06:20:30.000Z' })
    const last = { ...good, at: '2020-08-25T06:21:00.000Z', epoch: EPOCH + 1 }
    expect(await read(EPOCH + 1, EPOCH + 2, all)).toEqual(last)
    expect(await read(EPOCH + 2, EPOCH + 3, undefined), 'dead').toEqual(last)
    expect(await read(EPOCH + 2, EPOCH + 3, []), 'refused').toEqual(last)
    expect(await read(EPOCH, EPOCH + 3, all), 'stale').toEqual(last)
  })

  it('A1: a run counts as good only when its last range is written', async () => {
    const { publish, sync, info, asOf, source, update } = start('a1-open')
    const pieces = piecesOf('a1-open', 2)
    const other = somePiece('a1-open other', 30)
    publish(pieces.map((piece, n) => replica(piece, [n + 31, END])))
    await sync()
    await aws.drain('update')
    const { changesCid: changes } = (await source())!
    expect(await source()).toMatchObject({ rangesToWrite: [0, 1] })
    for (const range of [1, 1, 0]) {
      expect(await asOf(other)).toEqual([{ source: 'a1-open', types }])
      expect(await update.handle([update.decode({ source: 'a1-open', changes, range })])).toEqual([
        { ok: {} },
      ])
    }
    expect(await asOf(other)).toEqual([
      { source: 'a1-open', types, at: '2020-08-25T06:20:00.000Z', epoch: EPOCH },
    ])
    expect(await info(pieces[1]!)).toMatchObject({ ok: { deals: { '32': {} } } })
  }, 60_000)

  it('A1: a run that ends while deal/info reads does not vouch for the deals that were read before it', async () => {
    const { publish, sync, settle, info, asOf, deals } = start('a1-race')
    const piece = somePiece('a1-race', 30)
    publish([replica(piece, [39, END])])
    // The run ends after the query has read the table of deals.
    const list = deals.list.bind(deals)
    deals.list = async (...read) => {
      const page = await list(...read)
      await sync()
      await settle()
      return page
    }
    expect(await asOf(piece)).toEqual([{ source: 'a1-race', types }])
    expect((await info(piece)).ok).toBeDefined()
  })

  it('A1: a report with malformed records is accepted, and does not show that a deal does not exist', async () => {
    const { publish, sync, settle, asOf, info, clock } = start('a1-broken')
    const [piece, other] = piecesOf('a1-broken', 2) as [PieceLink, PieceLink]
    publish([])
    await sync()
    clock.now = epochToMs(EPOCH + 5)
    publish([replica(piece, [41, END]), { contracts: 3 }], { epoch: EPOCH + 5 })
    await sync()
    await settle()
    expect(await asOf(other)).toEqual([
      { source: 'a1-broken', types, at: '2020-08-25T06:20:00.000Z', epoch: EPOCH },
    ])
    expect(await info(piece)).toMatchObject({ ok: { deals: { '41': { status: 'Active' } } } })
  })

  it('A1: of a record of earlier code no good run is known, until the next run', async () => {
    const { publish, sync, source, sources, asOf } = start('a1-earlier')
    const piece = somePiece('a1-earlier', 30)
    publish([])
    await sync()
    const { good: _, refused: __, ...earlier } = (await source())!
    await sources.replace(earlier)
    expect(await asOf(piece)).toEqual([{ source: 'a1-earlier', types }])
    await sync()
    expect(await asOf(piece)).toEqual([
      { source: 'a1-earlier', types, at: '2020-08-25T06:20:00.000Z', epoch: EPOCH },
    ])
  })

  it('A1: warns at start if it has no source', () => {
    expect(start().logged).toEqual([
      ['warn', expect.stringContaining('no source of deals'), expect.anything()],
    ])
    expect(start('a1-warns').logged).toEqual([])
  })

  it('A4: deal/info reports the label and the client of a deal, and when it was seen first', async () => {
    const { publish, sync, settle, info, clock } = start('a4-label')
    const piece = somePiece('a4-label', 30)
    const [record] = [replica(piece, [42, END])]
    const labelled = (label?: string) => ({
      ...record,
      contracts: [{ ...record!.contracts[0], label, client_id: 1131298 }],
    })
    publish([labelled()])
    await sync()
    await settle()
    const seen = { at: '2020-08-25T06:20:00.000Z', epoch: EPOCH }
    expect(await info(piece)).toMatchObject({ ok: { deals: { '42': { client: 'f01131298', seen } } } })
    clock.now = epochToMs(EPOCH + 9)
    publish([labelled('bafkzci/kD3.json')], { epoch: EPOCH + 9 })
    await sync()
    await settle()
    expect(await info(piece)).toMatchObject({
      ok: { deals: { '42': { label: 'bafkzci/kD3.json', client: 'f01131298', seen } } },
    })
  })

  it('K7: deal/info names the aggregate as `aggregate` or as `piece`, and fails if it names none or two', async () => {
    const { publish, sync, settle, info } = start('k7')
    const [piece, other] = piecesOf('k7', 2) as [PieceLink, PieceLink]
    publish([replica(piece, [81, END])])
    await sync()
    await settle()
    const ask = (nb: DealInfoQuestion) => info(piece, { nb })
    for (const nb of [{ piece }, { aggregate: piece }, { piece, aggregate: piece }])
      expect(await ask(nb)).toMatchObject({ ok: { deals: { '81': { status: 'Active' } } } })
    expect(await ask({ aggregate: other })).toMatchObject({ error: { name: 'DealNotFound', piece: other } })
    for (const nb of [{}, { piece, aggregate: other }])
      expect(await ask(nb)).toMatchObject({
        error: {
          name: 'MalformedCapability',
          field: 'nb.piece',
          expected: expect.stringContaining('nb.aggregate'),
        },
      })
  })

  it('K7: deal/info reports the data and the activation of a deal, and reads records that lack them', async () => {
    const { publish, sync, settle, info, clock, deal } = start('k7-data')
    const piece = somePiece('k7-data', 30)
    const record = replica(piece, [82, END])
    publish([record])
    await sync()
    await settle()
    expect(await deal(piece, 82)).not.toHaveProperty('dataCid')
    expect(Object.keys(((await info(piece)).ok as DealInfoSuccess).deals['82']!)).not.toContain('dataCid')
    const root = 'bafybeia22rwl3x3kwyfe6k4hnh3wwzhyr4uulm4rqkxd6ydjm5ut5cqinu'
    const contracts = [{ ...record.contracts[0], activation_epoch: EPOCH - 5 }]
    clock.now = epochToMs(EPOCH + 1)
    publish([{ ...record, contracts, optional_dag_root: root }], { epoch: EPOCH + 1 })
    await sync()
    await settle()
    const activation = new Date(epochToMs(EPOCH - 5)).toISOString()
    const known = { dataCid: root, activation, created: '2020-08-25T06:20:00.000Z' }
    expect(await info(piece)).toMatchObject({ ok: { deals: { '82': known } } })
  })

  it('A4: a market id of 0 or none is a place: known on chain, and not a deal', async () => {
    const { publish, sync, settle, info, clock } = start('a4-place')
    const [piece, both] = piecesOf('a4-place', 2) as [PieceLink, PieceLink]
    const pieceCid = `${toV1(piece).ok!.root}`
    const others = piecesOf('a4-place other', 5).map((piece, n) => replica(piece, [51 + n, END]))
    const place = replica(piece, [0, END])
    const endless = { ...place, contracts: [{ provider_id: 1002 }] }
    const next = async (epoch: number, records: unknown[]) => {
      clock.now = epochToMs(epoch)
      publish(records, { epoch })
      await sync()
      await settle()
      const { ok } = await info(piece)
      return ok
    }
    const ended = { provider: 'f01001', expiration: '2020-08-26T15:40:00.000Z', pieceCid }
    const open = { provider: 'f01002', pieceCid }
    expect(await next(EPOCH, [place, endless, replica(both, [0, END], [61, END]), ...others])).toMatchObject({
      deals: {},
      places: [
        { ...ended, status: 'Active' },
        { ...open, status: 'Active' },
      ],
    })
    expect(await info(both)).toMatchObject({ ok: { deals: { '61': {} }, places: [{ status: 'Active' }] } })
    // The next report lacks both places, and the one after it lists them again.
    expect(await next(EPOCH + 1, [replica(both, [61, END]), ...others])).toMatchObject({
      places: [{ status: 'Terminated' }, { status: 'Terminated' }],
    })
    expect(await next(EPOCH + 2, [place, endless, ...others])).toMatchObject({
      places: [{ status: 'Active' }, { status: 'Active' }],
    })
    clock.now = epochToMs(END)
    expect((await info(piece)).ok).toMatchObject({ places: [{ status: 'Expired' }, { status: 'Active' }] })
  })

  it('A7: after a run with a clock ten days ahead, the next run with a right clock is accepted', async () => {
    const { publish, sync, settle, info, asOf, clock, deal } = start('a7')
    const [piece, news] = piecesOf('a7', 2) as [PieceLink, PieceLink]
    const other = somePiece('a7 other', 30)
    const ahead = EPOCH + 10 * 2880
    const end = ahead + 100_000
    clock.now = epochToMs(ahead)
    publish([replica(piece, [71, end])], { epoch: ahead })
    await sync()
    await settle()
    expect(await asOf(other)).toEqual([
      { source: 'a7', types, at: new Date(epochToMs(ahead)).toISOString(), epoch: ahead },
    ])

    // The clock is right again. Reports from the future do not count.
    clock.now = epochToMs(EPOCH + 10)
    expect(await asOf(other)).toEqual([{ source: 'a7', types }])
    publish([replica(piece, [71, end + 1]), replica(news, [72, end])], { epoch: EPOCH + 10 })
    await sync()
    await settle()
    const at = new Date(epochToMs(EPOCH + 10)).toISOString()
    expect(await asOf(other)).toEqual([{ source: 'a7', types, at, epoch: EPOCH + 10 }])
    expect(await info(news)).toMatchObject({
      ok: { deals: { '72': { created: at, seen: { epoch: EPOCH + 10 } } } },
    })
    expect(await deal(piece, 71)).toMatchObject({ endEpoch: end + 1, updated: epochToMs(EPOCH + 10) })
    // And the runs after it are ordered as always.
    publish([replica(news, [72, end])], { epoch: EPOCH + 9 })
    await expect(sync()).rejects.toThrow('before epoch')
  })

  it('B4: deal/info refuses a piece with more deals than one answer may have', async () => {
    const { deals, info } = start('b4-many')
    const piece = somePiece('b4 many', 30)
    const key = toPieceKey(toV1(piece).ok!)
    await deals.putMany(
      Array.from({ length: 5001 }, (_, n) => ({
        piece: key,
        deal: `${n + 1}@b4-many`,
        place: { type: 'market' as const, dealID: n + 1 },
        provider: 'f01',
        endEpoch: END,
        created: 0,
        updated: 0,
      })),
    )
    expect(await info(piece)).toMatchObject({ error: { name: 'TooManyDeals' } })
    await deals.removeMany([{ piece: key, deal: '1@b4-many' }])
    const { ok } = await info(piece)
    expect(Object.keys((ok as { deals: object }).deals)).toHaveLength(5000)
  })

  it('B4: begins each run with another source, so that none keeps the others from being read', async () => {
    const { sync, clock, logged } = start('b4-one', 'b4-two', 'b4-three')
    const order = async () => {
      logged.length = 0
      await sync().catch(() => {})
      return logged.flatMap(([, event, fields]) =>
        event === 'source not synced' ? (fields as { source: string }).source : [],
      )
    }
    const orders = []
    for (let n = 0; n < 3; n++) {
      orders.push(await order())
      clock.now += resources.schedules.sync.everySeconds * 1000
    }
    expect(new Set(orders.map(([first]) => first)).size).toBe(3)
    for (const sources of orders) expect(sources.toSorted()).toEqual(['b4-one', 'b4-three', 'b4-two'])
  })

  it('T2: deal/info distinguishes pieces with the same root and different sizes', async () => {
    const { publish, sync, settle, info } = start('t2')
    const piece = somePiece('t2 size', 30)
    publish([{ ...replica(piece, [21, END]), piece_log2_size: 34 }])
    await sync()
    await settle()
    expect(await info(piece)).toMatchObject({ error: { name: 'DealNotFound' } })
  })

  it('T3: deal/info reports the status at the time of the invocation', async () => {
    const { publish, sync, settle, info, clock } = start('t3')
    const piece = somePiece('t3', 30)
    const others = piecesOf('t3', 2).map((piece, n) => replica(piece, [33 + n, END]))
    const next = async (epoch: number, replicas: Replica[]) => {
      clock.now = epochToMs(epoch)
      publish(replicas, { epoch })
      await sync()
      await settle()
    }
    const statuses = async () => {
      const { ok, error } = await info(piece)
      if (error) throw error
      const { deals } = ok as { deals: Record<string, { status: string }> }
      return Object.entries(deals).map(([id, { status }]) => `${id} ${status}`)
    }
    await next(EPOCH, [replica(piece, [31, END]), ...others])
    expect(await statuses()).toEqual(['31 Active'])
    await next(EPOCH + 1, others)
    expect(await statuses()).toEqual(['31 Terminated'])
    expect(await info(piece)).toMatchObject({
      ok: { deals: { '31': { created: '2020-08-25T06:20:00.000Z', updated: '2020-08-25T06:20:30.000Z' } } },
    })
    await next(EPOCH + 2, [replica(piece, [31, END], [32, END + 1]), ...others])
    expect(await statuses()).toEqual(['31 Active', '32 Active'])
    clock.now = epochToMs(END)
    expect(await statuses()).toEqual(['31 Expired', '32 Active'])
    // The source drops a deal at its end. The tracker keeps it.
    await next(END, [replica(piece, [32, END + 1])])
    expect(await statuses()).toEqual(['31 Expired', '32 Active'])
  })

  it('answers configured clients and holders of its delegation, and refuses other issuers', async () => {
    const { info, stranger, tracker, delegateTo } = start()
    const piece = somePiece('who', 30)
    const unknown = { error: { name: 'DealNotFound' } }
    expect(await info(piece)).toMatchObject(unknown)
    expect(await info(piece, { issuer: stranger })).toMatchObject({ error: { name: 'UnknownClient' } })
    expect(await info(piece, { issuer: stranger, with: tracker })).toMatchObject({
      error: { name: 'Unauthorized' },
    })
    const proofs = [await delegateTo(stranger)]
    expect(await info(piece, { issuer: stranger, with: tracker, proofs })).toMatchObject(unknown)
  })

  it('changes no deal when it reads the same file again, and stores that it was read', async () => {
    const { publish, sync, settle, source, deal } = start('same')
    const piece = somePiece('same', 30)
    publish([replica(piece, [41, END])])
    await sync()
    await settle()
    const [before, record] = [await source(), await deal(piece, 41)]
    await sync()
    expect(await source()).toMatchObject({ snapshotCid: before?.snapshotCid, revision: before!.revision + 1 })
    expect(await aws.drain('update')).toEqual([])
    publish([replica(piece, [41, END])], { epoch: EPOCH + 1 })
    await sync()
    expect(await source()).toMatchObject({ stateEpoch: EPOCH + 1, snapshotCid: before?.snapshotCid })
    expect(await aws.drain('update')).toEqual([])
    expect(await deal(piece, 41)).toEqual(record)
  })

  it('writes its snapshot again in every run, so that S3 keeps it while the source fails', async () => {
    const { blocks, publish, sync, settle, source } = start('kept')
    publish([replica(somePiece('kept', 30), [45, END])])
    await sync()
    await settle()
    const put = vi.spyOn(blocks, 'put')
    files.delete('/kept')
    await expect(sync()).rejects.toThrow('Failed to sync sources: kept')
    const written = await Promise.all(put.mock.results.map(({ value }) => value))
    expect(written.map(String)).toEqual([(await source())?.snapshotCid])
  })

  it('writes new deals in a file of the same epoch', async () => {
    const { publish, sync, settle, info } = start('epoch')
    const [a, b] = piecesOf('epoch', 2) as [PieceLink, PieceLink]
    publish([replica(a, [51, END])])
    await sync()
    await settle()
    publish([replica(a, [51, END]), replica(b, [52, END])])
    await sync()
    await settle()
    expect(await info(b)).toMatchObject({ ok: { deals: { '52': { status: 'Active' } } } })
  })

  it('reads a file that is not compressed', async () => {
    const { sync, settle, info } = start('plain')
    const piece = somePiece('plain', 30)
    files.set(
      '/plain',
      Buffer.from(JSON.stringify({ active_replicas: [replica(piece, [61, END])], state_epoch: EPOCH })),
    )
    await sync()
    await settle()
    expect(await info(piece)).toMatchObject({ ok: { deals: { '61': { status: 'Active' } } } })
  })

  it('skips and counts malformed records', async () => {
    const { publish, sync, settle, info, source, logged } = start('malformed')
    const piece = somePiece('malformed', 30)
    publish([
      null,
      { contracts: 3 },
      { ...replica(piece, [71, END]), piece_cid: 'x' },
      replica(piece, [72, END]),
    ])
    await sync()
    await settle()
    expect(await info(piece)).toMatchObject({ ok: { deals: { '72': {} } } })
    expect(await source()).toMatchObject({ deals: 1, malformed: 3, refused: 0 })
    expect(logged).toContainEqual([
      'warn',
      'report incomplete, so it does not show that a deal does not exist',
      { source: 'malformed', url: expect.stringMatching('/malformed$'), malformed: 3, refused: 0 },
    ])
  })

  it('fails the run when it refuses a report, and still syncs the other sources', async () => {
    const { publish, sync, settle, info, source, logged } = start('bad', 'good')
    const good = piecesOf('good', 2) as [PieceLink, PieceLink]
    const pieces = piecesOf('bad', 4)
    const bad = pieces.map((piece, n) => replica(piece, [81 + n, END]))
    publish(bad)
    publish([], { name: 'good' })
    await sync()
    await settle()
    const before = await source()

    publish(bad.slice(3))
    publish([replica(good[0], [91, END])], { name: 'good' })
    await expect(sync()).rejects.toThrow('bad (It lost 3 of the 4 live deals in the last accepted report)')
    await settle()
    expect(await source()).toEqual(before)
    expect(await info(good[0])).toMatchObject({ ok: { deals: { '91': { status: 'Active' } } } })
    expect(await info(pieces[0]!)).toMatchObject({ ok: { deals: { '81': { status: 'Active' } } } })
    expect(logged).toContainEqual([
      'error',
      'source not synced',
      {
        source: 'bad',
        url: expect.stringMatching('/bad$'),
        cause: expect.objectContaining({ name: 'SourceLostDeals' }),
      },
    ])
  })

  it.each<[string, Uint8Array | undefined, string]>([
    ['answers with an error', undefined, 'answered 500'],
    ['serves an empty file', Buffer.from(''), 'no state_epoch'],
    ['serves HTML', Buffer.from('<html></html>'), 'Unexpected'],
    ['serves JSON of another shape', Buffer.from('{"error":"gone"}'), 'no state_epoch'],
    ['serves truncated JSON', Buffer.from('{"state_epoch":1000,"active_replicas":[{'), 'mid-parsing'],
    [
      'serves truncated zstd',
      zstdCompressSync('{"state_epoch":1000,"active_replicas":[]}').subarray(0, -3),
      'unexpected end of file',
    ],
  ])('fails the run when a source %s', async (_, file, message) => {
    const { sync, source } = start('broken')
    if (file) files.set('/broken', file)
    else files.delete('/broken')
    await expect(sync()).rejects.toThrow(message)
    expect(await source()).toBeUndefined()
  })

  it('writes large changes in ranges, and the next run waits until all are written', async () => {
    const { publish, sync, settle, source, info, update, clock, logged, measured } = start('ranges')
    const pieces = piecesOf('ranges', 201)
    const all = pieces.map((piece, n) =>
      replica(piece, ...Array.from({ length: 5 }, (_, m): [number, number] => [10_000 + 5 * n + m, END])),
    )
    publish(all)
    await sync()
    const first = await source()
    expect(first).toMatchObject({ rangesToWrite: [0, 1], deals: 1005, changed: 1005 })
    // The messages are lost, and the source lists a new deal.
    expect(await aws.drain('update')).toHaveLength(2)
    const news = somePiece('ranges news', 30)
    publish([...all, replica(news, [20_000, END])])
    await sync()
    expect(await source()).toEqual(first)
    expect(measured).toEqual([])
    clock.now += 90_000
    await settle()
    expect(await source()).toMatchObject({ rangesToWrite: [], changesCid: first?.changesCid })
    const run = { record: 'source', id: 'ranges', epoch: first?.stateEpoch, deals: 1005, changed: 1005 }
    expect(
      logged.filter(([, event]) => event === 'stage entered').map(([, , fields]) => fields),
    ).toMatchObject([
      { ...run, stage: 'writing', ranges: 2 },
      { ...run, stage: 'written', from: 'writing', afterSeconds: 90, ranges: 0 },
    ])
    const dimensions = { record: 'source', stage: 'writing' }
    expect(measured).toContainEqual([{ StageSeconds: 90 }, dimensions])
    for (const piece of [pieces[0]!, pieces.at(-1)!]) {
      const { ok } = await info(piece)
      expect(Object.keys((ok as { deals: object }).deals)).toHaveLength(5)
    }
    await sync()
    expect(measured).toContainEqual([
      { SourceAgeSeconds: 90, SourceEpoch: first?.stateEpoch },
      { source: 'ranges' },
    ])
    await settle()
    expect(await info(news)).toMatchObject({ ok: { deals: { '20000': {} } } })
    // A late message of the first run changes nothing.
    const message = update.decode({ source: 'ranges', changes: first?.changesCid, range: 0 })
    const after = await source()
    expect(await update.handle([message])).toEqual([{ ok: {} }])
    expect(await source()).toEqual(after)
  })

  it('writes the same records when a range is written twice, concurrently, or again after a crash', async () => {
    const { publish, sync, source, sources, deals, update, deal } = start('twice')
    const [a, b] = piecesOf('twice', 2) as [PieceLink, PieceLink]
    publish([replica(a, [101, END]), replica(b, [102, END])])
    await sync()
    const open = (await source())!
    await aws.drain('update')
    const message = update.decode({ source: 'twice', changes: open.changesCid, range: 0 })
    await Promise.all([update.handle([message]), update.handle([message])])
    const written = [await deal(a, 101), await deal(b, 102)]
    expect(written).toEqual(
      [101, 102].map(dealID => expect.objectContaining({ place: { type: 'market', dealID } })),
    )
    // The state after a crash: one deal is not written, and the range is still open.
    await sources.replace({ ...(await source())!, rangesToWrite: [0] })
    await deals.removeMany([{ piece: written[1]!.piece, deal: written[1]!.deal }])
    expect(await update.handle([message])).toEqual([{ ok: {} }])
    expect([await deal(a, 101), await deal(b, 102)]).toEqual(written)
    expect(await source()).toMatchObject({ rangesToWrite: [] })
  })

  it('writes a range that earlier code stored, with ids and numbers of providers', async () => {
    const { publish, sync, source, sources, blocks, update, info } = start('yesterday')
    const piece = somePiece('yesterday', 30)
    publish([])
    await sync()
    const row = { piece: toPieceKey(toV1(piece).ok!), provider: 1001, created: 5, updated: 5, run: 2 }
    const rows = [
      { ...row, deal: '81@yesterday', id: 81, endEpoch: END },
      { ...row, deal: 'f01001@yesterday', id: 0, endEpoch: 0 },
    ]
    const changes = await putValue(blocks, [await putValue(blocks, rows)])
    await sources.replace({ ...(await source())!, changesCid: changes, rangesToWrite: [0] })
    expect(await update.handle([update.decode({ source: 'yesterday', changes, range: 0 })])).toEqual([
      { ok: {} },
    ])
    expect(await info(piece)).toMatchObject({
      ok: {
        deals: { 81: { provider: 'f01001', status: 'Active' } },
        places: [{ type: 'provider', key: 'f01001', provider: 'f01001', status: 'Active' }],
      },
    })
  })

  it('commits one of two concurrent runs', async () => {
    const one = start('race')
    const other = start('race')
    const piece = somePiece('race', 30)
    one.publish([replica(piece, [111, END])])
    await Promise.all([one.sync(), other.sync()])
    await one.settle()
    expect(await one.source()).toMatchObject({ revision: 2, rangesToWrite: [] })
    expect(await one.info(piece)).toMatchObject({ ok: { deals: { '111': { status: 'Active' } } } })
  })
})

describe('the configuration', () => {
  const source = { name: 'a', kind: 'active-replicas', url: 'https://example.com/a.zst' }
  it('fills in defaults', () => {
    expect(configSchema.parse({})).toEqual({
      attestors: [],
      aliases: [],
      dialects: [],
      clients: [],
      didWeb: { allowPrivate: false },
      sources: [],
      maxAgeSeconds: 259_200,
      maxLossShare: 0.1,
      production: false,
      timing: { retrySeconds: 60, pollSeconds: 900, redeliverySeconds: 10 },
    })
  })
  it.each([
    ['two sources with the same name', { sources: [source, source] }],
    ['a source of an unknown kind', { sources: [{ ...source, kind: 'chain' }] }],
    ['a source without an HTTP address', { sources: [{ ...source, url: 'file:///etc/passwd' }] }],
    ['a share above one', { maxLossShare: 10 }],
    ['an unknown field', { maxLos: 0.1 }],
    ['more sources than one run reads', { sources: [1, 2, 3, 4, 5].map(n => ({ ...source, name: `${n}` })) }],
  ])('is refused with %s', (_, config) => {
    expect(configSchema.safeParse(config).success).toBe(false)
  })

  it('A1: is refused without a source if the stage is production', () => {
    const read = (config: object) => readConfig(configSchema, { CONFIG: JSON.stringify(config) })
    const message =
      'CONFIG: sources is [], but the stage is production, which must know deals: list at least one source'
    expect(() => read({ production: true })).toThrow(new ConfigurationError([message]))
    expect(() => read({ production: true, sources: [] })).toThrow(message)
    expect(read({ production: true, sources: [source] }).production).toBe(true)
    expect(read({}).sources).toEqual([])
  })
})

describe('A1: the stages', () => {
  const sources = [{ name: 'a', kind: 'active-replicas' as const, url: 'https://example.com/a.zst' }]
  it('refuse to deploy production without a source', () => {
    expect(() => stageNamed('production', { production: {} })).toThrow(
      'The stage production has no source of deals. Set dealTracker.sources of this stage in stacks/settings.ts',
    )
    expect(() => stageNamed('production', {})).toThrow('no source of deals')
    expect(stageNamed('production', { production: { dealTracker: { sources } } })).toMatchObject({
      production: true,
      dealTracker: { sources },
    })
  })

  it('may lack a source if they are not production', () => {
    expect(stageNamed('trial', {})).toMatchObject({ production: false, dealTracker: {} })
  })
})
