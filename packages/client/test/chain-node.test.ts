import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type Place, toMetadata } from '@w3filecoin/capabilities'
import { Chain, CONTRACTS } from '@w3filecoin/local/chain'
import { FilecoinNode } from '@w3filecoin/local/filecoin-node'
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

const naming = (aux: object): Promise<Proof> => world.issue({ out: { ok: { ...world.ok, aux } } })
const verifyAt = async (place: Place, url: string, options?: ChainNodeOptions, epoch = 9_000) =>
  verify(await naming(toMetadata(place, epoch)), {
    storefront: world.storefront.did(),
    node: chainNode(url, options),
  })

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
  let network: string
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
    network = 'mainnet'
    answers = { 'Filecoin.ChainGetFinalizedTipSet': head, 'Filecoin.StateMarketStorageDeal': deal() }
    const server = createServer(async (request, response) => {
      let body = ''
      for await (const chunk of request) body += chunk
      const { id, method, params } = JSON.parse(body)
      asked.push({ method, params })
      const answer = answers[method]
      const outcome =
        typeof answer === 'string' ? { error: { code: 1, message: answer } } : { result: answer }
      if (method === 'Filecoin.StateNetworkName') outcome.result = network
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
      { method: 'Filecoin.StateNetworkName', params: [] },
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
    for (const tipset of [{}, { Height: 5_000 }, { ...head, Cids: [] }, { ...head, Height: '5000' }]) {
      answers = { 'Filecoin.ChainGetFinalizedTipSet': tipset, [answer]: deal() }
      await expect(verifyAt(place, url)).rejects.toMatchObject({ code: 'InvalidAnswer' })
    }
  })

  it('needs a node of the same network: another one has other deals by the same ids', async () => {
    network = 'calibrationnet'
    const other = { PieceCID: { '/': `${toV1(somePiece('another', 16)).ok!.root}` } }
    answers['Filecoin.StateMarketStorageDeal'] = deal({ proposal: other })
    await expect(verifyAt(place, url)).rejects.toMatchObject({
      code: 'WrongChain',
      message: expect.stringContaining('a node of the network calibrationnet, not of mainnet'),
    })
    answers['Filecoin.StateMarketStorageDeal'] = deal()
    const { node } = await verifyAt(place, url, { network: 'calibrationnet' })
    expect(node).toMatchObject({ status: 'Active' })
  })

  it('says that it cannot check a place of a later kind, and sends nothing', async () => {
    const proof = await naming({ dataType: 3, dataSource: { moon: 1 } })
    const { node, doesNotProve } = await verify(proof, {
      storefront: world.storefront.did(),
      node: chainNode(url),
    })
    expect(node).toEqual({ by: new URL(url).origin, status: 'NotChecked' })
    expect(doesNotProve.join()).toContain('a place of this kind cannot be checked')
    expect(asked).toEqual([])
  })
})

