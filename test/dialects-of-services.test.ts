import { CBOR, Delegation } from '@ucanto/core'
import type { Block, DID, Fact, Proof, Receipt, Signer } from '@ucanto/interface'
import { Verifier } from '@ucanto/principal'
import { buildAggregate, type EncodedInclusion, type PieceLink, verifyInclusion } from '@w3filecoin/piece'
import { signerOf, somePiece } from '@w3filecoin/testing'
import { describe, expect, test, vi } from 'vitest'
import { randomContent } from './content.ts'
import { createAgent, ask as invokeAt } from './invoke.ts'
import { readOfferDocuments } from './offer-documents.ts'
import { awaitReceipt, effectOf, fetchReceipt } from './receipts.ts'
import { useSystem } from './system.ts'

/**
 * The aggregator, the dealer and the deal tracker in the words of each dialect. Most offers here are made to one service, as a
 * neighbour that knows only this dialect makes them.
 */

/** A storefront whose DID is also an alias of the aggregator: both were one service in the note before draft 1. */
const WEB = 'did:web:storefront.example'
/** Padded bytes of an aggregate. */
const SIZE = 2 ** 14
/** The height of a piece that an aggregate of this size cannot hold. */
const TOO_HIGH = 12

const [web, guest, customer, stranger] = (await Promise.all([
  signerOf('web', WEB),
  ...['guest', 'customer', 'stranger'].map(name => signerOf(name)),
])) as [Signer, Signer, Signer, Signer]

const faulty = ['in one promise each', 'in all promises', 'refused with the list'].map(seed =>
  somePiece(seed, 3),
)

const system = useSystem({
  storefronts: ['otherStorefront'],
  faulty: faulty.map(String),
  configure: (role, config) => {
    if (role === 'aggregator')
      return {
        ...config,
        aliases: [WEB],
        storefronts: [...config.storefronts, { did: WEB, keys: [web.toDIDKey()] }],
        limits: { paddedBytes: SIZE, minPaddedBytes: 0, maxWaitSeconds: 1 },
      }
    if (role === 'dealer')
      return {
        ...config,
        aggregators: [...config.aggregators, { did: guest.did() }],
        storefronts: [{ did: customer.did() }],
      }
    return config
  },
})
const { at, signer } = system

interface Options {
  with?: DID
  nonce?: string
  facts?: Fact[]
  proofs?: Proof[]
  attach?: Block[]
}

const invokeAs = (
  issuer: Signer | string,
  role: string,
  can: string,
  nb: Record<string, unknown>,
  options: Options = {},
): Promise<Receipt> =>
  invokeAt(at(role), {
    issuer: typeof issuer === 'string' ? signer(issuer) : issuer,
    can: can as `${string}/${string}`,
    nb,
    ...options,
  })

const errorOf = ({ out }: Receipt) => out.error as Record<string, unknown> | undefined
const okOf = ({ out }: Receipt) => out.ok as Record<string, unknown> | undefined
const capabilityOf = (task: unknown) => {
  const { can, with: resource, nb } = effectOf(task).capabilities[0]
  return { can, with: resource, nb }
}
const dealOf = (end: Receipt) => (okOf(end) as { dataSource: { dealID: number } }).dataSource.dealID
const joined = ({ fx }: Receipt) => `${effectOf(fx.join).cid}`
const outcomeOf = (role: string, offered: Receipt) => awaitReceipt(at(role), joined(offered))
const isFailure = (name: string) => expect.objectContaining({ name, message: expect.any(String) })

const proves = (piece: PieceLink, receipt: Receipt) => {
  const { aggregate, inclusion } = okOf(receipt) as { aggregate: PieceLink; inclusion: EncodedInclusion }
  expect(verifyInclusion({ piece, aggregate, inclusion })).toEqual({ ok: {} })
  return aggregate
}

/** The offers of a piece to the aggregator, by dialect, with the ability of the promised task. */
const PIECE_OFFERS: Record<
  string,
  { can: string; nb: (piece: PieceLink, group: string) => object; promised: string }
> = {
  'draft 1': {
    can: 'piece/offer',
    nb: (piece, provider) => ({ piece, provider }),
    promised: 'aggregate/arrange',
  },
  'draft 2': {
    can: 'aggregate/add',
    nb: (piece, group) => ({ piece, group, storefront: at('storefront').did }),
    promised: 'aggregate/add',
  },
  'draft 3': { can: 'aggregate/queue', nb: (piece, group) => ({ piece, group }), promised: 'aggregate/add' },
  'capability section': {
    can: 'aggregate/offer',
    nb: (piece, group) => ({ piece, group }),
    promised: 'aggregate/accept',
  },
}
const ROWS: Record<string, string> = {
  'draft 1': 'L1',
  'draft 2': 'L2',
  'draft 3': 'L3',
  'capability section': 'L4',
}
const offerPiece = (dialect: string, piece: PieceLink, group: string, options?: Options) => {
  const { can, nb } = PIECE_OFFERS[dialect]!
  return invokeAs('storefront', 'aggregator', can, nb(piece, group) as never, options)
}

