import { Delegation, isDelegation } from '@ucanto/core'
import type { Receipt, Signer } from '@ucanto/interface'
import { failure, type PieceAcceptSuccess, type PieceLink, type Task, Tasks } from '@w3filecoin/capabilities'
import { decodePiece, encodePiece, verifyInclusion } from '@w3filecoin/piece'
import { issueReceipt } from '@w3filecoin/runtime'
import { ask, bytesOf, call, cut, effectsOf, served, somePiece } from '@w3filecoin/testing'
import { create as createDigest } from 'multiformats/hashes/digest'
import { create as createLink } from 'multiformats/link'
import { describe, expect, it } from 'vitest'
import { groupId } from '../src/domain/piece.ts'
import { createAggregator, type Dependencies } from '../src/index.ts'

import {
  acceptOf,
  aggregator,
  aws,
  clock,
  dealer,
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
  parts,
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
  told,
  toldOf,
  two,
  unlisted,
} from './setup.ts'

describe('piece/offer', () => {
  it('A1: is queued and promises piece/accept', async () => {
    const [group, piece] = [freshGroup(), somePiece('A1')]
    const receipt = await ask(service.api, await offer(piece, group))
    expect(receipt.out).toEqual({ ok: { piece } })
    expect(effectsOf(receipt)).toEqual({ fork: [], join: `${(await acceptOf(piece, group)).cid}` })
    expect(isDelegation(receipt.fx.join as never)).toBe(true)
    expect(`${(await served(service.api, receipt.ran.link()))?.root.cid}`).toBe(`${receipt.root.cid}`)
    expect(await recordOf(piece, group)).toMatchObject({ stage: 'offered', storefront: one.did(), size: 128 })
    await settle()
    expect(await recordOf(piece, group)).toMatchObject({ stage: 'pending' })
    expect(await listed(group)).toMatchObject([{ piece: `${piece}`, size: 128 }])
  })

  it('A2: made again, by many at once, late or with other authority, is the same, with one place', async () => {
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
    expect(await parts.stores.tally.get({ id: groupId({ storefront: one.did(), group }) })).toMatchObject({
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

  it('A3: with a nonce is a new one, in another aggregate', async () => {
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
    // The same pieces are the same aggregate: the second sealing of them has a nonce.
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

  it('A4: of the same piece by two storefronts, or in two groups, is no duplicate', async () => {
    const [group, elsewhere, piece] = [freshGroup(), freshGroup(), somePiece('A4')]
    const receipts = await call(service.api, await offer(piece, group), await offer(piece, elsewhere))
    // Their tasks say nothing of the storefront: the second one's has to.
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
      toldOf(joins)
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
    ['one that no aggregate can hold', somePiece('A7', 15)],
    ['one that no link can name', encodePiece({ root: bytesOf(1, 32).fill(0), height: 60, padding: 0n })],
    ['one that is all padding', encodePiece({ root: bytesOf(1, 32).fill(0), height: 5, padding: 10_000n })],
  ])('A7: refuses %s', async (_, piece) => {
    const group = freshGroup()
    const receipt = await ask(service.api, await offer(piece, group))
    expect(errorOf(receipt)?.name).toBe('InvalidPieceCID')
    expect(effectsOf(receipt)).toEqual({ fork: [], join: undefined })
    expect(await recordOf(piece, group)).toBeUndefined()
    // It never will be another: also a storefront that missed the answer finds it.
    const filed = await served(service.api, receipt.ran.link())
    expect(`${filed?.root.cid}`).toBe(`${receipt.root.cid}`)
  })

  it('A7: refuses what it refused for good, also when it could hold it now; a new offer is taken', async () => {
    const [group, piece] = [freshGroup(), somePiece('A7, later', 15)]
    const task = await offer(piece, group)
    const refused = await ask(service.api, task)
    expect(errorOf(refused)?.name).toBe('InvalidPieceCID')
    const { api } = createAggregator({ ...parts, limitsOf: () => ({ ...limits, paddedBytes: 2 ** 30 }) })
    expect(`${(await ask(api, task)).root.cid}`).toBe(`${refused.root.cid}`)
    expect(await recordOf(piece, group)).toBeUndefined()
    expect(await aws.drain('piece')).toEqual([])
    expect((await ask(api, await offer(piece, group, { nonce: 'n' }))).out.ok).toBeDefined()
    expect(await recordOf(piece, group, 'n')).toMatchObject({ stage: 'offered' })
    await aws.drain('piece')
  })

  it('takes a group of 128 bytes, and refuses a longer one', async () => {
    const piece = somePiece('of a group with a long name')
    const [longest, longer] = ['ü'.repeat(64), `${'ü'.repeat(64)}.`]
    expect((await ask(service.api, await offer(piece, longest))).out.ok).toBeDefined()
    const refused = await ask(service.api, await offer(piece, longer))
    expect(errorOf(refused)).toEqual({
      name: 'InvalidGroup',
      message: 'The group has 129 bytes, at most 128 are taken',
    })
    expect(await recordOf(piece, longer)).toBeUndefined()
    expect(await served(service.api, refused.ran.link()), 'the storefront may mend that').toBeUndefined()
  })

  it('takes the largest that an aggregate can hold', async () => {
    expect(
      (await ask(service.api, await offer(somePiece('largest', HALF), freshGroup()))).out.ok,
    ).toBeDefined()
  })

  it('is for storefronts that are listed, or hold a delegation', async () => {
    const [group, piece] = [freshGroup(), somePiece('who')]
    const own = await ask(service.api, await offer(piece, group, { issuer: unlisted }))
    expect(errorOf(own)?.name).toBe('UnknownStorefront')
    expect(await served(service.api, own.ran.link()), 'may be another one day').toBeUndefined()
    // Nor is anything filed for a stranger that would be final for a storefront.
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
  it('A5: when it is full; each piece is told with a proof that holds, and the offer that was sent', async () => {
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
    expect(told.map(({ task }) => task).toSorted()).toEqual(
      (
        await Promise.all(pieces.slice(0, 4).map(async piece => `${(await acceptOf(piece, group)).cid}`))
      ).toSorted(),
    )
    expect(offersOf(group)[0]!.facts).toEqual([{ storefront: one.did(), group, label: `${group} #1` }])
  })

  it('A6: for itself, never with pieces of another group or storefront', async () => {
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

  it('fairly: what was passed over is first in the next one, and smaller ones fill the gaps', async () => {
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

  it('when it has as many pieces as it may', async () => {
    const group = freshGroup()
    const pieces = await offerAll(Array(11).fill(SMALL), group)
    await settle()
    expect(offeredPieces(group)).toEqual([texts(pieces.slice(0, 8))])
    expect(await listed(group)).toHaveLength(3)
  })

  it.each<[string, string, number, [number, number][]]>([
    [
      'A7: with what it has, when it waited long enough',
      'group',
      SMALL,
      [
        [HOUR - 10, 0],
        [HOUR, 1],
      ],
    ],
    [
      'with enough for the dealer',
      'minimum',
      QUARTER,
      [
        [HOUR - 10, 0],
        [HOUR, 1],
      ],
    ],
    [
      'not with less, however long it waits',
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

  it('once, when it is sealed many times at once', async () => {
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
    expect(await parts.stores.group.get({ id })).toMatchObject({ sequence: 1 })
  })
})

describe('a sealing that is cut', () => {
  type Cut = (whole: Dependencies) => Partial<Dependencies>
  const cuts: [string, Cut][] = [
    [
      'before it is decided',
      ({ stores }) => ({ stores: { ...stores, group: cut(stores.group, 'replace') } }),
    ],
    [
      'before the list of pieces is stored',
      ({ stores }) => ({ stores: { ...stores, blocks: cut(stores.blocks, 'put') } }),
    ],
    [
      'before the aggregate has a record',
      ({ stores }) => ({ stores: { ...stores, aggregate: cut(stores.aggregate, 'insert') } }),
    ],
    ['before the offer is sent', ({ queues }) => ({ queues: { ...queues, deal: cut(queues.deal, 'send') } })],
    [
      'before the pieces are told',
      ({ queues }) => ({ queues: { ...queues, include: cut(queues.include, 'send') } }),
    ],
    [
      'before the next one is begun',
      ({ queues }) => ({ queues: { ...queues, seal: cut(queues.seal, 'send') } }),
    ],
  ]

  it.each(cuts)('%s is completed, and every piece is in one aggregate', async (how, cutting) => {
    const group = freshGroup(how)
    const pieces = await offerAll([HALF, QUARTER, EIGHTH], group)
    await settle()
    const id = groupId({ storefront: one.did(), group })
    clock.now += HOUR
    const { consumers } = createAggregator({ ...parts, ...cutting(parts) })
    const [taken] = await consumers.seal!.handle([{ group: id, id: 'cut' }])
    expect(taken?.error?.message).toBe('Cut by the test')
    // More comes in meanwhile, and it is Lambda that tries again.
    const more = await offerAll([SMALL], group)
    await settle()
    expect((await service.consumers.seal!.handle([{ group: id, id: 'cut' }]))[0]?.ok).toBeDefined()
    await settle()
    for (let n = 0; n < 3; n++) await sweepAfter(HOUR)
    const all = offeredPieces(group)
    expect(new Set(all.map(aggregate => aggregate.join())).size, 'no aggregate twice').toBe(all.length)
    expect(all.flat().toSorted()).toEqual(texts([...pieces, ...more]))
    for (const piece of [...pieces, ...more]) expect((await outcomeOf(piece, group))?.ok).toBeDefined()
    expect(await listed(group)).toEqual([])
  })

  it.each<[string, Cut]>([
    [
      'before receipts are filed',
      ({ stores }) => ({ stores: { ...stores, receipts: cut(stores.receipts, 'put') } }),
    ],
    [
      'before pieces are marked',
      ({ stores }) => ({ stores: { ...stores, piece: cut(stores.piece, 'replace') } }),
    ],
    [
      'before they leave the list',
      ({ stores }) => ({ stores: { ...stores, pending: cut(stores.pending, 'removeMany') } }),
    ],
    [
      'before they are handed over',
      ({ queues }) => ({ queues: { ...queues, conclude: cut(queues.conclude, 'send') } }),
    ],
    [
      'before that is noted',
      ({ stores }) => ({ stores: { ...stores, aggregate: cut(stores.aggregate, 'replace') } }),
    ],
  ])('while its pieces are told, %s, tells them again', async (how, cutting) => {
    const group = freshGroup(how)
    const pieces = await offerAll([HALF, QUARTER], group)
    await aws.deliver('piece', service.consumers.piece as never)
    clock.now += HOUR
    await service.consumers.seal!.handle([{ group: groupId({ storefront: one.did(), group }), id: 'x' }])
    const { consumers } = createAggregator({ ...parts, ...cutting(parts) })
    const { failed } = await aws.deliver('include', consumers.include as never)
    expect(failed).toMatchObject([{ message: 'Cut by the test' }])
    await settle()
    expect(offeredPieces(group)).toEqual([texts(pieces)])
    for (const piece of pieces) expect((await outcomeOf(piece, group))?.ok).toBeDefined()
    const tasks = await Promise.all(pieces.map(async piece => `${(await acceptOf(piece, group)).cid}`))
    expect(new Set(toldOf(tasks).map(({ task }) => task)).size).toBe(2)
    expect(await listed(group)).toEqual([])
  })
})

describe('the dealer', () => {
  const sealed = async (seed: string) => {
    const group = freshGroup(seed)
    const [piece] = (await offerAll([QUARTER], group)) as [PieceLink]
    await aws.deliver('piece', service.consumers.piece as never)
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

  it.each<[string, typeof state, string]>([
    ['can not be reached', { down: true }, 'peer not reached'],
    ['could not run it', { refusal: failure('HandlerExecutionError', 'not now') }, 'aggregate refused'],
    ['does not know us', { refusal: failure('UnknownAggregator', 'not you') }, 'aggregate refused'],
    [
      'can not read the list',
      { refusal: failure('InvalidPiece', 'no list', { cause: [] }) },
      'aggregate refused',
    ],
  ])('that %s is asked again, by the record', async (how, trouble, event) => {
    const { group, piece } = await sealed(how)
    await aws.deliver('include', service.consumers.include as never)
    const { aggregateId: id } = (await recordOf(piece, group)) as { aggregateId: string }
    const before = await parts.stores.aggregate.get({ id })
    expect(before).toMatchObject({ stage: 'sealed', checkAt: clock.now + timing.retryMs })

    Object.assign(state, trouble)
    const logged: string[] = []
    const { consumers } = createAggregator({ ...parts, log: (_, event) => logged.push(event) })
    // It waits in the table, not in the queue, where messages end as dead letters.
    expect(await aws.deliver('deal', consumers.deal as never)).toEqual({
      taken: 1,
      failed: [],
    })
    expect(logged).toEqual([event])
    expect(await parts.stores.aggregate.get({ id })).toEqual(before)

    Object.assign(state, { refusal: undefined, down: false })
    offers.splice(0)
    await settle()
    expect(offersOf(group), 'not yet').toEqual([])
    await sweepAfter(timing.retryMs)
    expect(offersOf(group)).toHaveLength(1)
    expect(await parts.stores.aggregate.get({ id })).toMatchObject({ stage: 'offered' })
  })

  it('gets the list of pieces, as the aggregate was computed from it, and keeps its receipt', async () => {
    const { group, piece } = await sealed('list')
    await settle()
    expect(offeredPieces(group)).toEqual([[`${piece}`]])
    const receipt = await served(service.api, offers[0]!.cid)
    expect(await receipt!.verifySignature(dealer.verifier as never)).toMatchObject({ ok: {} })
  })

  it('that tells of a deal ends the aggregate; its word is kept, and handed on', async () => {
    const { group, piece } = await sealed('deal')
    await settle()
    const receipt = await inDeal()
    expect((await conclude(receipt)).out.ok).toBeDefined()
    expect((await conclude(receipt)).out.ok, 'twice').toBeDefined()
    await settle()
    const task = `${receipt.ran.link()}`
    expect(`${(await served(service.api, task))?.root.cid}`).toBe(`${receipt.root.cid}`)
    const passedOn = told.filter(({ task: about }) => about === task)
    expect(passedOn.length).toBeGreaterThan(0)
    for (const { storefront, receipt } of passedOn) {
      expect(storefront).toBe(one.did())
      expect(await receipt.verifySignature(dealer.verifier as never)).toMatchObject({ ok: {} })
    }
    const { aggregateId } = (await recordOf(piece, group))!
    expect(await parts.stores.aggregate.get({ id: aggregateId as string })).toMatchObject({
      stage: 'accepted',
    })
  })

  it('that tells nothing is asked', async () => {
    await sealed('silent')
    await settle()
    const receipt = await inDeal()
    await theDealer.receipts.put(receipt)
    await sweepAfter(timing.pollMs)
    expect(told.map(({ task }) => task)).toContain(`${receipt.ran.link()}`)
  })

  it('is the only one whose word counts', async () => {
    await sealed('stranger')
    await settle()
    expect(errorOf(await conclude(await inDeal(stranger)))?.name).toBe('UnknownTask')
    expect(errorOf(await conclude(await inDeal(), stranger))?.name).toBe('UnknownSender')
    const nobodys = await Tasks.aggregateAccept(dealer, {
      aggregate: somePiece('x', 15),
      pieces: somePiece(1) as never,
    })
    const receipt = await issueReceipt(dealer, nobodys, { out: { ok: {} } })
    expect(errorOf(await conclude(receipt))?.name).toBe('UnknownTask')
  })
})

describe('the list of a group', () => {
  it('leaves out what a late message put back, and the counters are mended', async () => {
    const group = freshGroup()
    const [piece] = (await offerAll([QUARTER], group)) as [PieceLink]
    await settle()
    const row = (await listed(group))[0]!
    await sweepAfter(HOUR)
    expect(offersOf(group)).toHaveLength(1)
    await parts.stores.pending.putMany([row])
    const id = groupId({ storefront: one.did(), group })
    await parts.stores.tally.add({ id }, { pieces: 7, bytes: 7 })
    await sweepAfter(2 * HOUR)
    expect(offersOf(group)).toHaveLength(1)
    expect(await listed(group)).toEqual([])
    expect(await parts.stores.tally.get({ id })).toMatchObject({ pieces: 0, bytes: 0 })
    expect(await recordOf(piece, group)).toMatchObject({ stage: 'included' })
  })
})
