import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type Place, toMetadata } from '@w3filecoin/capabilities'
import { Chain, CONTRACTS } from '@w3filecoin/local/chain'
import { type AnyLink, decodePiece, encodePiece, toV1 } from '@w3filecoin/piece'
import { somePiece } from '@w3filecoin/testing'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type ChainNodeOptions, chainNode, type Proof, verify } from '../src/index.ts'
import { createWorld, type World } from './world.ts'

const { verifier } = CONTRACTS
const open: { close: () => unknown }[] = []
afterEach(() => Promise.all(open.splice(0).map(({ close }) => close())))

let world: World
let aggregate: AnyLink
beforeAll(async () => {
  world = await createWorld()
  aggregate = (await world.issue()).aggregate
})

const naming = (place: Place): Promise<Proof> =>
  world.issue({ out: { ok: { ...world.ok, aux: toMetadata(place, 9_000) } } })
const verifyAt = async (place: Place, url: string, options?: ChainNodeOptions) =>
  verify(await naming(place), { storefront: world.storefront.did(), node: chainNode(url, options) })

describe('verify with a node of the chain, a proof that names a PDP data set,', () => {
  const place: Place = { type: 'pdp', chain: 31_415_926, verifier, dataSet: 7, piece: 1 }
  let chain: Chain
  let url: string

  beforeEach(async () => {
    chain = new Chain()
    const server = await chain.listen()
    open.push(server)
    url = server.url
    chain.createDataSet(7, { payer: `0x${'01'.repeat(20)}`, providerId: 3 })
    chain.addPieces(7, [somePiece('another', 30), aggregate, somePiece('third', 30)])
    chain.advance(10)
  })
  const ask = (
    change: object = {},
    options: ChainNodeOptions = { verifier: verifier.toUpperCase().replace('X', 'x') },
  ) => verifyAt({ ...place, ...change }, url, options)

  it('shows that the data set has the aggregate, byte for byte', async () => {
    const by = new URL(url).origin
    const report = await ask()
    expect(report.node).toEqual({ by, status: 'Active', epoch: 10_005 })
    expect(report.proves.at(-1)).toBe(
      `${by} shows that ${report.place} contains the aggregate, and is Active at epoch 10005.`,
    )
    expect(report.doesNotProve.join()).not.toContain('exists on chain')
    expect(report.doesNotProve.join()).toContain('That the provider answers these challenges')
  })

  it('rejects a proof that names the piece of another aggregate', async () => {
    for (const piece of [0, 2])
      await expect(ask({ piece })).rejects.toMatchObject({
        code: 'PlaceMismatch',
        message: expect.stringContaining(`${aggregate}`),
      })
    // The root alone is not the piece: it has a size.
    const { root, height } = decodePiece(aggregate).ok!
    const [id] = chain.addPieces(7, [encodePiece({ root, height, padding: 127n })])
    chain.advance(10)
    await expect(ask({ piece: id })).rejects.toMatchObject({ code: 'PlaceMismatch' })
  })

  it.each([
    ['a piece that never existed', () => ({ piece: 3 })],
    ['a data set that never existed', () => ({ dataSet: 8 })],
    ['a removed piece', () => chain.remove(7, 1)],
    ['a deleted data set', () => chain.deleteDataSet(7)],
  ])('does not find %s', async (_, change) => {
    const more = change() ?? {}
    chain.advance(10)
    const { node, doesNotProve } = await ask(more)
    expect(node).toMatchObject({ status: 'NotFound', epoch: 10_015 })
    expect(doesNotProve.join()).toContain('does not show it at epoch 10015')
  })

  it('does not find a piece that is not final', async () => {
    const [piece] = chain.addPieces(7, [aggregate])
    expect((await ask({ piece })).node?.status).toBe('NotFound')
    chain.advance(10)
    expect((await ask({ piece })).node?.status).toBe('Active')
  })

  it('does not ask a contract that the reader does not trust: it may name any piece', async () => {
    for (const options of [{}, { verifier: `0x${'a2'.repeat(20)}` }]) {
      const { node, doesNotProve } = await ask({}, options)
      expect(node).toEqual({ by: new URL(url).origin, status: 'UnknownVerifier' })
      expect(doesNotProve.join()).toContain('not the PDPVerifier whose data sets count')
    }
    expect(chain.calls).toEqual([])
  })

  it('trusts the PDPVerifier of mainnet, and needs a node of its chain', async () => {
    const mainnet = { chain: 314, verifier: '0xbadd0b92c1c71d02e7d520f64c0876538fa2557f' }
    await expect(ask(mainnet, {})).rejects.toMatchObject({
      code: 'WrongChain',
      message: expect.stringContaining('a node of the chain 31415926, not 314'),
    })
    // It has no such contract, so nothing answers there.
    chain.faults = { chainId: 314 }
    await expect(ask(mainnet, {})).rejects.toMatchObject({ code: 'InvalidAnswer' })
  })

  it('knows nothing if the node fails', async () => {
    chain.faults = { nullRounds: new Set([10_005]) }
    await expect(ask()).rejects.toMatchObject({
      code: 'InvalidAnswer',
      message: expect.stringContaining('null round'),
    })
  })
})