describe.each(Object.keys(PIECE_OFFERS))('the aggregator in %s', dialect => {
  const row = ROWS[dialect]
  const { can, promised } = PIECE_OFFERS[dialect]!

  test.concurrent(`${row}: a repeated ${can} gets the same receipt, and one with a nonce is a new offer`, async () => {
    const piece = somePiece(`${dialect} repeat`)
    const [first, again, anew] = await Promise.all([
      offerPiece(dialect, piece, dialect),
      offerPiece(dialect, piece, dialect),
      offerPiece(dialect, piece, dialect, { nonce: 'anew' }),
    ])
    expect(`${again.root.cid}`).toBe(`${first.root.cid}`)
    expect(capabilityOf(first.fx.join).can).toBe(promised)
    expect(effectOf(first.fx.join)).toMatchObject({ nonce: undefined, facts: [], expiration: Infinity })
    expect(effectOf(anew.fx.join)).toMatchObject({ nonce: 'anew', facts: [] })
    const [end, other] = await Promise.all([outcomeOf('aggregator', first), outcomeOf('aggregator', anew)])
    proves(piece, end)
    proves(piece, other)
    expect(`${(await offerPiece(dialect, piece, dialect)).root.cid}`).toBe(`${first.root.cid}`)
    // Each offer has a place of its own.
    const documents = await readOfferDocuments(system.local)
    const places = documents.flatMap(({ pieces }) => pieces).filter(other => other === `${piece}`)
    expect(places.length).toBeLessThanOrEqual(2)
  })

  test.concurrent(`${row}: a piece that no aggregate can hold is refused by ${can} for good`, async () => {
    const piece = somePiece(`${dialect} too large`, TOO_HIGH)
    const refused = await offerPiece(dialect, piece, dialect)
    const isDraft23 = dialect === 'draft 2' || dialect === 'draft 3'
    expect(errorOf(refused)).toMatchObject({
      name: isDraft23 ? 'InvaildPieceCID' : 'InvalidPieceCID',
      message: expect.stringContaining(`${SIZE}`),
      piece,
      ...(dialect === 'draft 1' && { reason: 'InvalidPieceCID' }),
    })
    expect(refused.fx).toEqual({ fork: [] })
    const served = await fetchReceipt(at('aggregator'), `${refused.ran.link()}`)
    expect(`${served?.root.cid}`).toBe(`${refused.root.cid}`)
    expect(`${(await offerPiece(dialect, piece, dialect)).root.cid}`).toBe(`${refused.root.cid}`)
  })

  test.concurrent(`${row}: the promised ${promised} is answered only for the aggregator itself, and has no receipt before the end`, async () => {
    const piece = somePiece(`${dialect} own`)
    const offered = await offerPiece(dialect, piece, dialect)
    const task = effectOf(offered.fx.join)
    const ask = (issuer: string) => invokeAs(issuer, 'aggregator', promised, task.capabilities[0].nb as never)
    expect(errorOf(await ask('aggregator'))).toEqual(isFailure('OutcomePending'))
    expect(await fetchReceipt(at('aggregator'), `${task.cid}`)).toBeUndefined()
    const end = await outcomeOf('aggregator', offered)
    // `aggregate/arrange` is addressed to the storefront, so that the same task for the aggregator is another one.
    if (dialect === 'draft 1') expect(errorOf(await ask('aggregator'))).toEqual(isFailure('OutcomePending'))
    else expect((await ask('aggregator')).out).toEqual(end.out)
    // In draft 2 this is an offer of the other storefront.
    if (promised !== 'aggregate/add')
      expect(errorOf(await ask('otherStorefront'))).toMatchObject({ name: 'UnsupportedCapability' })
  })

  test.concurrent(`${row}: a stranger and a storefront in the name of another get no promise from ${can}`, async () => {
    const nb = PIECE_OFFERS[dialect]!.nb(somePiece(`${dialect} stranger`), dialect) as never
    const refused = await invokeAs(stranger, 'aggregator', can, nb)
    expect(errorOf(refused)).toMatchObject({ name: 'UnknownStorefront' })
    const posing = await invokeAs('otherStorefront', 'aggregator', can, nb, {
      with: at('storefront').did as DID,
    })
    expect(errorOf(posing)).toMatchObject({ name: 'Unauthorized' })
    for (const { fx } of [refused, posing]) expect(fx).toEqual({ fork: [] })
  })
})

