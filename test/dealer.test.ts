import { CBOR } from '@ucanto/core'
import type { Block, Fact, Receipt } from '@ucanto/interface'
import { ed25519 } from '@ucanto/principal'
import { buildAggregate, type PieceLink } from '@w3filecoin/piece'
import { somePiece } from '@w3filecoin/testing'
import { expect, test } from 'vitest'
import { ask, invoke, taskOf } from './invoke.ts'
import { offerDocuments } from './offer-documents.ts'
import { awaitReceipt, effect, fetchReceipt } from './receipts.ts'
import { useSystem } from './system.ts'

const SIZE = 2 ** 14

/** Long enough to look at what is so before there is a deal. */
const system = useSystem({ dealDelayMs: 4000 })
const dealer = () => system.at('dealer')

/** Some pieces in the order of the aggregate that they make. */
const aggregateOf = (seed: string) => {
  const pieces = [5, 4, 3, 3].map((height, n) => somePiece(`${seed} ${n}`, height))
  const { link, pieces: order } = buildAggregate({ pieces, size: SIZE }).ok!
  return { aggregate: link, pieces: order }
}

/** What an aggregator asks for when it offers an aggregate, with its own DID. */
const asked = (
  { aggregate, block }: { aggregate: PieceLink; block: Block },
  { nonce, facts = [], attach = [block] }: { nonce?: string; facts?: Fact[]; attach?: Block[] } = {},
) => ({
  issuer: system.signer('aggregator'),
  can: 'aggregate/offer' as const,
  nb: { aggregate, pieces: block.cid },
  nonce,
  facts,
  attach,
})
const offer = async (
  { aggregate, pieces }: { aggregate: PieceLink; pieces: readonly unknown[] },
  options?: { nonce?: string; facts?: Fact[] },
): Promise<Receipt> => {
  const block = (await CBOR.write(pieces)) as unknown as Block
  return invoke(dealer(), asked({ aggregate, block }, options))
}

const documentsOf = async (aggregate: PieceLink) =>
  (await offerDocuments(system.local)).filter(document => document.aggregate === `${aggregate}`)

test.concurrent('D1: an offered aggregate is answered with ok and the aggregate/accept that tells of its deal', async () => {
  const { aggregate, pieces } = aggregateOf('D1')
  const receipt = await offer({ aggregate, pieces })
  expect(receipt.out).toEqual({ ok: { aggregate } })
  expect(receipt.fx.fork).toEqual([])
  const accept = effect(receipt.fx.join)
  const nb = { aggregate, pieces: (await CBOR.write(pieces)).cid }
  const { did } = dealer()
  expect(accept.capabilities).toEqual([{ can: 'aggregate/accept', with: did, nb }])
  expect([accept.issuer.did(), accept.audience.did()]).toEqual([did, did])
  const own = { issuer: system.signer('dealer'), can: 'aggregate/accept' as const, nb }
  expect(`${accept.cid}`).toBe(await taskOf(dealer(), own))
})

test.concurrent('D2: the same offer again gives the same, before and after the end; with a nonce it is processed anew', async () => {
  const { aggregate, pieces } = aggregateOf('D2')
  const first = await offer({ aggregate, pieces })
  const before = await offer({ aggregate, pieces })
  const anew = await offer({ aggregate, pieces }, { nonce: 'anew' })
  const ends = await Promise.all(
    [first, anew].map(({ fx }) => awaitReceipt(dealer(), `${effect(fx.join).cid}`)),
  )
  const after = await offer({ aggregate, pieces })
  for (const again of [before, after]) expect(`${again.root.cid}`).toBe(`${first.root.cid}`)
  expect(effect(anew.fx.join).nonce).toBe('anew')
  expect(anew.out).toEqual(first.out)
  expect(new Set(ends.map(({ ran }) => `${ran.link()}`)).size).toBe(2)
  expect(await documentsOf(aggregate)).toHaveLength(2)
})

test.concurrent('D3: an aggregate that its pieces do not make in their order is refused', async () => {
  const { aggregate, pieces } = aggregateOf('D3')
  const [first, second, third, fourth] = pieces as [PieceLink, PieceLink, PieceLink, PieceLink]
  const other = somePiece('D3 other', 3)
  for (const list of [
    [first, second, fourth, third],
    [first, second, third, other],
    [first, second, third],
    [],
  ]) {
    const { out, fx, ran } = await offer({ aggregate, pieces: list })
    // Each of them is a piece: only together they make another aggregate.
    const message = expect.stringMatching(`make the aggregate \\w+, not ${aggregate}`)
    expect(out).toEqual({ error: { name: 'InvalidPiece', message, aggregate, cause: [] } })
    expect(fx).toEqual({ fork: [] })
    expect(await fetchReceipt(dealer(), `${ran.link()}`)).toBeUndefined()
  }
  expect(await documentsOf(aggregate)).toEqual([])
  expect((await offer({ aggregate, pieces })).out).toEqual({ ok: { aggregate } })
})

