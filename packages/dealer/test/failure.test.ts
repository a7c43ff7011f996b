import type { Invocation, Receipt } from '@ucanto/interface'
import { failure, MAX_GROUP_BYTES, type PieceLink, Tasks } from '@w3filecoin/capabilities'
import { buildAggregate } from '@w3filecoin/piece'
import {
  Authority,
  configuredPeers,
  encodeMessage,
  hasEffectBlocks,
  issueReceipt,
  MAX_RECEIPT_BYTES,
  Peer,
} from '@w3filecoin/runtime'
import { ask, cut, effectsOf, served, somePiece } from '@w3filecoin/testing'
import { describe, expect, it } from 'vitest'
import { MAX_INVALID_PIECES, MAX_REFUSED_PIECES } from '../src/domain/aggregate.ts'
import { BATCHING } from '../src/domain/batching.ts'
import { documentName } from '../src/domain/offer-document.ts'
import { createDealer, type Dependencies } from '../src/index.ts'
import type { ReportMessage } from '../src/queues.ts'
import { createFailureOutcome } from '../src/settlement/failure-outcome.ts'
import { boundReceiptBytes } from '../src/settlement/receipt-size.ts'
import {
  aggregator,
  anAggregate,
  asked,
  aws,
  blockOf,
  clock,
  dealer,
  delivered,
  dependencies,
  documentFor,
  documentOf,
  errorOf,
  later,
  type Offered,
  offer,
  publish,
  recordOf,
  refusals,
  retried,
  service,
  state,
  TENANT,
  timing,
} from './setup.ts'

type Service = ReturnType<typeof createDealer>
type Cut = (whole: Dependencies) => Partial<Dependencies>
const cutStore =
  (store: 'aggregate' | 'receipts' | 'blocks', method: string): Cut =>
  ({ stores }) => ({ stores: { ...stores, [store]: cut(stores[store] as never, method as never) } })
const cutQueue =
  (queue: 'report' | 'retry' | 'conclude'): Cut =>
  ({ queues }) => ({ queues: { ...queues, [queue]: cut(queues[queue] as never, 'send' as never) } })

let lastDeal = 1_000
/** Publishes a deal, and returns its id. */
const publishDeal = (offered: Offered): number => {
  lastDeal += 1
  publish(offered, { [lastDeal]: {} })
  return lastDeal
}
const CUT = [{ message: 'Cut by the test' }]
const settle = () => aws.settle(service.consumers)
const deliver = (queue: 'track' | 'report' | 'retry' | 'conclude', { consumers }: Service = service) =>
  aws.deliver(queue, consumers[queue] as never)

/** Reports, as deal making does, that an aggregate gets no deal. */
const report = async (
  offered: Offered,
  { nonce, message = 'No provider accepted it', ...rest }: Partial<ReportMessage> & { nonce?: string } = {},
) => {
  const name = documentName(await recordOf(offered, nonce))
  await aws.queue<Partial<ReportMessage>>('report').send([{ offer: name, message, ...rest }])
}
const retryOf = ({ aggregate }: Offered, piece: PieceLink, nonce?: string) =>
  Tasks.pieceOffer(dealer, aggregator, {
    piece,
    group: TENANT.group,
    nonce: Tasks.retryNonce({ aggregate, nonce }),
  })
const retriesOf = async (offered: Offered, pieces: readonly PieceLink[], nonce?: string) =>
  (await Promise.all(pieces.map(async piece => `${(await retryOf(offered, piece, nonce)).cid}`))).toSorted()
/** The retries of an aggregate that reached the aggregator. Aggregates of other tests fail too. */
const retriedOf = ({ aggregate }: Offered) =>
  retried.filter(({ nonce }) => Tasks.parseRetryNonce(nonce ?? '').aggregate === `${aggregate}`)
const reached = (offered: Offered) => [...new Set(retriedOf(offered).map(({ cid }) => `${cid}`))].toSorted()
/** The receipts of the promised task that reached the aggregator. */
const deliveredOf = ({ fx }: Receipt) =>
  delivered.filter(({ ran }) => `${ran.link()}` === `${fx.join!.link()}`)
