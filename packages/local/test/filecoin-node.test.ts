import { somePiece } from '@w3filecoin/testing'
import { createPublicClient, http } from 'viem'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { CONTRACTS } from '../src/deals/chain.ts'
import { FilecoinNode } from '../src/deals/filecoin-node.ts'

let node: FilecoinNode
let server: { url: string; close: () => Promise<void> }
beforeEach(async () => {
  node = new FilecoinNode()
  server = await node.chain.listen()
})
afterEach(() => server.close())

const open = () => createPublicClient({ transport: http(server.url, { batch: true, retryCount: 0 }) })
const ask = (method: string, ...params: unknown[]) =>
  open().request({ method: `Filecoin.${method}`, params } as never) as Promise<unknown>

it('answers calls of Ethereum and of Filecoin at one address, at the same final epoch', async () => {
  node.chain.advance(7)
  const { number } = await open().getBlock({ blockTag: 'finalized' })
  expect(await ask('ChainGetFinalizedTipSet')).toMatchObject({ Height: Number(number) })
  await expect(ask('StateNotThere')).rejects.toThrow("method 'Filecoin.StateNotThere' not found")
})

it('undoes sectors, deals, events and data sets in one reorganization, after which tipsets have other names', async () => {
  const tipset = async () => (await ask('ChainHead')) as { Cids: object[] }
  node.activate('f01000', 76, [], 50_000)
  node.chain.advance(1)
  const undo = node.chain.fork()
  node.chain.advance(10)
  node.activate('f01000', 77, [somePiece('fork', 25)], 50_000)
  node.publishDeal(123, { link: somePiece('fork', 25), client: 'f01', provider: 'f01000', endEpoch: 50_000 })
  node.chain.createDataSet(7, { payer: CONTRACTS.service, providerId: 3 })
  node.chain.advance(10)
  const before = await tipset()
  const filter = { addresses: ['f01000'], fromHeight: 10_001, toHeight: 10_021, fields: {} }
  expect(await ask('GetActorEventsRaw', filter)).toHaveLength(1)
  undo()
  node.chain.advance(20)
  const { Cids } = await tipset()
  expect(Cids).not.toEqual(before.Cids)
  expect(await ask('GetActorEventsRaw', filter)).toBeNull()
  expect(await ask('StateSectorGetInfo', 'f01000', 77, Cids)).toBeNull()
  await expect(ask('StateMarketStorageDeal', 123, Cids)).rejects.toThrow('deal 123 not found')
  await expect(ask('StateSectorGetInfo', 'f01000', 77, before.Cids)).rejects.toThrow('loading tipset')
})

it('shows since when a sector has its pieces, and fails for a provider that has no sector', async () => {
  node.activate('f01000', 77, [], 50_000)
  node.chain.advance(10)
  node.update('f01000', 77, [somePiece('update', 25)])
  node.chain.advance(10)
  node.extend('f01000', 77, 60_000)
  node.chain.advance(10)
  const infoAt = async (epoch: number) => {
    const { Cids } = (await ask('ChainGetTipSetByHeight', epoch, await head())) as { Cids: object[] }
    return ask('StateSectorGetInfo', 'f01000', 77, Cids)
  }
  const head = async () => ((await ask('ChainHead')) as { Cids: object[] }).Cids
  const activation = { SectorNumber: 77, Activation: 10_000, Expiration: 50_000 }
  expect(await infoAt(10_001)).toMatchObject({ ...activation, PowerBaseEpoch: 10_000, SectorKeyCID: null })
  expect(await infoAt(10_011)).toMatchObject({
    ...activation,
    PowerBaseEpoch: 10_010,
    SectorKeyCID: { '/': expect.any(String) },
  })
  expect(await infoAt(10_021)).toMatchObject({
    ...activation,
    Expiration: 60_000,
    PowerBaseEpoch: 10_020,
    SectorKeyCID: { '/': expect.any(String) },
  })
  await expect(ask('StateSectorGetInfo', 'f01009', 77, await head())).rejects.toThrow('actor not found')
})
