import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { devnet } from '@filoz/synapse-core/chains'
import { asPieceCID } from '@filoz/synapse-core/piece'
import {
  addPieces,
  createDataSetAndAddPieces,
  ping,
  pullPieces,
  waitForAddPieces,
  waitForCreateDataSetAddPieces,
  waitForPullPieces,
} from '@filoz/synapse-core/sp'
import { signAddPieces, signCreateDataSetAndAddPieces } from '@filoz/synapse-core/typed-data'
import { createHasher } from '@w3filecoin/piece'
import { createClient, http } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Chain, CONTRACTS } from '../src/deals/chain.ts'
import { type PdpProvider, startPdpProvider } from '../src/deals/pdp-provider.ts'
import { deposit, login, registerProvider } from '../src/deals/warm-storage.ts'

const account = privateKeyToAccount(`0x${'22'.repeat(32)}`)
const PAYER = `0x${'0a'.repeat(20)}` as const
const PAYEE = `0x${'0e'.repeat(20)}` as const
/** Answers of the host of the content, in their order; the last one is repeated. */
let answers: { status: number; location?: string; body?: Buffer }[] = []
let chain: Chain
let provider: PdpProvider
let source: string
const open: (() => Promise<unknown>)[] = []

const bytes = Buffer.alloc(1_000, 7)
const link = createHasher().write(bytes).digest()
const pieceCid = asPieceCID(`${link}`)!
let client: ReturnType<typeof connect>
const connect = (url: string) =>
  createClient({
    account,
    transport: http(url),
    chain: {
      ...devnet,
      contracts: { ...devnet.contracts, fwss: { ...devnet.contracts.fwss, address: CONTRACTS.service } },
    },
  })

beforeEach(async () => {
  chain = new Chain()
  registerProvider(chain, 3, { payee: PAYEE })
  login(chain, { payer: PAYER, key: account.address, until: chain.timestampSeconds + 3_600 })
  deposit(chain, { payer: PAYER, funds: 10n ** 18n })
  provider = await startPdpProvider({ chain, id: 3, address: `0x${'03'.repeat(20)}` })
  const node = await chain.listen()
  client = connect(node.url)
  answers = [{ status: 200, body: bytes }]
  const host = createServer((_, response) => {
    const { status, location, body } = answers.length > 1 ? answers.shift()! : answers[0]!
    response.writeHead(status, location === undefined ? {} : { location }).end(body)
  })
  await new Promise<void>(resolve => host.listen(0, '127.0.0.1', resolve))
  source = `http://127.0.0.1:${(host.address() as AddressInfo).port}/piece/${link}`
  open.push(provider.close, node.close, () => {
    host.closeAllConnections()
    return new Promise(resolve => host.close(resolve))
  })
})
afterEach(() => Promise.all(open.splice(0).map(close => close())))

const signBoth = (nonce: bigint, clientDataSetId = 100n) =>
  signCreateDataSetAndAddPieces(client, {
    clientDataSetId,
    nonce,
    payer: PAYER,
    payee: PAYEE,
    metadata: [{ key: 'source', value: 'test' }],
    pieces: [{ pieceCid, metadata: [{ key: 'name', value: 'a piece' }] }],
  })
const newSet = (extraData: `0x${string}`) => ({
  serviceURL: provider.url,
  pieces: [{ pieceCid, sourceUrl: source }],
  payee: PAYEE,
  extraData,
})
const existing = (dataSetId: bigint, extraData: `0x${string}`) => ({
  serviceURL: provider.url,
  pieces: [{ pieceCid, sourceUrl: source }],
  dataSetId,
  clientDataSetId: 100n,
  extraData,
})
const pullAndAdd = async (nonce: bigint) => {
  const extraData = await signBoth(nonce)
  await pullPieces(client, newSet(extraData))
  await provider.pull()
  return createDataSetAndAddPieces(client, newSet(extraData))
}

