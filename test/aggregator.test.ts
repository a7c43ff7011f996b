import type { Receipt } from '@ucanto/interface'
import type { PieceLink } from '@w3filecoin/capabilities'
import { type EncodedInclusion, toInclusionProof, verifyInclusion } from '@w3filecoin/piece'
import { somePiece } from '@w3filecoin/testing'
import { Aggregate, Piece } from '@web3-storage/data-segment'
import { expect, test } from 'vitest'
import { followPiece } from './follow.ts'
import { invoke, taskOf } from './invoke.ts'
import { readOfferDocuments } from './offer-documents.ts'
import { effectOf, fetchReceipt } from './receipts.ts'
import { useSystem } from './system.ts'

/** Padded bytes of an aggregate. Its index takes 256 of them, and has entries for 4 pieces. */
const SIZE = 2048
/** Heights of pieces. A piece of height h has 32 × 2^h padded bytes. */
const [BYTES_128, BYTES_256, BYTES_512, BYTES_1024, BYTES_2048] = [2, 3, 4, 5, 6]

/** An hour, in seconds: longer than any test. */
const LONG = 3600

const system = useSystem({
  storefronts: ['otherStorefront'],
  configure: (role, config) =>
    role === 'aggregator'
      ? {
          ...config,
          limits: { paddedBytes: SIZE, minPaddedBytes: 0, maxWaitSeconds: 1 },
          groups: {
            patient: { maxWaitSeconds: LONG },
            'patient too': { maxWaitSeconds: LONG },
            least: { minPaddedBytes: 512 },
          },
        }
      : config,
})
const aggregator = () => system.at('aggregator')

/** The request of a storefront that offers a piece with its own DID. */
const requestOf = (piece: PieceLink, group: string, { role = 'storefront', nonce }: By = {}) => ({
  issuer: system.signer(role),
  can: 'piece/offer' as const,
  nb: { piece, group },
  nonce,
})
interface By {
  role?: string
  nonce?: string
}
const offer = (piece: PieceLink, group: string, by?: By): Promise<Receipt> =>
  invoke(aggregator(), requestOf(piece, group, by))
const acceptOf = ({ fx }: Receipt): string => `${effectOf(fx.join).cid}`
const text = (links: readonly unknown[]) => links.map(link => `${link}`)

/** Counts the occurrences of a piece in all offered aggregates. */
const countPlaces = async (piece: PieceLink): Promise<number> => {
  const documents = await readOfferDocuments(system.local)
  return documents.flatMap(({ pieces }) => pieces).filter(other => other === `${piece}`).length
}

test.concurrent('A1: an offered piece is queued, and the receipt is ok and joins the piece/accept task', async () => {
  const piece = somePiece('A1')
  const receipt = await offer(piece, 'A1')
  expect(receipt.out).toEqual({ ok: { piece } })
  expect(receipt.fx.fork).toEqual([])
  const accept = effectOf(receipt.fx.join)
  const { did } = aggregator()
  expect(accept.capabilities).toEqual([{ can: 'piece/accept', with: did, nb: { piece, group: 'A1' } }])
  expect([accept.issuer.did(), accept.audience.did()]).toEqual([did, did])
  expect([accept.expiration, accept.nonce, accept.facts]).toEqual([Infinity, undefined, []])
  const own = { issuer: system.signer('aggregator'), can: 'piece/accept' as const }
  expect(`${accept.cid}`).toBe(await taskOf(aggregator(), { ...own, nb: { piece, group: 'A1' } }))
})

test.concurrent('A2: a repeated piece/offer returns the same receipt, before and after the end, and adds no second entry', async () => {
  const piece = somePiece('A2')
  const [first, ...others] = await Promise.all(Array.from({ length: 5 }, () => offer(piece, 'A2')))
  const end = await followPiece(system, first as Receipt)
  others.push(await offer(piece, 'A2'))
  for (const again of others) expect(`${again.root.cid}`).toBe(`${first?.root.cid}`)

  // A later piece of the group is sealed by now, so a second entry of this piece would be sealed too.
  const next = await followPiece(system, await offer(somePiece('A2 next'), 'A2'))
  expect(`${next.aggregateOffer.cid}`).not.toBe(`${end.aggregateOffer.cid}`)
  expect(text(next.pieces)).toEqual([`${somePiece('A2 next')}`])
  expect(await countPlaces(piece)).toBe(1)
})

test.concurrent('A3: an offer with a nonce is a new offer, with other effects and an entry in another aggregate', async () => {
  const piece = somePiece('A3')
  const offers = await Promise.all([
    offer(piece, 'A3'),
    offer(piece, 'A3', { nonce: 'one' }),
    offer(piece, 'A3', { nonce: 'two' }),
  ])
  expect(offers.map(({ fx }) => effectOf(fx.join).nonce)).toEqual([undefined, 'one', 'two'])
  const ends = await Promise.all(offers.map(receipt => followPiece(system, receipt)))
  expect(new Set(offers.map(acceptOf)).size).toBe(3)
  expect(new Set(ends.map(({ aggregateOffer }) => `${aggregateOffer.cid}`)).size).toBe(3)
  expect(await countPlaces(piece)).toBe(3)
  for (const { pieces } of ends) expect(new Set(text(pieces)).size).toBe(pieces.length)
})

