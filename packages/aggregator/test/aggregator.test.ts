import { Delegation, isDelegation } from '@ucanto/core'
import type { Receipt, Signer } from '@ucanto/interface'
import { failure, type PieceAcceptSuccess, type PieceLink, type Task, Tasks } from '@w3filecoin/capabilities'
import { decodePiece, encodePiece, verifyInclusion } from '@w3filecoin/piece'
import { dueAt, issueReceipt, packTask } from '@w3filecoin/runtime'
import { ask, bytesOf, call, cut, effectsOf, served, somePiece } from '@w3filecoin/testing'
import { create as createDigest } from 'multiformats/hashes/digest'
import { create as createLink } from 'multiformats/link'
import { describe, expect, it } from 'vitest'
import { groupId, pieceId } from '../src/domain/piece.ts'
import { createAggregator, type Dependencies } from '../src/index.ts'
import { listByMessage } from '../src/offers/list-pieces.ts'

import {
  acceptOf,
  aggregator,
  aws,
  clock,
  dealer,
  delivered,
  deliveredOf,
  dependencies,
  EIGHTH,
  errorOf,
  freshGroup,
  HALF,
  HOUR,
  limits,
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
  unlisted,
} from './setup.ts'

describe('piece/offer', () => {
  it('A1: queues the piece and promises piece/accept', async () => {
    const [group, piece] = [freshGroup(), somePiece('A1')]
    const receipt = await ask(service.api, await offer(piece, group))
    expect(receipt.out).toEqual({ ok: { piece } })
    expect(effectsOf(receipt)).toEqual({ fork: [], join: `${(await acceptOf(piece, group)).cid}` })
    expect(isDelegation(receipt.fx.join as never)).toBe(true)
    expect(`${(await served(service.api, receipt.ran.link()))?.root.cid}`).toBe(`${receipt.root.cid}`)
    expect(await recordOf(piece, group)).toMatchObject({ stage: 'pending', storefront: one.did(), size: 128 })
    expect(await listed(group)).toMatchObject([{ piece: `${piece}`, size: 128 }])
  })

  it('A2: repeated at once, late or with other authority, has the same effects and adds no second row', async () => {
    const [group, piece] = [freshGroup(), somePiece('A2')]
    const task = await offer(piece, group)
    const delegation = await Delegation.delegate({
      issuer: aggregator,
      audience: one,
      capabilities: [{ can: 'piece/offer', with: aggregator.did() }],
      expiration: Infinity,
    })
    const delegated = await Tasks.pieceOffer(
      one,
      aggregator,
      { piece, group },
      { with: aggregator.did(), proofs: [delegation as never] },
    )
    const receipts = await call(service.api, ...Array.from({ length: 8 }, () => task), delegated)
    await settle()
    receipts.push(await ask(service.api, task))
    await settle()
    expect(new Set(receipts.map(receipt => JSON.stringify(effectsOf(receipt)))).size).toBe(1)
    expect(await listed(group)).toHaveLength(1)
    expect(
      await dependencies.stores.tally.get({ id: groupId({ storefront: one.did(), group }) }),
    ).toMatchObject({
      pieces: 1,
      bytes: 128,
    })
    await sweepAfter(HOUR)
    expect(offeredPieces(group)).toEqual([[`${piece}`]])
    receipts.push(await ask(service.api, task))
    await sweepAfter(2 * HOUR)
    expect(effectsOf(receipts.at(-1)!)).toEqual(effectsOf(receipts[0]!))
    expect(offersOf(group)).toHaveLength(1)
  })

  it('of many pieces in one message reads their group, and counts them, a few times only', async () => {
    const group = freshGroup()
    const id = groupId({ storefront: one.did(), group })
    const pieces = Array.from({ length: 20 }, (_, n) => somePiece(`${group} ${n}`))
    const { stores } = dependencies
    let reads = 0
    const counting = {
      ...stores.group,
      get: (...key: Parameters<typeof stores.group.get>) => {
        reads += 1
        return stores.group.get(...key)
      },
    }
    const limitsOf = () => ({ ...limits, maxPieces: 100 })
    const { api } = createAggregator({ ...dependencies, limitsOf, stores: { ...stores, group: counting } })
    const receipts = await call(api, ...(await Promise.all(pieces.map(piece => offer(piece, group)))))
    expect(receipts.map(({ out }) => out)).toEqual(pieces.map(piece => ({ ok: { piece } })))
    expect((await listed(group)).map(({ piece }) => piece).toSorted()).toEqual(texts(pieces))
    expect(await stores.tally.get({ id })).toMatchObject({ pieces: 20, bytes: 20 * 128 })
    expect(await stores.group.get({ id })).toMatchObject({ sequence: 0, checkAt: expect.any(Number) })
    expect(reads).toBeLessThan(10)
  })

  it('of a piece twice in one message writes its row once', async () => {
    const [group, piece] = [freshGroup(), somePiece('twice')]
    await ask(service.api, await offer(piece, group))
    const record = (await recordOf(piece, group))!
    const { stores } = dependencies
    const written: string[][] = []
    const pending = {
      ...stores.pending,
      putMany: async (rows: Parameters<typeof stores.pending.putMany>[0]) => {
        written.push(rows.map(({ id }) => id))
      },
    }
    const list = listByMessage({ ...dependencies, stores: { ...stores, pending } })
    const message = {}
    await Promise.all([true, false, false].map(isNew => list(message, { record, isNew })))
    expect(written).toEqual([[record.id]])
    const id = groupId({ storefront: one.did(), group })
    expect(await stores.tally.get({ id })).toMatchObject({ pieces: 2 })
  })

  it.each<[string, (whole: Dependencies) => Partial<Dependencies>]>([
    [
      'before the piece is in the list',
      ({ stores }) => ({ stores: { ...stores, pending: cut(stores.pending, 'putMany') } }),
    ],
    [
      'before its group has a record',
      ({ stores }) => ({ stores: { ...stores, group: cut(stores.group, 'insert') } }),
    ],
    ['before it is counted', ({ stores }) => ({ stores: { ...stores, tally: cut(stores.tally, 'add') } })],
  ])('interrupted %s, has no receipt, and is completed when it is repeated', async (how, cutting) => {
    const [group, piece] = [freshGroup(how), somePiece(how)]
    const task = await offer(piece, group)
    const { api } = createAggregator({ ...dependencies, ...cutting(dependencies) })
    expect(errorOf(await ask(api, task))?.name).toBe('HandlerExecutionError')
    expect(await served(api, task.cid)).toBeUndefined()
    expect((await ask(api, task)).out).toEqual({ ok: { piece } })
    expect(await listed(group)).toHaveLength(1)
    await sweepAfter(HOUR)
    expect(offeredPieces(group)).toEqual([[`${piece}`]])
    expect(await listed(group)).toEqual([])
  })

  it('that earlier code recorded, but did not add to its list, is added by the next sweep', async () => {
    const [group, piece] = [freshGroup(), somePiece('of earlier code')]
    const id = pieceId({ piece: `${piece}`, group })
    const acceptTask = await packTask(await acceptOf(piece, group))
    const offered = { storefront: one.did(), group, piece: `${piece}`, size: 128, acceptTask }
    const { stores } = dependencies
    await stores.piece.insert({
      ...offered,
      id,
      stage: 'offered',
      offeredAt: clock.now,
      ...dueAt(id, clock.now),
    })
    // A repeated offer leaves it to the sweep.
    expect((await ask(service.api, await offer(piece, group))).out).toEqual({ ok: { piece } })
    expect(await listed(group)).toEqual([])
    await sweepAfter(1)
    expect(await recordOf(piece, group)).toMatchObject({ stage: 'pending' })
    expect((await recordOf(piece, group))?.checkAt).toBeUndefined()
    expect(await listed(group)).toMatchObject([{ id }])
    expect(await stores.tally.get({ id: groupId({ storefront: one.did(), group }) })).toMatchObject({
      pieces: 1,
    })
    await sweepAfter(HOUR)
    expect(offeredPieces(group)).toEqual([[`${piece}`]])
  })

  it('A3: with a nonce is a new offer, and the piece is in another aggregate', async () => {
    const [group, piece] = [freshGroup(), somePiece('A3')]
    const [plain, again] = await call(
      service.api,
      await offer(piece, group),
      await offer(piece, group, { nonce: 'n' }),
    )
    expect(effectsOf(again!).join).not.toBe(effectsOf(plain!).join)
    expect(effectsOf(again!).join).toBe(`${(await acceptOf(piece, group, 'n')).cid}`)
    await settle()
    await sweepAfter(HOUR)
    // The same pieces make the same aggregate, so the second seal of them has a nonce.
    const sealed = offersOf(group)
    const aggregates = sealed.map(
      ({ capabilities }) => `${(capabilities[0]!.nb as PieceAcceptSuccess).aggregate}`,
    )
    expect(aggregates).toHaveLength(2)
    expect(aggregates[0]).toBe(aggregates[1])
    expect(sealed.map(({ nonce }) => nonce === undefined)).toEqual([true, false])
    const joins = await Promise.all(
      [undefined, 'n'].map(async nonce => effectsOf((await outcomeOf(piece, group, nonce))!.receipt).join),
    )
    expect(joins.toSorted()).toEqual(sealed.map(({ cid }) => `${cid}`).toSorted())
  })

  it('A4: of the same piece by two storefronts, or in two groups, is not a duplicate', async () => {
    const [group, elsewhere, piece] = [freshGroup(), freshGroup(), somePiece('A4')]
    const receipts = await call(service.api, await offer(piece, group), await offer(piece, elsewhere))
    // The capability does not name the storefront, so the second storefront's task names it in its facts.
    const second = await ask(service.api, await offer(piece, group, { issuer: two }))
    const again = await ask(service.api, await offer(piece, group, { issuer: two }))
    const joins = [...receipts, second].map(receipt => effectsOf(receipt).join)
    expect(new Set(joins).size).toBe(3)
    expect(effectsOf(again)).toEqual(effectsOf(second))
    expect(second.fx.join).toMatchObject({ facts: [{ storefront: two.did() }] })
    await settle()
    await sweepAfter(HOUR)
    const tenants = offersOf(group, elsewhere).map(({ facts }) => facts[0] as Record<string, string>)
    expect(tenants.map(({ storefront, group }) => `${storefront} ${group}`).toSorted()).toEqual(
      [`${one.did()} ${group}`, `${one.did()} ${elsewhere}`, `${two.did()} ${group}`].toSorted(),
    )
    expect(
      deliveredOf(joins)
        .map(({ storefront, task }) => [storefront, task])
        .toSorted(),
    ).toEqual(
      [
        [one.did(), joins[0]],
        [one.did(), joins[1]],
        [two.did(), joins[2]],
      ].toSorted(),
    )
    const asked = await ask(service.api, second.fx.join as unknown as Task)
    expect(asked.out.ok).toMatchObject({ piece })
  })

  it.each<[string, PieceLink]>([
    ['a piece that no aggregate can contain', somePiece('A7', 15)],
    [
      'a piece whose height is too large',
      encodePiece({ root: bytesOf(1, 32).fill(0), height: 60, padding: 0n }),
    ],
    [
      'a piece that is all padding',
      encodePiece({ root: bytesOf(1, 32).fill(0), height: 5, padding: 10_000n }),
    ],
  ])('A7: refuses %s', async (_, piece) => {
    const group = freshGroup()
    const receipt = await ask(service.api, await offer(piece, group))
    expect(errorOf(receipt)?.name).toBe('InvalidPieceCID')
    expect(effectsOf(receipt)).toEqual({ fork: [], join: undefined })
    expect(await recordOf(piece, group)).toBeUndefined()
    // The refusal is final, so it is served to a storefront that missed the answer.
    const filed = await served(service.api, receipt.ran.link())
    expect(`${filed?.root.cid}`).toBe(`${receipt.root.cid}`)
  })

  it('A7: repeats a final refusal when larger limits apply now, and accepts a new offer of the piece', async () => {
    const [group, piece] = [freshGroup(), somePiece('A7, later', 15)]
    const task = await offer(piece, group)
    const refused = await ask(service.api, task)
    expect(errorOf(refused)?.name).toBe('InvalidPieceCID')
    const { api } = createAggregator({
      ...dependencies,
      limitsOf: () => ({ ...limits, paddedBytes: 2 ** 30 }),
    })
    expect(`${(await ask(api, task)).root.cid}`).toBe(`${refused.root.cid}`)
    expect(await recordOf(piece, group)).toBeUndefined()
    expect(await listed(group)).toEqual([])
    expect((await ask(api, await offer(piece, group, { nonce: 'n' }))).out.ok).toBeDefined()
    expect(await recordOf(piece, group, 'n')).toMatchObject({ stage: 'pending' })
    expect(await listed(group)).toHaveLength(1)
  })

  it('accepts a group of 128 bytes, and refuses a longer one', async () => {
    const piece = somePiece('of a group with a long name')
    const [longest, longer] = ['ü'.repeat(64), `${'ü'.repeat(64)}.`]
    expect((await ask(service.api, await offer(piece, longest))).out.ok).toBeDefined()
    const refused = await ask(service.api, await offer(piece, longer))
    expect(errorOf(refused)).toEqual({
      name: 'InvalidGroup',
      message: 'The group has 129 bytes. Use a name of at most 128 bytes',
    })
    expect(await recordOf(piece, longer)).toBeUndefined()
    expect(await served(service.api, refused.ran.link()), 'the refusal is not final').toBeUndefined()
  })

  it('accepts the largest piece that an aggregate can contain', async () => {
    expect(
      (await ask(service.api, await offer(somePiece('largest', HALF), freshGroup()))).out.ok,
    ).toBeDefined()
  })

  it('is accepted from storefronts that are listed or hold a delegation', async () => {
    const [group, piece] = [freshGroup(), somePiece('who')]
    const own = await ask(service.api, await offer(piece, group, { issuer: unlisted }))
    expect(errorOf(own)?.name).toBe('UnknownStorefront')
    expect(await served(service.api, own.ran.link()), 'the refusal is not final').toBeUndefined()
    // A refusal that is final for a storefront is not stored for a stranger.
    const large = somePiece('too large of a stranger', 40)
    const refused = await ask(service.api, await offer(large, group, { issuer: unlisted }))
    expect(errorOf(refused)?.name).toBe('UnknownStorefront')
    expect(await served(service.api, refused.ran.link())).toBeUndefined()
    const broken = createLink(0x55, createDigest(0x1011, new Uint8Array(5))) as never
    const unreadable = await ask(service.api, await offer(broken, group, { issuer: unlisted }))
    expect(errorOf(unreadable)?.name).toBe('UnknownStorefront')
    expect(await served(service.api, unreadable.ran.link())).toBeUndefined()
    const claimed = await ask(
      service.api,
      await Tasks.pieceOffer(unlisted, aggregator, { piece, group }, { with: aggregator.did() }),
    )
    expect(errorOf(claimed)?.name).toBe('Unauthorized')
    const delegation = await Delegation.delegate({
      issuer: aggregator,
      audience: unlisted,
      capabilities: [{ can: 'piece/offer', with: aggregator.did() }],
      expiration: Infinity,
    })
    const proofs = [delegation as never]
    const delegated = await Tasks.pieceOffer(
      unlisted,
      aggregator,
      { piece, group },
      { with: aggregator.did(), proofs },
    )
    expect((await ask(service.api, delegated)).out.ok).toBeDefined()
    expect(await recordOf(piece, group)).toMatchObject({ storefront: unlisted.did() })
  })
})

