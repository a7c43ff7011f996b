import type { Invocation, Receipt } from '@ucanto/interface'
import {
  type FilecoinAcceptSuccess,
  failure,
  filecoinOffer,
  type PieceLink,
  type Place,
  Tasks,
  toMetadata,
} from '@w3filecoin/capabilities'
import { verifyInclusion } from '@w3filecoin/piece'
import { issueReceipt, isTask, type Row } from '@w3filecoin/runtime'
import { ask, CUT, call, effectsOf, served, signerOf, someContent, somePiece } from '@w3filecoin/testing'
import { describe, expect, it } from 'vitest'
import { MAX_INDEX_LAG_MS, MEMBER_SHARDS } from '../src/domain/member-shards.ts'
import { createStorefront } from '../src/index.ts'
import {
  agent,
  aggregateOf,
  aggregator,
  aws,
  clock,
  conclude,
  delegate,
  dependencies,
  errorOf,
  offer,
  offers,
  queuePieces,
  recordOf,
  service,
  settle,
  space,
  state,
  storefront,
  stranger,
  sweepAfter,
  theAggregator,
  timing,
  upload,
  uploadContent,
} from './setup.ts'

/** Wraps a port. After the call of a method, that port and every other one wrapped by `cut` fail: the run is killed there. */
const cutAfter = <T extends object>(whole: T, method: keyof T) => {
  let dead = false
  const cut = <P extends object>(port: P): P =>
    new Proxy(port, {
      get:
        (target, name) =>
        async (...args: unknown[]) => {
          if (dead) throw CUT
          const answer = await (target[name as keyof P] as (...args: unknown[]) => unknown)(...args)
          if ((port as object) === whole && name === method) dead = true
          return answer
        },
    })
  return { port: cut(whole), cut }
}