const failedRecord = { stage: 'failed', rangesToRetry: [] }

/** An offer whose last piece does not fit into the aggregate. */
const invalidOffer = (name: string): Offered & { invalid: PieceLink } => {
  const { aggregate, pieces } = anAggregate(name)
  const invalid = somePiece(`too large ${name}`, 11)
  return { aggregate, pieces: [...pieces, invalid], invalid }
}

describe('D5: a report', () => {
  it.each([undefined, 'sealed again'])('that names pieces ends the aggregate, nonce %s', async nonce => {
    const offered = anAggregate(`named ${nonce}`)
    const [blamed, ...others] = offered.pieces as [PieceLink, ...PieceLink[]]
    const promise = await offer(offered, nonce === undefined ? {} : { nonce })
    await report(offered, {
      ...(nonce === undefined ? {} : { nonce }),
      message: 'One is broken',
      invalid: [{ piece: `${blamed}`, message: 'No content hashes to it' }],
    })
    await settle()

    const receipt = (await served(service.api, promise.fx.join!.link())) as Receipt
    expect(errorOf(receipt)).toEqual({
      name: 'InvalidPiece',
      message: 'One is broken',
      aggregate: offered.aggregate,
      cause: [{ name: 'InvalidPieceCID', message: 'No content hashes to it', piece: blamed }],
    })
    expect(effectsOf(receipt).fork.toSorted()).toEqual(await retriesOf(offered, others, nonce))
    // The tasks that reach the aggregator are the promised ones, byte for byte.
    const promised = new Map((receipt.fx.fork as Invocation[]).map(task => [`${task.cid}`, task]))
    expect(reached(offered)).toEqual([...promised.keys()].toSorted())
    for (const task of retriedOf(offered)) {
      expect(Buffer.from(task.root.bytes)).toEqual(Buffer.from(promised.get(`${task.cid}`)!.root.bytes))
      expect(task.nonce).toBe(nonce === undefined ? `${offered.aggregate}` : `${offered.aggregate} ${nonce}`)
    }
    expect(deliveredOf(promise).map(({ root }) => `${root.cid}`)).toEqual([`${receipt.root.cid}`])
    const record = await recordOf(offered, nonce)
    expect(record).toMatchObject(failedRecord)
    expect(record.checkAt).toBeUndefined()
  })

  it('that names no piece has all pieces retried', async () => {
    const offered = anAggregate('no provider accepted it')
    const promise = await offer(offered)
    await report(offered)
    await settle()
    const receipt = (await served(service.api, promise.fx.join!.link())) as Receipt
    expect(errorOf(receipt)).toEqual({
      name: 'DealNotFound',
      message: 'No provider accepted it',
      piece: offered.aggregate,
    })
    expect(effectsOf(receipt).fork.toSorted()).toEqual(await retriesOf(offered, offered.pieces))
    expect(reached(offered)).toEqual(await retriesOf(offered, offered.pieces))
  })

  it.each<[string, (offered: Offered, name: string) => unknown, object]>([
    ['an invalid document name', () => ({ offer: 'x', message: 'm' }), { name: 'UnknownOffer' }],
    [
      'an unknown document',
      ({ aggregate }) => ({ offer: `${aggregate}/${'a'.repeat(43)}.json`, message: 'm' }),
      { name: 'UnknownOffer' },
    ],
    [
      'a piece that is not in it',
      (_, offer) => ({ offer, message: 'm', invalid: [{ piece: `${somePiece('stray')}`, message: 'm' }] }),
      { name: 'UnknownPiece' },
    ],
    ['no message', (_, offer) => ({ offer }), {}],
    ['an unknown field', (_, offer) => ({ offer, message: 'm', other: 1 }), {}],
  ])('with %s is left for the dead-letter queue, and changes nothing', async (how, make, reason) => {
    const offered = anAggregate(`report of ${how}`)
    const promise = await offer(offered)
    const before = await recordOf(offered)
    await aws.queue('report').send([make(offered, documentName(before)) as never])
    const { failed } = await deliver('report')
    expect(failed).toMatchObject([reason])
    await aws.drain('report')
    expect(await recordOf(offered)).toEqual(before)
    expect(await served(service.api, promise.fx.join!.link())).toBeUndefined()
    expect(retriedOf(offered)).toEqual([])
  })

  it.each<[string, (offered: Offered) => Promise<unknown>, string]>([
    ['a deal', async offered => publishDeal(offered), 'accepted'],
    ['a report', report, 'failed'],
  ])('or a deal after %s changes nothing', async (how, first, stage) => {
    const offered = anAggregate(`after ${how}`)
    const promise = await offer(offered)
    await first(offered)
    await settle()
    await later()
    const [before, receipt] = [await recordOf(offered), await served(service.api, promise.fx.join!.link())]
    expect(before).toMatchObject({ stage })
    asked.length = 0
    const count = retriedOf(offered).length
    await report(offered, { message: 'too late', invalid: [{ piece: `${offered.pieces[0]}`, message: 'm' }] })
    await report(offered)
    publishDeal(offered)
    await settle()
    await dependencies.queues.track.send([{ aggregates: [before.id] }])
    await settle()
    await later(timing.dealWaitMs)
    expect(await recordOf(offered)).toEqual(before)
    expect(`${(await served(service.api, promise.fx.join!.link()))?.root.cid}`).toBe(`${receipt?.root.cid}`)
    expect(retriedOf(offered)).toHaveLength(count)
  })
})

