import { CBOR, delegate } from '@ucanto/core'
import type { Block, Delegation, DID, Fact, Receipt, Signer } from '@ucanto/interface'
import { ed25519 } from '@ucanto/principal'
import { buildAggregate, type PieceLink } from '@w3filecoin/piece'
import { signerOf, somePiece } from '@w3filecoin/testing'
import { expect, test } from 'vitest'
import { ask, invoke, taskOf } from './invoke.ts'
import { readOfferDocuments } from './offer-documents.ts'
import { awaitReceipt, effectOf, fetchReceipt } from './receipts.ts'
import { useSystem } from './system.ts'

const SIZE = 2 ** 14

const [guest, customer, stranger] = await Promise.all(
  ['guest', 'customer', 'stranger'].map(name => signerOf(name)),
)

/**
 * The delay of the deal leaves time to check the state before it. The dealer lists another aggregator, which may name only
 * itself, and a storefront that authorizes its deals.
 */
const system = useSystem({
  dealDelayMs: 4000,
  configure: (role, config) =>
    role === 'dealer'
      ? {
          ...config,
          aggregators: [...config.aggregators, { did: guest!.did() }],
          storefronts: [{ did: customer!.did() }],
        }
      : config,
})
const dealer = () => system.at('dealer')

/** Builds an aggregate. Its pieces are in the order of the aggregate. */
const buildFrom = (seed: string) => {
  const pieces = [5, 4, 3, 3].map((height, n) => somePiece(`${seed} ${n}`, height))
  const { link, pieces: order } = buildAggregate({ pieces, size: SIZE }).ok!
  return { aggregate: link, pieces: order }
}

/** The request of an aggregator that offers an aggregate with its own DID. */
const requestOf = (
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
  return invoke(dealer(), requestOf({ aggregate, block }, options))
}

const documentsOf = async (aggregate: PieceLink) =>
  (await readOfferDocuments(system.local)).filter(document => document.aggregate === `${aggregate}`)

test.concurrent('D1: the receipt of an offered aggregate is ok and joins the aggregate/accept task', async () => {
  const { aggregate, pieces } = buildFrom('D1')
  const receipt = await offer({ aggregate, pieces })
  expect(receipt.out).toEqual({ ok: { aggregate } })
  // Readers of a piece in draft 1 find the deal by this task; see dialects-of-services.test.ts.
  expect(receipt.fx.fork.map(task => effectOf(task).capabilities[0].can)).toEqual(['offer/arrange'])
  const accept = effectOf(receipt.fx.join)
  const nb = { aggregate, pieces: (await CBOR.write(pieces)).cid }
  const { did } = dealer()
  expect(accept.capabilities).toEqual([{ can: 'aggregate/accept', with: did, nb }])
  expect([accept.issuer.did(), accept.audience.did()]).toEqual([did, did])
  const own = { issuer: system.signer('dealer'), can: 'aggregate/accept' as const, nb }
  expect(`${accept.cid}`).toBe(await taskOf(dealer(), own))
})

test.concurrent('D2: a repeated aggregate/offer returns the same receipt, before and after the end; with a nonce it is processed anew', async () => {
  const { aggregate, pieces } = buildFrom('D2')
  const first = await offer({ aggregate, pieces })
  const before = await offer({ aggregate, pieces })
  const anew = await offer({ aggregate, pieces }, { nonce: 'anew' })
  const ends = await Promise.all(
    [first, anew].map(({ fx }) => awaitReceipt(dealer(), `${effectOf(fx.join).cid}`)),
  )
  const after = await offer({ aggregate, pieces })
  for (const again of [before, after]) expect(`${again.root.cid}`).toBe(`${first.root.cid}`)
  expect(effectOf(anew.fx.join).nonce).toBe('anew')
  expect(anew.out).toEqual(first.out)
  expect(new Set(ends.map(({ ran }) => `${ran.link()}`)).size).toBe(2)
  expect(await documentsOf(aggregate)).toHaveLength(2)
})

test.concurrent('D3: an offer whose pieces, in their order, do not make the aggregate is refused', async () => {
  const { aggregate, pieces } = buildFrom('D3')
  const [first, second, third, fourth] = pieces as [PieceLink, PieceLink, PieceLink, PieceLink]
  const other = somePiece('D3 other', 3)
  for (const list of [
    [first, second, fourth, third],
    [first, second, third, other],
    [first, second, third],
    [],
  ]) {
    const { out, fx, ran } = await offer({ aggregate, pieces: list })
    // Every piece is valid, so no piece is named: together they make another aggregate.
    const message = expect.stringMatching(`make the aggregate \\w+, not ${aggregate}`)
    expect(out).toEqual({ error: { name: 'InvalidPiece', message, aggregate, cause: [] } })
    expect(fx).toEqual({ fork: [] })
    expect(await fetchReceipt(dealer(), `${ran.link()}`)).toBeUndefined()
  }
  expect(await documentsOf(aggregate)).toEqual([])
  expect((await offer({ aggregate, pieces })).out).toEqual({ ok: { aggregate } })
})

