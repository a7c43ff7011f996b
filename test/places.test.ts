import * as Storacha from '@storacha/filecoin-client'
import { connect } from '@ucanto/client'
import type { Receipt } from '@ucanto/interface'
import { ed25519 } from '@ucanto/principal'
import { CAR, HTTP } from '@ucanto/transport'
import { bind, openTables } from '@w3filecoin/aws'
import {
  type DealInfoSuccess,
  type FilecoinAcceptSuccess,
  type Place,
  toMetadata,
  toPlaceKey,
} from '@w3filecoin/capabilities'
import { dealTracker, Proof, verify } from '@w3filecoin/client'
import { type DealRecord, keyOf, tables, toPieceKey } from '@w3filecoin/deal-tracker'
import { resources } from '@w3filecoin/deal-tracker/resources'
import { placesOf } from '@w3filecoin/local/provision'
import { type AnyLink, type EncodedInclusion, toV1, verifyInclusion } from '@w3filecoin/piece'
import * as Web3 from '@web3-storage/filecoin-client'
import { beforeAll, describe, expect, test } from 'vitest'
import * as Web3Old from 'web3-storage-filecoin-client-3.0'
import { type Content, randomContent, upload } from './content.ts'
import { type Aggregated, followPiece } from './follow.ts'
import { awaitReceipt, effectOf } from './receipts.ts'
import { createSpace, createStoracha } from './storacha-agent.ts'
import { StorachaCli } from './storacha-cli.ts'
import { useSystem } from './system.ts'

/**
 * Published clients, unmodified, with aggregates at each kind of place. The local market makes no deal in time: the tests write
 * the places into the table of the deal tracker, as a run of its source does.
 */
const system = useSystem({ dealDelayMs: 3_600_000 })
const { at, signer } = system

const PLACES: Place[] = [
  { type: 'market', dealID: 81_234_567 },
  { type: 'sector', miner: 'f020378', sector: 77 },
  { type: 'pdp', chain: 314, verifier: '0xbadd0b92c1c71d02e7d520f64c0876538fa2557f', dataSet: 12, piece: 0 },
]

// biome-ignore lint/suspicious/noExplicitAny: three releases with types of their own
type Client = any

const CLIENTS: [name: string, client: Client][] = [
  ['@storacha/filecoin-client 1.0.20', Storacha],
  ['@web3-storage/filecoin-client 3.3.5', Web3],
  ['@web3-storage/filecoin-client 3.0.0', Web3Old],
]

const as = (role: string, audience: string) => ({
  issuer: role === 'agent' ? ed25519.parse(system.local.agent.key) : signer(role),
  with: role === 'agent' ? (system.local.agent.did as never) : signer(role).did(),
  audience: ed25519.Verifier.parse(at(audience).did),
})
const via = (role: string) => ({
  connection: connect({
    id: ed25519.Verifier.parse(at(role).did),
    codec: CAR.outbound,
    channel: HTTP.open<Record<string, never>>({ url: new URL(at(role).url) }),
  }),
})

/** Asks the deal tracker as the dealer does, with a published client. */
const askTracker = async (client: Client, aggregate: AnyLink): Promise<Receipt> =>
  client.DealTracker.dealInfo(as('dealer', 'dealTracker'), aggregate, via('dealTracker'))

/** Writes a place of an aggregate into the table of the deal tracker, under the source that the local system has. */
const putOnChain = async (place: Place, aggregate: AnyLink): Promise<void> => {
  const { asOf } = (await askTracker(Storacha, aggregate)).out.error as unknown as Pick<
    DealInfoSuccess,
    'asOf'
  >
  const { source, epoch } = asOf[0]!
  const record: DealRecord = {
    piece: toPieceKey(toV1(aggregate).ok!),
    deal: `${keyOf(place)}@${source}`,
    place,
    provider: place.type === 'pdp' ? 'pdp:3' : 'f020378',
    ...(place.type !== 'pdp' && { endEpoch: epoch! + 1_000_000 }),
    created: Date.now(),
    updated: Date.now(),
    seenEpoch: epoch!,
    run: 1,
  }
  const { env, sqs } = system.local.engines
  Object.assign(process.env, env)
  const places = placesOf({ resources, service: 'deal-tracker', sqs })
  await bind(resources, places, await openTables(env))
    .table<object>('deal')
    .putMany([tables.deal.encode(record)])
}