describe('an aggregate that waits too long for a deal', () => {
  const wait = timing.dealWaitMs

  it('fails, and its pieces are retried', async () => {
    const offered = anAggregate('too long')
    const promise = await offer(offered)
    await later(wait - 1)
    expect(await served(service.api, promise.fx.join!.link())).toBeUndefined()
    await later(timing.pollMs * 4)
    const receipt = (await served(service.api, promise.fx.join!.link())) as Receipt
    expect(errorOf(receipt)).toEqual({
      name: 'DealNotFound',
      message: `No copy of ${offered.aggregate} was live on chain within 14 days`,
      piece: offered.aggregate,
    })
    expect(effectsOf(receipt).fork.toSorted()).toEqual(await retriesOf(offered, offered.pieces))
    expect(reached(offered)).toEqual(expect.arrayContaining(await retriesOf(offered, offered.pieces)))
    expect(await recordOf(offered)).toMatchObject(failedRecord)
  })

  it('is failed by a message of its own, not by the one that asks the tracker', async () => {
    const many = ['one of two', 'two of two'].map(anAggregate)
    for (const offered of many) await offer(offered)
    clock.now += wait
    const before = await Promise.all(many.map(offered => recordOf(offered)))
    await dependencies.queues.track.send([{ aggregates: before.map(({ id }) => id) }])
    expect(await deliver('track')).toEqual({ taken: 1, failed: [] })
    expect(await Promise.all(many.map(offered => recordOf(offered)))).toEqual(before)
    expect(await deliver('report')).toEqual({ taken: 2, failed: [] })
    for (const offered of many) expect(await recordOf(offered)).toMatchObject({ stage: 'failed' })
  })

  it('is accepted if a deal is live by then', async () => {
    const offered = anAggregate('just in time')
    await offer(offered)
    const dealID = publishDeal(offered)
    await later(wait)
    expect(await recordOf(offered)).toMatchObject({ stage: 'accepted', place: `${dealID}` })
  })

  it.each<[string, Partial<typeof state>, reason: string]>([
    ['cannot be reached', { trackerDown: true }, 'the deal tracker does not answer'],
    [
      'cannot answer',
      { trackerRefusal: failure('HandlerExecutionError', 'not now') },
      'the deal tracker refuses to answer: HandlerExecutionError: not now',
    ],
  ])('does not fail while the deal tracker %s', async (how, trouble, reason) => {
    const offered = anAggregate(`the tracker ${how}`)
    await offer(offered)
    Object.assign(state, trouble)
    await later(wait)
    const { stage, checkAt, waitsFor } = await recordOf(offered)
    expect([stage, waitsFor]).toEqual(['offered', reason])
    Object.assign(state, { trackerDown: false, trackerRefusal: undefined })
    await later((checkAt as number) - clock.now)
    expect(await recordOf(offered)).toMatchObject(failedRecord)
    expect(await recordOf(offered)).not.toHaveProperty('waitsFor')
  })
})