describe('a group is sealed', () => {
  it('A5: when it is full; each piece gets a receipt with a valid proof and the offer that was sent', async () => {
    const group = freshGroup()
    const pieces = await offerAll([SMALL, HALF, QUARTER, EIGHTH, EIGHTH], group)
    await settle()
    expect(offeredPieces(group)).toEqual([texts(pieces.slice(0, 4))])
    for (const piece of pieces.slice(0, 4)) {
      const { receipt, ok } = (await outcomeOf(piece, group))!
      expect(verifyInclusion(ok as never)).toMatchObject({ ok: {} })
      expect(`${ok.aggregate}`).toBe(
        `${(offersOf(group)[0]!.capabilities[0]!.nb as PieceAcceptSuccess).aggregate}`,
      )
      expect(effectsOf(receipt).join).toBe(`${offersOf(group)[0]!.cid}`)
      expect(decodePiece(ok.aggregate).ok?.size).toBe(limits.paddedBytes)
      expect(await recordOf(piece, group)).toMatchObject({ stage: 'included' })
    }
    expect(await outcomeOf(pieces[4]!, group)).toBeUndefined()
    expect(await listed(group)).toMatchObject([{ piece: `${pieces[4]}` }])
    const accepts = await Promise.all(pieces.slice(0, 4).map(piece => acceptOf(piece, group)))
    expect(
      delivered.map(({ task }) => task).toSorted(),
      'with the answer of the dealer to the offer',
    ).toEqual([...accepts, offersOf(group)[0]!].map(({ cid }) => `${cid}`).toSorted())
    expect(offersOf(group)[0]!.facts).toEqual([{ storefront: one.did(), group, label: `${group} #1` }])
  })

  it('A6: by itself, never with pieces of another group or storefront', async () => {
    const [group, elsewhere] = [freshGroup(), freshGroup()]
    const ofTwo = freshGroup('of two')
    const mine = await offerAll([HALF, QUARTER], group)
    const others = await offerAll([HALF, QUARTER], elsewhere)
    const theirs = await offerAll([EIGHTH, QUARTER, HALF], ofTwo, { issuer: two })
    const alike = await Promise.all(
      mine.map(async piece => ask(service.api, await offer(piece, group, { issuer: two }))),
    )
    expect(alike.every(({ out }) => out.ok)).toBe(true)
    await settle()
    expect(offersOf(group, elsewhere, ofTwo)).toEqual([])
    await sweepAfter(HOUR)
    const sealed = offeredPieces(group, elsewhere, ofTwo).map(pieces => pieces.join())
    expect(sealed.toSorted()).toEqual(
      [mine, others, theirs, mine].map(pieces => texts(pieces).join()).toSorted(),
    )
  })

  it('in order: a piece that did not fit is first in the next aggregate, and smaller pieces fill the gaps', async () => {
    const group = freshGroup()
    const [a, b, c, d, e, f] = (await offerAll([HALF, HALF, HALF, QUARTER, EIGHTH, SMALL], group)) as [
      PieceLink,
      PieceLink,
      PieceLink,
      PieceLink,
      PieceLink,
      PieceLink,
    ]
    await settle()
    await sweepAfter(HOUR)
    expect(offeredPieces(group)).toEqual([texts([a, d, e, f]), texts([b]), texts([c])])
  })

  it('when it has as many pieces as an aggregate may contain', async () => {
    const group = freshGroup()
    const pieces = await offerAll(Array(11).fill(SMALL), group)
    await settle()
    expect(offeredPieces(group)).toEqual([texts(pieces.slice(0, 8))])
    expect(await listed(group)).toHaveLength(3)
  })

  it.each<[string, string, number, [number, number][]]>([
    [
      'A7: with few pieces, when they have waited long enough',
      'group',
      SMALL,
      [
        [HOUR - 10, 0],
        [HOUR, 1],
      ],
    ],
    [
      'with enough bytes for the dealer',
      'minimum',
      QUARTER,
      [
        [HOUR - 10, 0],
        [HOUR, 1],
      ],
    ],
    [
      'not with fewer bytes, however long they wait',
      'minimum',
      SMALL,
      [
        [HOUR, 0],
        [100 * HOUR, 0],
      ],
    ],
  ])('%s', async (_, prefix, height, waits) => {
    const group = freshGroup(prefix)
    await offerAll([height], group)
    await settle()
    for (const [wait, aggregates] of waits) {
      await sweepAfter(wait)
      expect(offersOf(group)).toHaveLength(aggregates)
    }
  })

  it('once, when many sealers run at once', async () => {
    const group = freshGroup()
    const pieces = await offerAll([HALF, QUARTER, EIGHTH], group)
    await settle()
    clock.now += HOUR
    const id = groupId({ storefront: one.did(), group })
    const sealers = Array.from({ length: 5 }, (_, n) =>
      service.consumers.seal!.handle([{ group: id, id: `${n}` }]),
    )
    const outcomes = (await Promise.all(sealers)).flat()
    expect(outcomes.filter(({ ok }) => ok).length).toBeGreaterThan(0)
    await settle()
    expect(offeredPieces(group)).toEqual([texts(pieces)])
    expect(await dependencies.stores.group.get({ id })).toMatchObject({ sequence: 1 })
  })
})

