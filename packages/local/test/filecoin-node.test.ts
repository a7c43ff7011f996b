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
  const undo = node.chain.fork()
  node.chain.advance(10)
  node.activate('f01000', 77, [somePiece('fork', 25)], 50_000)
  node.publishDeal(123, { link: somePiece('fork', 25), client: 'f01', provider: 'f01000', endEpoch: 50_000 })
  node.chain.createDataSet(7, { payer: CONTRACTS.service, providerId: 3 })
  node.chain.advance(10)
  const before = await tipset()
  const filter = { addresses: ['f01000'], fromHeight: 10_000, toHeight: 10_020, fields: {} }
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
