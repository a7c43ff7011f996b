import type { Receipt } from '@ucanto/interface'
import type { PieceLink } from '@w3filecoin/capabilities'
import { type EncodedInclusion, toInclusionProof, verifyInclusion } from '@w3filecoin/piece'
import { somePiece } from '@w3filecoin/testing'
import { Aggregate, Piece } from '@web3-storage/data-segment'
import { expect, test } from 'vitest'
import { followPiece } from './follow.ts'
import { invoke, taskOf } from './invoke.ts'
import { offerDocuments } from './offer-documents.ts'
import { effect, fetchReceipt } from './receipts.ts'
import { useSystem } from './system.ts'

/** Padded bytes of an aggregate; 256 of them are its index, which has an entry for each of 4 pieces. */
const SIZE = 2048
/** Heights of pieces, which have 32 padded bytes times two to the power of it. */
const [BYTES_128, BYTES_256, BYTES_512, BYTES_1024, BYTES_2048] = [2, 3, 4, 5, 6]

/** An hour: longer than any test. */
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

/** What a storefront asks for when it offers a piece, with its own DID. */
const asked = (piece: PieceLink, group: string, { role = 'storefront', nonce }: By = {}) => ({
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
  invoke(aggregator(), asked(piece, group, by))
const acceptOf = ({ fx }: Receipt): string => `${effect(fx.join).cid}`
const text = (links: readonly unknown[]) => links.map(link => `${link}`)

/** How often a piece is in the pieces of all aggregates that were offered. */
const placesOf = async (piece: PieceLink): Promise<number> => {
  const documents = await offerDocuments(system.local)
  return documents.flatMap(({ pieces }) => pieces).filter(other => other === `${piece}`).length
}

test.concurrent('A1: an offered piece is queued, and answered with ok and the piece/accept that tells of it', async () => {
  const piece = somePiece('A1')
  const receipt = await offer(piece, 'A1')
  expect(receipt.out).toEqual({ ok: { piece } })
  expect(receipt.fx.fork).toEqual([])
  const accept = effect(receipt.fx.join)
  const { did } = aggregator()
  expect(accept.capabilities).toEqual([{ can: 'piece/accept', with: did, nb: { piece, group: 'A1' } }])
  expect([accept.issuer.did(), accept.audience.did()]).toEqual([did, did])
  expect([accept.expiration, accept.nonce, accept.facts]).toEqual([Infinity, undefined, []])
  const own = { issuer: system.signer('aggregator'), can: 'piece/accept' as const }
  expect(`${accept.cid}`).toBe(await taskOf(aggregator(), { ...own, nb: { piece, group: 'A1' } }))
})

test.concurrent('A2: the same offer again gives the same, before and after the end, and no second place in an aggregate', async () => {
  const piece = somePiece('A2')
  const [first, ...others] = await Promise.all(Array.from({ length: 5 }, () => offer(piece, 'A2')))
  const end = await followPiece(system, first as Receipt)
  others.push(await offer(piece, 'A2'))
  for (const again of others) expect(`${again.root.cid}`).toBe(`${first?.root.cid}`)

  // Another piece of the group is sealed after it: so would a second one of the same be by now.
  const next = await followPiece(system, await offer(somePiece('A2 next'), 'A2'))
  expect(`${next.aggregateOffer.cid}`).not.toBe(`${end.aggregateOffer.cid}`)
  expect(text(next.pieces)).toEqual([`${somePiece('A2 next')}`])
  expect(await placesOf(piece)).toBe(1)
})

test.concurrent('A3: the same offer with a nonce is a new one, with other effects and another place in another aggregate', async () => {
  const piece = somePiece('A3')
  const offers = await Promise.all([
    offer(piece, 'A3'),
    offer(piece, 'A3', { nonce: 'one' }),
    offer(piece, 'A3', { nonce: 'two' }),
  ])
  expect(offers.map(({ fx }) => effect(fx.join).nonce)).toEqual([undefined, 'one', 'two'])
  const ends = await Promise.all(offers.map(receipt => followPiece(system, receipt)))
  expect(new Set(offers.map(acceptOf)).size).toBe(3)
  expect(new Set(ends.map(({ aggregateOffer }) => `${aggregateOffer.cid}`)).size).toBe(3)
  expect(await placesOf(piece)).toBe(3)
  for (const { pieces } of ends) expect(new Set(text(pieces)).size).toBe(pieces.length)
})

test.concurrent('A4: the same piece of two storefronts, or in two groups, is not a duplicate', async () => {
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
  expect(await placesOf(piece)).toBe(3)
})

test.concurrent('A5: a piece in an aggregate has a proof, and the aggregate/offer that is really sent', async () => {
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
  // The dealer ran these bytes, and had the list of pieces with them.
  expect(dealt.out).toEqual({ ok: { aggregate } })
  expect(effect(dealt.ran).bytes).toEqual(aggregateOffer.bytes)
  expect(text(pieces)).toContain(`${piece}`)
})

test.concurrent('A6: enough pieces make an aggregate as FRC-0058 has it, of one storefront and group, and not before', async () => {
  const sizes = [BYTES_256, BYTES_512, BYTES_512, BYTES_512]
  const ours = sizes.map((height, n) => somePiece(`A6 ${n}`, height))
  const others = await Promise.all([
    offer(somePiece('A6 other storefront', BYTES_512), 'patient', { role: 'otherStorefront' }),
    offer(somePiece('A6 other group', BYTES_512), 'patient too'),
  ])
  const [last, ...early] = ours.toReversed()
  const offers = await Promise.all(early.map(piece => offer(piece, 'patient')))
  // As long as another group takes that is sealed for its age alone.
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

test.concurrent('A7: a piece that no aggregate can hold is refused at the offer', async () => {
  const piece = somePiece('A7', BYTES_2048)
  const refused = await offer(piece, 'A7')
  expect(refused.out).toEqual({
    error: { name: 'InvalidPieceCID', message: expect.stringContaining(`${SIZE}`), piece },
  })
  expect(refused.fx).toEqual({ fork: [] })
  // It never will be taken: that is the outcome of the task.
  const served = await fetchReceipt(aggregator(), `${refused.ran.link()}`)
  expect(`${served?.root.cid}`).toBe(`${refused.root.cid}`)
  expect((await offer(somePiece('A7', BYTES_1024), 'A7')).out).toEqual({
    ok: { piece: somePiece('A7', BYTES_1024) },
  })
})

test.concurrent('A7: a group that waited its time is sealed with what it has, if that is the least that the dealer takes', async () => {
  const [piece, more] = [somePiece('A7 least', BYTES_256), somePiece('A7 more', BYTES_256)]
  const waiting = await offer(piece, 'least')
  // Offered later, to a group of the same patience but without a least: sealed.
  const alone = somePiece('A7 alone', BYTES_128)
  const sealed = await followPiece(system, await offer(alone, 'A7 alone'))
  expect(text(sealed.pieces)).toEqual([`${alone}`])
  expect(await fetchReceipt(aggregator(), acceptOf(waiting))).toBeUndefined()

  await offer(more, 'least')
  const { pieces } = await followPiece(system, waiting)
  expect(text(pieces).toSorted()).toEqual(text([piece, more]).toSorted())
})