describe('draft 1 at the aggregator', () => {
  test.concurrent('L1: piece/offer joins aggregate/arrange for the storefront, which joins the offer/arrange of the dealer', async () => {
    const piece = somePiece('arranged')
    const offered = await offerPiece('draft 1', piece, 'arranged')
    expect(offered.out).toEqual({ ok: { status: 'queued-for-aggregate' } })
    const arrange = effectOf(offered.fx.join)
    expect(arrange.capabilities).toEqual([
      { can: 'aggregate/arrange', with: at('aggregator').did, nb: { piece } },
    ])
    expect([arrange.issuer.did(), arrange.audience.did()]).toEqual([
      at('aggregator').did,
      at('storefront').did,
    ])
    const arranged = await outcomeOf('aggregator', offered)
    const aggregate = proves(piece, arranged)
    expect(arranged.fx.fork).toEqual([])
    expect(capabilityOf(arranged.fx.join)).toEqual({
      can: 'offer/arrange',
      with: at('dealer').did,
      nb: { piece: aggregate },
    })
    expect((await outcomeOf('dealer', arranged)).out).toMatchObject({ ok: { piece: aggregate } })
  })

  test.concurrent('L1: a storefront that the aggregator acts as offers with a link, and is answered queued, then done', async () => {
    const piece = somePiece('note')
    const { content: link } = await randomContent(10)
    const offer = (facts: Fact[]) =>
      invokeAt(
        { ...at('aggregator'), did: WEB as never },
        { issuer: web, can: 'piece/offer', nb: { piece, link, provider: 'did:web:free.example' }, facts },
      )
    const queued = await offer([])
    expect(queued.out).toEqual({ ok: { status: 'queued' } })
    // The aggregator signs it with its key, under the DID that it was addressed as.
    expect(queued.issuer?.did()).toBe(WEB)
    const verifier = Verifier.parse(at('aggregator').did).withDID(WEB)
    await expect(queued.verifySignature(verifier as never)).resolves.toEqual({ ok: {} })
    const task = effectOf(queued.fx.join)
    expect([task.issuer.did(), task.audience.did()]).toEqual([at('aggregator').did, WEB])
    proves(piece, await outcomeOf('aggregator', queued))
    const done = await offer([{ again: true }])
    expect(done.out).toEqual({ ok: { status: 'done' } })
    expect(joined(done)).toBe(joined(queued))
  })

  test.concurrent('L1: the same piece of another provider has another place, and the fact that names its group', async () => {
    const piece = somePiece('two providers')
    const first = await offerPiece('draft 1', piece, 'one')
    const second = await offerPiece('draft 1', piece, 'two')
    const third = await offerPiece('draft 1', piece, 'three')
    const offers = [first, second, third]
    expect(offers.map(({ fx }) => effectOf(fx.join).facts)).toEqual([
      [],
      [{ group: 'two' }],
      [{ group: 'three' }],
    ])
    const ends = await Promise.all(offers.map(offered => outcomeOf('aggregator', offered)))
    for (const end of ends) proves(piece, end)
    // Each leads to a deal of its own.
    expect(new Set(ends.map(joined)).size).toBe(3)
    for (const end of ends) expect((await outcomeOf('dealer', end)).out.ok).toBeDefined()
  })

  test.concurrent('L1: two storefronts that offer one piece get tasks of their own', async () => {
    const piece = somePiece('two storefronts')
    const nb = { piece, provider: 'shared' }
    const [first, second] = await Promise.all(
      ['storefront', 'otherStorefront'].map(role => invokeAs(role, 'aggregator', 'piece/offer', nb)),
    )
    expect(effectOf(first!.fx.join).audience.did()).toBe(at('storefront').did)
    expect(effectOf(second!.fx.join).audience.did()).toBe(at('otherStorefront').did)
    expect(joined(second!)).not.toBe(joined(first!))
  })
})

describe('drafts 2 and 3 at the aggregator', () => {
  test.concurrent('L2: aggregate/add names the storefront that offers, also without the method of its DID', async () => {
    const piece = somePiece('named')
    const offer = (storefront: string) =>
      invokeAt(at('aggregator'), {
        issuer: web,
        can: 'aggregate/add',
        nb: { piece, storefront, group: 'named' },
      })
    const mismatch = await offer(at('storefront').did)
    expect(errorOf(mismatch)).toMatchObject({
      name: 'StorefrontMismatch',
      message: expect.stringContaining(at('storefront').did),
    })
    expect(mismatch.fx).toEqual({ fork: [] })
    const offered = await offer('storefront.example')
    expect(offered.out).toEqual({ ok: { piece } })
    expect(capabilityOf(offered.fx.join).nb).toEqual({ piece, storefront: WEB, group: 'named' })
  })

  test.concurrent('L2, L3: both drafts promise one task, whose receipt has the proof and its text', async () => {
    const piece = somePiece('shared task')
    const [second, third] = [
      await offerPiece('draft 2', piece, 'shared'),
      await offerPiece('draft 3', piece, 'shared'),
    ]
    expect(joined(third)).toBe(joined(second))
    const end = await outcomeOf('aggregator', third)
    proves(piece, end)
    expect(end.out).toMatchObject({ ok: { piece, path: expect.stringMatching(/^u/) } })
    expect(end.fx).toEqual({ fork: [] })
  })

  test.concurrent('L2: an aggregate/add of the aggregator itself that nobody promised is an offer; it joins the task with the fact { offered: true }', async () => {
    const piece = somePiece('own offer')
    const nb = { piece, storefront: at('aggregator').did, group: 'own' }
    const offer = (facts: Fact[] = []) => invokeAs('aggregator', 'aggregator', 'aggregate/add', nb, { facts })
    const offered = await offer()
    expect(offered.out).toEqual({ ok: { piece } })
    const task = effectOf(offered.fx.join)
    expect(task.facts).toEqual([{ offered: true }])
    expect(task.capabilities[0].nb).toEqual(nb)
    expect(joined(await offer())).toBe(joined(offered))
    expect(errorOf(await offer([{ offered: true }]))).toEqual(isFailure('OutcomePending'))
    const end = await outcomeOf('aggregator', offered)
    proves(piece, end)
    expect((await offer([{ offered: true }])).out).toEqual(end.out)
  })
})

describe('the capability section at the aggregator', () => {
  test.concurrent('L4: two storefronts that offer one piece in one group: the second task has the fact that names its storefront', async () => {
    const nb = { piece: somePiece('two in a group'), group: 'one' }
    const first = await invokeAs('storefront', 'aggregator', 'aggregate/offer', nb)
    const second = await invokeAs('otherStorefront', 'aggregator', 'aggregate/offer', nb)
    expect(first.out).toEqual({ ok: { piece: nb.piece } })
    expect(capabilityOf(second.fx.join)).toEqual({
      can: 'aggregate/accept',
      with: at('aggregator').did,
      nb,
    })
    expect([first, second].map(({ fx }) => effectOf(fx.join).facts)).toEqual([
      [],
      [{ storefront: at('otherStorefront').did }],
    ])
    const ends = await Promise.all([first, second].map(offered => outcomeOf('aggregator', offered)))
    for (const end of ends) proves(nb.piece, end)
    expect(joined(ends[0]!)).not.toBe(joined(ends[1]!))
  })

  test.concurrent('L4: a piece from aggregate/offer over aggregate/accept to the deal', async () => {
    const piece = somePiece('section')
    const offered = await offerPiece('capability section', piece, 'section')
    const included = await outcomeOf('aggregator', offered)
    const aggregate = proves(piece, included)
    expect(included.out.ok).toEqual({ piece, aggregate, inclusion: expect.anything() })
    const dealt = await awaitReceipt(at('dealer'), joined(included))
    expect(dealt.out).toEqual({ ok: { aggregate } })
    expect((await outcomeOf('dealer', dealt)).out).toMatchObject({
      ok: { aggregate, dataSource: { dealID: expect.any(Number) } },
    })
  })
})