describe('an offer that is interrupted', () => {
  const isWritten = async (offered: Offered) =>
    documentOf(documentName(await recordOf(offered))).then(
      () => true,
      () => false,
    )
  const without = ({ offerDocuments }: Dependencies, times?: number) =>
    createDealer({ ...dependencies, offerDocuments: cut(offerDocuments, 'put', times) })

  it('before its document is written writes it when it is repeated, and not again once it is answered', async () => {
    const offered = anAggregate('cut before its document')
    expect(errorOf(await offer(offered, {}, without(dependencies).api))?.name).toBe('HandlerExecutionError')
    const record = await recordOf(offered)
    expect(record).toMatchObject({ stage: 'offered' })
    expect(await isWritten(offered)).toBe(false)
    clock.now += 1
    // The record suffices: the list of pieces need not be attached.
    const receipt = await offer(offered, { attach: false })
    expect(receipt.out.ok).toBeDefined()
    expect(await documentOf(documentName(record))).toEqual(documentFor(offered, record.offeredAt))
    const never = without(dependencies, Number.POSITIVE_INFINITY)
    expect(effectsOf(await offer(offered, {}, never.api))).toEqual(effectsOf(receipt))
  })

  it('before its receipt is stored has the same document when it is repeated', async () => {
    const offered = anAggregate('cut before its receipt')
    const { api } = createDealer({ ...dependencies, ...cutStore('receipts', 'put')(dependencies) })
    expect(errorOf(await offer(offered, {}, api))?.name).toBe('HandlerExecutionError')
    const name = documentName(await recordOf(offered))
    const document = await documentOf(name)
    clock.now += 1
    expect((await offer(offered)).out.ok).toBeDefined()
    expect(await documentOf(name)).toEqual(document)
  })

  it('before its document is written has none if the aggregate has failed when it is repeated', async () => {
    const offered = anAggregate('failed without a document')
    await offer(offered, {}, without(dependencies).api)
    await later(timing.dealWaitMs)
    expect(await recordOf(offered)).toMatchObject(failedRecord)
    const { fx } = await offer(offered)
    expect(errorOf((await served(service.api, fx.join!.link()))!)).toMatchObject({ name: 'DealNotFound' })
    expect(await isWritten(offered)).toBe(false)
  })
})