describe('filecoin/offer', () => {
  it('promises filecoin/submit and filecoin/accept', async () => {
    const content = await someContent('offered')
    const receipt = await ask(service.api, await offer(content))
    expect(receipt.out).toEqual({ ok: { piece: content.piece } })
    const submit = await Tasks.filecoinSubmit(storefront, content)
    const accept = await Tasks.filecoinAccept(storefront, content)
    expect(effectsOf(receipt)).toEqual({ fork: [`${submit.cid}`], join: `${accept.cid}` })
    expect([...receipt.fx.fork, receipt.fx.join].every(isTask)).toBe(true)
    expect(`${(await served(service.api, receipt.ran.link()))?.root.cid}`).toBe(`${receipt.root.cid}`)
    expect(await recordOf(content)).toMatchObject({ stage: 'offered', group: 'did:web:default', revision: 1 })
    expect(await aws.drain('submit')).toHaveLength(1)
  })

  it('gets the same promises when it is repeated, by any agent', async () => {
    const content = await someContent('again')
    const one = await offer(content)
    const other = await offer(content, { issuer: stranger, from: await signerOf('other space') })
    const [first, same, another] = await call(service.api, one, one, other)
    const late = await ask(service.api, one)
    expect([same, late].map(receipt => `${receipt!.root.cid}`)).toEqual(Array(2).fill(`${first!.root.cid}`))
    expect(`${another!.root.cid}`).not.toBe(`${first!.root.cid}`)
    expect(another!.out).toEqual(first!.out)
    expect(effectsOf(another!)).toEqual(effectsOf(first!))
    expect(await recordOf(content)).toMatchObject({ revision: 1 })
  })

  it('K8: is the same workflow with and without PDP, and the receipt says that PDP is not verified', async () => {
    const content = await someContent('with PDP')
    const task = await Tasks.filecoinSubmit(storefront, content)
    const receipt = await ask(service.api, await offer(content, { pdp: task.cid }))
    expect(receipt.meta).toEqual({ PDP: 'not verified' })
    const plain = await ask(service.api, await offer(content))
    expect(plain.meta).toEqual({})
    expect(plain.out).toEqual(receipt.out)
    expect(effectsOf(plain)).toEqual(effectsOf(receipt))
    expect(effectsOf(receipt)).toMatchObject({ fork: [`${task.cid}`] })
    expect(await recordOf(content)).toMatchObject({ revision: 1 })
    // Also in the receipt that is served, and if the offer with PDP is the later one.
    expect((await served(service.api, receipt.ran.link()))?.meta).toEqual({ PDP: 'not verified' })
    const again = await ask(service.api, await offer(content, { pdp: content.content as never }))
    expect(again.meta).toEqual({ PDP: 'not verified' })
    expect(effectsOf(again)).toEqual(effectsOf(plain))
  })

  it('K8: is not authorized by a delegation of another PDP', async () => {
    const content = await someContent('wrong PDP')
    const [one, other] = [
      await Tasks.filecoinSubmit(storefront, content),
      await Tasks.filecoinAccept(storefront, content),
    ]
    const proofs = [await delegate(space, agent, { can: 'filecoin/offer', nb: { PDP: one.cid } })]
    for (const pdp of [undefined, other.cid])
      expect(
        errorOf(await ask(service.api, await offer(content, { proofs, ...(pdp && { pdp }) })))?.name,
      ).toBe('Unauthorized')
    expect((await ask(service.api, await offer(content, { proofs, pdp: one.cid }))).out.ok).toBeDefined()
  })

  it('has a receipt that stays if it is the first one, and for a day if it is a repeat', async () => {
    const content = await someContent('expiring')
    const agents = await Promise.all(Array.from({ length: 12 }, (_, n) => signerOf(`agent ${n}`)))
    const invocations = await Promise.all(agents.map(issuer => offer(content, { issuer })))
    const receipts = await call(service.api, ...invocations)
    const rows = await dependencies.stores.receipt.getMany(
      receipts.map(({ ran }) => ({ task: `${ran.link()}` })),
    )
    const times = rows.map(row => row?.expiresAt)
    expect(times.toSorted()).toEqual([...Array(11).fill(clock.now / 1000 + 24 * 3600), undefined])
    const before = clock.now
    clock.now += 25 * 3_600_000
    for (const [n, { ran }] of receipts.entries())
      expect((await served(service.api, ran.link())) !== undefined).toBe(times[n] === undefined)
    const again = await call(service.api, ...invocations)
    expect(
      again.map(({ root }) => `${root.cid}`),
      'each receipt is issued again, with the same bytes',
    ).toEqual(receipts.map(({ root }) => `${root.cid}`))
    clock.now = before
  })

  it('starts one workflow if many agents make it at the same time', async () => {
    const content = await someContent('many')
    const agents = await Promise.all(Array.from({ length: 12 }, (_, n) => signerOf(`agent ${n}`)))
    const invocations = await Promise.all(agents.map(issuer => offer(content, { issuer })))
    const receipts = await call(service.api, ...invocations)
    expect(new Set(receipts.map(receipt => JSON.stringify(effectsOf(receipt)))).size).toBe(1)
    expect(await recordOf(content)).toMatchObject({ revision: 1 })
  })

  it('starts a separate workflow for each content and each nonce', async () => {
    const [content, other] = [await someContent('one'), await someContent('two')]
    const receipts = await call(
      service.api,
      await offer(content),
      await offer({ content: other.content, piece: content.piece }),
      await offer(content, { nonce: 'n' }),
      await offer(content, { nonce: 'm' }),
    )
    const tasks = receipts.flatMap(receipt => [effectsOf(receipt).join, ...effectsOf(receipt).fork])
    expect(new Set(tasks).size).toBe(8)
    expect(receipts[2]!.fx.join).toMatchObject({ nonce: 'n' })
    expect(receipts[2]!.fx.fork[0]).toMatchObject({ nonce: 'n' })
  })

  it('puts the piece into the group of the provider of its space', async () => {
    await dependencies.stores.space.insert({ space: space.did(), provider: 'did:web:provider' })
    const content = await someContent('grouped')
    await ask(service.api, await offer(content))
    expect(await recordOf(content)).toMatchObject({ group: 'did:web:provider' })
    await aws.table('space').removeMany([{ space: space.did() }])
  })

  it('is refused, and not recorded, if the name of the provider is too long for a group', async () => {
    await dependencies.stores.space.insert({ space: space.did(), provider: `did:web:${'p'.repeat(121)}` })
    const content = await someContent('of a long group')
    expect(errorOf(await ask(service.api, await offer(content)))?.name).toBe('InvalidGroup')
    expect(await recordOf(content)).toBeUndefined()
    await aws.table('space').removeMany([{ space: space.did() }])
    expect(
      (await ask(service.api, await offer(content))).out.ok,
      'after the operator removed the provider',
    ).toBeDefined()
  })

  it('is refused, and not recorded, without a delegation of the space', async () => {
    const content = await someContent('unauthorised')
    const receipt = await ask(
      service.api,
      filecoinOffer.invoke({
        issuer: agent,
        audience: storefront,
        with: space.did(),
        nb: { content: content.content as never, piece: content.piece },
      }),
    )
    expect(errorOf(receipt)?.name).toBe('Unauthorized')
    expect(await recordOf(content)).toBeUndefined()
  })
})

