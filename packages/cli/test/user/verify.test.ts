import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Signer } from '@ucanto/interface'
import { ed25519 } from '@ucanto/principal'
import { type Place, Tasks, toMetadata } from '@w3filecoin/capabilities'
import { identify, Proof } from '@w3filecoin/client'
import { Chain, CONTRACTS } from '@w3filecoin/local/chain'
import { FilecoinNode } from '@w3filecoin/local/filecoin-node'
import { type AnyLink, buildAggregate } from '@w3filecoin/piece'
import { issueReceipt } from '@w3filecoin/runtime'
import { somePiece } from '@w3filecoin/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createUser } from './w3fil.ts'

/** `w3fil verify` as a child process, on proofs whose aggregate is at each kind of place. */

const user = createUser()
const { home, w3fil, json } = user
const { verifier } = CONTRACTS
const market: Place = { type: 'market', dealID: 42 }
const sector: Place = { type: 'sector', miner: 'f01001', sector: 77 }
const pdp: Place = { type: 'pdp', chain: 31_415_926, verifier, dataSet: 7, piece: 0 }

let storefront: Signer
let aggregate: AnyLink
let chain: Chain
let filecoin: FilecoinNode
let rpc: { url: string; close: () => Promise<void> }

beforeAll(async () => {
  storefront = (await ed25519.generate()) as Signer
  chain = new Chain()
  filecoin = new FilecoinNode(chain)
  rpc = await chain.listen()
})
afterAll(async () => {
  await rpc.close()
  user.remove()
})

/** Saves a proof that names a place. Returns its path. */
const save = async (name: string, aux: object): Promise<string> => {
  const { content, piece } = await identify(new Uint8Array(200).fill(1))
  const built = buildAggregate({ pieces: [piece, somePiece('beside', 5)], size: 2 ** 16 }).ok!
  aggregate = built.link
  const at = built.pieces.findIndex(link => `${link}` === `${piece}`)
  const task = await Tasks.filecoinAccept(storefront, { content, piece })
  const ok = { piece, aggregate, inclusion: built.proof(at), aux }
  const receipt = await issueReceipt(storefront, task, { out: { ok } })
  const path = `${name}.w3proof`
  writeFileSync(join(home, path), (await Proof.fromReceipt(receipt as never)).bytes)
  return path
}
const verify = (path: string, ...args: string[]) =>
  json('verify', path, '--storefront', storefront.did(), ...args)