describe('the dealer', () => {
  const sealed = async (seed: string) => {
    const group = freshGroup(seed)
    const [piece] = (await offerAll([QUARTER], group)) as [PieceLink]
    clock.now += HOUR
    await service.consumers.seal!.handle([{ group: groupId({ storefront: one.did(), group }), id: 'x' }])
    return { group, piece }
  }
  const inDeal = async (issuer: Signer = dealer) => {
    const { nb } = offers[0]!.capabilities[0]! as unknown as { nb: { aggregate: PieceLink; pieces: never } }
    const task = await Tasks.aggregateAccept(issuer, nb)
    const out = { ok: { aggregate: nb.aggregate, dataType: 0, dataSource: { dealID: 7 } } }
    return issueReceipt(issuer, task, { out })
  }
  const conclude = async (receipt: Receipt, sender = dealer) =>
    ask(
      service.api,
      await Tasks.conclude(sender, aggregator, { root: receipt.root, blocks: receipt.iterateIPLDBlocks() }),
    )

  it.each<[string, typeof state, string, string]>([
    ['cannot be reached', { down: true }, 'peer not reached', `${dealer.did()} cannot be reached`],
    [
      'fails to run the offer',
      { refusal: failure('HandlerExecutionError', 'not now') },
      'aggregate refused',
      'not now',
    ],
    [
      'does not list the aggregator',
      { refusal: failure('UnknownAggregator', 'not you') },
      'aggregate refused',
      'The dealer refuses the aggregate: UnknownAggregator: not you',
    ],
    [
      'cannot read the list of pieces',
      { refusal: failure('InvalidPiece', 'no list', { cause: [] }) },
      'aggregate refused',
      'The dealer refuses the aggregate: InvalidPiece: no list',
    ],
  ])(
    'that %s gets the offer again from the sweep, and the record says why',
    async (how, trouble, event, message) => {
      const { group, piece } = await sealed(how)
      await aws.deliver('include', service.consumers.include as never)
      const { aggregateId: id } = (await recordOf(piece, group)) as { aggregateId: string }
      const before = await dependencies.stores.aggregate.get({ id })
      expect(before).toMatchObject({ stage: 'sealed', checkAt: clock.now + timing.retryMs })

      Object.assign(state, trouble)
      const logged: string[] = []
      const { consumers } = createAggregator({ ...dependencies, log: (_, event) => logged.push(event) })
      // The record waits for the sweep. The message must not become a dead letter.
      expect(await aws.deliver('deal', consumers.deal as never)).toEqual({
        taken: 1,
        failed: [],
      })
      expect(logged).toEqual([event])
      const { checkAt, due } = before!
      expect(await dependencies.stores.aggregate.get({ id })).toMatchObject({
        stage: 'sealed',
        checkAt,
        due,
        trouble: { message: expect.stringContaining(message), at: clock.now, times: 1 },
      })

      Object.assign(state, { refusal: undefined, down: false })
      offers.splice(0)
      await settle()
      expect(offersOf(group), 'not yet').toEqual([])
      await sweepAfter(timing.retryMs)
      expect(offersOf(group)).toHaveLength(1)
      const offered = await dependencies.stores.aggregate.get({ id })
      expect(offered).toMatchObject({ stage: 'offered' })
      expect(offered).not.toHaveProperty('trouble')

      // The question for the outcome has its own problems.
      state.down = true
      await sweepAfter(timing.pollMs)
      expect(await dependencies.stores.aggregate.get({ id })).toMatchObject({
        stage: 'offered',
        trouble: { message: `${dealer.did()} cannot be reached`, times: 1 },
      })
      state.down = false
      await sweepAfter(2 * timing.pollMs)
      expect(await dependencies.stores.aggregate.get({ id })).not.toHaveProperty('trouble')
    },
  )

  it('gets the pieces in the order of the aggregate, and its receipt is stored', async () => {
    const { group, piece } = await sealed('list')
    await settle()
    expect(offeredPieces(group)).toEqual([[`${piece}`]])
    const receipt = await served(service.api, offers[0]!.cid)
    expect(await receipt!.verifySignature(dealer.verifier as never)).toMatchObject({ ok: {} })
  })

  it('that reports a deal ends the aggregate; its receipt is stored and sent to the storefront', async () => {
    const { group, piece } = await sealed('deal')
    await settle()
    const receipt = await inDeal()
    expect((await conclude(receipt)).out.ok).toBeDefined()
    expect((await conclude(receipt)).out.ok, 'twice').toBeDefined()
    await settle()
    const task = `${receipt.ran.link()}`
    expect(`${(await served(service.api, task))?.root.cid}`).toBe(`${receipt.root.cid}`)
    const passedOn = delivered.filter(({ task: about }) => about === task)
    expect(passedOn.length).toBeGreaterThan(0)
    for (const { storefront, receipt } of passedOn) {
      expect(storefront).toBe(one.did())
      expect(await receipt.verifySignature(dealer.verifier as never)).toMatchObject({ ok: {} })
    }
    const { aggregateId } = (await recordOf(piece, group))!
    expect(await dependencies.stores.aggregate.get({ id: aggregateId as string })).toMatchObject({
      stage: 'accepted',
    })
  })

  it('that sends no receipt is asked for it', async () => {
    await sealed('silent')
    await settle()
    const receipt = await inDeal()
    await theDealer.receipts.put(receipt)
    await sweepAfter(timing.pollMs)
    expect(delivered.map(({ task }) => task)).toContain(`${receipt.ran.link()}`)
  })

  it('is the only service whose receipts are accepted', async () => {
    await sealed('stranger')
    await settle()
    expect(errorOf(await conclude(await inDeal(stranger)))?.name).toBe('UnknownTask')
    expect(errorOf(await conclude(await inDeal(), stranger))?.name).toBe('UnknownSender')
    const unknown = await Tasks.aggregateAccept(dealer, {
      aggregate: somePiece('x', 15),
      pieces: somePiece(1) as never,
    })
    const receipt = await issueReceipt(dealer, unknown, { out: { ok: {} } })
    expect(errorOf(await conclude(receipt))?.name).toBe('UnknownTask')
  })
})

describe('the list of a group', () => {
  it('loses rows that a late message added again, and the counters are corrected', async () => {
    const group = freshGroup()
    const [piece] = (await offerAll([QUARTER], group)) as [PieceLink]
    await settle()
    const row = (await listed(group))[0]!
    await sweepAfter(HOUR)
    expect(offersOf(group)).toHaveLength(1)
    await dependencies.stores.pending.putMany([row])
    const id = groupId({ storefront: one.did(), group })
    await dependencies.stores.tally.add({ id }, { pieces: 7, bytes: 7 })
    await sweepAfter(2 * HOUR)
    expect(offersOf(group)).toHaveLength(1)
    expect(await listed(group)).toEqual([])
    expect(await dependencies.stores.tally.get({ id })).toMatchObject({ pieces: 0, bytes: 0 })
    expect(await recordOf(piece, group)).toMatchObject({ stage: 'included' })
  })
})
