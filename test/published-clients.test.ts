import * as Storacha from '@storacha/filecoin-client'
import { connect } from '@ucanto/client'
import type { Receipt } from '@ucanto/interface'
import { ed25519 } from '@ucanto/principal'
import { CAR, HTTP } from '@ucanto/transport'
import type { FilecoinAcceptSuccess } from '@w3filecoin/capabilities'
import { buildAggregate, type EncodedInclusion, verifyInclusion } from '@w3filecoin/piece'
import * as Web3 from '@web3-storage/filecoin-client'
import { beforeAll, describe, expect, test, vi } from 'vitest'
import * as Web3Old from 'web3-storage-filecoin-client-3.0'
import { type Content, randomContent, upload } from './content.ts'
import { awaitReceipt, PATIENCE } from './receipts.ts'
import { useSystem } from './system.ts'

/** The published clients, unmodified, against the running services: each of their calls, in the order of a piece's journey. */
const system = useSystem()
const { at } = system

// biome-ignore lint/suspicious/noExplicitAny: three releases with types of their own
type Client = any

/** Invocations of the oldest release expire, so they are other tasks than the promised ones. Their outcome is equal. */
const clients: [name: string, client: Client, asPromised: boolean][] = [
  ['@storacha/filecoin-client 1.0.20', Storacha, true],
  ['@web3-storage/filecoin-client 3.3.5', Web3, true],
  ['@web3-storage/filecoin-client 3.0.0', Web3Old, false],
]

