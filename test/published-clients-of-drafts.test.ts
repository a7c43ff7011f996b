import { connect } from '@ucanto/client'
import type { Invocation, Receipt } from '@ucanto/interface'
import { ed25519, Verifier } from '@ucanto/principal'
import { CAR, HTTP } from '@ucanto/transport'
import { buildAggregate, type EncodedInclusion, type PieceLink, verifyInclusion } from '@w3filecoin/piece'
import { somePiece } from '@w3filecoin/testing'
import { describe, expect, test, vi } from 'vitest'
// @ts-expect-error: its exports have no types
import * as Web3_1_1 from 'web3-storage-filecoin-client-1.1'
// @ts-expect-error: its exports have no types
import * as Web3_1_3 from 'web3-storage-filecoin-client-1.3'
// @ts-expect-error: its exports have no types
import * as Web3_1_4 from 'web3-storage-filecoin-client-1.4'
import { type Content, randomContent, upload } from './content.ts'
import { awaitReceipt, effectOf, PATIENCE } from './receipts.ts'
import { useSystem } from './system.ts'

/**
 * The published clients that speak drafts 2 and 3, unmodified, against the running services: each of their calls, in the order
 * of a piece's journey.
 */

/** The default audiences of the clients: that of their calls of the dealer is the aggregator's. */
const AUDIENCES: Record<string, string> = {
  storefront: 'did:web:web3.storage',
  aggregator: 'did:web:web3.storage',
  dealer: 'did:web:web3.storage',
  dealTracker: 'did:web:spade.web3.storage',
}

const faulty = somePiece('rejected by storage providers', 10)

const system = useSystem({
  faulty: [`${faulty}`],
  configure: (role, config) => ({ ...config, aliases: [AUDIENCES[role]] }),
})
const { at, signer } = system

// biome-ignore lint/suspicious/noExplicitAny: three releases with types of their own
type Client = any

/** `offer` is the prefix of the calls that offer: draft 3 has abilities of their own for offers. */
const clients: [name: string, row: string, client: Client, offer: 'add' | 'queue'][] = [
  ['@web3-storage/filecoin-client 1.1.0', 'L2', Web3_1_1, 'add'],
  ['@web3-storage/filecoin-client 1.3.0', 'L3', Web3_1_3, 'queue'],
  ['@web3-storage/filecoin-client 1.4.0', 'L3', Web3_1_4, 'queue'],
]

/** Returns the options of an invocation by a role, with its own DID as resource, for the default audience of the client. */
const as = (role: string) => {
  const issuer = role === 'agent' ? ed25519.parse(system.local.agent.key) : signer(role)
  return { issuer, with: issuer.did() }
}
/** The same for a service under its own DID. */
const asTo = (role: string, audience: string) => ({ ...as(role), audience: Verifier.parse(at(audience).did) })

const via = (role: string) => ({
  connection: connect({
    id: Verifier.parse(at(role).did),
    codec: CAR.outbound,
    channel: HTTP.open<Record<string, never>>({ url: new URL(at(role).url) }),
  }),
})

const statusOf = async (role: string, task: unknown) =>
  (await fetch(`${at(role).url}/receipt/${task}`)).status
const errorOf = ({ out }: Receipt) => out.error as { name: string } | undefined

/** The invocations of the clients expire, so an own task is another one than the promised one: a question about its outcome. */
const expectPending = async (question: Receipt, role: string, promised: Invocation) => {
  expect(errorOf(question)).toMatchObject({ name: 'OutcomePending' })
  await expectUnstored(question, role, promised)
  expect(await statusOf(role, promised.cid)).toBe(404)
}

const expectUnstored = async (question: Receipt, role: string, promised: Invocation) => {
  expect(`${question.ran.link()}`).not.toBe(`${promised.cid}`)
  expect(await statusOf(role, question.ran.link())).toBe(404)
}