describe('one ability with several meanings', () => {
  test.concurrent('L1: piece/offer with a group is that of the protocol, even if it also names a provider', async () => {
    const nb = { piece: somePiece('both'), group: 'g', provider: 'p' }
    const offered = await invokeAs('storefront', 'aggregator', 'piece/offer', nb)
    expect(offered.out).toEqual({ ok: { piece: nb.piece } })
    expect(capabilityOf(offered.fx.join)).toMatchObject({
      can: 'piece/accept',
      nb: { piece: nb.piece, group: 'g' },
    })
    const neither = await invokeAs('storefront', 'aggregator', 'piece/offer', { piece: nb.piece })
    expect(errorOf(neither)).toMatchObject({ name: 'MalformedCapability', field: 'nb.group' })
  })

  test.concurrent('L1, L4: aggregate/offer means three things, by its arguments', async () => {
    const { aggregate, block } = await build('three meanings')
    const attach = [block]
    const inDraft1 = await invokeAs(
      'aggregator',
      'dealer',
      'aggregate/offer',
      { offer: block.cid, piece: aggregate },
      { attach },
    )
    const inProtocol = await invokeAs(
      'aggregator',
      'dealer',
      'aggregate/offer',
      { aggregate, pieces: block.cid },
      { attach },
    )
    const inSection = await offerPiece('capability section', somePiece('three meanings'), 'three')
    expect([inDraft1, inProtocol, inSection].map(({ fx }) => capabilityOf(fx.join).can)).toEqual([
      'offer/arrange',
      'aggregate/accept',
      'aggregate/accept',
    ])
    expect(`${inProtocol.fx.fork[0]?.link()}`).toBe(joined(inDraft1))
    const toDealer = await invokeAs('aggregator', 'dealer', 'aggregate/offer', {
      piece: somePiece('three meanings'),
      group: 'three',
    })
    expect(errorOf(toDealer)).toMatchObject({
      name: 'MalformedCapability',
      field: 'nb.aggregate',
      found: 'nothing',
    })
    const toAggregator = await invokeAs('storefront', 'aggregator', 'aggregate/offer', {
      aggregate,
      pieces: block.cid,
    })
    expect(errorOf(toAggregator)).toMatchObject({ field: 'nb.piece', found: 'nothing' })
  })

  test.concurrent.each([
    ['storefront', ['piece/queue', 'piece/status', 'piece/build', 'piece/submit', 'filecoin/status']],
    ['aggregator', ['piece/queue', 'piece/add', 'piece/status', 'piece/build', 'deal/add']],
    ['dealer', ['aggregate/queue', 'aggregate/add', 'piece/add', 'deal/info']],
    ['dealTracker', ['chain-tracker/get', 'aggregate/get', 'deal/offer']],
  ])(
    'L1, L2, L3: abilities that the drafts name only in prose, or for others, are HandlerNotFound at the %s',
    async (role, abilities) => {
      for (const can of abilities) {
        const { out } = await invokeAs('storefront', role, can, { piece: somePiece('prose'), group: 'g' })
        expect(out.error, can).toMatchObject({ name: 'HandlerNotFound', capability: { can } })
      }
    },
  )
})

/** Builds an aggregate and the block that lists its pieces. */
const build = async (seed: string, ...more: PieceLink[]) => {
  const pieces = [somePiece(`${seed} 1`, 4), somePiece(`${seed} 2`, 3), ...more]
  const { link: aggregate, pieces: order } = buildAggregate({ pieces, size: SIZE }).ok!
  return { aggregate, pieces: order, block: (await CBOR.write(order)) as unknown as Block }
}
type Built = Awaited<ReturnType<typeof build>>

/** The offers of an aggregate to the dealer, by dialect and spelling, with the ability of the promised task. */
const AGGREGATE_OFFERS: Record<
  string,
  {
    row: string
    can: string
    promised: string
    /** @param storefront the tenant */
    request: (built: Built, storefront: string, label?: string) => { nb: object; facts?: Fact[] }
  }
> = {
  'draft 1': {
    row: 'L1',
    can: 'aggregate/offer',
    promised: 'offer/arrange',
    request: ({ aggregate, block }, storefront, label) => ({
      nb: { offer: block.cid, piece: aggregate },
      facts: [{ storefront, ...(label && { label }) }],
    }),
  },
  'draft 2 as published clients write it': {
    row: 'L2',
    can: 'deal/add',
    promised: 'deal/add',
    request: ({ aggregate, block }, storefront, label) => ({
      nb: { aggregate, pieces: block.cid, storefront, ...(label && { label }) },
    }),
  },
  'draft 2 as its schema is': {
    row: 'L2',
    can: 'deal/add',
    promised: 'deal/add',
    request: ({ aggregate, block }, tenantId, label) => ({
      nb: { aggregate, pieces: block.cid, deal: { tenantId, ...(label && { label }) } },
    }),
  },
  'draft 2 as its example is': {
    row: 'L2',
    can: 'deal/add',
    promised: 'deal/add',
    request: ({ aggregate, block }, tenantId, label) => ({
      nb: { piece: aggregate, offer: block.cid, deal: { tenantId, ...(label && { label }) } },
    }),
  },
  'draft 3': {
    row: 'L3',
    can: 'deal/queue',
    promised: 'deal/add',
    request: ({ aggregate, block }, storefront, label) => ({
      nb: { aggregate, pieces: block.cid, storefront, ...(label && { label }) },
    }),
  },
  'the capability section': {
    row: 'L4',
    can: 'deal/offer',
    promised: 'deal/accept',
    request: ({ aggregate, block }, storefront, label) => ({
      nb: { aggregate, pieces: block.cid },
      facts: [{ storefront, ...(label && { label }) }],
    }),
  },
}