describe('verify with a node of the chain, a proof that names a deal,', () => {
  const place: Place = { type: 'market', dealID: 42 }
  const head = { Cids: [{ '/': 'bafy2bzace' }], Blocks: [], Height: 5_000 }
  /** The answers of the node, by method. Another text is the message of an error. */
  let answers: Record<string, unknown>
  let asked: { method: string; params: unknown[] }[]
  let url: string

  const deal = ({ proposal = {}, state = {} }: { proposal?: object; state?: object } = {}) => ({
    Proposal: {
      PieceCID: { '/': `${toV1(aggregate).ok!.root}` },
      PieceSize: decodePiece(aggregate).ok!.size,
      StartEpoch: 100,
      EndEpoch: 6_000,
      ...proposal,
    },
    State: { SectorNumber: 9, SectorStartEpoch: 90, LastUpdatedEpoch: -1, SlashEpoch: -1, ...state },
  })

  beforeEach(async () => {
    asked = []
    answers = { 'Filecoin.ChainGetFinalizedTipSet': head, 'Filecoin.StateMarketStorageDeal': deal() }
    const server = createServer(async (request, response) => {
      let body = ''
      for await (const chunk of request) body += chunk
      const { id, method, params } = JSON.parse(body)
      asked.push({ method, params })
      const answer = answers[method]
      const outcome =
        typeof answer === 'string' ? { error: { code: 1, message: answer } } : { result: answer }
      response.end(JSON.stringify({ jsonrpc: '2.0', id, ...outcome }))
    })
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    open.push({ close: () => server.close() })
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/rpc/v1`
  })

  it('shows at the last finalized tipset that the deal has the piece and the size of the aggregate', async () => {
    expect((await verifyAt(place, url)).node).toEqual({
      by: new URL(url).origin,
      status: 'Active',
      epoch: 5_000,
    })
    expect(asked).toEqual([
      { method: 'Filecoin.ChainGetFinalizedTipSet', params: [] },
      { method: 'Filecoin.StateMarketStorageDeal', params: [42, head.Cids] },
    ])
  })

  it.each([
    ['Pending', { state: { SectorStartEpoch: -1 } }],
    ['Expired', { proposal: { EndEpoch: 5_000 } }],
    ['Terminated', { state: { SlashEpoch: 4_000 } }],
  ])('reports a deal that is %s', async (status, change) => {
    answers['Filecoin.StateMarketStorageDeal'] = deal(change)
    const { node, place: words, proves } = await verifyAt(place, url)
    expect(node).toMatchObject({ status })
    expect(proves.at(-1)).toContain(`${words} contains the aggregate, and is ${status} at epoch 5000`)
  })

  it('rejects a proof that names the deal of another aggregate', async () => {
    const other = { PieceCID: { '/': `${toV1(somePiece('another', 16)).ok!.root}` } }
    for (const proposal of [other, { PieceSize: 2 ** 17 }]) {
      answers['Filecoin.StateMarketStorageDeal'] = deal({ proposal })
      await expect(verifyAt(place, url)).rejects.toMatchObject({ code: 'PlaceMismatch' })
    }
  })

  it('does not find a deal that the market does not have', async () => {
    answers['Filecoin.StateMarketStorageDeal'] =
      'deal 42 not found - deal may not have completed sealing before deal proposal start epoch, or deal may have been slashed'
    expect((await verifyAt(place, url)).node).toMatchObject({ status: 'NotFound', epoch: 5_000 })
  })

  it('knows nothing if the node fails, or answers in another form', async () => {
    const answer = 'Filecoin.StateMarketStorageDeal'
    for (const wrong of [
      'failed to load state tree',
      'deal 421 not found',
      null,
      7,
      {},
      { Proposal: null, State: null },
      deal({ proposal: { EndEpoch: '6000' } }),
      deal({ state: { SlashEpoch: undefined } }),
    ]) {
      answers[answer] = wrong
      await expect(verifyAt(place, url), JSON.stringify(wrong)).rejects.toMatchObject({
        code: 'InvalidAnswer',
      })
    }
    for (const tipset of [{}, { Height: 5_000 }, { Cids: [], Height: '5000' }]) {
      answers = { 'Filecoin.ChainGetFinalizedTipSet': tipset, [answer]: deal() }
      await expect(verifyAt(place, url)).rejects.toMatchObject({ code: 'InvalidAnswer' })
    }
  })

  it('says that it cannot check a sector, and sends nothing', async () => {
    const { node, doesNotProve } = await verifyAt({ type: 'sector', miner: 'f01001', sector: 77 }, url)
    expect(node).toEqual({ by: new URL(url).origin, status: 'NotChecked' })
    expect(doesNotProve.join()).toContain('a place of this kind cannot be checked')
    expect(asked).toEqual([])
  })
})