describe('verify with a node of the chain, a proof that names a sector,', () => {
  const place = { type: 'sector', miner: 'f01001', sector: 77 } as const
  const DAY = 2_880
  const END = 600_000
  let chain: Chain
  let filecoin: FilecoinNode
  let url: string
  let by: string

  beforeEach(async () => {
    chain = new Chain()
    filecoin = new FilecoinNode(chain)
    filecoin.filecoinFaults = { network: 'mainnet' }
    const server = await chain.listen()
    open.push(server)
    url = server.url
    by = new URL(url).origin
    filecoin.activate(place.miner, 77, [somePiece('beside', 30), aggregate], END)
    chain.advance(10)
  })
  const ask = (change: object = {}, epoch?: number) => verifyAt({ ...place, ...change }, url, {}, epoch)
  const fail = (faults: FilecoinNode['filecoinFaults']) => {
    filecoin.filecoinFaults = { network: 'mainnet', ...faults }
  }

  it('shows at the last finalized tipset that the sector is live, and was activated with the aggregate', async () => {
    const { node, place: words, proves, doesNotProve } = await ask()
    expect(node).toEqual({ by, status: 'Active', epoch: 10_005 })
    expect(proves.at(-1)).toBe(
      `${by} shows that ${words} contains the aggregate, and is Active at epoch 10005.`,
    )
    expect(doesNotProve.join()).not.toContain('exists on chain')
    expect(chain.calls.map(method => method.replace('Filecoin.', ''))).toEqual([
      'StateNetworkName',
      'ChainGetFinalizedTipSet',
      'StateSectorGetInfo',
      'StateCall',
      'GetActorEventsRaw',
    ])
  })

  it('reports that the provider misses proofs', async () => {
    filecoin.changeSector(place.miner, 77, { status: 'faulty' })
    chain.advance(10)
    const { node, proves } = await ask()
    expect(node).toEqual({ by, status: 'Active', faulty: true, epoch: 10_015 })
    expect(proves.at(-1)).toContain('at epoch 10015, although its provider misses proofs.')
  })

  it('rejects a proof that names the sector of another aggregate', async () => {
    const { root, height } = decodePiece(aggregate).ok!
    const another = somePiece('another', 16)
    filecoin.activate('f01002', 77, [another], END)
    filecoin.activate(place.miner, 78, [another], END)
    filecoin.activate(place.miner, 79, [], END)
    // The root alone is not the piece: it has a size.
    filecoin.activate(place.miner, 80, [encodePiece({ root, height: height + 1, padding: 0n })], END)
    chain.advance(10)
    for (const other of [{ miner: 'f01002' }, { sector: 78 }, { sector: 79 }, { sector: 80 }])
      await expect(ask(other), JSON.stringify(other)).rejects.toMatchObject({
        code: 'PlaceMismatch',
        message: expect.stringContaining(`does not contain the aggregate ${aggregate}`),
      })
  })

  it.each([
    ['a sector that never existed', () => ({ sector: 78 })],
    ['a provider that never existed', () => ({ miner: 'f01009' })],
    [
      'a terminated sector that the provider has removed from its state',
      () => {
        filecoin.terminate(place.miner, 77)
        filecoin.changeSector(place.miner, 77, { isCompacted: true })
      },
    ],
  ])('does not find %s', async (_, change) => {
    const more = change() ?? {}
    chain.advance(10)
    const { node, doesNotProve } = await ask(more)
    expect(node).toEqual({ by, status: 'NotFound', epoch: 10_015 })
    expect(doesNotProve.join()).toContain('does not show it at epoch 10015')
  })

  it('does not find a sector of which a node of Forest says that it has none', async () => {
    const server = createServer((_, response) => {
      const error = { code: -32_603, message: 'Info for sector number 77 not found' }
      const result = mainnet.shift()
      response.end(
        JSON.stringify({ jsonrpc: '2.0', id: 1, ...(result === undefined ? { error } : { result }) }),
      )
    })
    const mainnet: unknown[] = ['mainnet', { Cids: [{ '/': 'bafy2bzace' }], Blocks: [], Height: 5_000 }]
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    open.push({ close: () => server.close() })
    const { port } = server.address() as AddressInfo
    const answer = await verifyAt(place, `http://127.0.0.1:${port}`, {}, 4_000)
    expect(answer.node).toMatchObject({ status: 'NotFound' })
  })

  it('cannot deny a sector that was seen at a later epoch than the node knows', async () => {
    await expect(ask({ sector: 78 }, 10_006)).rejects.toMatchObject({
      code: 'NodeBehind',
      message: expect.stringContaining('until epoch 10005, and sector 78 of f01001 was seen at epoch 10006'),
      retryable: true,
    })
    expect((await ask({ sector: 78 }, 10_005)).node?.status).toBe('NotFound')
    expect((await ask({}, 10_006)).node?.status).toBe('Active')
  })

  it('does not find a sector that is not final', async () => {
    filecoin.activate(place.miner, 78, [aggregate], END)
    expect((await ask({ sector: 78 })).node?.status).toBe('NotFound')
    chain.advance(10)
    expect((await ask({ sector: 78 })).node?.status).toBe('Active')
  })

  it.each([
    ['Terminated', 'by its provider', () => filecoin.terminate(place.miner, 77)],
    ['Terminated', 'by the chain itself', () => filecoin.endByCron(place.miner, 77)],
    ['Expired', 'after its end', () => chain.advance(END)],
  ])('reports a sector that is %s %s, also if its event is gone', async (status, _, end) => {
    end()
    chain.advance(10)
    fail({ indexedFrom: chain.head - 5 })
    const { node, place: words, proves, doesNotProve } = await ask()
    expect(node).toEqual({ by, status, epoch: chain.finalized })
    expect(proves.join()).not.toContain(by)
    expect(doesNotProve).toContain(
      `That ${words} exists on chain: ${by} shows that it is ${status} at epoch ${chain.finalized}.`,
    )
  })

  describe('which got its pieces after its activation,', () => {
    beforeEach(() => {
      filecoin.activate(place.miner, 78, [], END)
      chain.advance(DAY)
      filecoin.update(place.miner, 78, [aggregate])
      chain.advance(10)
    })
    const updated = 10_010 + DAY

    it('shows them by the event of the update', async () => {
      expect((await ask({ sector: 78 })).node).toMatchObject({ status: 'Active' })
      filecoin.activate(place.miner, 79, [], END)
      chain.advance(10)
      filecoin.update(place.miner, 79, [somePiece('another', 16)])
      chain.advance(10)
      await expect(ask({ sector: 79 })).rejects.toMatchObject({ code: 'PlaceMismatch' })
    })

    it('searches the month before the place was seen if the sector was extended later', async () => {
      const askAt = (epoch: number) => ask({ sector: 78 }, epoch)
      const countQueries = () => chain.calls.filter(method => method.endsWith('EventsRaw')).length
      chain.advance(200 * DAY)
      filecoin.extend(place.miner, 78, 2 * END)
      chain.advance(10)
      expect((await askAt(updated)).node).toMatchObject({ status: 'Active' })
      expect(countQueries()).toBe(2)
      expect((await askAt(updated + 30 * DAY - 1)).node).toMatchObject({ status: 'Active' })
      expect(countQueries()).toBe(2 + 31)
      for (const epoch of [updated - 1, updated + 30 * DAY, 2 ** 50])
        await expect(askAt(epoch), `${epoch}`).rejects.toMatchObject({
          code: 'HistoryMissing',
          message: expect.stringContaining('has no event of the time when the sector was updated'),
        })
      expect(countQueries()).toBe(2 + 31 + 2 + 31 + 31)
    })

    it('does not search before the activation, which a gateway may refuse', async () => {
      filecoin.activate(place.miner, 79, [], END)
      const activation = chain.head
      chain.advance(5)
      filecoin.update(place.miner, 79, [aggregate])
      chain.advance(5)
      filecoin.extend(place.miner, 79, 2 * END)
      chain.advance(10)
      fail({ lookback: chain.head - activation - 1 })
      expect((await ask({ sector: 79 }, activation + 5)).node?.status).toBe('Active')
    })
  })

  it.each<[string, () => void]>([
    ['the index does not have the epoch', () => fail({ indexedFrom: 10_001 })],
    ['a gateway does not answer about the epoch', () => fail({ lookback: 5 })],
    ['it has no block at the epoch', () => (chain.faults = { nullRounds: new Set([10_000]) })],
    ['it does not have the event', () => fail({ answers: { 'Filecoin.GetActorEventsRaw': null } })],
  ])(
    'cannot check the contents of a live sector if the node does not show its event: %s',
    async (_, spoil) => {
      spoil()
      await expect(ask()).rejects.toMatchObject({
        code: 'HistoryMissing',
        message: expect.stringContaining('sector 77 of f01001 is live, but not which pieces it contains'),
        hint: expect.stringContaining('EnableActorEventsAPI'),
      })
    },
  )

  it('needs a node of the network of the provider', async () => {
    const test = { miner: 't01001' }
    await expect(ask(test)).rejects.toMatchObject({ code: 'WrongChain' })
    filecoin.activate('t01001', 77, [aggregate], END)
    chain.advance(10)
    fail({ network: 'calibrationnet' })
    expect((await ask(test)).node?.status).toBe('Active')
    await expect(ask()).rejects.toMatchObject({
      code: 'WrongChain',
      message: expect.stringContaining('a node of the network calibrationnet, not of mainnet'),
    })
    fail({ network: 'localnet' })
    const options = { network: 'localnet' }
    expect((await verifyAt(place, url, options)).node?.status).toBe('Active')
    await expect(ask(test)).rejects.toMatchObject({ code: 'WrongChain' })
  })

  it('knows nothing if the node fails, or answers in another form', async () => {
    const info = { SectorNumber: 77, Activation: 10_000, PowerBaseEpoch: 10_000, Expiration: END }
    const status = (Return: unknown, ExitCode = 0) => ({ MsgRct: { ExitCode, Return } })
    const event = { entries: [], emitter: place.miner, reverted: false, height: 10_000 }
    for (const [method, ...wrong] of [
      ['StateNetworkName', null, 7, {}],
      ['ChainGetFinalizedTipSet', null, {}, { Height: 5_000 }, { Cids: [], Height: 5_000 }],
      // The last one does not say whether the sector was updated.
      ['StateSectorGetInfo', 7, {}, { ...info, SectorKeyCID: null, SectorNumber: 78 }, info],
      ['StateCall', null, {}, status('gUA='), status('ggNA'), status('ggFA', 1), status(''), status(null)],
      ['GetActorEventsRaw', 7, {}, [null], [event], [{ ...event, emitter: 'f01002' }]],
    ] as const)
      for (const answer of wrong) {
        fail({ answers: { [`Filecoin.${method}`]: answer } })
        await expect(ask(), `${method} ${JSON.stringify(answer)}`).rejects.toMatchObject({
          code: 'InvalidAnswer',
        })
      }
    fail({})
    filecoin.networkVersion = 27
    await expect(ask()).rejects.toMatchObject({
      code: 'InvalidAnswer',
      message: expect.stringContaining('from network version 28 on'),
    })
    chain.faults = { status: 403 }
    await expect(ask()).rejects.toMatchObject({ code: 'InvalidAnswer' })
  })
})