test.concurrent('A4: the same piece from two storefronts, or in two groups, is not a duplicate', async () => {
  const piece = somePiece('A4')
  const offers = await Promise.all([
    offer(piece, 'A4'),
    offer(piece, 'A4', { role: 'otherStorefront' }),
    offer(piece, 'A4 other'),
  ])
  expect(offers.map(({ out }) => out)).toEqual(Array(3).fill({ ok: { piece } }))
  expect(new Set(offers.map(acceptOf)).size).toBe(3)
  const ends = await Promise.all(offers.map(receipt => followPiece(system, receipt)))
  expect(ends.map(({ aggregateOffer }) => aggregateOffer.facts)).toMatchObject([
    [{ storefront: system.at('storefront').did, group: 'A4' }],
    [{ storefront: system.at('otherStorefront').did, group: 'A4' }],
    [{ storefront: system.at('storefront').did, group: 'A4 other' }],
  ])
  expect(await countPlaces(piece)).toBe(3)
})

test.concurrent('A5: piece/accept returns a proof, and joins the aggregate/offer that the dealer receives', async () => {
  const piece = somePiece('A5', BYTES_256)
  const [receipt] = [await offer(piece, 'A5'), await offer(somePiece('A5 other', BYTES_512), 'A5')]
  const { included, aggregateOffer, dealt, pieces } = await followPiece(system, receipt)
  expect(included.out).toEqual({
    ok: {
      piece,
      aggregate: expect.anything(),
      inclusion: {
        subtree: [expect.any(Number), expect.any(Array)],
        index: [expect.any(Number), expect.any(Array)],
      },
    },
  })
  expect(included.fx.fork).toEqual([])
  const { aggregate, inclusion } = included.out.ok as { aggregate: PieceLink; inclusion: EncodedInclusion }
  expect(verifyInclusion({ piece, aggregate, inclusion })).toEqual({ ok: {} })
  expect(verifyInclusion({ piece: somePiece('A5 no', BYTES_256), aggregate, inclusion }).ok).toBeUndefined()
  expect(aggregateOffer.capabilities).toEqual([
    { can: 'aggregate/offer', with: aggregator().did, nb: { aggregate, pieces: expect.anything() } },
  ])
  // The dealer ran these bytes, and received the list of pieces with them.
  expect(dealt.out).toEqual({ ok: { aggregate } })
  expect(effectOf(dealt.ran).bytes).toEqual(aggregateOffer.bytes)
  expect(text(pieces)).toContain(`${piece}`)
})

test.concurrent('A6: an aggregate is sealed when its pieces suffice, follows FRC-0058, and has one storefront and group', async () => {
  const sizes = [BYTES_256, BYTES_512, BYTES_512, BYTES_512]
  const ours = sizes.map((height, n) => somePiece(`A6 ${n}`, height))
  const others = await Promise.all([
    offer(somePiece('A6 other storefront', BYTES_512), 'patient', { role: 'otherStorefront' }),
    offer(somePiece('A6 other group', BYTES_512), 'patient too'),
  ])
  const [last, ...early] = ours.toReversed()
  const offers = await Promise.all(early.map(piece => offer(piece, 'patient')))
  // Wait as long as another group takes that is sealed because of its age.
  await followPiece(system, await offer(somePiece('A6 meanwhile'), 'A6'))
  for (const receipt of [...others, ...offers])
    expect(await fetchReceipt(aggregator(), acceptOf(receipt))).toBeUndefined()

  offers.push(await offer(last as PieceLink, 'patient'))
  const ends = await Promise.all(offers.map(receipt => followPiece(system, receipt)))
  const [{ pieces, success }] = ends as [(typeof ends)[number]]
  expect(text(pieces).toSorted()).toEqual(text(ours).toSorted())
  const published = Aggregate.build({
    pieces: pieces.map(link => Piece.fromLink(link as never)),
    size: Aggregate.Size.from(BigInt(SIZE)),
  })
  for (const { aggregateOffer, dealt, ...end } of ends) {
    expect(aggregateOffer.facts).toMatchObject([
      { storefront: system.at('storefront').did, group: 'patient' },
    ])
    expect(`${end.success.aggregate}`).toBe(`${published.link}`)
    expect(published.resolveProof(end.success.piece as never).ok).toEqual(
      toInclusionProof(end.success.inclusion as EncodedInclusion),
    )
    expect(dealt.out).toEqual({ ok: { aggregate: success.aggregate } })
  }
  for (const receipt of others) expect(await fetchReceipt(aggregator(), acceptOf(receipt))).toBeUndefined()
})

test.concurrent('A7: a piece that is too large for every aggregate is refused at the offer', async () => {
  const piece = somePiece('A7', BYTES_2048)
  const refused = await offer(piece, 'A7')
  expect(refused.out).toEqual({
    error: { name: 'InvalidPieceCID', message: expect.stringContaining(`${SIZE}`), piece },
  })
  expect(refused.fx).toEqual({ fork: [] })
  // The refusal is final, so it is the receipt of the task.
  const served = await fetchReceipt(aggregator(), `${refused.ran.link()}`)
  expect(`${served?.root.cid}`).toBe(`${refused.root.cid}`)
  expect((await offer(somePiece('A7', BYTES_1024), 'A7')).out).toEqual({
    ok: { piece: somePiece('A7', BYTES_1024) },
  })
})

test.concurrent('A7: a group that waited for its maximum time is sealed with its pieces, if they have the minimum size', async () => {
  const [piece, more] = [somePiece('A7 least', BYTES_256), somePiece('A7 more', BYTES_256)]
  const waiting = await offer(piece, 'least')
  // A group with the same maximum time but no minimum size is sealed, although its piece was offered later.
  const alone = somePiece('A7 alone', BYTES_128)
  const sealed = await followPiece(system, await offer(alone, 'A7 alone'))
  expect(text(sealed.pieces)).toEqual([`${alone}`])
  expect(await fetchReceipt(aggregator(), acceptOf(waiting))).toBeUndefined()

  await offer(more, 'least')
  const { pieces } = await followPiece(system, waiting)
  expect(text(pieces).toSorted()).toEqual(text([piece, more]).toSorted())
})
