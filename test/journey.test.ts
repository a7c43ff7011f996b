import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CBOR, Delegation } from '@ucanto/core'
import type { Receipt } from '@ucanto/interface'
import {
  type FilecoinAcceptSuccess,
  filecoinOffer,
  type PieceAcceptSuccess,
  type PieceLink,
} from '@w3filecoin/capabilities'
import { type Address, type Local, startLocal } from '@w3filecoin/local'
import { type EncodedInclusion, toInclusionProof, verifyInclusion } from '@w3filecoin/piece'
import { Authority, generateKey, Peer, parseSigner } from '@w3filecoin/service'
import { Aggregate, Piece } from '@web3-storage/data-segment'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Content, randomContent, upload } from './content.ts'
import { awaitReceipt, effect, fetchReceipt } from './receipts.ts'

/**
 * One journey over HTTP: pieces of two storefronts and two groups, offered by agents of several spaces, each
 * followed from link to link, from the offer to the deal.
 */
const SIZE = 2 ** 22

let local: Local
let data: string

beforeAll(async () => {
  data = await mkdtemp(join(tmpdir(), 'w3filecoin-journey-'))
  local = await startLocal({
    data,
    storefronts: ['otherStorefront'],
    configure: (role, config) =>
      role === 'aggregator'
        ? { ...config, limits: { ...config.limits, size: SIZE, longestWait: 2 } }
        : role === 'otherStorefront'
          ? { ...config, defaultGroup: 'other' }
          : config,
  })
})

afterAll(async () => {
  await local?.stop()
  await rm(data, { recursive: true, force: true })
})

const at = (role: string) => local.services[role] as Address

/** Offers content at a storefront as an agent, to which a space has delegated that. */
const offer = async (role: string, { content, piece }: Content, nonce?: string): Promise<Receipt> => {
  const space = parseSigner(await generateKey())
  const agent = parseSigner(await generateKey())
  const { did, url } = at(role)
  const authority = new Authority([])
  const storefront = new Peer({ did: did as never, url }, { authority, fetch })
  const delegation = await Delegation.delegate({
    issuer: space,
    audience: agent,
    capabilities: [{ can: 'filecoin/*', with: space.did() }],
    expiration: Infinity,
  })
  const invocation = filecoinOffer.invoke({
    issuer: agent,
    audience: storefront.principal,
    with: space.did(),
    nb: { content, piece } as never,
    proofs: [delegation],
    expiration: Infinity,
    ...(nonce === undefined ? {} : { nonce }),
  })
  const [answer] = await storefront.execute([(await invocation.delegate()) as never])
  if (answer?.ok === undefined) throw new Error(answer?.error.message)
  return answer.ok
}

/** Follows an offer from link to link; checks that each promise is kept by the receipt that follows. */
const follow = async (role: string, offered: Receipt, { piece }: Content) => {
  expect(offered.out).toMatchObject({ ok: { piece } })
  const submit = effect(offered.fx.fork[0])
  const submitted = await awaitReceipt(at(role), `${submit.cid}`)
  const pieceOffer = effect(submitted.fx.join)
  expect(pieceOffer.capabilities[0]?.can).toBe('piece/offer')

  const queued = await awaitReceipt(at('aggregator'), `${pieceOffer.cid}`)
  const pieceAccept = effect(queued.fx.join)
  const included = await awaitReceipt(at('aggregator'), `${pieceAccept.cid}`)
  const { aggregate, inclusion } = included.out.ok as PieceAcceptSuccess
  const aggregateOffer = effect(included.fx.join)

  const dealt = await awaitReceipt(at('dealer'), `${aggregateOffer.cid}`)
  const aggregateAccept = effect(dealt.fx.join)
  const live = await awaitReceipt(at('dealer'), `${aggregateAccept.cid}`)
  expect(live.out).toMatchObject({ ok: { aggregate, dataType: 0 } })
  expect(live.fx).toEqual({ fork: [] })

  const accepted = await awaitReceipt(at(role), `${effect(offered.fx.join).cid}`)
  const end = accepted.out.ok as FilecoinAcceptSuccess
  expect(`${end.aggregate}`).toBe(`${aggregate}`)
  expect(end.aux.dataSource).toEqual((live.out.ok as { dataSource: object }).dataSource)
  expect(verifyInclusion({ piece, aggregate, inclusion: inclusion as EncodedInclusion })).toEqual({ ok: {} })
  expect(end.inclusion).toEqual(inclusion)
  const [{ nb }] = aggregateOffer.capabilities as unknown as [{ nb: { pieces: unknown } }]
  const block = [...effect(dealt.ran).iterateIPLDBlocks()].find(({ cid }) => `${cid}` === `${nb.pieces}`)
  return {
    aggregate: `${aggregate}`,
    inclusion,
    aggregateOffer,
    pieces: CBOR.decode(block?.bytes as never) as PieceLink[],
    tenant: aggregateOffer.facts[0],
  }
}

