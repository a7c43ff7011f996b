import type { Receipt } from '@ucanto/interface'
import { aggregateAccept, failure, type Task, Tasks } from '@w3filecoin/capabilities'
import { issueReceipt, type Outcome } from '@w3filecoin/runtime'
import { ask, served, somePiece } from '@w3filecoin/testing'
import { describe, expect, it } from 'vitest'
import { createStorefront } from '../src/index.ts'
import {
  aggregateOf,
  aggregator,
  aws,
  conclude,
  dealer,
  deliver,
  dependencies,
  errorOf,
  GROUP,
  offer,
  queuePieces,
  recordOf,
  service,
  settle,
  storefront,
  stranger,
  sweepAfter,
  theAggregator,
  timing,
  uploadContent,
} from './setup.ts'

/** Puts a new piece into an aggregate. */
const aggregated = async (seed: string) => {
  const [only] = await queuePieces(seed)
  const aggregate = await aggregateOf([only.piece])
  await conclude(await aggregate.acceptPiece(only.piece))
  const { pieces } = aggregate.aggregateAccept.capabilities[0]!.nb as { pieces: never }
  const recordOfAggregate = async () =>
    dependencies.stores.aggregate.get({ id: (await recordOf(only))!.aggregateId! })
  return { only, ...aggregate, pieces, recordOfAggregate }
}

/** Runs a service whose calls of the aggregator have these results. */
const withAggregator = (methods: object) =>
  createStorefront({
    ...dependencies,
    aggregator: Object.create(
      dependencies.aggregator,
      Object.fromEntries(Object.entries(methods).map(([name, value]) => [name, { value }])),
    ),
  })

describe('D4: the outcome of an aggregate', () => {
  it('is not the dealer’s answer to a stranger’s aggregate/accept, even if the aggregator delivers it', async () => {
    const { only, link, pieces, promise, recordOfAggregate } = await aggregated('strangers accept')
    await conclude(promise)
    const task = await aggregateAccept
      .invoke({
        issuer: stranger,
        audience: dealer,
        with: stranger.did(),
        nb: { aggregate: link, pieces },
        expiration: Infinity,
      })
      .delegate()
    const error = failure('UnsupportedCapability', 'Only the dealer may invoke aggregate/accept')
    const answer = await deliver(await issueReceipt(dealer, task as never, { out: { error } }))
    expect(errorOf(answer)?.name).toBe('UnknownTask')
    await settle()
    expect(await recordOfAggregate()).toMatchObject({ stage: 'offered' })
    expect(await recordOf(only)).toMatchObject({ stage: 'aggregated' })
  })

  it('is refused before the dealer’s promise of the task is known, and fetched together with the promise', async () => {
    const { only, promise, aggregateAccept, acceptAggregate, recordOfAggregate } = await aggregated('early')
    await theAggregator.receipts.put(promise)
    const outcome = await acceptAggregate()
    await theAggregator.receipts.put(outcome)
    expect(errorOf(await deliver(outcome))?.name).toBe('UnknownTask')
    expect(await recordOfAggregate()).toMatchObject({ stage: 'offered' })
    expect((await recordOfAggregate())?.acceptCid).toBeUndefined()
    await settle()
    expect(await recordOfAggregate()).toMatchObject({
      stage: 'accepted',
      acceptCid: `${aggregateAccept.cid}`,
    })
    expect(await recordOf(only)).toMatchObject({ stage: 'accepted' })
  })

  it('is not the receipt of another task of the dealer for the same aggregate', async () => {
    const { link, promise, recordOfAggregate } = await aggregated('another task')
    await conclude(promise)
    const pieces = (await uploadContent('another list')).content as never
    const other = await Tasks.aggregateAccept(dealer, { aggregate: link, pieces })
    const out = { ok: { aggregate: link, dataType: 0, dataSource: { dealID: 8 } } }
    expect(errorOf(await deliver(await issueReceipt(dealer, other, { out })))?.name).toBe('UnknownTask')
    expect(await recordOfAggregate()).toMatchObject({ stage: 'offered' })
  })

  it.each<[string, (link: never, pieces: never) => Promise<Task>]>([
    ['another issuer', (aggregate, pieces) => Tasks.aggregateAccept(stranger, { aggregate, pieces })],
    [
      'another aggregate',
      (_, pieces) => Tasks.aggregateAccept(dealer, { aggregate: somePiece('another') as never, pieces }),
    ],
    ['another ability', piece => Tasks.pieceAccept(dealer, { piece, group: GROUP })],
  ])('cannot be promised as a task of %s', async (_, build) => {
    const { link, pieces, aggregateOffer, recordOfAggregate } = await aggregated(`promised ${_}`)
    const join = await build(link as never, pieces)
    const answer = await issueReceipt(dealer, aggregateOffer, {
      out: { ok: { aggregate: link } },
      fx: { join },
    })
    expect(errorOf(await deliver(answer))?.name).toBe('InvalidReceipt')
    expect((await recordOfAggregate())?.acceptCid).toBeUndefined()
  })

  it.each(['UnsupportedCapability', 'HandlerExecutionError', 'Unauthorized'])(
    'is not the error %s, which may pass',
    async name => {
      const { only, promise, aggregateAccept, recordOfAggregate } = await aggregated(`error ${name}`)
      await conclude(promise)
      const error = failure(name, 'not now')
      const receipt = await issueReceipt(dealer, aggregateAccept, { out: { error } })
      expect(errorOf(await deliver(receipt))?.name).toBe('InvalidReceipt')
      expect(await recordOfAggregate()).toMatchObject({ stage: 'offered' })
      expect(await recordOf(only)).toMatchObject({ stage: 'aggregated' })
    },
  )

  it('is fetched for a record of earlier code, which does not name the promised task', async () => {
    const { only, promise, acceptAggregate, recordOfAggregate } = await aggregated('of earlier code')
    const { acceptCid: _, offeredAt: __, ...earlier } = (await recordOfAggregate())!
    await dependencies.stores.aggregate.replace(earlier)
    await theAggregator.receipts.put(promise)
    await theAggregator.receipts.put(await acceptAggregate())
    await sweepAfter(timing.pollMs)
    expect(await recordOf(only)).toMatchObject({ stage: 'accepted' })
  })
})