const offerAggregate = (
  form: string,
  built: Built,
  {
    issuer = 'aggregator',
    storefront = (typeof issuer === 'string' ? signer(issuer) : issuer).did(),
    label,
    ...options
  }: Options & { issuer?: Signer | string; storefront?: string; label?: string } = {},
) => {
  const { can, request } = AGGREGATE_OFFERS[form]!
  const { nb, facts = [] } = request(built, storefront, label)
  return invokeAs(issuer, 'dealer', can, nb as never, { attach: [built.block], facts, ...options })
}

const documentsOf = async ({ aggregate }: Built) =>
  (await readOfferDocuments(system.local)).filter(document => document.aggregate === `${aggregate}`)

describe.each(Object.entries(AGGREGATE_OFFERS))(
  'the dealer in %s',
  (form, { row, can, promised, request }) => {
    const isDraft1 = form === 'draft 1'

    test.concurrent(`${row}: ${can} gets the promise of ${promised}, which ends with the deal`, async () => {
      const built = await build(form)
      const { aggregate } = built
      const offered = await offerAggregate(form, built, { label: 'the label' })
      expect(offered.out).toEqual({ ok: isDraft1 ? { status: 'queued' } : { aggregate } })
      const task = effectOf(offered.fx.join)
      expect(capabilityOf(task)).toEqual({
        can: promised,
        with: at('dealer').did,
        nb: isDraft1 ? { piece: aggregate } : request(built, at('aggregator').did, 'the label').nb,
      })
      expect([task.issuer.did(), task.audience.did(), task.facts]).toEqual([
        at('dealer').did,
        at(isDraft1 ? 'aggregator' : 'dealer').did,
        [],
      ])
      const again = await offerAggregate(form, built, { label: 'the label' })
      expect(`${again.root.cid}`).toBe(`${offered.root.cid}`)
      const own = () => invokeAs('dealer', 'dealer', promised, task.capabilities[0].nb as never)
      expect(errorOf(await own())).toEqual(isFailure('OutcomePending'))
      expect(await fetchReceipt(at('dealer'), joined(offered))).toBeUndefined()

      const end = await outcomeOf('dealer', offered)
      expect(end.fx).toEqual({ fork: [] })
      const dataSource = { dealID: expect.any(Number) }
      const deal = { aggregate, dataType: 0, dataSource }
      expect(end.out.ok).toEqual(
        row === 'L4' ? { ...deal, auxDataType: 0, auxDataSource: dataSource } : { ...deal, piece: aggregate },
      )
      // Draft 1 promises the task to the aggregator, which reads its receipt.
      if (!isDraft1) expect((await own()).out).toEqual(end.out)
      expect(await documentsOf(built)).toMatchObject([{ tenant: at('aggregator').did, label: 'the label' }])
    })

    test.concurrent(`${row}: ${can} with a nonce is a new offer, with a document and a task of its own`, async () => {
      const built = await build(`${form} nonce`)
      const [first, anew] = [
        await offerAggregate(form, built),
        await offerAggregate(form, built, { nonce: 'anew' }),
      ]
      expect(effectOf(anew.fx.join)).toMatchObject({ nonce: 'anew', facts: [] })
      expect(joined(anew)).not.toBe(joined(first))
      await vi.waitFor(async () => expect(await documentsOf(built)).toHaveLength(2), { timeout: 60_000 })
    })

    test.concurrent(`${row}: ${can} of an aggregator may name only the tenants that it is allowed to name`, async () => {
      const built = await build(`${form} tenant`)
      const refused = await offerAggregate(form, built, { issuer: guest, storefront: customer.did() })
      expect(errorOf(refused)).toMatchObject({ name: 'TenantNotListed', storefront: customer.did() })
      expect(refused.fx).toEqual({ fork: [] })
      const unknown = await offerAggregate(form, built, { issuer: stranger })
      expect(errorOf(unknown)).toMatchObject({ name: 'UnknownAggregator' })
      if (row !== 'L4') expect(errorOf(refused)).toMatchObject({ reason: 'TenantNotListed', cause: [] })
      expect(await documentsOf(built)).toEqual([])
      // A storefront that delegates the ability to it authorizes the deal.
      const proof = await Delegation.delegate({
        issuer: customer,
        audience: guest,
        capabilities: [{ can: can as 'deal/offer', with: customer.did() as DID }],
        expiration: Infinity,
      })
      const authorized = await offerAggregate(form, built, {
        issuer: guest,
        storefront: customer.did(),
        with: customer.did() as DID,
        proofs: [proof as never],
      })
      expect(authorized.out.error).toBeUndefined()
      expect(await documentsOf(built)).toMatchObject([{ tenant: customer.did() }])
    })

    test.concurrent(`${row}: an aggregator that offers what another one offered first gets a task of its own`, async () => {
      const built = await build(`${form} two aggregators`)
      // The same tenant, so that drafts 2 and 3 have the same arguments.
      const storefront = guest.did()
      const first = await offerAggregate(form, built, { storefront })
      const second = await offerAggregate(form, built, { issuer: guest, storefront })
      expect(joined(second)).not.toBe(joined(first))
      expect(effectOf(first.fx.join).facts).toEqual([])
      const [one, two] = await Promise.all([outcomeOf('dealer', first), outcomeOf('dealer', second)])
      expect(dealOf(one)).not.toBe(dealOf(two))
    })

    test.concurrent(`${row}: ${can} of pieces that do not make the aggregate is refused in its words`, async () => {
      const built = await build(`${form} wrong list`)
      const block = (await CBOR.write(built.pieces.toReversed())) as unknown as Block
      const refused = await offerAggregate(form, { ...built, block })
      expect(errorOf(refused)).toMatchObject({ name: 'InvalidPiece', aggregate: built.aggregate, cause: [] })
      expect(await documentsOf(built)).toEqual([])
      // Pieces that cannot be in it are named, with their reason.
      const tooLarge = somePiece(`${form} too large`, TOO_HIGH)
      const list = (await CBOR.write([...built.pieces, tooLarge])) as unknown as Block
      const named = await offerAggregate(form, { ...built, block: list })
      expect(errorOf(named)).toMatchObject({
        name: 'InvalidPiece',
        aggregate: built.aggregate,
        cause: [
          {
            name: 'InvalidPieceCID',
            message: expect.any(String),
            piece: tooLarge,
            ...(row !== 'L4' && { reason: 'InvalidPieceCID' }),
          },
        ],
      })
      expect(`${(await offerAggregate(form, { ...built, block: list })).root.cid}`).toBe(`${named.root.cid}`)
    })
  },
)