test.concurrent('D3: pieces that can not be in the aggregate are named', async () => {
  const { aggregate, pieces } = aggregateOf('D3 named')
  const noPiece = (await CBOR.write('no piece')).cid
  const tooLarge = somePiece('D3 too large', 10)
  const { out } = await offer({ aggregate, pieces: [pieces[0], noPiece, ...pieces.slice(1), tooLarge] })
  expect(out).toEqual({
    error: {
      name: 'InvalidPiece',
      message: expect.any(String),
      aggregate,
      cause: [
        { name: 'InvalidPieceCID', message: expect.any(String), piece: noPiece },
        { name: 'InvalidPieceCID', message: expect.any(String), piece: tooLarge },
      ],
    },
  })
  expect(await documentsOf(aggregate)).toEqual([])
})

test.concurrent('D3: the block of pieces must travel with the offer, and hold a list', async () => {
  const { aggregate, pieces } = aggregateOf('D3 block')
  const block = (await CBOR.write(pieces)) as unknown as Block
  const noList = (await CBOR.write({ pieces })) as unknown as Block
  for (const refused of [asked({ aggregate, block }, { attach: [] }), asked({ aggregate, block: noList })]) {
    const { out } = await invoke(dealer(), refused)
    expect(out).toEqual({
      error: { name: 'InvalidPiece', message: expect.stringContaining('block'), aggregate, cause: [] },
    })
  }
})

test.concurrent('D4: when a deal is live on chain, aggregate/accept succeeds with its id, and nothing follows', async () => {
  const { aggregate, pieces } = aggregateOf('D4')
  const { fx } = await offer({ aggregate, pieces })
  const accept = effect(fx.join)
  const dealInfo = async () => {
    const { out } = await invoke(system.at('dealTracker'), {
      issuer: ed25519.parse(system.local.agent.key),
      can: 'deal/info',
      nb: { piece: aggregate },
      nonce: crypto.randomUUID(),
    })
    return out
  }
  expect((await dealInfo()).error).toMatchObject({ name: 'DealNotFound' })
  expect(await fetchReceipt(dealer(), `${accept.cid}`)).toBeUndefined()

  const live = await awaitReceipt(dealer(), `${accept.cid}`)
  expect(live.out).toEqual({ ok: { aggregate, dataType: 0, dataSource: { dealID: expect.any(Number) } } })
  expect(live.fx).toEqual({ fork: [] })
  const { dealID } = (live.out.ok as { dataSource: { dealID: number } }).dataSource
  expect((await dealInfo()).ok).toMatchObject({ deals: { [`${dealID}`]: { status: 'Active' } } })
  const again = await ask(dealer(), {
    issuer: system.signer('dealer'),
    can: 'aggregate/accept',
    nb: (accept.capabilities[0] as unknown as { nb: Record<string, unknown> }).nb,
  })
  expect(`${again.root.cid}`).toBe(`${live.root.cid}`)
})

test.concurrent('D6: deal making is handed the pieces, the tenant and the label of an aggregate', async () => {
  const [told, untold] = [aggregateOf('D6'), aggregateOf('D6 untold')]
  const fact = {
    storefront: 'did:web:storefront.example',
    group: 'did:web:group.example',
    label: 'Some label',
  }
  const before = Date.now()
  await offer(told, { facts: [fact] })
  await offer(untold)
  const [document] = await documentsOf(told.aggregate)
  expect(document).toEqual({
    aggregate: `${told.aggregate}`,
    pieces: told.pieces.map(piece => `${piece}`),
    collection: fact.group,
    tenant: fact.storefront,
    group: fact.group,
    label: fact.label,
    orderID: expect.any(Number),
  })
  expect(document?.orderID).toBeGreaterThanOrEqual(before)
  // An aggregator that says nothing is the tenant itself.
  const { did } = system.at('aggregator')
  expect(await documentsOf(untold.aggregate)).toMatchObject([{ tenant: did, group: did, label: did }])
})