describe('A5: an aggregate', () => {
  it.each<[string, (offer: Task) => Promise<Task>]>([
    ['a stranger must offer', offer => reoffer(offer, { issuer: stranger })],
    ['the aggregator must offer to another dealer', offer => reoffer(offer, { audience: stranger })],
  ])('that %s does not contain our pieces', async (_, change) => {
    const [only] = await queuePieces(_)
    const { aggregateOffer, acceptPiece } = await aggregateOf([only.piece])
    const { ran, out } = await acceptPiece(only.piece)
    const join = await change(aggregateOffer as Task)
    await deliver(await issueReceipt(aggregator, ran as never, { out, fx: { join } } as never))
    expect(await recordOf(only)).toMatchObject({ stage: 'queued' })
  })

  it('that the aggregator offers twice contains only the pieces of the first offer', async () => {
    const [first, second] = await queuePieces('offered first', 'offered second')
    const { aggregateOffer, acceptPiece } = await aggregateOf([first.piece, second.piece])
    await conclude(await acceptPiece(first.piece))
    const { ran, out } = await acceptPiece(second.piece)
    const join = await reoffer(aggregateOffer as Task, { label: 'again' })
    await deliver(await issueReceipt(aggregator, ran as never, { out, fx: { join } } as never))
    expect(await recordOf(first)).toMatchObject({ stage: 'aggregated' })
    expect(await recordOf(second)).toMatchObject({ stage: 'queued' })
  })
})

/** Builds the offer of an aggregate with another issuer, audience or label. */
const reoffer = (
  { capabilities, nonce }: Task,
  {
    issuer = aggregator,
    audience = dealer,
    label = 'x',
  }: { issuer?: typeof stranger; audience?: typeof stranger; label?: string },
): Promise<Task> =>
  Tasks.aggregateOffer(issuer, audience, {
    ...(capabilities[0]!.nb as { aggregate: never; pieces: never }),
    nonce,
    tenant: { storefront: storefront.did(), group: GROUP, label },
  })

