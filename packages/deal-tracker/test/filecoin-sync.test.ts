import { Delegation, invoke } from '@ucanto/core'
import type { DID, Proof, Signer } from '@ucanto/interface'
import { dealInfo, epochToMs } from '@w3filecoin/capabilities'
import type { FilecoinNode } from '@w3filecoin/local/filecoin-node'
import type { PieceLink } from '@w3filecoin/piece'
import { Authority, configuredPeers, openQueues, openStores } from '@w3filecoin/runtime'
import { ask, type Provided, signersOf, somePiece, startWorld, type World } from '@w3filecoin/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createDealTracker } from '../src/deal-tracker.ts'
import { BATCHING } from '../src/domain/batching.ts'
import { MAX_WATCHED } from '../src/domain/watch.ts'
import { messages } from '../src/queues.ts'
import { resources } from '../src/resources.ts'
import { openSource } from '../src/sources/open-source.ts'
import { tables } from '../src/stores.ts'
import { listWatched, watchDeal } from '../src/watch-deal.ts'
import { configOf, startNode } from './filecoin.ts'

const END = 600_000
const DAY_MS = 24 * 60 * 60 * 1000

describe('the deal tracker with nodes of Filecoin', () => {
  let world: World
  let aws: Provided<typeof resources>
  let signers: Record<'tracker' | 'client' | 'stranger', Signer>
  let node: FilecoinNode
  let server: { url: string; close: () => Promise<void> }

  beforeAll(async () => {
    world = await startWorld()
    aws = await world.provide(resources)
    signers = await signersOf('tracker', 'client', 'stranger')
    node = startNode()
    server = await node.chain.listen()
  })
  afterAll(async () => {
    await server?.close()
    await world?.stop()
  })

  const open = () => {
    const clock = { now: epochToMs(10_000) }
    const now = () => clock.now
    const stores = openStores(aws, tables, { now, log: () => {}, metrics: () => {} })
    return { clock, stores, now }
  }

  const start = () => {
    const { tracker, client } = signers
    const { clock, stores, now } = open()
    const rpc = [server.url]
    const service = createDealTracker({
      id: tracker,
      stores,
      queues: openQueues(aws, messages),
      clients: configuredPeers([{ did: client.did() }]),
      sources: [
        configOf({ name: 'sectors', kind: 'sector', rpc, miners: ['f01000'] }),
        configOf({ name: 'market', kind: 'f05', rpc }),
      ].map(config => openSource(config, { fetch })),
      limits: { maxAgeMs: 3 * DAY_MS, maxLossShare: 0.5 },
      batching: BATCHING,
      checks: [],
      authority: new Authority(),
      dialects: [],
      now,
      log: () => {},
      metrics: () => {},
    })
    const { api, consumers, schedules } = aws.host(service)
    let nonce = 0
    return {
      stores,
      now,
      watch: async (
        nb: { dealID: number; source?: string },
        issuer = client,
        { proofs = [], ...by }: { with?: DID; proofs?: Proof[] } = {},
      ) => {
        const capability = { can: 'deal/watch', with: issuer.did(), nb, ...by } as const
        const invocation = invoke({ issuer, audience: tracker, capability, nonce: `${nonce++}`, proofs })
        return (await ask(api, invocation)).out
      },
      run: async () => {
        clock.now = epochToMs(node.chain.head)
        await schedules.sync!()
        await aws.settle(consumers)
      },
      info: async (piece: PieceLink) => {
        const invocation = dealInfo.invoke({
          issuer: client,
          audience: tracker,
          with: client.did(),
          nb: { piece },
          nonce: `${nonce++}`,
          proofs: [],
        })
        return (await ask(api, invocation)).out
      },
    }
  }

  it('answers deal/info with sectors, and with deals whose ids were reported, as of a final epoch', async () => {
    const { run, info, watch, now } = start()
    const link = somePiece('filecoin-sync', 35)
    await run()
    expect((await info(link)).error).toMatchObject({
      name: 'DealNotFound',
      asOf: [
        { source: 'sectors', types: ['sector'], epoch: 9_994 },
        { source: 'market', types: ['market'], epoch: 9_994 },
      ],
    })

    node.activate('f01000', 77, [link], END)
    node.publishDeal(123, { link, client: 'f01131298', provider: 'f020378', endEpoch: END })
    node.startDeal(123)
    expect(await watch({ dealID: 123 })).toEqual({ ok: { sources: ['market'] } })
    node.chain.advance(30)
    await run()
    expect((await info(link)).ok).toMatchObject({
      deals: { '123': { provider: 'f020378', status: 'Active' } },
      places: [
        { type: 'sector', key: 'sector:f01000/77', provider: 'f01000', status: 'Active', epoch: 10_024 },
      ],
    })

    node.terminate('f01000', 77)
    node.chain.advance(30)
    await run()
    expect((await info(link)).ok).toMatchObject({
      deals: { '123': { status: 'Active' } },
      places: [
        {
          key: 'sector:f01000/77',
          status: 'Terminated',
          ended: new Date(now()).toISOString(),
          reason: 'The sector was terminated',
          expiration: new Date(epochToMs(END)).toISOString(),
        },
      ],
    })
  })

  it('keeps the count of refused pieces from one run of a source that reads events to the next', async () => {
    const { run, stores, ...dependencies } = start()
    await run()
    const record = await stores.source.get({ name: 'sectors' })
    await stores.source.replace({ ...record!, refused: 2 })
    node.chain.advance(30)
    await run()
    const after = await stores.source.get({ name: 'sectors' })
    expect([after?.refused, after?.stateEpoch]).toEqual([2, node.chain.finalized - 1])
    expect(after?.good).toEqual(record?.good)
    expect(dependencies.now()).toBe(epochToMs(node.chain.head))
  })

  it('takes reports of deals from its clients and holders of its delegation, and refuses other issuers', async () => {
    const { watch, stores } = start()
    const { tracker, stranger } = signers
    const rowOf = (dealID: number) => stores.watch.get({ source: 'market', deal: `${dealID}` })
    expect(await watch({ dealID: 401 }, stranger)).toMatchObject({ error: { name: 'UnknownClient' } })
    const by = { with: tracker.did() }
    expect(await watch({ dealID: 401 }, stranger, by)).toMatchObject({ error: { name: 'Unauthorized' } })
    expect(await rowOf(401)).toBeUndefined()
    const proof = await Delegation.delegate({
      issuer: tracker,
      audience: stranger,
      capabilities: [{ can: 'deal/watch', with: tracker.did() }],
    })
    expect(await watch({ dealID: 401 }, stranger, { ...by, proofs: [proof] })).toHaveProperty('ok')
    const row = await rowOf(401)
    expect(row).toMatchObject({ source: 'market', deal: '401' })
    expect(await watch({ dealID: 401, source: 'market' })).toEqual({ ok: { sources: ['market'] } })
    expect(await rowOf(401), 'a repeated report').toEqual(row)
  })

  it('refuses reports for a source that does not read them, and of deals that cannot exist', async () => {
    const { watch, stores } = start()
    for (const source of ['sectors', 'absent', ''])
      expect(await watch({ dealID: 402, source })).toMatchObject({
        error: { name: 'NoSource', message: expect.stringContaining('Those that do: market') },
      })
    for (const dealID of [0, -1, 0.5])
      expect(await watch({ dealID })).toMatchObject({
        error: { name: 'MalformedCapability', field: 'nb.dealID' },
      })
    const { items } = await stores.watch.list('market', { limit: 1000 })
    expect(items.map(({ deal }) => deal)).not.toContain('402')
    expect(items.every(({ deal }) => /^[1-9]\d*$/.test(deal))).toBe(true)
  })

  it('searches a reported deal for two weeks, and longer if it is reported again', async () => {
    const { clock, ...dependencies } = open()
    const list = async () => (await listWatched(dependencies, 'two weeks')).dealIDs
    await watchDeal(dependencies, 'two weeks', 7)
    clock.now += 13 * DAY_MS
    // Still searched: nothing changes.
    await watchDeal(dependencies, 'two weeks', 7)
    expect(await list()).toEqual([7])
    clock.now += 2 * DAY_MS
    expect(await list()).toEqual([])
    await watchDeal(dependencies, 'two weeks', 7)
    clock.now += 13 * DAY_MS
    expect(await list()).toEqual([7])
  })

  it('refuses to search more deals than its limit, and says so if there are more nevertheless', async () => {
    const { stores, now } = open()
    const row = (deal: number) => ({ source: 'full', deal: `${deal}`, expiresAt: now() / 1000 + 1 })
    await stores.watch.putMany(Array.from({ length: MAX_WATCHED }, (_, n) => row(n)))
    expect(await watchDeal({ stores, now }, 'full', 3)).toEqual({ ok: {} })
    expect(await watchDeal({ stores, now }, 'full', MAX_WATCHED)).toMatchObject({
      error: { name: 'TooManyDeals' },
    })
    expect(await listWatched({ stores, now }, 'full')).toMatchObject({ refused: 0 })
    await stores.watch.putMany([row(MAX_WATCHED)])
    const { dealIDs, refused } = await listWatched({ stores, now }, 'full')
    expect([dealIDs.length, refused]).toEqual([MAX_WATCHED, 1])
  })
})