describe('an aggregate that is offered in several dialects', () => {
  test.concurrent('L5: it has one document, and each promised task ends with the same deal', async () => {
    const built = await build('all dialects')
    const { aggregate, block } = built
    const inProtocol = await invokeAs(
      'aggregator',
      'dealer',
      'aggregate/offer',
      { aggregate, pieces: block.cid },
      { attach: [block] },
    )
    const forms = Object.keys(AGGREGATE_OFFERS)
    const offers = [inProtocol, ...(await Promise.all(forms.map(form => offerAggregate(form, built))))]
    const ends = await Promise.all(offers.map(offered => outcomeOf('dealer', offered)))
    const deals = ends.map(dealOf)
    expect(new Set(deals).size).toBe(1)
    expect(await documentsOf(built)).toHaveLength(1)
    // Drafts 2 and 3 have one task for the arguments that both have.
    expect(new Set(offers.map(joined)).size).toBe(forms.length)
  })

  test.concurrent('L5: offers that differ in their label are one deal, with a task for each label', async () => {
    const built = await build('labels')
    const forms = ['draft 2 as published clients write it', 'draft 3', 'draft 2 as its schema is']
    const [first, second] = ['one', 'two'] as const
    const offers = await Promise.all(
      forms.flatMap(form => [first, second].map(label => offerAggregate(form, built, { label }))),
    )
    const none = await offerAggregate('draft 3', built)
    const ends = await Promise.all([...offers, none].map(offered => outcomeOf('dealer', offered)))
    for (const end of ends) expect(end.out).toEqual(ends[0]!.out)
    expect(new Set([...offers, none].map(joined)).size).toBe(5)
    expect(await documentsOf(built)).toHaveLength(1)
  })

  test.concurrent('L2: web3.storage is the tenant did:web:web3.storage, and the own task may have either spelling', async () => {
    const built = await build('tenant without a method')
    const { aggregate, block } = built
    const deal = { tenantId: 'web3.storage', label: 'label' }
    const offer = (nb: Record<string, unknown>) =>
      invokeAs('aggregator', 'dealer', 'deal/add', nb, { attach: [block] })
    const offered = await offer({ aggregate, pieces: block.cid, deal })
    expect(capabilityOf(offered.fx.join).nb).toEqual({ aggregate, pieces: block.cid, deal })
    expect(await documentsOf(built)).toMatchObject([{ tenant: 'did:web:web3.storage', label: 'label' }])
    const end = await outcomeOf('dealer', offered)
    for (const nb of [
      { aggregate, pieces: block.cid, deal },
      { piece: aggregate, offer: block.cid, deal },
    ])
      expect((await invokeAs('dealer', 'dealer', 'deal/add', nb)).out).toEqual(end.out)
  })

  test.concurrent('L2: a deal/add of the dealer itself that nobody promised is an offer; it joins the task with the fact { offered: true }', async () => {
    const { aggregate, block } = await build('own deal')
    const nb = { aggregate, pieces: block.cid, storefront: at('dealer').did }
    const offer = (options: Options = {}) => invokeAs('dealer', 'dealer', 'deal/add', nb, options)
    const offered = await offer({ attach: [block] })
    expect(offered.out).toEqual({ ok: { aggregate } })
    expect(effectOf(offered.fx.join).facts).toEqual([{ offered: true }])
    const end = await outcomeOf('dealer', offered)
    expect((await offer({ facts: [{ offered: true }] })).out).toEqual(end.out)
    expect(end.out).toMatchObject({ ok: { aggregate } })
  })

  test.concurrent('L1, L2, L3, L4, L5: a failed aggregate is reported in the words of each, and only the protocol and its section fork the retries', async () => {
    const built = await build('failed', faulty[1]!)
    const { aggregate, block } = built
    const inProtocol = await invokeAs(
      'aggregator',
      'dealer',
      'aggregate/offer',
      { aggregate, pieces: block.cid },
      { attach: [block] },
    )
    const reported = await outcomeOf('dealer', inProtocol)
    const { message, cause } = errorOf(reported) as { message: string; cause: [{ message: string }] }
    expect(reported.fx.fork).toHaveLength(2)
    for (const form of Object.keys(AGGREGATE_OFFERS)) {
      const { row } = AGGREGATE_OFFERS[form]!
      // The promise is older than the outcome only in draft 1; the others come later.
      const end = await outcomeOf('dealer', await offerAggregate(form, built))
      if (row === 'L4') {
        expect(end.out, form).toEqual(reported.out)
        expect(end.fx.fork.map(task => `${task.link()}`)).toEqual(
          reported.fx.fork.map(task => `${task.link()}`),
        )
        continue
      }
      expect(end.out.error, form).toEqual({
        name: 'InvalidPiece',
        message,
        aggregate,
        piece: aggregate,
        reason: 'InvalidPiece',
        cause: [
          { name: 'InvalidPieceCID', message: cause[0].message, piece: faulty[1], reason: 'InvalidPieceCID' },
        ],
      })
      expect(end.fx, form).toEqual({ fork: [] })
    }
  })

  test.concurrent('L4: a failed aggregate that only the section offered forks a piece/offer of each other piece', async () => {
    const built = await build('failed in section', faulty[0]!)
    const end = await outcomeOf('dealer', await offerAggregate('the capability section', built))
    expect(errorOf(end)).toMatchObject({ name: 'InvalidPiece', cause: [{ piece: faulty[0] }] })
    const others = built.pieces.filter(piece => `${piece}` !== `${faulty[0]}`)
    const forks = end.fx.fork.map(effectOf)
    expect(forks.map(({ capabilities: [{ nb }] }) => `${(nb as { piece: unknown }).piece}`).sort()).toEqual(
      others.map(String).sort(),
    )
    for (const { capabilities, nonce } of forks)
      expect([capabilities[0].can, nonce]).toEqual(['piece/offer', `${built.aggregate}`])
  })
})