describe('w3fil verify', () => {
  it.each([
    [market, 'deal 42'],
    [sector, 'sector 77 of f01001'],
    [pdp, 'piece 0 of PDP data set 7 (eip155:31415926, 0xa1a1…a1a1)'],
  ])('reads a proof with %j, and sends nothing', async (place, words) => {
    const path = await save(place.type, toMetadata(place, 9_000))
    const { code, result } = await verify(path)
    expect([code, result.place, result.deal]).toEqual([0, words, toMetadata(place, 9_000)])
    const { out } = await w3fil('verify', path, '--storefront', storefront.did())
    expect(out).toContain(`on chain   ${words}`)
    expect(out).toContain('ask a deal tracker, or a node of the')
  })

  it.each([
    ['a negative deal', { dataType: 0, dataSource: { dealID: -42 } }],
    ['a sector that says it is a deal', { ...toMetadata(sector, 9_000), dataType: 0 }],
    ['a verifier in upper case', toMetadata({ ...pdp, verifier: `0x${'A1'.repeat(20)}` } as Place, 9_000)],
  ])('exits with 5 if a signed proof names %s', async (name, aux) => {
    expect(await verify(await save(name, aux))).toMatchObject({ code: 5, error: { code: 'InvalidProof' } })
  })

  it('asks a node of the chain with --rpc whether a PDP data set has the aggregate', async () => {
    const path = await save('pdp', toMetadata(pdp, 9_000))
    chain.createDataSet(7, { payer: `0x${'01'.repeat(20)}`, providerId: 3 })
    chain.addPieces(7, [aggregate, somePiece('another', 16)])
    const ask = (...args: string[]) => verify(path, '--rpc', rpc.url, ...args)
    const trusting = ['--pdp-verifier', verifier.toUpperCase().replace('X', 'x')]
    expect(await ask(...trusting), 'not final').toMatchObject({
      code: 1,
      error: {
        code: 'DealNotActive',
        retryable: true,
        message: expect.stringContaining('NotFound at epoch 9995'),
      },
    })
    chain.advance(10)
    expect(await ask(...trusting)).toMatchObject({
      code: 0,
      result: { node: { status: 'Active', epoch: 10_005 } },
    })
    const { out } = await w3fil(
      'verify',
      path,
      '--storefront',
      storefront.did(),
      '--rpc',
      rpc.url,
      ...trusting,
    )
    expect(out).toContain(`chain      Active, says ${new URL(rpc.url).origin}`)
    expect(await ask(), 'a contract that nothing vouches for').toMatchObject({
      code: 1,
      error: { code: 'PlaceNotChecked', hint: expect.stringContaining('--pdp-verifier') },
      result: { node: { status: 'UnknownVerifier' } },
    })
    const other = await save('other', toMetadata({ ...pdp, piece: 1 }, 9_000))
    expect(await verify(other, '--rpc', rpc.url, ...trusting)).toMatchObject({
      code: 5,
      error: { code: 'PlaceMismatch', message: expect.stringContaining('does not contain the aggregate') },
    })
  })

  it('asks a node of the chain with --rpc whether a sector has the aggregate', async () => {
    const path = await save('sector', toMetadata(sector, 9_000))
    filecoin.activate('f01001', 77, [somePiece('another', 16), aggregate], 600_000)
    filecoin.activate('f01001', 78, [somePiece('another', 16)], 600_000)
    chain.advance(10)
    const ask = (proof: string, ...args: string[]) => verify(proof, '--rpc', rpc.url, ...args)
    const network = ['--network', 'localnet']
    expect(await ask(path, ...network)).toMatchObject({
      code: 0,
      result: { node: { status: 'Active', epoch: chain.finalized } },
    })
    expect(await ask(path), 'not a node of mainnet').toMatchObject({
      code: 1,
      error: { code: 'WrongChain', message: expect.stringContaining('localnet, not of mainnet') },
    })
    const other = await save('other', toMetadata({ ...sector, sector: 78 }, 9_000))
    expect(await ask(other, ...network)).toMatchObject({ code: 5, error: { code: 'PlaceMismatch' } })

    filecoin.filecoinFaults = { indexedFrom: chain.head }
    expect(await ask(path, ...network)).toMatchObject({
      code: 1,
      error: { code: 'HistoryMissing', hint: expect.stringContaining('EnableActorEventsAPI') },
    })
    filecoin.filecoinFaults = {}
    filecoin.changeSector('f01001', 77, { status: 'faulty' })
    chain.advance(10)
    const { out } = await w3fil(
      'verify',
      path,
      '--storefront',
      storefront.did(),
      '--rpc',
      rpc.url,
      ...network,
    )
    expect(out).toContain(
      `chain      Active, but its provider misses proofs, says ${new URL(rpc.url).origin}`,
    )
    filecoin.terminate('f01001', 77)
    chain.advance(10)
    expect(await ask(path, ...network)).toMatchObject({
      code: 1,
      error: {
        code: 'DealNotActive',
        retryable: false,
        message: expect.stringContaining('sector 77 of f01001 as Terminated'),
      },
    })
  })

  it('asks a node of the chain with --rpc whether a deal has the aggregate', async () => {
    const path = await save('market', toMetadata(market, 9_000))
    const deal = { client: 'f0200', provider: 'f01001', endEpoch: 600_000 }
    filecoin.publishDeal(42, { ...deal, link: aggregate })
    filecoin.publishDeal(43, { ...deal, link: somePiece('another', 16) })
    for (const id of [42, 43]) filecoin.startDeal(id)
    chain.advance(10)
    const ask = (proof: string) => verify(proof, '--rpc', rpc.url, '--network', 'localnet')
    expect(await ask(path)).toMatchObject({ code: 0, result: { node: { status: 'Active' } } })
    const other = await save('other', toMetadata({ ...market, dealID: 43 }, 9_000))
    expect(await ask(other)).toMatchObject({ code: 5, error: { code: 'PlaceMismatch' } })
  })

  it('exits with 1 if a node cannot check the place', async () => {
    const aux = { dataType: 3, dataSource: { moon: 1 } }
    expect(await verify(await save('later', aux), '--rpc', rpc.url)).toMatchObject({
      code: 1,
      error: {
        code: 'PlaceNotChecked',
        message: expect.stringContaining('a place of a kind that this version'),
      },
      result: { node: { status: 'NotChecked' } },
    })
  })
})
