import { Delegation } from '@ucanto/core'
import type { Invocation, Receipt, Signer } from '@ucanto/interface'
import { aggregateOffer, failure, type PieceLink, Tasks } from '@w3filecoin/capabilities'
import {
  createHttpApp,
  hasEffectBlocks,
  issueReceipt,
  MAX_EFFECTS,
  MESSAGE_LIMITS,
  Peer,
  provide,
  Server,
  type Stored,
} from '@w3filecoin/runtime'
import { ask, cut, effectsOf, networkOf, served, somePiece } from '@w3filecoin/testing'
import { describe, expect, it } from 'vitest'
import { type AggregateRecord, aggregateId } from '../src/domain/aggregate.ts'
import { groupId, MAX_ATTEMPTS } from '../src/domain/piece.ts'
import { createAggregator, type Dependencies } from '../src/index.ts'
import {
  aggregator,
  aws,
  clock,
  dealer,
  delivered,
  dependencies,
  EIGHTH,
  errorOf,
  freshGroup,
  HALF,
  HOUR,
  listed,
  offer,
  offerAll,
  offeredPieces,
  offers,
  offersOf,
  one,
  outcomeOf,
  QUARTER,
  recordOf,
  SMALL,
  service,
  settle,
  state,
  stranger,
  sweepAfter,
  texts,
  theDealer,
  timing,
  two,
} from './setup.ts'

type Cut = (whole: Dependencies) => Partial<Dependencies>
const CUT = [{ message: 'Cut by the test' }]

/** An aggregate as it was offered to the dealer. */
interface Sealed {
  aggregate: PieceLink
  pieces: never
  nonce?: string | undefined
  offer: Invocation
}
const sealedOf = (group: string): Sealed[] =>
  offersOf(group).map(offer => ({
    ...(offer.capabilities[0]!.nb as { aggregate: PieceLink; pieces: never }),
    nonce: offer.nonce,
    offer,
  }))
const aggregateOf = async ({ aggregate, nonce }: Sealed): Promise<AggregateRecord> => {
  const record = await dependencies.stores.aggregate.get({
    id: aggregateId({ aggregate: `${aggregate}`, nonce }),
  })
  if (!record) throw new Error(`There is no record of ${aggregate}`)
  return record
}
/** Seals one group whose pieces have waited long enough. The messages that follow stay in the queues. */
const seal = async (group: string, storefront = one) => {
  clock.now += HOUR
  const message = { group: groupId({ storefront: storefront.did(), group }), id: `${clock.now}` }
  expect((await service.consumers.seal!.handle([message]))[0]?.ok).toBeDefined()
}
/** Puts pieces of these heights into an aggregate and offers it to the dealer. */
const sealed = async (seed: string, heights: number[] = [QUARTER, EIGHTH]) => {
  const group = freshGroup(seed)
  const pieces = await offerAll(heights, group)
  await seal(group)
  await settle()
  const [aggregate] = sealedOf(group)
  return { group, pieces, aggregate: aggregate! }
}
/** The task by which the dealer, or another issuer, retries a piece of an aggregate. */
const retryOf = (piece: PieceLink, group: string, from: Sealed, issuer: Signer = dealer) =>
  Tasks.pieceOffer(issuer, aggregator, { piece, group, nonce: Tasks.retryNonce(from) })
const retry = async (...given: Parameters<typeof retryOf>) => ask(service.api, await retryOf(...given))
const attemptOf = (piece: PieceLink, group: string, from: Sealed) =>
  recordOf(piece, group, Tasks.retryNonce(from))

/** The dealer's receipt for a failed aggregate, or for a refused offer, with its invalid pieces and those it retries. */
const inNoDeal = async (
  group: string,
  { offer, ...aggregated }: Sealed,
  { invalid = [], again = [] }: { invalid?: PieceLink[]; again?: PieceLink[] },
  ran?: Invocation,
) =>
  issueReceipt(dealer, ran ?? (await Tasks.aggregateAccept(dealer, aggregated)), {
    out: {
      error: failure('InvalidPiece', 'No provider takes it', {
        aggregate: aggregated.aggregate,
        cause: invalid.map(piece => failure('InvalidPieceCID', 'No provider can read it', { piece })),
      }),
    },
    fx: { fork: await Promise.all(again.map(piece => retryOf(piece, group, { offer, ...aggregated }))) },
  })