describe('questions for deals', () => {
  test.concurrent('L1, L2, L3, L4: each dialect asks for the deals of an aggregate, and gets them', async () => {
    const built = await build('asked')
    const { aggregate } = built
    const { dataSource } = okOf(await outcomeOf('dealer', await offerAggregate('draft 3', built))) as {
      dataSource: { dealID: number }
    }
    const questions: [role: string, can: string, nb: Record<string, unknown>, by: string][] = [
      ['dealTracker', 'chain-tracker/info', { piece: aggregate }, 'storefront'],
      ['dealTracker', 'chain/info', { piece: aggregate }, 'storefront'],
      ['dealTracker', 'dealtracker/info', { piece: aggregate }, 'aggregator'],
      ['dealTracker', 'deal/info', { aggregate }, 'dealer'],
      ['dealTracker', 'deal/info', { piece: aggregate }, 'dealer'],
      ['dealer', 'aggregate/get', { piece: aggregate }, 'aggregator'],
    ]
    for (const [role, can, nb, by] of questions) {
      const answer = await invokeAs(by, role, can, nb)
      expect(answer.out.ok, can).toMatchObject({
        deals: {
          [dataSource.dealID]: { status: 'Active', storageProvider: expect.stringMatching(/^f0\d+$/) },
        },
      })
      expect(answer.fx).toEqual({ fork: [] })
      const unknown = await invokeAs(
        by,
        role,
        can,
        Object.fromEntries(Object.keys(nb).map(name => [name, somePiece('no deal')])),
      )
      expect(errorOf(unknown), can).toMatchObject({ name: 'DealNotFound' })
      expect(errorOf(await invokeAs(stranger, role, can, nb)), can).toMatchObject({ name: 'UnknownClient' })
    }
    // A storefront that the dealer lists asks it too.
    const asked = await invokeAs(customer, 'dealer', 'aggregate/get', { piece: aggregate })
    expect(Object.keys(okOf(asked)?.deals as object)).toContain(`${dataSource.dealID}`)
  })
})