describe('the stand-in for a provider of PDP', () => {
  it('serves the published client: pull, create a data set, add to it', async () => {
    await ping(provider.url)
    const extraData = await signBoth(1n)
    expect((await pullPieces(client, newSet(extraData))).status).toBe('pending')
    await provider.pull()
    expect(await waitForPullPieces(client, newSet(extraData))).toEqual({
      status: 'complete',
      pieces: [{ pieceCid: `${link}`, status: 'complete' }],
    })
    const { statusUrl } = await createDataSetAndAddPieces(client, newSet(extraData))
    await provider.mine()
    expect(await waitForCreateDataSetAddPieces({ statusUrl })).toMatchObject({
      dataSetId: 1n,
      piecesIds: [0n],
    })

    const add = await signAddPieces(client, { clientDataSetId: 100n, nonce: 2n, pieces: [{ pieceCid }] })
    expect((await pullPieces(client, existing(1n, add))).status).toBe('pending')
    await provider.pull()
    const added = await addPieces(client, existing(1n, add))
    await provider.mine()
    expect(await waitForAddPieces({ statusUrl: added.statusUrl })).toMatchObject({
      txStatus: 'confirmed',
      dataSetId: 1n,
      confirmedPieceIds: [1n],
    })
    expect(chain.pieces(1).map(String)).toEqual([`${link}`, `${link}`])
    expect(chain.recorded('clientNonces', [PAYER, 2n])).toBe((2n << 128n) | 1n)
  })

  it('accepts a nonce once, in a request and on chain', async () => {
    await pullAndAdd(1n)
    await pullAndAdd(1n)
    await provider.mine()
    expect(chain.pieces(1)).toHaveLength(1)
    expect(chain.dataSet(2)).toBeUndefined()
    await expect(pullAndAdd(1n), 'the pull is known, the transaction is not possible').rejects.toThrow()
    expect(provider.log.at(-1)).toBe('POST /pdp/data-sets/create-and-add 500')
    const add = await signAddPieces(client, { clientDataSetId: 100n, nonce: 1n, pieces: [{ pieceCid }] })
    await expect(pullPieces(client, existing(1n, add))).rejects.toThrow()
    expect(provider.log.at(-1)).toBe('POST /pdp/piece/pull 400')
  })

  it('refuses the nonce of the data set itself, as the contract does', async () => {
    await expect(pullAndAdd(100n)).rejects.toThrow()
  })

  it.each([
    ['a key that expired', () => chain.advance(1_000)],
    ['a payer without funds', () => deposit(chain, { payer: PAYER, funds: 0n })],
    ['another payee', () => registerProvider(chain, 3, { payee: PAYER })],
  ])('refuses %s', async (_, change) => {
    const extraData = await signBoth(1n)
    change()
    await expect(pullPieces(client, newSet(extraData))).rejects.toThrow()
    expect(provider.log).toEqual(['POST /pdp/piece/pull 400'])
  })

  it('refuses a piece of more than 1 GiB, and a data set of another provider', async () => {
    const large = asPieceCID('bafkzcibcaapao7s73y24kcutaosvacpdjgfe5pw76ooefnyqw4ynr3d2y6x2mpq')!
    const extraData = await signBoth(1n)
    const pieces = [{ pieceCid: large, sourceUrl: source }]
    await expect(pullPieces(client, { ...newSet(extraData), pieces })).rejects.toThrow()
    chain.createDataSet(7, { payer: PAYER, providerId: 4, clientDataSetId: 100n })
    const add = await signAddPieces(client, { clientDataSetId: 100n, nonce: 2n, pieces: [{ pieceCid }] })
    await expect(pullPieces(client, existing(7n, add))).rejects.toThrow()
    expect(provider.log).toEqual(['POST /pdp/piece/pull 400', 'POST /pdp/piece/pull 404'])
  })

  it('sends no transaction for a piece that it does not have', async () => {
    await expect(createDataSetAndAddPieces(client, newSet(await signBoth(1n)))).rejects.toThrow()
    expect(provider.log).toEqual(['POST /pdp/data-sets/create-and-add 400'])
  })

  it.each([
    ['404', [{ status: 404 }], ['failed']],
    ['503', [{ status: 503 }], ['failed']],
    ['other bytes', [{ status: 200, body: Buffer.alloc(1_000, 8) }], ['failed']],
    ['too few bytes', [{ status: 200, body: bytes.subarray(1) }], ['failed']],
    ['too many bytes', [{ status: 200, body: Buffer.alloc(1_001, 7) }], ['failed']],
    ['429 three times', [{ status: 429 }], ['retrying', 'retrying', 'failed']],
    ['500, then the bytes', [{ status: 500 }, { status: 200, body: bytes }], ['retrying', 'complete']],
    [
      'three redirects',
      [...Array(3).fill({ status: 302, location: '/x' }), { status: 200, body: bytes }],
      ['complete'],
    ],
    ['four redirects', Array(4).fill({ status: 302, location: '/x' }), ['failed']],
  ])('judges a source that answers %s', async (_, given, statuses) => {
    const extraData = await signBoth(1n)
    await pullPieces(client, newSet(extraData))
    answers = given
    for (const status of statuses) {
      await provider.pull()
      expect((await pullPieces(client, newSet(extraData))).status).toBe(status)
    }
    answers = [{ status: 200, body: bytes }]
    await provider.pull()
    const end = statuses.at(-1)
    expect((await pullPieces(client, newSet(extraData))).status, 'that is final').toBe(end)
    if (end === 'failed') {
      const again = await signBoth(2n)
      await pullPieces(client, newSet(again))
      await provider.pull()
      expect((await pullPieces(client, newSet(again))).status, 'under another signature').toBe('complete')
    }
  })
})