describe('A1: the aggregator’s answer to piece/offer', () => {
  it('is no promise if it names the task of a stranger, or of another piece', async () => {
    const content = await uploadContent('promised by a stranger')
    await ask(createStorefront(dependencies).api, await offer(content))
    await aws.deliver('submit', createStorefront(dependencies).consumers.submit as never)
    const promises = [
      await Tasks.pieceAccept(stranger, { piece: content.piece, group: GROUP }),
      await Tasks.pieceAccept(aggregator, { piece: somePiece('of another'), group: GROUP }),
    ]
    for (const join of promises) {
      const execute = (tasks: Task[]) =>
        Promise.all(
          tasks.map(async task => ({
            ok: await issueReceipt(aggregator, task, { out: { ok: { piece: content.piece } }, fx: { join } }),
          })),
        )
      const { id } = (await recordOf(content))!
      await withAggregator({ execute }).consumers.aggregation!.handle([{ id }])
      expect(await recordOf(content)).toMatchObject({
        stage: 'submitted',
        trouble: { message: expect.stringContaining('does not promise piece/accept') },
      })
    }
  })

  it.each<[string, (retry: Task) => Promise<Receipt>]>([
    [
      'is refused with an error that may pass',
      retry => issueReceipt(aggregator, retry, { out: { error: failure('Unauthorized', 'not now') } }),
    ],
    [
      'is answered with the promise of a stranger',
      async retry => {
        const { piece } = retry.capabilities[0]!.nb as { piece: never }
        const join = await Tasks.pieceAccept(stranger, { piece, group: GROUP })
        return issueReceipt(aggregator, retry, { out: { ok: { piece } }, fx: { join } })
      },
    ],
  ])('a retry that %s is asked about again', async (_, answer) => {
    const { only, retry, failAggregate } = await aggregated(`retry ${_}`)
    await conclude(await failAggregate({ retried: [only.piece] }))
    await settle()
    await theAggregator.receipts.put(await answer(await retry(only.piece)))
    await sweepAfter(timing.retryMs)
    expect(await recordOf(only)).toMatchObject({ stage: 'retried', trouble: { times: 1 } })
  })
})

describe('D5: a failed aggregate', () => {
  it('has as retries only the dealer’s own offers to our aggregator', async () => {
    const { only, promise, aggregateAccept, attempt } = await aggregated('retried by a stranger')
    await conclude(promise)
    const retry = await Tasks.pieceOffer(stranger, aggregator, {
      piece: only.piece,
      group: GROUP,
      nonce: attempt,
    })
    const error = failure('DealNotFound', 'no deal')
    await deliver(await issueReceipt(dealer, aggregateAccept, { out: { error }, fx: { fork: [retry] } }))
    await settle()
    expect(await recordOf(only)).toMatchObject({ stage: 'failed', reason: { name: 'ProofNotFound' } })
  })
})

describe('the receipt of piece/accept', () => {
  /** Delivers the receipt of the promised task of a queued piece with another outcome, and returns the end of the piece. */
  const accept = async (seed: string, out: Outcome['out']) => {
    const [only] = await queuePieces(seed)
    const task = await Tasks.pieceAccept(aggregator, { piece: only.piece, group: GROUP })
    await deliver(await issueReceipt(aggregator, task, { out }))
    await settle()
    return { record: await recordOf(only), receipt: await served(service.api, only.accept.cid) }
  }

  it('L6: without an inclusion proof ends the piece with ProofNotFound, which says why', async () => {
    const aggregate = somePiece('an aggregate without a proof')
    const { record, receipt } = await accept('no proof', { ok: { aggregate } })
    expect(record).toMatchObject({ stage: 'failed', reason: { name: 'ProofNotFound' } })
    expect(errorOf(receipt!)).toMatchObject({
      name: 'ProofNotFound',
      message: expect.stringContaining(`in the aggregate ${aggregate}, without an inclusion proof`),
    })
  })

  it.each(['InvalidPieceCID', 'InvaildPieceCID'])('with the error %s ends the piece with it', async name => {
    const { record } = await accept(`refused ${name}`, { error: failure(name, 'It has no such piece') })
    expect(record).toMatchObject({ stage: 'failed', reason: { name: 'InvalidContentPiece' } })
  })

  it('with another error decides nothing', async () => {
    const { record } = await accept('busy', { error: failure('Busy', 'Try again later') })
    expect(record).toMatchObject({ stage: 'queued' })
  })
})