describe('delegations', () => {
  const offerWith = async (caveats: Record<string, unknown>, can: string, nb: Record<string, unknown>) => {
    const proof = await Delegation.delegate({
      issuer: signer('storefront'),
      audience: stranger,
      capabilities: [{ can: can as 'piece/offer', with: at('storefront').did as DID, nb: caveats }],
      expiration: Infinity,
    })
    return invokeAs(stranger, 'aggregator', can, nb, {
      with: at('storefront').did as DID,
      proofs: [proof as never],
    })
  }

  test.concurrent('L1, L4: a caveat that one meaning of an ability has authorizes no other meaning', async () => {
    const piece = somePiece('caveat')
    const allowed = await offerWith({ provider: 'p' }, 'piece/offer', { piece, provider: 'p' })
    expect(allowed.out.error).toBeUndefined()
    for (const [caveats, nb] of [
      [{ group: 'g' }, { piece, provider: 'p' }],
      [{ group: 'p' }, { piece, provider: 'p' }],
      [{ provider: 'p' }, { piece, group: 'p' }],
      [{ provider: 'p' }, { piece, provider: 'q' }],
    ]) {
      const refused = await offerWith(caveats!, 'piece/offer', nb!)
      expect(errorOf(refused), JSON.stringify([caveats, nb])).toMatchObject({ name: 'Unauthorized' })
      expect(refused.fx).toEqual({ fork: [] })
    }
  })

  test.concurrent('L2: a delegation for one tenant is for this tenant in every form of deal/add', async () => {
    const built = await build('delegated tenant')
    const { aggregate, block } = built
    const tenant = 'did:web:web3.storage'
    const offer = async (
      caveats: Record<string, unknown>,
      nb: Record<string, unknown>,
      facts: Fact[] = [],
    ) => {
      const proof = await Delegation.delegate({
        issuer: signer('aggregator'),
        audience: stranger,
        capabilities: [{ can: 'deal/add', with: at('aggregator').did as DID, nb: caveats }],
        expiration: Infinity,
      })
      return invokeAs(stranger, 'dealer', 'deal/add', nb, {
        with: at('aggregator').did as DID,
        proofs: [proof as never],
        attach: [block],
        facts,
      })
    }
    const listed = { aggregate, pieces: block.cid }
    const label = 'l'
    for (const [caveats, nb, facts] of [
      [{ storefront: tenant }, listed],
      [{ storefront: tenant }, listed, [{ storefront: tenant }]],
      [{ storefront: tenant }, { ...listed, storefront: WEB }],
      [{ storefront: tenant }, { ...listed, deal: { tenantId: WEB } }],
      [{ storefront: tenant }, { ...listed, storefront: WEB, deal: { tenantId: tenant } }],
      [{ deal: { tenantId: tenant } }, { ...listed, storefront: WEB }],
      [{ deal: { tenantId: tenant } }, { ...listed, storefront: WEB, deal: { tenantId: tenant } }],
      [{ deal: { tenantId: tenant, label } }, { ...listed, storefront: tenant }],
      [
        { storefront: tenant, label },
        { ...listed, deal: { tenantId: tenant, label: 'm' } },
      ],
      [{ aggregate }, { piece: aggregate, offer: block.cid, storefront: tenant }],
    ] as [Record<string, unknown>, Record<string, unknown>, Fact[]?][]) {
      const refused = await offer(caveats, nb, facts)
      expect(errorOf(refused), JSON.stringify([caveats, nb])).toMatchObject({ name: 'Unauthorized' })
    }
    expect(await documentsOf(built)).toEqual([])
    for (const [caveats, nb] of [
      [{ storefront: tenant }, { ...listed, deal: { tenantId: 'web3.storage' } }],
      [{ deal: { tenantId: 'web3.storage', label } }, { ...listed, storefront: tenant, label }],
    ] as [Record<string, unknown>, Record<string, unknown>][])
      expect((await offer(caveats, nb)).out.error, JSON.stringify([caveats, nb])).toBeUndefined()
  })
})

describe('with no dialects', () => {
  const plain = useSystem({ configure: (_, config) => ({ ...config, dialects: [] }) })

  test('L1, L2, L3, L4: an ability of a dialect is HandlerNotFound, or means what it means in the protocol', async () => {
    const piece = somePiece('plain')
    const { aggregate, block } = await build('plain')
    const call = (
      issuer: Signer,
      role: string,
      can: string,
      nb: Record<string, unknown>,
      options: Options = {},
    ) => invokeAt(plain.at(role), { issuer, can: can as 'piece/offer', nb, ...options })
    const storefront = plain.signer('storefront')
    const agent = await createAgent(undefined, '*')
    const { content } = await randomContent(10)
    const absent: [role: string, can: string, nb: Record<string, unknown>][] = [
      ...['piece/add', 'piece/verify'].map(can => ['storefront', can, { link: content, piece }] as never),
      ...['filecoin/add', 'filecoin/queue'].map(can => ['storefront', can, { content, piece }] as never),
      ...['aggregate/add', 'aggregate/queue', 'aggregate/offer', 'aggregate/accept', 'aggregate/arrange'].map(
        can => ['aggregator', can, { piece, group: 'g', storefront: storefront.did() }] as never,
      ),
      ...['deal/add', 'deal/queue', 'deal/offer', 'deal/accept', 'offer/arrange', 'aggregate/get'].map(
        can =>
          ['dealer', can, { aggregate, pieces: block.cid, storefront: storefront.did(), piece }] as never,
      ),
      ...['chain-tracker/info', 'chain/info', 'dealtracker/info'].map(
        can => ['dealTracker', can, { piece }] as never,
      ),
    ]
    for (const [role, can, nb] of absent) {
      for (const issuer of [storefront, plain.signer(role)]) {
        const { out } = await call(issuer, role, can, nb)
        expect(out.error, `${can} at ${role}`).toMatchObject({ name: 'HandlerNotFound', capability: { can } })
      }
    }
    expect(
      errorOf(await call(storefront, 'aggregator', 'piece/offer', { piece, provider: 'p' })),
    ).toMatchObject({
      name: 'MalformedCapability',
      field: 'nb.group',
    })
    const aggregator = plain.signer('aggregator')
    const attach = [block]
    expect(
      errorOf(
        await call(
          aggregator,
          'dealer',
          'aggregate/offer',
          { offer: block.cid, piece: aggregate },
          { attach },
        ),
      ),
    ).toMatchObject({ field: 'nb.aggregate' })
    const offered = await call(
      aggregator,
      'dealer',
      'aggregate/offer',
      { aggregate, pieces: block.cid },
      { attach },
    )
    expect(offered.out).toEqual({ ok: { aggregate } })
    expect(offered.fx.fork).toEqual([])
    const taken = await invokeAt(plain.at('storefront'), {
      ...agent,
      can: 'filecoin/offer',
      nb: { content, piece },
    })
    expect(taken.out).toEqual({ ok: { piece } })
    expect(taken.fx.fork).toHaveLength(1)
    // No other service is asked for the receipt of a task that the storefront does not know.
    const response = await fetch(`${plain.at('storefront').url}/receipt/${joined(offered)}`, {
      redirect: 'manual',
    })
    expect(response.status).toBe(404)
    await outcomeOfPlain(joined(offered))
    const later = await fetch(`${plain.at('storefront').url}/receipt/${joined(offered)}`, {
      redirect: 'manual',
    })
    expect(later.status).toBe(404)
  })

  const outcomeOfPlain = (task: string) => awaitReceipt(plain.at('dealer'), task)
})