test.concurrent('D3: pieces that cannot be in the aggregate are named', async () => {
  const { aggregate, pieces } = buildFrom('D3 named')
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

test.concurrent('D3: the offer must contain the block of pieces, and the block must be a list', async () => {
  const { aggregate, pieces } = buildFrom('D3 block')
  const block = (await CBOR.write(pieces)) as unknown as Block
  const noList = (await CBOR.write({ pieces })) as unknown as Block
  for (const refused of [
    requestOf({ aggregate, block }, { attach: [] }),
    requestOf({ aggregate, block: noList }),
  ]) {
    const { out } = await invoke(dealer(), refused)
    expect(out).toEqual({
      error: { name: 'InvalidPiece', message: expect.stringContaining('block'), aggregate, cause: [] },
    })
  }
})

test.concurrent('D4: when a deal is live on chain, aggregate/accept succeeds with its id and has no effects', async () => {
  const { aggregate, pieces } = buildFrom('D4')
  const { fx } = await offer({ aggregate, pieces })
  const accept = effectOf(fx.join)
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

/** Offers an aggregate in the name of any issuer, with any resource. */
const offerAs = async (
  { aggregate, pieces }: { aggregate: PieceLink; pieces: readonly unknown[] },
  request: { issuer: Signer; with?: DID; proofs?: Delegation[]; facts?: Fact[] },
): Promise<Receipt> => {
  const block = (await CBOR.write(pieces)) as unknown as Block
  return invoke(dealer(), { ...requestOf({ aggregate, block }), ...request })
}
const delegateOffers = async (issuer: Signer, audience: Signer): Promise<Delegation> =>
  delegate({
    issuer,
    audience,
    capabilities: [{ can: 'aggregate/offer', with: issuer.did() }],
    expiration: Infinity,
  }) as Promise<never>

test.concurrent('K6: aggregate/offer is accepted with the storefront and its delegation to the aggregator: then the storefront is the tenant', async () => {
  const built = buildFrom('K6')
  const { aggregate } = built
  const proofs = [await delegateOffers(customer!, guest!)]
  const request = {
    issuer: guest!,
    with: customer!.did(),
    proofs,
    facts: [{ group: 'free', label: 'free #1' }],
  }
  const receipt = await offerAs(built, request)
  expect(receipt.out).toEqual({ ok: { aggregate } })
  expect(await documentsOf(aggregate)).toMatchObject([
    { tenant: customer!.did(), group: 'free', collection: 'free', label: 'free #1' },
  ])
  const live = await awaitReceipt(dealer(), `${effectOf(receipt.fx.join).cid}`)
  expect(live.out).toMatchObject({ ok: { aggregate, dataSource: { dealID: expect.any(Number) } } })
  expect(`${(await offerAs(built, request)).root.cid}`).toBe(`${receipt.root.cid}`)
})

test.concurrent('K6: a storefront in `with` must have delegated, agree with the facts, and be listed; and the dealer must know the aggregator', async () => {
  const offered = async (seed: string, request: Parameters<typeof offerAs>[1]) => {
    const built = buildFrom(seed)
    const { out, fx } = await offerAs(built, request)
    expect(fx).toEqual({ fork: [] })
    expect(await documentsOf(built.aggregate)).toEqual([])
    return out.error as { name: string; message: string }
  }
  const own = { issuer: guest!, with: customer!.did() }
  const proofs = [await delegateOffers(customer!, guest!)]
  expect(await offered('K6 none', own)).toMatchObject({ name: 'Unauthorized' })
  const facts = [{ storefront: stranger!.did(), group: 'free', label: 'free #1' }]
  expect(await offered('K6 facts', { ...own, proofs, facts })).toMatchObject({ name: 'TenantMismatch' })
  // A key that no configuration knows is not a tenant, although its delegation is valid.
  const byStranger = {
    issuer: guest!,
    with: stranger!.did(),
    proofs: [await delegateOffers(stranger!, guest!)],
  }
  expect(await offered('K6 stranger', byStranger)).toMatchObject({
    name: 'TenantNotListed',
    message: expect.stringContaining('`storefronts`'),
    storefront: stranger!.did(),
  })
  const toStranger = {
    issuer: stranger!,
    with: customer!.did(),
    proofs: [await delegateOffers(customer!, stranger!)],
  }
  expect(await offered('K6 aggregator', toStranger)).toMatchObject({ name: 'UnknownAggregator' })
})

test.concurrent('K6: an aggregator names by itself only the tenants that the configuration allows', async () => {
  const facts = [{ storefront: customer!.did(), group: 'free', label: 'free #1' }]
  const refused = await offerAs(buildFrom('K6 names'), { issuer: guest!, facts })
  expect(refused.out.error).toMatchObject({
    name: 'TenantNotListed',
    message: expect.stringContaining('`tenants`'),
    storefront: customer!.did(),
  })
  // An aggregator may always name itself, and that of the stage may name every tenant.
  const itself = buildFrom('K6 itself')
  expect((await offerAs(itself, { issuer: guest! })).out).toEqual({ ok: { aggregate: itself.aggregate } })
  const all = buildFrom('K6 all')
  expect((await offer(all, { facts })).out).toEqual({ ok: { aggregate: all.aggregate } })
})

test.concurrent('D6: an offer document has the pieces, the tenant and the label of its aggregate', async () => {
  const [withFacts, without] = [buildFrom('D6'), buildFrom('D6 without')]
  const fact = {
    storefront: 'did:web:storefront.example',
    group: 'did:web:group.example',
    label: 'Some label',
  }
  const before = Date.now()
  await offer(withFacts, { facts: [fact] })
  await offer(without)
  const [document] = await documentsOf(withFacts.aggregate)
  expect(document).toEqual({
    aggregate: `${withFacts.aggregate}`,
    pieces: withFacts.pieces.map(piece => `${piece}`),
    collection: fact.group,
    tenant: fact.storefront,
    group: fact.group,
    label: fact.label,
    orderID: expect.any(Number),
  })
  expect(document?.orderID).toBeGreaterThanOrEqual(before)
  // Without facts, the tenant is the aggregator.
  const { did } = system.at('aggregator')
  expect(await documentsOf(without.aggregate)).toMatchObject([{ tenant: did, group: did, label: did }])
})