test('pieces of several storefronts and groups reach their deals, each with a proof for every link', async () => {
  const [ours, theirs, shared] = await Promise.all([
    Promise.all([1_000, 30_000, 250_000, 700_000].map(randomContent)),
    Promise.all([2_000, 90_000].map(randomContent)),
    randomContent(65_000),
  ])
  const journeys = [
    ...[...ours, shared].map(content => ({ role: 'storefront', content })),
    ...[...theirs, shared].map(content => ({ role: 'otherStorefront', content })),
  ]
  const ends = await Promise.all(
    journeys.map(async ({ role, content }) => {
      await upload(local, content, role === 'storefront' ? 'storefront' : 'other-storefront')
      return { role, content, ...(await follow(role, await offer(role, content), content)) }
    }),
  )

  // Pieces of different storefronts and groups never share an aggregate.
  for (const end of ends)
    expect(end.tenant).toMatchObject({
      storefront: at(end.role).did,
      group: end.role === 'storefront' ? 'local' : 'other',
    })
  const aggregates = (role: string) =>
    ends.filter(end => end.role === role).map(end => `${end.aggregateOffer.cid}`)
  expect(aggregates('storefront').filter(cid => aggregates('otherStorefront').includes(cid))).toEqual([])

  // The published library makes the same aggregate of the pieces, and the same proof of each.
  for (const { aggregate, pieces, content, inclusion } of ends) {
    const published = Aggregate.build({
      pieces: pieces.map(link => Piece.fromLink(link as never)),
      size: Aggregate.Size.from(BigInt(SIZE)),
    })
    expect(`${published.link}`).toBe(aggregate)
    expect(published.resolveProof(content.piece as never).ok).toEqual(
      toInclusionProof(inclusion as EncodedInclusion),
    )
  }
})

test('the same offer by another agent gives the same effects, and no second piece', async () => {
  const content = await randomContent(40_000)
  await upload(local, content)
  const first = await offer('storefront', content)
  const second = await offer('storefront', content)
  expect(`${second.fx.join?.link()}`).toBe(`${first.fx.join?.link()}`)
  await follow('storefront', first, content)
  const third = await offer('storefront', content)
  expect(`${third.fx.join?.link()}`).toBe(`${first.fx.join?.link()}`)
  expect(await fetchReceipt(at('storefront'), `${third.fx.join?.link()}`)).toBeDefined()
})

test('the same offer with a nonce is another workflow, with another place in another aggregate', async () => {
  const content = await randomContent(50_000)
  await upload(local, content)
  const plain = await offer('storefront', content)
  const again = await offer('storefront', content, 'again')
  expect(`${again.fx.join?.link()}`).not.toBe(`${plain.fx.join?.link()}`)
  const [one, other] = await Promise.all([
    follow('storefront', plain, content),
    follow('storefront', again, content),
  ])
  expect(`${one.aggregateOffer.cid}`).not.toBe(`${other.aggregateOffer.cid}`)
})