describe('D3: an offer with invalid pieces', () => {
  it('is refused once, naming them; the other pieces are retried', async () => {
    const offered = invalidOffer('refused')
    const others = offered.pieces.slice(0, -1)
    const receipt = await offer(offered)
    expect(errorOf(receipt)).toMatchObject({
      name: 'InvalidPiece',
      cause: [{ name: 'InvalidPieceCID', message: expect.stringContaining('No room') }],
    })
    expect(`${(errorOf(receipt)!.cause![0] as { piece: unknown }).piece}`).toBe(`${offered.invalid}`)
    expect(effectsOf(receipt).fork.toSorted()).toEqual(await retriesOf(offered, others))
    expect(receipt.fx.join).toBeUndefined()
    expect(hasEffectBlocks(receipt)).toBe(true)
    await settle()
    expect(reached(offered)).toEqual(await retriesOf(offered, others))
    const record = await recordOf(offered)
    expect(record).toMatchObject({ ...failedRecord, refusedOfferCid: `${receipt.ran.link()}` })
    await expect(documentOf(documentName(record)), 'no deal must be made').rejects.toThrow()

    // Repeated, also without the list of pieces, it gets the same receipt.
    for (const options of [{}, { attach: false }])
      expect(`${(await offer(offered, options)).root.cid}`).toBe(`${receipt.root.cid}`)
    expect(`${(await served(service.api, receipt.ran.link()))?.root.cid}`).toBe(`${receipt.root.cid}`)
    await settle()
    await later()
    expect(await recordOf(offered)).toEqual(record)
    expect(retriedOf(offered)).toHaveLength(others.length)
    const accept = await Tasks.aggregateAccept(dealer, {
      aggregate: offered.aggregate,
      pieces: ((receipt.ran as Invocation).capabilities[0]!.nb as { pieces: never }).pieces,
    })
    expect(errorOf(await ask(service.api, accept))).toMatchObject({ name: 'OutcomePending' })
  })

  it('with a nonce is processed anew', async () => {
    const offered = invalidOffer('anew')
    const others = offered.pieces.slice(0, -1)
    await offer(offered)
    await offer(offered, { nonce: 'n' })
    await settle()
    expect(reached(offered)).toEqual(
      [...(await retriesOf(offered, others)), ...(await retriesOf(offered, others, 'n'))].toSorted(),
    )
  })

  it.each<[string, number, number]>([
    ['with more pieces than a request can retry', 11, MAX_REFUSED_PIECES],
    ['with more invalid pieces than a receipt names', MAX_INVALID_PIECES + 1, 1],
  ])('%s is refused, and the refusal is not stored', async (how, faults, others) => {
    const { aggregate } = anAggregate(how)
    const pieces = [
      ...Array.from({ length: faults }, (_, n) => somePiece(`${how} ${n}`, 11)),
      ...Array.from({ length: others }, (_, n) => somePiece(`${how} ${n}`)),
    ]
    const receipt = await offer({ aggregate, pieces })
    expect(errorOf(receipt)).toMatchObject({
      name: 'InvalidPiece',
      message: expect.stringContaining('too many'),
      cause: [],
    })
    expect(receipt.fx.fork).toEqual([])
    expect(await served(service.api, receipt.ran.link())).toBeUndefined()
    await expect(recordOf({ aggregate, pieces })).rejects.toThrow('There is no record')
  })

  it('does not affect an offer of the same aggregate with the pieces that make it', async () => {
    const [right, wrong] = [anAggregate('right'), invalidOffer('right')]
    expect(errorOf(await offer(wrong))).toMatchObject({ name: 'InvalidPiece' })
    const promise = await offer(right)
    expect(promise.out).toEqual({ ok: { aggregate: right.aggregate } })
    expect(await documentOf(documentName(await recordOf(right)))).toMatchObject({
      pieces: right.pieces.map(piece => `${piece}`),
    })
    publishDeal(right)
    await later()
    expect((await served(service.api, promise.fx.join!.link()))?.out.ok).toBeDefined()
    expect(await recordOf(wrong)).toMatchObject(failedRecord)
  })

  it.each<[string, Cut]>([
    ['before the receipt is stored', cutStore('receipts', 'put')],
    ['before the retries are stored', cutStore('blocks', 'put')],
    ['before the record', cutStore('aggregate', 'insert')],
    ['before the retries are sent', cutQueue('retry')],
  ])('interrupted %s, gets the same refusal when it is repeated', async (how, cutting) => {
    const offered = invalidOffer(how)
    const others = offered.pieces.slice(0, -1)
    const { api } = createDealer({ ...dependencies, ...cutting(dependencies) })
    expect(errorOf(await offer(offered, {}, api))).toMatchObject({ name: 'HandlerExecutionError' })
    const receipt = await offer(offered)
    expect(errorOf(receipt)).toMatchObject({ name: 'InvalidPiece' })
    expect(`${(await served(service.api, receipt.ran.link()))?.root.cid}`).toBe(`${receipt.root.cid}`)
    await settle()
    await later(timing.retryMs + 1)
    expect(reached(offered)).toEqual(await retriesOf(offered, others))
    expect(await recordOf(offered)).toMatchObject(failedRecord)
  })
})