describe('on submit', () => {
  it.each([
    ['small', 10],
    ['larger', 300_000],
  ])('offers content that hashes to its piece to the aggregator: %s content', async (name, length) => {
    const content = await uploadContent(name, length)
    const { fx } = await ask(service.api, await offer(content))
    await settle()
    const receipt = await served(service.api, fx.fork[0]!.link())
    expect(receipt?.out).toEqual({ ok: { piece: content.piece } })
    expect(offers.map(({ cid }) => `${cid}`)).toEqual([`${receipt!.fx.join!.link()}`])
    expect(isTask(receipt!.fx.join)).toBe(true)
    expect(offers[0]).toMatchObject({
      capabilities: [{ can: 'piece/offer', with: storefront.did(), nb: { group: 'did:web:default' } }],
    })
    expect(await recordOf(content)).toMatchObject({ stage: 'queued' })
    expect(await served(service.api, fx.join!.link()), 'the workflow has not ended').toBeUndefined()
  })

  it('ends the workflow of content that hashes to another piece, and does not ask the aggregator', async () => {
    const [content, other] = [await uploadContent('the content'), await someContent('another content')]
    const wrong = { content: content.content, piece: other.piece }
    const { fx } = await ask(service.api, await offer(wrong))
    await settle()
    const [submit, accept] = [
      await served(service.api, fx.fork[0]!.link()),
      await served(service.api, fx.join!.link()),
    ]
    expect(submit?.out.error).toMatchObject({ name: 'InvalidPieceCID', piece: other.piece })
    expect(accept?.out.error).toMatchObject({ name: 'InvalidContentPiece' })
    expect(`${(accept!.out.error as { content?: unknown }).content}`).toBe(`${content.content}`)
    expect(effectsOf(submit!)).toEqual({ fork: [], join: undefined })
    expect(offers).toEqual([])
    expect(await recordOf(wrong)).toMatchObject({ stage: 'failed' })
    expect((await recordOf(wrong))?.checkAt).toBeUndefined()
    // The same offer gets the same promises, which have receipts now.
    const again = await ask(service.api, await offer(wrong))
    expect(effectsOf(again)).toEqual({ fork: [`${fx.fork[0]!.link()}`], join: `${fx.join!.link()}` })
  })

  it('waits for content that does not exist yet', async () => {
    const content = await someContent('late')
    const { fx } = await ask(service.api, await offer(content))
    await settle()
    expect(await recordOf(content)).toMatchObject({ stage: 'offered' })
    expect(await served(service.api, fx.fork[0]!.link())).toBeUndefined()
    upload(content)
    await sweepAfter(timing.retryMs)
    expect(await recordOf(content)).toMatchObject({ stage: 'queued' })
  })

  it('ignores repeated messages, and messages about unknown pieces', async () => {
    const content = await uploadContent('twice')
    await ask(service.api, await offer(content))
    const { id } = (await recordOf(content))!
    await dependencies.queues.submit.send([{ id }, { id }, { id: 'nothing' }])
    await settle()
    expect(new Set(offers.map(({ cid }) => `${cid}`)).size).toBe(1)
    expect(await recordOf(content)).toMatchObject({ stage: 'queued' })
  })
})