const conclude = async (
  receipt: Receipt,
  blocks: Iterable<unknown> = receipt.iterateIPLDBlocks(),
  api = service.api,
) => ask(api, await Tasks.conclude(dealer, aggregator, { root: receipt.root, blocks: blocks as never }))
/** The receipts of a task that reached storefronts. */
const deliveredOf = (task: { toString(): string }) =>
  delivered
    .filter(({ task: about }) => about === `${task}`)
    .map(({ storefront, receipt }) => ({ storefront, root: `${receipt.root.cid}` }))

describe('D5: a piece that the dealer retries', () => {
  it('returns to its storefront, ahead of newer pieces, and is in the next aggregate', async () => {
    const { group, pieces, aggregate } = await sealed('again', [QUARTER, HALF])
    const [, half] = pieces as [PieceLink, PieceLink]
    const newer = await offerAll([HALF, EIGHTH], group)
    const receipt = await retry(half, group, aggregate)
    expect(receipt.out).toEqual({ ok: { piece: half } })
    const nonce = Tasks.retryNonce(aggregate)
    const accept = await Tasks.pieceAccept(aggregator, { piece: half, group, nonce })
    expect(effectsOf(receipt)).toEqual({ fork: [], join: `${accept.cid}` })
    expect(`${(await served(service.api, receipt.ran.link()))?.root.cid}`).toBe(`${receipt.root.cid}`)

    // Repeated late and at once, it has one row.
    for (const same of await Promise.all([1, 2, 3].map(() => retry(half, group, aggregate))))
      expect(effectsOf(same)).toEqual(effectsOf(receipt))
    expect(await attemptOf(half, group, aggregate)).toMatchObject({
      storefront: one.did(),
      stage: 'pending',
      attempt: 2,
    })
    expect((await listed(group)).map(({ piece }) => piece)).toEqual([half, ...newer].map(String))

    // Two halves do not fit in one aggregate, so the newer one waits.
    await settle()
    expect(offeredPieces(group).slice(1)).toEqual([texts([half, newer[1]!])])
    expect((await listed(group)).map(({ piece }) => piece)).toEqual([`${newer[0]}`])
    const { receipt: accepted, ok } = (await outcomeOf(half, group, nonce))!
    expect(`${ok.aggregate}`).toBe(`${sealedOf(group)[1]!.aggregate}`)
    expect(effectsOf(accepted).join).toBe(`${offersOf(group)[1]!.cid}`)
    expect(deliveredOf(accept.cid)).toEqual([{ storefront: one.did(), root: `${accepted.root.cid}` }])
    expect(effectsOf(await retry(half, group, aggregate))).toEqual(effectsOf(receipt))
    await settle()
    expect(await listed(group)).toHaveLength(1)
  })

  it('returns to the second storefront that offered it', async () => {
    const [group, piece] = [freshGroup('second'), somePiece('of two', QUARTER)]
    for (const issuer of [one, two]) {
      await ask(service.api, await offer(piece, group, { issuer }))
      await seal(group, issuer)
    }
    await settle()
    const of = (storefront: Signer) =>
      sealedOf(group).find(
        ({ offer }) => (offer.facts[0] as { storefront: string }).storefront === storefront.did(),
      )!
    expect([of(one), of(two)].filter(({ nonce }) => nonce === undefined)).toHaveLength(1)
    for (const storefront of [two, one]) {
      const { join } = effectsOf(await retry(piece, group, of(storefront)))
      await settle()
      expect(await attemptOf(piece, group, of(storefront))).toMatchObject({ storefront: storefront.did() })
      expect(await listed(group, storefront)).toHaveLength(1)
      await seal(group, storefront)
      await settle()
      expect(deliveredOf(join!).map(delivered => delivered.storefront)).toEqual([storefront.did()])
    }
  })

  it('keeps its storefront if another storefront used the nonce before', async () => {
    const { group, pieces, aggregate } = await sealed('taken')
    const [piece] = pieces as [PieceLink]
    const nonce = Tasks.retryNonce(aggregate)
    const taken = await ask(service.api, await offer(piece, group, { issuer: two, nonce }))
    const receipt = await retry(piece, group, aggregate)
    expect(effectsOf(receipt).join).not.toBe(effectsOf(taken).join)
    await settle()
    expect((await listed(group)).map(({ piece }) => piece)).toEqual([`${piece}`])
    await seal(group)
    await settle()
    expect(deliveredOf(effectsOf(receipt).join!).map(delivered => delivered.storefront)).toEqual([one.did()])
  })

  type Retry = (piece: PieceLink, group: string, from: Sealed) => Promise<Invocation>
  it.each<[string, Retry, string]>([
    ['a stranger', (...given) => retryOf(...given, stranger), 'UnknownStorefront'],
    [
      'a storefront in the name of the dealer',
      (piece, group, from) =>
        Tasks.pieceOffer(
          one,
          aggregator,
          { piece, group, nonce: Tasks.retryNonce(from) },
          { with: dealer.did() },
        ),
      'Unauthorized',
    ],
  ])('is not accepted from %s', async (how, make, name) => {
    const { group, pieces, aggregate } = await sealed(how)
    const receipt = await ask(service.api, await make(pieces[0]!, group, aggregate))
    expect(errorOf(receipt)?.name).toBe(name)
    expect(await served(service.api, receipt.ran.link())).toBeUndefined()
    expect(await listed(group)).toEqual([])
  })

  it.each<[string, Retry, string]>([
    [
      'of an unknown aggregate',
      (piece, group, { offer }) =>
        retryOf(piece, group, { aggregate: somePiece('none', 15), pieces: null as never, offer }),
      'UnknownAggregate',
    ],
    [
      'without a nonce',
      (piece, group) => Tasks.pieceOffer(dealer, aggregator, { piece, group }),
      'UnknownAggregate',
    ],
    [
      'of another seal',
      (piece, group, from) => retryOf(piece, group, { ...from, nonce: 'other' }),
      'UnknownAggregate',
    ],
    ['in another group', (piece, _, from) => retryOf(piece, 'elsewhere', from), 'UnknownAggregate'],
    [
      'of a piece that is not in it',
      (_, group, from) => retryOf(somePiece('stray'), group, from),
      'InvalidPieceCID',
    ],
  ])('%s, gets a final refusal, whose receipt is served', async (how, make, name) => {
    const { group, pieces, aggregate } = await sealed(how)
    const task = await make(pieces[0]!, group, aggregate)
    const receipt = await ask(service.api, task)
    expect(errorOf(receipt)?.name).toBe(name)
    expect(effectsOf(receipt)).toEqual({ fork: [], join: undefined })
    expect(`${(await served(service.api, task.cid))?.root.cid}`).toBe(`${receipt.root.cid}`)
    expect(`${(await ask(service.api, task)).root.cid}`, 'repeated').toBe(`${receipt.root.cid}`)
    expect(await listed(group)).toEqual([])
  })

  it('is a new offer, behind older pieces, if a storefront makes it', async () => {
    const { group, pieces, aggregate } = await sealed('its own nonce')
    const [older] = await offerAll([SMALL], group)
    clock.now += 1
    expect((await retry(pieces[0]!, group, aggregate, one)).out.ok).toBeDefined()
    await settle()
    expect((await listed(group)).map(({ piece }) => piece)).toEqual([`${older}`, `${pieces[0]}`])
    expect((await attemptOf(pieces[0]!, group, aggregate))?.attempt).toBeUndefined()
  })

  it('may be offered by an agent with a delegation of the dealer', async () => {
    const { group, pieces, aggregate } = await sealed('delegated')
    const proof = await Delegation.delegate({
      issuer: dealer,
      audience: stranger,
      capabilities: [{ can: 'piece/offer', with: dealer.did() }],
      expiration: Infinity,
    })
    const task = await Tasks.pieceOffer(
      stranger,
      aggregator,
      { piece: pieces[0]!, group, nonce: Tasks.retryNonce(aggregate) },
      { with: dealer.did(), proofs: [proof as never] },
    )
    expect((await ask(service.api, task)).out.ok).toBeDefined()
    expect(await attemptOf(pieces[0]!, group, aggregate)).toMatchObject({ storefront: one.did(), attempt: 2 })
  })

  it('is refused when its aggregate is in a deal', async () => {
    const { group, pieces, aggregate } = await sealed('in a deal')
    const { offer, ...aggregated } = aggregate
    await conclude(
      await issueReceipt(dealer, await Tasks.aggregateAccept(dealer, aggregated), {
        out: { ok: { aggregate: aggregate.aggregate, dataType: 0, dataSource: { dealID: 7 } } },
      }),
    )
    const refusal = await retry(pieces[0]!, group, aggregate)
    expect(errorOf(refusal)?.name).toBe('UnknownAggregate')
    expect(`${(await served(service.api, refusal.ran.link()))?.root.cid}`).toBe(`${refusal.root.cid}`)
  })

  it('may be offered before the pieces of its aggregate are included', async () => {
    const group = freshGroup('early')
    const pieces = (await offerAll([QUARTER, EIGHTH], group)) as [PieceLink, PieceLink]
    await seal(group)
    await aws.deliver('deal', service.consumers.deal as never)
    const aggregate = sealedOf(group)[0]!
    for (const piece of pieces) {
      expect((await retry(piece, group, aggregate)).out.ok).toBeDefined()
      expect(await attemptOf(piece, group, aggregate)).toMatchObject({ storefront: one.did(), attempt: 2 })
    }
    await seal(group)
    await settle()
    expect(offeredPieces(group)).toEqual([texts(pieces), texts(pieces)])
    for (const piece of pieces)
      for (const nonce of [undefined, Tasks.retryNonce(aggregate)])
        expect((await outcomeOf(piece, group, nonce))?.ok).toBeDefined()
    expect(await listed(group)).toEqual([])
  })

  it('must wait until the pieces of an aggregate that earlier code sealed are included', async () => {
    const group = freshGroup('untold')
    const [piece] = (await offerAll([QUARTER], group)) as [PieceLink]
    await seal(group)
    await aws.deliver('deal', service.consumers.deal as never)
    const aggregate = sealedOf(group)[0]!
    const { memberShards, ...record } = (await aggregateOf(aggregate)) as Stored<AggregateRecord>
    await dependencies.stores.aggregate.replace(record)
    const early = await retry(piece, group, aggregate)
    expect(errorOf(early)?.name).toBe('HandlerExecutionError')
    expect(await served(service.api, early.ran.link()), 'no receipt is stored').toBeUndefined()
    await settle()
    expect((await retry(piece, group, aggregate)).out.ok).toBeDefined()
  })

  it.each<[string, Cut]>([
    [
      'before its receipt',
      ({ stores }) => ({ stores: { ...stores, receipts: cut(stores.receipts, 'put') } }),
    ],
    ['before its record', ({ stores }) => ({ stores: { ...stores, piece: cut(stores.piece, 'insert') } })],
    [
      'before it is in the list',
      ({ stores }) => ({ stores: { ...stores, pending: cut(stores.pending, 'putMany') } }),
    ],
    [
      'before its group is read',
      ({ stores }) => ({ stores: { ...stores, group: cut(stores.group, 'get') } }),
    ],
    ['before it is counted', ({ stores }) => ({ stores: { ...stores, tally: cut(stores.tally, 'add') } })],
  ])('interrupted %s, is added once when it is offered again', async (how, cutting) => {
    const { group, pieces, aggregate } = await sealed(how)
    const [piece] = pieces as [PieceLink]
    const { api } = createAggregator({ ...dependencies, ...cutting(dependencies) })
    const task = await retryOf(piece, group, aggregate)
    expect(errorOf(await ask(api, task))?.name).toBe('HandlerExecutionError')
    expect((await ask(service.api, task)).out.ok).toBeDefined()
    await sweepAfter(timing.retryMs)
    expect(await listed(group)).toHaveLength(1)
  })

  it('is sealed again in the same aggregate with a nonce, which may fail too, up to MAX_ATTEMPTS', async () => {
    const { group, pieces, aggregate: first } = await sealed('enough', [QUARTER])
    const [piece] = pieces as [PieceLink]
    for (let attempt = 1; attempt < MAX_ATTEMPTS; attempt++) {
      const from = sealedOf(group).at(-1)!
      expect((await retry(piece, group, from)).out.ok).toBeDefined()
      await seal(group)
      await settle()
      const again = sealedOf(group).at(-1)!
      expect(`${again.aggregate}`).toBe(`${first.aggregate}`)
      expect(again.nonce).not.toBe(from.nonce)
      expect(await attemptOf(piece, group, from)).toMatchObject({ stage: 'included', attempt: attempt + 1 })
    }
    expect(offersOf(group)).toHaveLength(MAX_ATTEMPTS)
    const last = sealedOf(group).at(-1)!
    const refusal = await retry(piece, group, last)
    expect(errorOf(refusal)).toMatchObject({ name: 'ProofNotFound' })
    expect(`${(await served(service.api, refusal.ran.link()))?.root.cid}`).toBe(`${refusal.root.cid}`)
    expect(await attemptOf(piece, group, last)).toBeUndefined()
    expect((await retry(piece, group, first)).out.ok, 'an accepted retry is still accepted').toBeDefined()
  })
})