describe('the receipt of a failed aggregate', () => {
  const pieces = Array.from({ length: 400 }, (_, n) => somePiece(`of a receipt ${n}`))
  const failing = {
    aggregate: `${somePiece('aggregate', 30)}`,
    aggregator: aggregator.did(),
    group: 'g'.repeat(MAX_GROUP_BYTES),
    nonce: `${'s'.repeat(43)}-1000000`,
  }

  it('has at most the computed bytes, with the longest group and a nonce, or without', async () => {
    for (const aggregate of [failing, { ...failing, group: 'g', nonce: undefined }]) {
      const task = await Tasks.aggregateAccept(dealer, {
        aggregate: pieces[0]!,
        pieces: pieces[0] as never,
      })
      const reason = { message: 'm', invalid: [] }
      const receipt = await issueReceipt(
        dealer,
        task,
        await createFailureOutcome(dealer, aggregate, pieces, reason),
      )
      const { byteLength } = await encodeMessage({ receipts: [receipt] })
      const [none, most] = [
        await boundReceiptBytes(dealer, aggregate, []),
        await boundReceiptBytes(dealer, aggregate, pieces),
      ]
      expect(most).toBeGreaterThan(byteLength)
      expect((most - none) / byteLength, 'the bound is close').toBeCloseTo(1, 1)
    }
    expect(await boundReceiptBytes(dealer, failing, Array(95_000).fill(pieces[0]))).toBeLessThan(
      MAX_RECEIPT_BYTES,
    )
  })

  it('can be read by services: an aggregate with a larger one is refused', async () => {
    const many = Array.from({ length: 27_000 }, (_, n) => somePiece(`of very many ${n}`))
    const built = buildAggregate({ pieces: many, size: 2 ** 32 }).ok!
    const block = await blockOf(built.pieces)
    const offered = { aggregate: built.link, pieces: built.pieces }
    const [group, nonce] = ['g'.repeat(1_000), 'n'.repeat(1_000)]
    const task = await Tasks.aggregateOffer(aggregator, dealer, {
      aggregate: built.link,
      pieces: block.cid as never,
      nonce,
      tenant: { ...TENANT, group },
      block: block as never,
    })
    expect(errorOf(await ask(service.api, task))).toMatchObject({
      name: 'AggregateTooLarge',
      message: expect.stringContaining('fewer pieces, or a shorter group or nonce'),
    })
    expect(await served(service.api, task.cid)).toBeUndefined()
    await expect(recordOf(offered, nonce)).rejects.toThrow('There is no record')
  })
})