describe('on aggregation', () => {
  const submitPiece = async (seed: string) => {
    const content = await uploadContent(seed)
    await ask(service.api, await offer(content))
    await aws.deliver('submit', service.consumers.submit as never)
    expect(await recordOf(content)).toMatchObject({ stage: 'submitted' })
    return content
  }

  it.each<[string, typeof state, string]>([
    ['cannot be reached', { down: true }, `${aggregator.did()} cannot be reached`],
    [
      'could not run it',
      { refusal: failure('HandlerExecutionError', 'not now') },
      'The aggregator refuses the piece: not now',
    ],
    [
      'does not know us',
      { refusal: failure('UnknownStorefront', 'not you') },
      'The aggregator refuses the piece: not you',
    ],
  ])('asks an aggregator that %s again, and records the problem', async (how, trouble, message) => {
    const content = await submitPiece(how)
    Object.assign(state, trouble)
    // The record waits, not the message, which would become a dead letter.
    await settle()
    expect(await recordOf(content)).toMatchObject({ stage: 'submitted', trouble: { message, times: 1 } })
    Object.assign(state, { refusal: undefined, down: false })
    await sweepAfter(timing.retryMs)
    expect(await recordOf(content)).toMatchObject({ stage: 'queued' })
    expect((await recordOf(content))?.trouble).toBeUndefined()
  })

  it('offers all pieces of a batch in one request, and records the promised tasks', async () => {
    const pieces = [await submitPiece('batch 1'), await submitPiece('batch 2')]
    await settle()
    expect(offers).toHaveLength(2)
    for (const content of pieces) {
      const accept = await Tasks.pieceAccept(aggregator, { piece: content.piece, group: 'did:web:default' })
      expect(await recordOf(content)).toMatchObject({ stage: 'queued', waitsFor: `${accept.cid}` })
    }
  })
})