describe.each(clients)('%s', (name, row, client: Client, offer) => {
  const isDraft2 = offer === 'add'
  const group = `the group of ${name}`

  const offerContent = (options: object, { piece, content }: Content): Promise<Receipt> =>
    (isDraft2 ? client.Storefront.filecoinAdd : client.Storefront.filecoinQueue)(
      options,
      piece,
      content,
      via('storefront'),
    )
  const askContent = ({ piece, content }: Content): Promise<Receipt> =>
    client.Storefront.filecoinAdd(as('storefront'), piece, content, via('storefront'))

  const offerPiece = (options: object, piece: PieceLink): Promise<Receipt> =>
    isDraft2
      ? client.Aggregator.aggregateAdd(options, piece, at('storefront').did, group, via('aggregator'))
      : client.Aggregator.aggregateQueue(options, piece, group, via('aggregator'))
  const askPiece = (piece: PieceLink): Promise<Receipt> =>
    client.Aggregator.aggregateAdd(as('aggregator'), piece, at('storefront').did, group, via('aggregator'))

  type Built = { link: PieceLink; pieces: readonly PieceLink[] }
  const offerAggregate = (options: object, { link, pieces }: Built): Promise<Receipt> =>
    (isDraft2 ? client.Dealer.dealAdd : client.Dealer.dealQueue)(
      options,
      link,
      pieces,
      at('storefront').did,
      group,
      via('dealer'),
    )
  const askAggregate = ({ link, pieces }: Built): Promise<Receipt> =>
    client.Dealer.dealAdd(as('dealer'), link, pieces, at('storefront').did, group, via('dealer'))

  const build = (...more: PieceLink[]): Built => {
    const pieces = [...more, somePiece(`${name} ${more.length}`, 9), somePiece(`${name} other`, 9)]
    return buildAggregate({ pieces, size: 2 ** 20 }).ok!
  }

  test(`${row}: exports calls of all four roles, and each is tested here`, () => {
    const calls = Object.values(client).flatMap(role =>
      Object.entries(role as object).flatMap(([call, value]) => (typeof value === 'function' ? call : [])),
    )
    expect(calls.sort()).toEqual(
      isDraft2
        ? ['aggregateAdd', 'chainInfo', 'dealAdd', 'filecoinAdd']
        : [
            'aggregateAdd',
            'aggregateQueue',
            'chainInfo',
            'dealAdd',
            'dealQueue',
            'filecoinAdd',
            'filecoinQueue',
          ],
    )
  })

  test(`${row}: content is offered, and the own filecoin/add has no outcome until the content is checked`, async () => {
    const content = await randomContent(50_000)
    const offered = await offerContent(as('agent'), content)
    expect(offered.out).toEqual({ ok: { piece: content.piece } })
    // The receipt is issued under the audience of the client.
    expect(offered.issuer?.did()).toBe(AUDIENCES.storefront)
    const promised = effectOf(offered.fx.join)
    expect(promised.audience.did()).toBe(at('storefront').did)

    // The content has not arrived yet.
    await expectPending(await askContent(content), 'storefront', promised)
    await upload(system.local, content)
    const served = await awaitReceipt(at('storefront'), `${promised.cid}`)
    expect(served.out).toEqual({ ok: { piece: content.piece } })
    const asked = await askContent(content)
    expect(asked.out).toEqual(served.out)
    expect(`${effectOf(asked.fx.join).cid}`).toBe(`${effectOf(served.fx.join).cid}`)
    await expectUnstored(asked, 'storefront', promised)
    expect(effectOf(served.fx.join).capabilities[0].can).toBe(`aggregate/${offer}`)
    // The storefront has made the offer that it promised.
    const queued = await awaitReceipt(at('aggregator'), `${effectOf(served.fx.join).cid}`)
    expect(queued.out).toEqual({ ok: { piece: content.piece } })
  })

  test(`${row}: a piece is offered, and the own aggregate/add has its inclusion proof when it is in an aggregate`, async () => {
    const piece = somePiece(`${name} piece`, 8)
    const offered = await offerPiece(as('storefront'), piece)
    expect(offered.out).toEqual({ ok: { piece } })
    const promised = effectOf(offered.fx.join)
    await expectPending(await askPiece(piece), 'aggregator', promised)

    const served = await awaitReceipt(at('aggregator'), `${promised.cid}`)
    const asked = await askPiece(piece)
    expect(asked.out).toEqual(served.out)
    await expectUnstored(asked, 'aggregator', promised)
    const { aggregate, inclusion, path } = asked.out.ok as unknown as {
      aggregate: PieceLink
      inclusion: EncodedInclusion
      path: unknown
    }
    expect(verifyInclusion({ piece, aggregate, inclusion })).toEqual({ ok: {} })
    expect(path).toEqual(expect.any(String))
  })

  test(`${row}: an aggregate is offered, and the own deal/add and the chain tracker have its outcome`, async () => {
    const built = build()
    const { link: aggregate } = built
    const offered = await offerAggregate(as('aggregator'), built)
    expect(offered.out).toEqual({ ok: { aggregate } })
    const promised = effectOf(offered.fx.join)
    await expectPending(await askAggregate(built), 'dealer', promised)

    const served = await awaitReceipt(at('dealer'), `${promised.cid}`)
    const asked = await askAggregate(built)
    expect(asked.out).toEqual(served.out)
    expect(asked.out).toMatchObject({ ok: { aggregate, piece: aggregate } })
    await expectUnstored(asked, 'dealer', promised)
    const { out }: Receipt = await client.Chain.chainInfo(as('storefront'), aggregate, via('dealTracker'))
    const deals = Object.values((out.ok as { deals: object }).deals)
    expect(deals).toMatchObject([{ status: 'Active', storageProvider: expect.stringMatching(/^f0\d+$/) }])
  })

  test(`${row}: explicit audiences get the same promises, from the services under their own DIDs`, async () => {
    const content = await randomContent(1_000)
    await upload(system.local, content)
    const built = build(somePiece(`${name} explicit`, 9))
    const calls: [role: string, offered: (options: object) => Promise<Receipt>, by: string][] = [
      ['storefront', options => offerContent(options, content), 'agent'],
      ['aggregator', options => offerPiece(options, content.piece), 'storefront'],
      ['dealer', options => offerAggregate(options, built), 'aggregator'],
    ]
    for (const [role, call, by] of calls) {
      const [implicit, explicit] = [await call(as(by)), await call(asTo(by, role))]
      expect(explicit.issuer?.did()).toBe(at(role).did)
      expect(explicit.out).toEqual(implicit.out)
      expect(`${effectOf(explicit.fx.join).cid}`).toBe(`${effectOf(implicit.fx.join).cid}`)
    }
    const asked: Receipt = await client.Chain.chainInfo(
      asTo('dealer', 'dealTracker'),
      somePiece('in no deal'),
      via('dealTracker'),
    )
    expect(errorOf(asked)).toMatchObject({ name: 'DealNotFound' })
  })

  test(`${row}: content with another piece ends with InvalidPieceCID`, async () => {
    const wrong = { ...(await randomContent(4_000)), piece: (await randomContent(4_000)).piece }
    await upload(system.local, wrong)
    const offered = await offerContent(as('agent'), wrong)
    expect(offered.out).toEqual({ ok: { piece: wrong.piece } })
    await vi.waitFor(async () => {
      const asked = await askContent(wrong)
      expect(errorOf(asked)).toMatchObject({ name: 'InvalidPieceCID' })
      expect(asked.fx).toEqual({ fork: [] })
    }, PATIENCE)
  })

  test(`${row}: a piece that no aggregate can hold is refused with the error that the drafts spell InvaildPieceCID`, async () => {
    const refused = await offerPiece(as('storefront'), somePiece(name, 31))
    expect(errorOf(refused)).toMatchObject({ name: 'InvaildPieceCID', message: expect.any(String) })
    expect(refused.fx).toEqual({ fork: [] })
  })

  test(`${row}: an aggregate that storage providers reject ends with InvalidPiece and the reason of each piece`, async () => {
    const built = build(faulty)
    const offered = await offerAggregate(as('aggregator'), built)
    expect(offered.out).toEqual({ ok: { aggregate: built.link } })
    await awaitReceipt(at('dealer'), `${effectOf(offered.fx.join).cid}`)
    const asked = await askAggregate(built)
    expect(errorOf(asked)).toMatchObject({
      name: 'InvalidPiece',
      aggregate: built.link,
      cause: [
        { name: 'InvalidPieceCID', message: expect.any(String), piece: faulty, reason: expect.any(String) },
      ],
    })
    expect(asked.fx).toEqual({ fork: [] })
  })
})