describe('an aggregate that the dealer', () => {
  const offeredAggregate = async (seed: string) => {
    const it = await sealed(seed)
    const [invalid, again] = [it.pieces.slice(0, 1), it.pieces.slice(1)]
    return { ...it, verdict: { invalid, again } }
  }

  it('abandons has failed; the receipt is stored, and sent with its effects', async () => {
    const { group, aggregate, verdict } = await offeredAggregate('abandoned')
    const receipt = await inNoDeal(group, aggregate, verdict)
    for (let n = 0; n < 2; n++) expect((await conclude(receipt)).out.ok).toBeDefined()
    await settle()
    const task = receipt.ran.link()
    const record = await aggregateOf(aggregate)
    expect(record).toMatchObject({ stage: 'failed', rangesToInclude: [] })
    expect(record.checkAt).toBeUndefined()
    expect(`${(await served(service.api, task))?.root.cid}`).toBe(`${receipt.root.cid}`)
    expect(new Set(deliveredOf(task).map(({ root }) => root))).toEqual(new Set([`${receipt.root.cid}`]))
    expect(
      delivered
        .filter(({ task: about }) => about === `${task}`)
        .every(({ receipt }) => hasEffectBlocks(receipt)),
    ).toBe(true)

    // Later receipts and messages change nothing.
    const { offer, ...aggregated } = aggregate
    const deal = { ok: { aggregate: aggregate.aggregate, dataType: 0, dataSource: { dealID: 7 } } }
    await conclude(await issueReceipt(dealer, await Tasks.aggregateAccept(dealer, aggregated), { out: deal }))
    await dependencies.queues.deal.send([{ aggregate: record.id }])
    await settle()
    expect(await aggregateOf(aggregate)).toEqual(record)
    expect(`${(await served(service.api, task))?.root.cid}`).toBe(`${receipt.root.cid}`)
  })

  it('ends with two receipts has ended as the first one says', async () => {
    const { group, aggregate, verdict } = await offeredAggregate('two receipts')
    const receipt = await inNoDeal(group, aggregate, verdict)
    const cutTable = cut(dependencies.stores.aggregate, 'replace')
    const { api } = createAggregator({
      ...dependencies,
      stores: { ...dependencies.stores, aggregate: cutTable },
    })
    expect(errorOf(await conclude(receipt, undefined, api))?.name).toBe('HandlerExecutionError')
    const deal = { ok: { aggregate: aggregate.aggregate, dataType: 0, dataSource: { dealID: 7 } } }
    await conclude(await issueReceipt(dealer, receipt.ran as Invocation, { out: deal }))
    expect(await aggregateOf(aggregate)).toMatchObject({ stage: 'failed' })
    expect(`${(await served(service.api, receipt.ran.link()))?.root.cid}`).toBe(`${receipt.root.cid}`)
  })

  it('abandons, with a receipt without the blocks of its effects, has failed once these are fetched', async () => {
    const { group, aggregate, verdict } = await offeredAggregate('slim')
    const receipt = await inNoDeal(group, aggregate, verdict)
    const slim = [receipt.root, ...(receipt.ran as Invocation).iterateIPLDBlocks()]
    expect((await conclude(receipt, slim)).out.ok).toBeDefined()
    expect(await aggregateOf(aggregate)).toMatchObject({ stage: 'offered' })
    await theDealer.receipts.put(receipt)
    await settle()
    expect(await aggregateOf(aggregate)).toMatchObject({ stage: 'failed' })
    expect(hasEffectBlocks((await served(service.api, receipt.ran.link()))!)).toBe(true)
  })

  it('abandons, without sending the receipt, has failed once it is fetched', async () => {
    const { group, aggregate, verdict } = await offeredAggregate('silent')
    const receipt = await inNoDeal(group, aggregate, verdict)
    await theDealer.receipts.put(receipt)
    await sweepAfter(timing.pollMs)
    expect(await aggregateOf(aggregate)).toMatchObject({ stage: 'failed' })
    expect(deliveredOf(receipt.ran.link())).toHaveLength(1)
  })

  it.each<[string, Cut]>([
    [
      'before the receipt is stored',
      ({ stores }) => ({ stores: { ...stores, receipts: cut(stores.receipts, 'put') } }),
    ],
    [
      'before the record is changed',
      ({ stores }) => ({ stores: { ...stores, aggregate: cut(stores.aggregate, 'replace') } }),
    ],
    [
      'before the receipt is sent to the storefront',
      ({ queues }) => ({ queues: { ...queues, conclude: cut(queues.conclude, 'send') } }),
    ],
  ])('abandons has failed also when that is interrupted %s', async (how, cutting) => {
    const { group, aggregate, verdict } = await offeredAggregate(how)
    const receipt = await inNoDeal(group, aggregate, verdict)
    const { api } = createAggregator({ ...dependencies, ...cutting(dependencies) })
    expect(errorOf(await conclude(receipt, undefined, api))?.name).toBe('HandlerExecutionError')
    expect((await conclude(receipt)).out.ok).toBeDefined()
    await settle()
    expect(await aggregateOf(aggregate)).toMatchObject({ stage: 'failed' })
    expect(deliveredOf(receipt.ran.link()).length).toBeGreaterThan(0)
  })

  it.each<[string, Cut | undefined]>([
    ['', undefined],
    [
      ', interrupted before the receipt is stored',
      ({ stores }) => ({ stores: { ...stores, receipts: cut(stores.receipts, 'put') } }),
    ],
    [
      ', interrupted before the record is changed',
      ({ stores }) => ({ stores: { ...stores, aggregate: cut(stores.aggregate, 'replace') } }),
    ],
    [
      ', interrupted before the receipt is sent to the storefront',
      ({ queues }) => ({ queues: { ...queues, conclude: cut(queues.conclude, 'send') } }),
    ],
  ])(
    'refuses because of invalid pieces has failed, and retries of its pieces are accepted%s',
    async (how, cutting) => {
      const group = freshGroup(`invalid${how}`)
      const pieces = await offerAll([QUARTER, EIGHTH], group)
      await seal(group)
      state.refusal = failure('InvalidPiece', 'One is invalid', {
        cause: [failure('InvalidPieceCID', 'All zeros', { piece: pieces[0] })],
      })
      if (cutting) {
        const { consumers } = createAggregator({ ...dependencies, ...cutting(dependencies) })
        const { failed } = await aws.deliver('deal', consumers.deal as never)
        expect(failed).toMatchObject(CUT)
      }
      await settle()
      await sweepAfter(timing.retryMs)
      const aggregate = sealedOf(group)[0]!
      expect(await aggregateOf(aggregate)).toMatchObject({ stage: 'failed', rangesToInclude: [] })
      const filed = (await served(service.api, aggregate.offer.cid))!
      expect(errorOf(filed)).toMatchObject({ name: 'InvalidPiece' })
      expect(await filed.verifySignature(dealer.verifier as never)).toMatchObject({ ok: {} })
      if (!how.includes('storefront'))
        expect(deliveredOf(aggregate.offer.cid)).toContainEqual({
          storefront: one.did(),
          root: `${filed.root.cid}`,
        })
      // The pieces have receipts that name the aggregate, and the refusal is at the end of their chain.
      expect(effectsOf((await outcomeOf(pieces[1]!, group))!.receipt).join).toBe(`${aggregate.offer.cid}`)
      expect((await retry(pieces[1]!, group, aggregate)).out.ok).toBeDefined()
    },
  )

  it('refuses with more effects than an answer contains has failed once these are fetched', async () => {
    const group = freshGroup('invalid among many')
    const [invalid] = (await offerAll([QUARTER], group)) as [PieceLink]
    await seal(group)
    const again = Array.from({ length: MAX_EFFECTS + 1 }, (_, n) => somePiece(`valid ${n}`))
    const { receipts } = theDealer
    const refusing = provide(aggregateOffer, async ({ capability: { nb }, invocation }) => {
      const offered = { ...(nb as Omit<Sealed, 'offer'>), nonce: invocation.nonce, offer: invocation }
      offers.push(invocation)
      return {
        filed: await receipts.put(await inNoDeal(group, offered, { invalid: [invalid], again }, invocation)),
      }
    })
    const log = () => {}
    const server = new Server({
      id: dealer,
      authority: dependencies.authority,
      handlers: [refusing],
      receipts,
      log,
    })
    const limits = { ...MESSAGE_LIMITS, answer: 20_000 }
    const api = createHttpApp({ server, receipts, name: 'dealer', limits, log })
    const network = networkOf(() => [{ ...theDealer, api }])
    const fetched: string[] = []
    let away = true
    const peer = new Peer(theDealer, {
      authority: dependencies.authority,
      fetch: async (url, init) => {
        const { pathname } = new URL(url)
        fetched.push(pathname)
        if (away && pathname !== '/') throw new TypeError('fetch failed')
        return network(url, init)
      },
    })
    const { consumers } = createAggregator({ ...dependencies, dealer: peer })
    const offerToDealer = () => aws.deliver('deal', consumers.deal as never)

    // Without the effects, nothing shows which pieces are retried, so the refusal is not stored.
    expect(await offerToDealer()).toEqual({ taken: 1, failed: [] })
    const aggregate = sealedOf(group)[0]!
    expect(await aggregateOf(aggregate)).toMatchObject({ stage: 'sealed' })
    expect(await served(service.api, aggregate.offer.cid)).toBeUndefined()

    away = false
    await dependencies.queues.deal.send([{ aggregate: (await aggregateOf(aggregate)).id }])
    expect(await offerToDealer()).toEqual({ taken: 1, failed: [] })
    const both = ['/', `/receipt/${aggregate.offer.cid}`]
    expect(fetched).toEqual([...both, ...both])
    expect(await aggregateOf(aggregate)).toMatchObject({ stage: 'failed' })
    const filed = (await served(service.api, aggregate.offer.cid))!
    expect(hasEffectBlocks(filed)).toBe(true)
    expect(effectsOf(filed)).toEqual(effectsOf((await receipts.get(`${aggregate.offer.cid}`))!))
  })
})