describe.each(clients)('%s', (_name, client, asPromised) => {
  let content: Content
  let accept: string

  const signer = (role: string) => ed25519.parse((role === 'agent' ? system.local.agent : at(role)).key)
  /** Returns the options of an invocation by a role, with its own DID as resource. */
  const as = (role: string, audience: string) => ({
    issuer: signer(role),
    with: signer(role).did(),
    audience: ed25519.Verifier.parse(at(audience).did),
  })
  const via = (role: string) => ({
    connection: connect({
      id: ed25519.Verifier.parse(at(role).did),
      codec: CAR.outbound,
      channel: HTTP.open<Record<string, never>>({ url: new URL(at(role).url) }),
    }),
  })

  beforeAll(async () => {
    content = await randomContent(100_000)
    await upload(system.local, content)
  })

  test('K12: filecoin/offer returns the next tasks as effects', async () => {
    const receipt: Receipt = await client.Storefront.filecoinOffer(
      as('agent', 'storefront'),
      content.content,
      content.piece,
      via('storefront'),
    )
    expect(receipt.out).toMatchObject({ ok: { piece: content.piece } })
    expect(receipt.fx.fork).toHaveLength(1)
    accept = `${receipt.fx.join?.link()}`
  })

  test('K12: filecoin/accept before the end returns an error, and stores no receipt', async () => {
    const receipt: Receipt = await client.Storefront.filecoinAccept(
      as('storefront', 'storefront'),
      content.content,
      content.piece,
      via('storefront'),
    )
    expect(receipt.out.error).toMatchObject({ name: 'OutcomePending' })
    expect(`${receipt.ran.link()}` === accept).toBe(asPromised)
    expect((await fetch(`${at('storefront').url}/receipt/${accept}`)).status).toBe(404)
  })

  test('K12: filecoin/submit and filecoin/accept return the outcome that is also served', async () => {
    const served = await awaitReceipt(at('storefront'), accept)
    const args = [as('storefront', 'storefront'), content.content, content.piece, via('storefront')]
    const submitted: Receipt = await client.Storefront.filecoinSubmit(...args)
    expect(submitted.out).toMatchObject({ ok: { piece: content.piece } })
    const accepted: Receipt = await client.Storefront.filecoinAccept(...args)
    expect(`${accepted.root.cid}` === `${served.root.cid}`).toBe(asPromised)
    expect(accepted.out).toEqual(served.out)
    const { aggregate, inclusion, aux } = accepted.out.ok as unknown as FilecoinAcceptSuccess
    expect(aux).toEqual({ dataType: 0, dataSource: { dealID: expect.any(Number) } })
    expect(
      verifyInclusion({ piece: content.piece, aggregate, inclusion: inclusion as EncodedInclusion }),
    ).toEqual({
      ok: {},
    })
  })

  test('K12, S6: a wrong piece ends with InvalidContentPiece within seconds', async () => {
    const wrong = { ...(await randomContent(60_000)), piece: (await randomContent(60_000)).piece }
    await upload(system.local, wrong)
    const offered: Receipt = await client.Storefront.filecoinOffer(
      as('agent', 'storefront'),
      wrong.content,
      wrong.piece,
      via('storefront'),
    )
    expect(offered.out).toMatchObject({ ok: { piece: wrong.piece } })
    const accepted: Receipt = await vi.waitFor(
      async () => {
        const receipt: Receipt = await client.Storefront.filecoinAccept(
          as('storefront', 'storefront'),
          wrong.content,
          wrong.piece,
          via('storefront'),
        )
        expect(receipt.out.error).toMatchObject({ name: 'InvalidContentPiece', content: wrong.content })
        return receipt
      },
      { timeout: 30_000, interval: 200 },
    )
    expect(`${accepted.ran.link()}` === `${offered.fx.join?.link()}`).toBe(asPromised)
  })

  // The oldest release has no filecoin/info.
  if (client.Storefront.filecoinInfo)
    test('K12: filecoin/info returns the aggregate and the deal', async () => {
      const { ok } = (
        (await client.Storefront.filecoinInfo(
          as('agent', 'storefront'),
          content.piece,
          via('storefront'),
        )) as Receipt
      ).out
      expect(ok).toMatchObject({
        piece: content.piece,
        aggregates: [{ inclusion: { subtree: expect.any(Array), index: expect.any(Array) } }],
        deals: [
          { provider: expect.stringMatching(/^f0\d+$/), aux: { dataSource: { dealID: expect.any(Number) } } },
        ],
      })
    })

  test('K12: piece/offer is queued, and piece/accept returns the promised outcome', async () => {
    const offer = [as('storefront', 'aggregator'), content.piece, 'local', via('aggregator')]
    const offered: Receipt = await client.Aggregator.pieceOffer(...offer)
    expect(offered.out).toMatchObject({ ok: { piece: content.piece } })
    const accepted: Receipt = await client.Aggregator.pieceAccept(
      as('aggregator', 'aggregator'),
      content.piece,
      'local',
      via('aggregator'),
    )
    expect(`${accepted.ran.link()}` === `${offered.fx.join?.link()}`).toBe(asPromised)
    expect(accepted.out).toMatchObject({ ok: { piece: content.piece } })
    expect(accepted.fx.join).toBeDefined()
  })

  test('K12: aggregate/offer is accepted, and aggregate/accept and deal/info return its deal', async () => {
    const pieces = [content.piece, (await randomContent(5_000)).piece]
    const { ok: built } = buildAggregate({ pieces, size: 2 ** 20 })
    if (!built) throw new Error('The two pieces do not make an aggregate of 1 MiB')
    const offered: Receipt = await client.Dealer.aggregateOffer(
      as('aggregator', 'dealer'),
      built.link,
      built.pieces,
      via('dealer'),
    )
    expect(offered.out).toMatchObject({ ok: { aggregate: built.link } })
    const task = offered.fx.join as { capabilities: [{ nb: { pieces: unknown } }] } | undefined
    await awaitReceipt(at('dealer'), `${offered.fx.join?.link()}`)
    const accepted: Receipt = await client.Dealer.aggregateAccept(
      as('dealer', 'dealer'),
      built.link,
      task?.capabilities[0].nb.pieces,
      via('dealer'),
    )
    expect(accepted.out).toMatchObject({
      ok: { aggregate: built.link, dataSource: { dealID: expect.any(Number) } },
    })

    await expect
      .poll(async () => {
        const { out }: Receipt = await client.DealTracker.dealInfo(
          as('dealer', 'dealTracker'),
          built.link,
          via('dealTracker'),
        )
        return Object.values((out.ok as { deals: object })?.deals ?? {})
      }, PATIENCE)
      .toMatchObject([{ status: 'Active', provider: expect.stringMatching(/^f0\d+$/) }])
  })
})