describe('the end of a workflow', () => {
  it('is a receipt of filecoin/accept with a valid inclusion proof and the deal', async () => {
    const pieces = await queuePieces('end 1', 'end 2', 'end 3')
    const { link, acceptPiece, acceptAggregate } = await aggregateOf(pieces.map(({ piece }) => piece))
    for (const { piece } of pieces) expect((await conclude(await acceptPiece(piece))).out.ok).toBeDefined()
    expect(await recordOf(pieces[0]!)).toMatchObject({ stage: 'aggregated', aggregate: `${link}` })
    expect(await served(service.api, pieces[0]!.accept.cid)).toBeUndefined()
    expect(errorOf(await ask(service.api, pieces[0]!.accept))?.name).toBe('OutcomePending')

    expect((await conclude(await acceptAggregate())).out.ok).toBeDefined()
    await settle()
    for (const { content, piece, accept } of pieces) {
      const receipt = await served(service.api, accept.cid)
      expect(receipt?.out.ok).toMatchObject({
        piece,
        aggregate: link,
        aux: { dataType: 0, dataSource: { dealID: 7 } },
      })
      const { inclusion } = receipt!.out.ok as { inclusion: never }
      expect(verifyInclusion({ piece, aggregate: link, inclusion } as never)).toMatchObject({ ok: {} })
      expect(effectsOf(receipt!)).toEqual({ fork: [], join: undefined })
      expect(await recordOf({ content, piece })).toMatchObject({ stage: 'accepted' })
    }
    const asked = await ask(service.api, pieces[0]!.accept)
    expect(`${asked.root.cid}`).toBe(`${(await served(service.api, pieces[0]!.accept.cid))?.root.cid}`)
  })

  it('is reached if the outcome of the aggregate arrives before the piece/accept of the piece', async () => {
    const [first, second] = await queuePieces('early', 'late one')
    const { acceptPiece, acceptAggregate } = await aggregateOf([first.piece, second.piece])
    await conclude(await acceptPiece(first.piece))
    await conclude(await acceptAggregate())
    await settle()
    expect(await recordOf(second)).toMatchObject({ stage: 'queued' })
    await conclude(await acceptPiece(second.piece))
    await settle()
    expect(await recordOf(second)).toMatchObject({ stage: 'accepted' })
    expect((await served(service.api, second.accept.cid))?.out.ok).toBeDefined()
  })

  it('is reached by all pieces of an aggregate, page by page', async () => {
    // One more than there are shards: at least one shard has two pages.
    const seeds = Array.from({ length: MEMBER_SHARDS + 1 }, (_, n) => `page ${n}`)
    const pieces = await queuePieces(...seeds)
    const { acceptPiece, acceptAggregate } = await aggregateOf(pieces.map(({ piece }) => piece))
    for (const { piece } of pieces) await conclude(await acceptPiece(piece))
    await conclude(await acceptAggregate())
    const { consumers } = createStorefront({ ...dependencies, batching: { pageRecords: 1 } })
    await aws.settle(consumers)
    for (const piece of pieces) expect(await recordOf(piece)).toMatchObject({ stage: 'accepted' })
  })

  it('is reached if the messages to the pieces of an aggregate are lost, again and again', async () => {
    const [first, late] = await queuePieces('lost', 'lost and late')
    const { acceptPiece, acceptAggregate } = await aggregateOf([first.piece, late.piece])
    await conclude(await acceptPiece(first.piece))
    await conclude(await acceptAggregate())
    for (const _ of ['by the deal', 'by the sweep']) {
      await aws.drain('outcome')
      clock.now += timing.pollMs
      await service.schedules.sweep!()
    }
    await aws.drain('outcome')
    expect(await recordOf(first)).toMatchObject({ stage: 'aggregated' })
    await sweepAfter(timing.pollMs)
    expect(await recordOf(first)).toMatchObject({ stage: 'accepted' })

    await sweepAfter(timing.pollMs)
    const key = { id: (await recordOf(first))!.aggregateId! }
    expect(await dependencies.stores.aggregate.get(key), 'no piece is left to settle').toMatchObject({
      emptyAt: clock.now,
    })
    await conclude(await acceptPiece(late.piece))
    await aws.drain('outcome')
    await sweepAfter(timing.pollMs)
    expect(await recordOf(late)).toMatchObject({ stage: 'accepted' })
  })

  it('is reached by a piece that joins its aggregate last, even if the run is killed right after it recorded that', async () => {
    const [first, last] = await queuePieces('heard first', 'heard last')
    const { acceptPiece, acceptAggregate } = await aggregateOf([first.piece, last.piece])
    await conclude(await acceptPiece(first.piece))
    await conclude(await acceptAggregate())
    await settle()
    await sweepAfter(timing.pollMs)
    await sweepAfter(MAX_INDEX_LAG_MS)
    const key = { id: (await recordOf(first))!.aggregateId! }
    expect(
      (await dependencies.stores.aggregate.get(key))?.checkAt,
      'no piece was left to settle for a day',
    ).toBeUndefined()

    const { piece, aggregate } = dependencies.stores
    const killed = cutAfter(piece, 'replace')
    const { api } = createStorefront({
      ...dependencies,
      stores: { ...dependencies.stores, piece: killed.port, aggregate: killed.cut(aggregate) },
      queues: { ...dependencies.queues, outcome: killed.cut(dependencies.queues.outcome) },
    })
    const receipt = await acceptPiece(last.piece)
    await ask(
      api,
      await Tasks.conclude(aggregator, storefront, {
        root: receipt.root,
        blocks: receipt.iterateIPLDBlocks(),
      }),
    )
    expect(await recordOf(last)).toMatchObject({ stage: 'aggregated' })
    await sweepAfter(timing.pollMs)
    expect(await recordOf(last)).toMatchObject({ stage: 'accepted' })
  })

  it.each<[string, Place]>([
    ['a sector', { type: 'sector', miner: 'f01001', sector: 77 }],
    ['a PDP data set', { type: 'pdp', chain: 314, verifier: `0x${'ab'.repeat(20)}`, dataSet: 12, piece: 0 }],
  ])('is reached with %s as the place of the aggregate', async (name, place) => {
    const [only] = await queuePieces(`in ${name}`)
    const { acceptPiece, acceptAggregate } = await aggregateOf([only.piece])
    await conclude(await acceptPiece(only.piece))
    const metadata = toMetadata(place, 6_543_210)
    const more = { note: 'x'.repeat(500_000) }
    const dataSource = { ...metadata.dataSource, ...more }
    await conclude(await acceptAggregate({ ...metadata, ...more, dataSource }))
    await settle()
    const receipt = await served(service.api, only.accept.cid)
    expect(receipt?.out.ok).toMatchObject({ piece: only.piece })
    expect((receipt!.out.ok as FilecoinAcceptSuccess).aux, 'no other field').toEqual(metadata)
    const key = { id: (await recordOf(only))!.aggregateId! }
    expect(await dependencies.stores.aggregate.get(key)).toMatchObject({ stage: 'accepted', metadata })
  })

  it('is reached in an aggregate that earlier code accepted, whose record has the id of the deal', async () => {
    const [only] = await queuePieces('accepted by earlier code')
    const { acceptPiece } = await aggregateOf([only.piece])
    await conclude(await acceptPiece(only.piece))
    const id = (await recordOf(only))!.aggregateId!
    const { revision: _, ...row } = (await aws.table<Row>('aggregate').get({ id }))!
    const earlier = { ...row, v: 1, stage: 'accepted', dataType: 0, dealID: 81_234_567 }
    await aws.table('aggregate').putMany([earlier])
    await dependencies.queues.outcome.send([{ aggregate: id }])
    await settle()
    expect((await served(service.api, only.accept.cid))?.out.ok).toMatchObject({
      piece: only.piece,
      aux: { dataType: 0, dataSource: { dealID: 81_234_567 } },
    })
  })

  it('is not reached with a receipt that names no place', async () => {
    const [only] = await queuePieces('nowhere')
    const { acceptPiece, acceptAggregate } = await aggregateOf([only.piece])
    await conclude(await acceptPiece(only.piece))
    for (const place of [
      {},
      { dataType: 0, dataSource: { dealID: 'x' } },
      { dataType: 1, dataSource: { network: 'fil:f', miner: 'f01001', sector: 77 } },
      { dataType: 9, dataSource: { dealID: 1 } },
    ])
      expect((await conclude(await acceptAggregate(place))).out.error).toMatchObject({
        name: 'InvalidReceipt',
      })
    await settle()
    expect(await recordOf(only)).toMatchObject({ stage: 'aggregated' })
    await conclude(await acceptAggregate())
    await settle()
    expect(await recordOf(only)).toMatchObject({ stage: 'accepted' })
  })

  it('is one receipt, even if outcomes arrive repeatedly or a later one differs', async () => {
    const [only] = await queuePieces('once')
    const { acceptPiece, acceptAggregate } = await aggregateOf([only.piece])
    for (let n = 0; n < 2; n++) {
      await conclude(await acceptPiece(only.piece))
      await conclude(await acceptAggregate())
      await settle()
    }
    const receipt = await served(service.api, only.accept.cid)
    await conclude(await acceptAggregate({ dataType: 0, dataSource: { dealID: 8 } }))
    await settle()
    expect(`${(await served(service.api, only.accept.cid))?.root.cid}`).toBe(`${receipt!.root.cid}`)
  })

  it('is reached if no receipt is delivered, because the storefront fetches them', async () => {
    const [only] = await queuePieces('untold')
    const { promise, acceptPiece, acceptAggregate } = await aggregateOf([only.piece])
    await theAggregator.receipts.put(await acceptPiece(only.piece))
    await sweepAfter(timing.pollMs)
    expect(await recordOf(only)).toMatchObject({ stage: 'aggregated' })

    await sweepAfter(timing.pollMs)
    expect(await recordOf(only), 'no deal yet').toMatchObject({ stage: 'aggregated' })
    state.down = true
    await sweepAfter(timing.pollMs)
    expect(await recordOf(only), 'the aggregator cannot be reached').toMatchObject({ stage: 'aggregated' })
    const { aggregateId } = (await recordOf(only))!
    const aggregateRecord = () => dependencies.stores.aggregate.get({ id: aggregateId as string })
    expect(await aggregateRecord()).toMatchObject({
      trouble: { message: `${aggregator.did()} cannot be reached`, times: 1 },
    })
    state.down = false
    await theAggregator.receipts.put(promise)
    await theAggregator.receipts.put(await acceptAggregate())
    // The question is repeated with exponential backoff.
    await sweepAfter(timing.pollMs)
    expect(await recordOf(only)).toMatchObject({ stage: 'aggregated' })
    await sweepAfter(timing.pollMs)
    expect(await recordOf(only)).toMatchObject({ stage: 'accepted' })
    expect(await aggregateRecord()).not.toHaveProperty('trouble')
  })

  it.each<[string, (piece: PieceLink) => Promise<Receipt>]>([
    [
      'a piece that a stranger issued for its own task',
      async piece => {
        const { acceptPiece } = await aggregateOf([piece])
        const { out, fx } = await acceptPiece(piece)
        const task = await Tasks.pieceAccept(stranger, { piece, group: 'did:web:default' })
        return issueReceipt(stranger, task, { out, fx } as never)
      },
    ],
    [
      'a piece that was not offered',
      async () => {
        const piece = somePiece('not offered')
        return (await aggregateOf([piece])).acceptPiece(piece)
      },
    ],
    [
      'an aggregate that another dealer issued',
      async piece => {
        const { link, acceptPiece } = await aggregateOf([piece])
        await conclude(await acceptPiece(piece))
        const pieces = (await someContent('list')).content as never
        return issueReceipt(stranger, await Tasks.aggregateAccept(stranger, { aggregate: link, pieces }), {
          out: { ok: { aggregate: link, dataType: 0, dataSource: { dealID: 1 } } },
        })
      },
    ],
    [
      'an aggregate without pieces of this storefront',
      async () => (await aggregateOf([somePiece('nothing')])).acceptAggregate(),
    ],
  ])('is not reached by a receipt of %s', async (how, make) => {
    const [only] = await queuePieces(how)
    const { out } = await conclude(await make(only.piece))
    expect((out.error as Error).name).toBe('UnknownTask')
    await settle()
    expect(await served(service.api, only.accept.cid)).toBeUndefined()
  })
})

describe('the storefront’s own tasks', () => {
  it('cannot be run by another issuer', async () => {
    const nb = await someContent('own')
    const tasks = [await Tasks.filecoinSubmit(agent, nb), await Tasks.filecoinAccept(agent, nb)]
    for (const receipt of await call(service.api, ...(tasks as Invocation[])))
      expect(['UnsupportedCapability', 'InvalidAudience']).toContain(errorOf(receipt)?.name)
  })

  it('are pending if the piece was not offered', async () => {
    const nb = await someContent('never offered')
    const tasks = [await Tasks.filecoinSubmit(storefront, nb), await Tasks.filecoinAccept(storefront, nb)]
    for (const receipt of await call(service.api, ...(tasks as Invocation[])))
      expect(errorOf(receipt)?.name).toBe('OutcomePending')
  })
})