describe('retries', () => {
  it('are sent by the sweep if the aggregator could not be reached', async () => {
    const offered = anAggregate('down')
    await offer(offered)
    await report(offered)
    state.aggregatorDown = true
    await deliver('report')
    const before = await recordOf(offered)
    expect(before).toMatchObject({
      stage: 'failed',
      rangesToRetry: [0],
      checkAt: clock.now + timing.retryMs,
    })
    // The record waits for the sweep. The message must not become a dead letter.
    expect(await deliver('retry')).toEqual({ taken: 1, failed: [] })
    const { checkAt, due } = before
    expect(await recordOf(offered)).toMatchObject({
      rangesToRetry: [0],
      checkAt,
      due,
      trouble: { message: `${aggregator.did()} cannot be reached`, at: clock.now, times: 1 },
    })

    // The interval between attempts grows.
    const waits: number[] = []
    for (let n = 0; n < 6; n++) {
      const { checkAt } = await recordOf(offered)
      waits.push((checkAt as number) - clock.now)
      await later(waits[n])
      expect(await recordOf(offered)).toMatchObject({ rangesToRetry: [0] })
    }
    expect(waits.map(wait => wait / timing.retryMs)).toEqual([1, 1, 2, 4, 8, 15])

    state.aggregatorDown = false
    await settle()
    expect(reached(offered), 'not yet').toEqual([])
    await later(timing.pollMs)
    expect(reached(offered)).toEqual(await retriesOf(offered, offered.pieces))
    expect(await recordOf(offered)).toMatchObject(failedRecord)
    expect(await recordOf(offered)).not.toHaveProperty('trouble')
  })

  it.each<[string, boolean]>([
    ['HandlerExecutionError', true],
    ['Unauthorized', true],
    ['HandlerNotFound', true],
    ['UnknownStorefront', true],
    ['ProofNotFound', false],
    ['InvalidPieceCID', false],
    ['UnknownAggregate', false],
  ])('answered with %s are sent again: %s', async (name, again) => {
    const offered = anAggregate(`answered with ${name}`)
    await offer(offered)
    await report(offered)
    await deliver('report')
    refusals.set(`${offered.pieces[1]}`, failure(name, 'not this one'))
    const before = await recordOf(offered)
    expect(await deliver('retry')).toEqual({ taken: 1, failed: [] })
    if (again)
      expect(await recordOf(offered)).toMatchObject({
        rangesToRetry: [0],
        checkAt: before.checkAt,
        trouble: { message: expect.stringContaining('not this one'), times: 1 },
      })
    else expect(await recordOf(offered)).toMatchObject(failedRecord)
    refusals.clear()
    await later(timing.retryMs)
    expect(retriedOf(offered)).toHaveLength(offered.pieces.length * (again ? 2 : 1))
    expect(await recordOf(offered)).toMatchObject(failedRecord)
  })

  it('are all sent although one is refused, and sent again if an answer has no receipt', async () => {
    const pieces = Array.from({ length: 60 }, (_, n) => somePiece(`some ${n}`))
    const built = buildAggregate({ pieces, size: 2 ** 23 }).ok!
    const offered = { aggregate: built.link, pieces: built.pieces }
    await offer(offered)
    await report(offered)
    await deliver('report')
    const before = await recordOf(offered)
    refusals.set(`${offered.pieces[0]}`, failure('Unauthorized', 'not this one'))
    expect(await deliver('retry')).toEqual({ taken: 1, failed: [] })
    expect(reached(offered)).toEqual(await retriesOf(offered, offered.pieces))
    const { rangesToRetry, checkAt } = before
    expect(await recordOf(offered)).toMatchObject({ rangesToRetry, checkAt, trouble: { times: 1 } })

    refusals.clear()
    const logged: unknown[] = []
    const mute = {
      did: aggregator.did(),
      reachable: true,
      execute: async (tasks: unknown[]) =>
        tasks.map(() => ({ error: failure('UnsignedReceipt', 'Signed by an unknown key') })),
    } as unknown as Peer
    const { consumers } = createDealer({
      ...dependencies,
      aggregators: configuredPeers([mute]),
      log: (...line) => logged.push(line),
    })
    await dependencies.queues.retry.send([{ aggregate: before.id, range: 0 }])
    expect(await aws.deliver('retry', consumers.retry as never)).toEqual({ taken: 1, failed: [] })
    expect(await recordOf(offered)).toMatchObject({
      rangesToRetry,
      checkAt,
      trouble: { message: expect.stringContaining('Signed by an unknown key'), times: 2 },
    })
    expect(logged).toEqual([
      [
        'warn',
        'retries postponed',
        {
          aggregate: before.aggregate,
          range: 0,
          count: 60,
          refusal: { name: 'UnsignedReceipt', message: 'Signed by an unknown key' },
        },
      ],
    ])
    await later(timing.retryMs)
    expect(await recordOf(offered)).toMatchObject(failedRecord)
  })

  it('are read in the receipt by an aggregator without a URL', async () => {
    const unreachable = new Peer({ did: aggregator.did() }, { authority: new Authority(), fetch })
    const aggregators = configuredPeers([unreachable])
    const { consumers, schedules } = createDealer({ ...dependencies, aggregators })
    const offered = anAggregate('unreachable')
    const promise = await offer(offered)
    await report(offered)
    await aws.settle(consumers)
    clock.now += timing.pollMs
    await schedules.sweep!()
    await aws.settle(consumers)
    const record = await recordOf(offered)
    expect(record).toMatchObject(failedRecord)
    expect(record.checkAt).toBeUndefined()
    const receipt = (await served(service.api, promise.fx.join!.link())) as Receipt
    expect(effectsOf(receipt).fork.toSorted()).toEqual(await retriesOf(offered, offered.pieces))
    expect(retriedOf(offered)).toEqual([])
  })

  it('are sent in ranges if they are many', async () => {
    const pieces = Array.from({ length: BATCHING.rangePieces + 2 }, (_, n) => somePiece(`many ${n}`))
    const built = buildAggregate({ pieces, size: 2 ** 26 }).ok!
    const offered = { aggregate: built.link, pieces: built.pieces }
    const promise = await offer(offered)
    await report(offered)
    await deliver('report')
    expect(await recordOf(offered)).toMatchObject({ stage: 'failed', rangesToRetry: [0, 1] })
    const { consumers } = createDealer({ ...dependencies, ...cutStore('aggregate', 'replace')(dependencies) })
    expect((await aws.deliver('retry', consumers.retry as never)).failed).toMatchObject(CUT)
    expect((await recordOf(offered)).rangesToRetry).toHaveLength(1)
    await aws.drain('retry')
    await later(timing.retryMs + 1)
    expect(await recordOf(offered)).toMatchObject(failedRecord)
    expect(reached(offered)).toEqual(await retriesOf(offered, offered.pieces))
    // The receipt is sent without the blocks of its effects.
    expect(deliveredOf(promise).map(receipt => hasEffectBlocks(receipt))).toEqual([false])
    const receipt = (await served(service.api, promise.fx.join!.link())) as Receipt
    expect([receipt.fx.fork.length, hasEffectBlocks(receipt)]).toEqual([pieces.length, true])
  })

  it('are sent if the stored receipt says that the aggregate failed, even if a deal is live before the record is changed', async () => {
    const offered = anAggregate('filed before its deal')
    const promise = await offer(offered)
    await report(offered)
    await deliver('report', createDealer({ ...dependencies, ...cutStore('blocks', 'put')(dependencies) }))
    const filed = (await served(service.api, promise.fx.join!.link())) as Receipt
    expect(errorOf(filed)).toMatchObject({ name: 'DealNotFound' })
    expect(await recordOf(offered)).toMatchObject({ stage: 'offered' })
    await aws.drain('report')
    publishDeal(offered)
    await later()
    expect(await recordOf(offered)).toMatchObject(failedRecord)
    expect(reached(offered)).toEqual(await retriesOf(offered, offered.pieces))
    expect((await served(service.api, promise.fx.join!.link()))?.root.cid).toEqual(filed.root.cid)
  })

  const cuts: [string, 'report' | 'track' | 'retry', Cut][] = [
    ['before the receipt is stored', 'report', cutStore('receipts', 'put')],
    ['before the retries are stored', 'report', cutStore('blocks', 'put')],
    ['before the record', 'report', cutStore('aggregate', 'replace')],
    ['before the retries are sent', 'report', cutQueue('retry')],
    // The aggregator fetches a receipt that was not sent.
    ['before the receipt is sent', 'report', cutQueue('conclude')],
    ['before an overdue aggregate is reported', 'track', cutQueue('report')],
    ['before the retries are read', 'retry', cutStore('blocks', 'get')],
    ['before the range is closed', 'retry', cutStore('aggregate', 'replace')],
  ]
  it.each(cuts)('interrupted %s on %s are sent all the same', async (how, queue, cutting) => {
    const offered = anAggregate(`${queue}, ${how}`)
    const [blamed, ...others] = offered.pieces as [PieceLink, ...PieceLink[]]
    const promise = await offer(offered)
    if (queue === 'track') {
      clock.now += timing.dealWaitMs
      await dependencies.queues.track.send([{ aggregates: [(await recordOf(offered)).id] }])
    } else await report(offered, { invalid: [{ piece: `${blamed}`, message: 'broken' }] })
    if (queue === 'retry') await deliver('report')
    const { failed } = await deliver(queue, createDealer({ ...dependencies, ...cutting(dependencies) }))
    expect(failed).toMatchObject(CUT)
    await settle()
    await later(timing.retryMs + 1)
    const receipt = (await served(service.api, promise.fx.join!.link())) as Receipt
    const expected = await retriesOf(offered, queue === 'track' ? offered.pieces : others)
    expect(effectsOf(receipt).fork.toSorted()).toEqual(expected)
    expect(reached(offered)).toEqual(expect.arrayContaining(expected))
    expect(await recordOf(offered)).toMatchObject(failedRecord)
  })
})