describe.each(PLACES)('an aggregate at a place of type $type', place => {
  const key = toPlaceKey(place)
  const isDeal = place.type === 'market'
  const aux = toMetadata(place, expect.any(Number))
  let client: Awaited<ReturnType<typeof createStoracha>>
  let content: Content
  let accept: AnyLink
  let journey: Aggregated
  let aggregate: FilecoinAcceptSuccess['aggregate']

  beforeAll(async () => {
    client = await createStoracha(at('storefront'))
    await createSpace(client)
    content = await randomContent(10_000)
    await upload(system.local, content)
    const { fx } = await client.capability.filecoin.offer(content.content, content.piece)
    accept = fx.join!.link() as never
    const submitted = await awaitReceipt(at('storefront'), `${fx.fork[0]!.link()}`)
    const queued = await awaitReceipt(at('aggregator'), `${effectOf(submitted.fx.join).cid}`)
    journey = await followPiece(system, queued)
    aggregate = journey.success.aggregate
    await putOnChain(place, aggregate)
    await awaitReceipt(at('storefront'), `${accept}`)
  }, 120_000)

  test.each(CLIENTS)(
    'K12: %s reads the receipts of filecoin/accept and aggregate/accept',
    async (_, published) => {
      const accepted: Receipt = await published.Storefront.filecoinAccept(
        as('storefront', 'storefront'),
        content.content,
        content.piece,
        via('storefront'),
      )
      const success = accepted.out.ok as unknown as FilecoinAcceptSuccess
      expect(success).toMatchObject({ piece: content.piece, aggregate, aux })
      const inclusion = success.inclusion as EncodedInclusion
      expect(verifyInclusion({ piece: content.piece, aggregate, inclusion })).toEqual({ ok: {} })

      const [{ nb }] = effectOf(journey.dealt.fx.join).capabilities as unknown as [
        { nb: { pieces: unknown } },
      ]
      const dealt: Receipt = await published.Dealer.aggregateAccept(
        as('dealer', 'dealer'),
        aggregate,
        nb.pieces,
        via('dealer'),
      )
      expect(dealt.out.ok).toMatchObject({ aggregate, ...aux })
    },
  )

  test.each(CLIENTS)(
    'K12: %s reads deal/info and filecoin/info, which name deals only as deals',
    async (_, published) => {
      const { ok } = (await askTracker(published, aggregate)).out as { ok: DealInfoSuccess }
      expect(ok.deals).toEqual(
        isDeal ? { [key]: expect.objectContaining({ status: 'Active', provider: 'f020378' }) } : {},
      )
      expect(ok.places).toMatchObject(isDeal ? [] : [{ type: place.type, key, status: 'Active' }])
      expect(ok.places).toHaveLength(isDeal ? 0 : 1)

      // The oldest release has no filecoin/info.
      if (published.Storefront.filecoinInfo === undefined) return
      const info: Receipt = await published.Storefront.filecoinInfo(
        as('agent', 'storefront'),
        content.piece,
        via('storefront'),
      )
      expect(info.out.ok).toMatchObject({
        piece: content.piece,
        aggregates: [{ aggregate }],
        deals: isDeal ? [{ aggregate, provider: 'f020378', aux }] : [],
        places: isDeal ? [] : [{ aggregate, type: place.type, key, status: 'Active' }],
      })
    },
  )

  test('K12: @storacha/client reads the receipt and filecoin/info', async () => {
    const receipt = await client.getReceipt(accept as never)
    expect(receipt.out.ok).toMatchObject({ aggregate, aux })
    const { out } = await client.capability.filecoin.info(content.piece)
    expect(out.ok?.aggregates).toMatchObject([{ aggregate }])
    expect(out.ok?.deals).toMatchObject(isDeal ? [{ provider: 'f020378', aux }] : [])
    expect(out.ok?.deals).toHaveLength(isDeal ? 1 : 0)
  })

  test('K12: `can filecoin info` of @storacha/cli shows a deal, and of another place that there is no deal', async () => {
    const cli = await StorachaCli.open(at('storefront'))
    try {
      const { stdout: agent } = await cli.run('whoami')
      const space = await createSpace(client)
      await cli.addSpace(await space.createAuthorization(ed25519.Verifier.parse(agent.trim() as never)))
      const { status, stdout, stderr } = await cli.run('can', 'filecoin', 'info', `${content.piece}`)
      expect(status, stderr).toBe(0)
      expect(stdout).toContain(isDeal ? `Deal ID: ${key}` : 'Piece being aggregated')
    } finally {
      await cli.close()
    }
  })

  test('the client of this project proves the place, and the deal tracker confirms it', async () => {
    const proof = await Proof.fromReceipt((await awaitReceipt(at('storefront'), `${accept}`)) as never)
    const tracker = await dealTracker(at('dealTracker').url, { signer: system.local.agent.key })
    const report = await verify(proof, { storefront: at('storefront').did, dealTracker: tracker })
    expect(proof.place).toEqual(place)
    expect(report.tracker).toMatchObject({ by: at('dealTracker').did, status: 'Active' })
  })
})
