import type { Receipt } from '@ucanto/interface'
import { type FilecoinAcceptSuccess, failure, type PieceLink, Tasks } from '@w3filecoin/capabilities'
import { verifyInclusion } from '@w3filecoin/piece'
import { Authority, issueReceipt, onConclude, Peer } from '@w3filecoin/runtime'
import {
  ask,
  type Content,
  cut,
  effectsOf,
  linkOf,
  networkOf,
  served,
  someContent,
  somePiece,
} from '@w3filecoin/testing'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { createStorefront, type Dependencies } from '../src/index.ts'
import {
  aggregateOf,
  aggregator,
  aws,
  clock,
  conclude,
  contents,
  dealer,
  errorOf,
  offer,
  offers,
  parts,
  queuedPieces,
  recordOf,
  service,
  settle,
  state,
  storefront,
  sweepAfter,
  theAggregator,
  timing,
  upload,
  uploaded,
} from './setup.ts'

/** What the workflow of a piece ended with, if it did. */
const endOf = async (content: Pick<Content, 'content' | 'piece'>) =>
  served(service.api, (await Tasks.filecoinAccept(storefront, content)).cid)
const submitOf = async (content: Pick<Content, 'content' | 'piece'>) =>
  served(service.api, (await Tasks.filecoinSubmit(storefront, content)).cid)

/** Why it ended, as plain values. */
const reasonOf = (receipt: Receipt | undefined) => {
  const error = receipt && errorOf(receipt)
  return error && { ...error, content: `${(error as { content?: unknown }).content}` }
}

type Cut = (whole: Dependencies) => Partial<Dependencies>

describe('S4: content that is not there', () => {
  it('is refused where the configuration says so; nothing is noted, and it goes through when it is there', async () => {
    const { api } = createStorefront({ ...parts, missingContent: 'refuse' })
    const content = await someContent('refused')
    const task = await offer(content)
    const refusal = await ask(api, task)
    expect(reasonOf(refusal)).toMatchObject({ name: 'ContentNotFound', content: `${content.content}` })
    expect(effectsOf(refusal)).toEqual({ fork: [], join: undefined })
    expect(await recordOf(content)).toBeUndefined()
    expect(await served(api, refusal.ran.link())).toBeUndefined()
    expect(await aws.drain('submit')).toEqual([])

    upload(content)
    expect((await ask(api, task)).out.ok).toBeDefined()
    contents.delete(`${content.content}`)
    expect((await ask(api, task)).out.ok, 'what is known is not looked for again').toBeDefined()
    upload(content)
    await settle()
    expect(await recordOf(content)).toMatchObject({ stage: 'queued' })
  })

  it('can be offered later where that can not be told', async () => {
    const content = {
      ...parts.content,
      has: async () => {
        throw new Error('https://secret.example answered 500')
      },
    }
    const { api } = createStorefront({ ...parts, missingContent: 'refuse', content })
    const error = errorOf(await ask(api, await offer(await someContent('unknown'))))
    expect(error?.name).toBe('HandlerExecutionError')
    expect(error?.message).not.toContain('secret')
  })
})

describe('content that can not be read', () => {
  const SECRET = 'https://secret.example/?token=1 failed at /var/task/store.ts:1'
  const sources: [string, (content: Content) => (() => AsyncIterable<Uint8Array>) | undefined, string][] = [
    ['is not there', () => undefined, 'There is no content'],
    [
      'can not be opened',
      () => () => {
        throw new Error(SECRET)
      },
      'cannot be read',
    ],
    [
      'breaks off',
      ({ bytes }) =>
        async function* () {
          yield bytes.subarray(0, 500)
          throw new Error(SECRET)
        },
      'cannot be read',
    ],
    [
      'takes too long',
      ({ bytes }) =>
        async function* () {
          yield bytes.subarray(0, 500)
          await new Promise(() => {})
        },
      'cannot be read in 14 minutes: 500 bytes arrived',
    ],
    [
      'is cut short without a word',
      ({ bytes }) =>
        async function* () {
          yield bytes.subarray(0, 500)
        },
      'cannot be read: the 500 bytes received do not hash to it',
    ],
    [
      'is an error page in fact',
      () =>
        async function* () {
          yield Buffer.from('Bad gateway')
        },
      'cannot be read: the 11 bytes received do not hash to it',
    ],
  ]
  /** Nobody wants to wait here for what takes too long. */
  const hurry = (how: string) => {
    const { timeout } = AbortSignal
    if (how === 'takes too long')
      vi.spyOn(AbortSignal, 'timeout').mockImplementation(time => timeout(time > 60_000 ? 100 : time))
  }
  afterEach(() => void vi.restoreAllMocks())
  const offered = async (seed: string, source: (typeof sources)[number][1]) => {
    const content = await someContent(seed)
    const reading = source(content)
    if (reading) contents.set(`${content.content}`, reading)
    await ask(service.api, await offer(content))
    await settle()
    return content
  }
  const bytesServed = async (task: { cid: unknown }) =>
    Buffer.from(await (await service.api.request(`/receipt/${task.cid}`)).arrayBuffer()).toString('latin1')

  it.each(sources)('that %s is looked for again, and the record says why', async (how, source, message) => {
    hurry(how)
    const content = await offered(`later ${how}`, source)
    const before = await recordOf(content)
    expect(before).toMatchObject({ stage: 'offered', trouble: { times: 1 } })
    expect(before?.trouble?.message).toContain(message)
    expect(JSON.stringify(before)).not.toContain('secret')
    expect(await submitOf(content)).toBeUndefined()
    upload(content)
    await sweepAfter(timing.retryMs)
    expect(await recordOf(content)).toMatchObject({ stage: 'queued' })
    expect((await submitOf(content))?.out.ok).toBeDefined()
  })

  it.each(sources)('that %s is given up in the end', async (how, source, message) => {
    hurry(how)
    const content = await offered(`never ${how}`, source)
    await sweepAfter(timing.contentWaitMs - 1)
    expect(await recordOf(content)).toMatchObject({ stage: 'offered', trouble: { times: 2 } })
    expect(await endOf(content)).toBeUndefined()
    await sweepAfter(6 * 3_600_000)
    for (const receipt of [await submitOf(content), await endOf(content)]) {
      expect(reasonOf(receipt)).toMatchObject({ name: 'ContentNotFound', content: `${content.content}` })
      expect(reasonOf(receipt)?.message).toContain(message)
      expect(effectsOf(receipt!)).toEqual({ fork: [], join: undefined })
    }
    const record = await recordOf(content)
    expect(record).toMatchObject({ stage: 'failed', reason: { name: 'ContentNotFound' } })
    expect(record?.checkAt).toBeUndefined()
    const tasks = [
      await Tasks.filecoinSubmit(storefront, content),
      await Tasks.filecoinAccept(storefront, content),
    ]
    for (const task of tasks) expect(await bytesServed(task)).not.toContain('secret')

    // It is the end, also when the content comes after it.
    upload(content)
    await parts.queues.submit.send([{ id: record!.id }])
    await settle()
    expect(await recordOf(content)).toEqual(record)
  })

  it.each<[string, Cut]>([
    [
      'before the receipt',
      ({ stores }) => ({ stores: { ...stores, receipts: cut(stores.receipts, 'put') } }),
    ],
    ['before the record', ({ stores }) => ({ stores: { ...stores, piece: cut(stores.piece, 'replace') } })],
  ])('is given up once, also when that is cut %s', async (how, cutting) => {
    const content = await offered(how, () => undefined)
    await sweepAfter(timing.contentWaitMs - 1)
    const { id } = (await recordOf(content))!
    const { consumers } = createStorefront({
      ...parts,
      ...cutting(parts),
      timing: { ...timing, contentWaitMs: 1 },
    })
    await parts.queues.submit.send([{ id }])
    expect((await aws.deliver('submit', consumers.submit as never)).failed).toMatchObject([
      { message: 'Cut by the test' },
    ])
    await aws.settle(consumers)
    expect(await recordOf(content)).toMatchObject({ stage: 'failed' })
    expect((await endOf(content))?.out.error).toMatchObject({ name: 'ContentNotFound' })
  })
})

describe('content that hashes to another piece', () => {
  const RAW = 0x55
  const CAR = 0x0202
  const DAG_PB = 0x70
  /** What the source gives for it changes; `content` says what it is called. */
  const offered = async (seed: string, codec: number) => {
    const [{ bytes }, { piece }] = [await someContent(seed), await someContent(`not ${seed}`)]
    const named = { content: linkOf(bytes, codec), piece, bytes }
    upload(named)
    await ask(service.api, await offer(named))
    await settle()
    return named
  }
  const give = ({ content }: Content, seed: string) =>
    someContent(seed).then(({ bytes }) => upload({ content, bytes } as Content))

  it.each([
    ['a block', RAW],
    ['a CAR', CAR],
  ])('ends at once where its CID is the hash of its bytes: %s', async (name, codec) => {
    const content = await offered(name, codec)
    expect(await recordOf(content)).toMatchObject({
      stage: 'failed',
      reason: { name: 'InvalidContentPiece' },
    })
    expect((await submitOf(content))?.out.error).toMatchObject({ name: 'InvalidPieceCID' })
  })

  it('does not, where its CID is the hash of other bytes', async () => {
    const { content, piece } = await someContent('the content')
    await give({ content } as Content, 'something else')
    await ask(service.api, await offer({ content, piece: (await someContent('something else')).piece }))
    await ask(service.api, await offer({ content, piece }))
    await settle()
    const something = await recordOf({ content, piece: (await someContent('something else')).piece })
    expect(something, 'nor is it taken for the content').toMatchObject({ stage: 'offered' })
    expect(await recordOf({ content, piece })).toMatchObject({ stage: 'offered' })
  })

  it('is looked at twice where its CID says nothing of its bytes', async () => {
    const content = await offered('looked at twice', DAG_PB)
    const before = await recordOf(content)
    expect(before).toMatchObject({ stage: 'offered', trouble: { times: 1 } })
    expect(before?.trouble?.message).toContain('it is read once more to confirm this')
    expect(await submitOf(content)).toBeUndefined()
    // Whoever offers it again meanwhile has it looked at, but that is the same time.
    clock.now += timing.retryMs - 1
    await ask(service.api, await offer(content))
    await parts.queues.submit.send([{ id: before!.id }, { id: before!.id }])
    await settle()
    expect(await recordOf(content)).toMatchObject({ stage: 'offered' })
    await sweepAfter(timing.retryMs)
    expect(await recordOf(content)).toMatchObject({
      stage: 'failed',
      reason: { name: 'InvalidContentPiece' },
    })
    expect((await submitOf(content))?.out.error).toMatchObject({ name: 'InvalidPieceCID' })
  })

  it('goes on where it was something else that was given for it', async () => {
    const content = await offered('a bad day', DAG_PB)
    await give(content, 'another bad day')
    await sweepAfter(timing.retryMs)
    expect(await recordOf(content)).toMatchObject({ stage: 'offered', trouble: { times: 2 } })
    await give(content, 'not a bad day')
    await sweepAfter(timing.retryMs * 2)
    expect(await recordOf(content)).toMatchObject({ stage: 'queued' })
    expect((await recordOf(content))?.trouble).toBeUndefined()
  })

  it('is given up where it is another one each time', async () => {
    const content = await offered('never the same', DAG_PB)
    await give(content, 'still not the same')
    await sweepAfter(timing.contentWaitMs)
    expect(await recordOf(content)).toMatchObject({ stage: 'failed', reason: { name: 'ContentNotFound' } })
  })
})

describe('reading content', () => {
  it.each<[string, Cut]>([
    ['before the record', ({ stores }) => ({ stores: { ...stores, piece: cut(stores.piece, 'replace') } })],
    [
      'before the receipt',
      ({ stores }) => ({ stores: { ...stores, receipts: cut(stores.receipts, 'put') } }),
    ],
    [
      'before the message',
      ({ queues }) => ({ queues: { ...queues, aggregation: cut(queues.aggregation, 'send') } }),
    ],
  ])('cut %s is done again', async (how, cutting) => {
    const content = await uploaded(`cut ${how}`)
    await ask(service.api, await offer(content))
    const { consumers } = createStorefront({ ...parts, ...cutting(parts) })
    const { failed } = await aws.deliver('submit', consumers.submit as never)
    expect(failed).toMatchObject([{ message: 'Cut by the test' }])
    expect((await recordOf(content))?.trouble).toBeUndefined()
    await settle()
    expect(await recordOf(content)).toMatchObject({ stage: 'queued' })
    expect(new Set(offers.map(({ cid }) => `${cid}`)).size).toBe(1)
  })
})

describe('a piece that the aggregator refuses for good', () => {
  it.each([
    ['InvalidPieceCID', 'InvalidContentPiece'],
    ['ProofNotFound', 'ProofNotFound'],
  ])('as %s ends with %s', async (name, expected) => {
    state.refusal = failure(name, 'too large')
    const content = await uploaded(`refused as ${name}`)
    await ask(service.api, await offer(content))
    await settle()
    expect((await endOf(content))?.out.error).toMatchObject({ name: expected, message: 'too large' })
    expect(await recordOf(content)).toMatchObject({ stage: 'failed', reason: { name: expected } })
    expect((await submitOf(content))?.out.ok, 'the content is what it is said to be').toBeDefined()
  })
})

describe('an aggregate that gets no deal', () => {
  /** Pieces that are in one aggregate, and what is said of it. */
  const aggregatedPieces = async <const S extends string[]>(seeds: S, more: PieceLink[] = []) => {
    const pieces = await queuedPieces(...seeds)
    const aggregate = await aggregateOf([...pieces.map(({ piece }) => piece), ...more])
    for (const { piece } of pieces) await conclude(await aggregate.pieceAccepted(piece))
    return { pieces, ...aggregate }
  }
  type Aggregated = Awaited<ReturnType<typeof aggregateOf>>
  /** The dealer offers a piece to the aggregator again, and both tell how it ended well. */
  const inNext = async ({ attempt, retry }: Aggregated, piece: PieceLink) => {
    await ask(theAggregator.api, await retry(piece))
    await sweepAfter(3_600_000)
    const next = await aggregateOf([piece, somePiece(`next to ${piece}`)])
    expect((await conclude(await next.pieceAccepted(piece, attempt))).out.ok).toBeDefined()
    expect((await conclude(await next.inDeal())).out.ok).toBeDefined()
    await settle()
    return next
  }
  const stagesOf = async (content: Content) => (await recordOf(content))?.history.map(({ stage }) => stage)

  it('D5: ends the pieces at fault; the others are followed into the next one, and end with its proof', async () => {
    const first = await aggregatedPieces(['blamed', 'tried again'])
    const [blamed, tried] = first.pieces
    const receipt = await first.inNoDeal({ faults: [blamed.piece], again: [tried.piece] })
    expect((await conclude(receipt)).out.ok).toBeDefined()
    await settle()

    expect(reasonOf(await endOf(blamed))).toMatchObject({
      name: 'InvalidContentPiece',
      message: 'No provider can read it',
      content: `${blamed.content}`,
    })
    expect(await recordOf(blamed)).toMatchObject({ stage: 'failed' })
    expect((await recordOf(blamed))?.checkAt).toBeUndefined()
    expect(await recordOf(tried)).toMatchObject({
      stage: 'retried',
      retryOfferCid: `${(await first.retry(tried.piece)).cid}`,
      former: [{ aggregate: `${first.link}` }],
    })
    expect(await endOf(tried)).toBeUndefined()

    const next = await inNext(first, tried.piece)
    const { piece, aggregate, inclusion } = (await endOf(tried))!.out.ok as FilecoinAcceptSuccess
    expect(`${aggregate}`).toBe(`${next.link}`)
    expect(verifyInclusion({ piece, aggregate, inclusion } as never)).toMatchObject({ ok: {} })
    expect(await stagesOf(tried)).toEqual([
      'offered',
      'submitted',
      'queued',
      'aggregated',
      'retried',
      'queued',
      'aggregated',
      'accepted',
    ])

    // What comes twice and late changes nothing.
    const before = await Promise.all([blamed, tried].map(content => recordOf(content)))
    for (const late of [receipt, await first.inDeal(), await first.pieceAccepted(tried.piece)])
      await conclude(late)
    await parts.queues.aggregation.send(before.map(record => ({ id: record!.id })))
    await sweepAfter(timing.pollMs)
    expect(await Promise.all([blamed, tried].map(content => recordOf(content)))).toEqual(before)
  })

  it('may be followed by another one that gets none', async () => {
    const first = await aggregatedPieces(['again and again'])
    const [content] = first.pieces
    let failed: Aggregated = first
    const links = [`${first.link}`]
    for (let n = 0; n < 3; n++) {
      await conclude(await failed.inNoDeal({ again: [content.piece] }))
      await settle()
      await ask(theAggregator.api, await failed.retry(content.piece))
      await sweepAfter(timing.retryMs)
      // The second one is of the same piece alone: the same aggregate, with a nonce.
      const next = await (n === 0
        ? aggregateOf([content.piece], 'sealed again')
        : aggregateOf([content.piece, somePiece(n)]))
      await conclude(await next.pieceAccepted(content.piece, failed.attempt))
      expect(await recordOf(content)).toMatchObject({ stage: 'aggregated', aggregate: `${next.link}` })
      expect((await recordOf(content))?.former?.map(({ aggregate }) => aggregate)).toEqual(links)
      links.push(`${next.link}`)
      failed = next
    }
    expect(links[1]).toBe(links[0])
  })

  it('is told of by a receipt with very many effects, which is fetched whole', async () => {
    const others = Array.from({ length: 101 }, (_, n) => somePiece(`many ${n}`))
    const first = await aggregatedPieces(['one of many', 'at fault among many'], others)
    const [tried, blamed] = first.pieces
    const receipt = await first.inNoDeal({ faults: [blamed.piece], again: [...others, tried.piece] })
    const promised = { out: { ok: {} }, fx: { join: first.aggregateAccept } }
    await theAggregator.receipts.put(await issueReceipt(dealer, first.aggregateOffer, promised))
    await theAggregator.receipts.put(receipt)

    const authority = new Authority([])
    const here = { did: storefront.did(), url: 'https://storefront.test' }
    const fetch = networkOf(() => [{ ...here, api: service.api }])
    const handing = onConclude({
      id: aggregator,
      receipts: theAggregator.receipts,
      peers: new Map([[here.did, new Peer(here, { authority, fetch })]]),
      log: (_, event) => expect.fail(event),
    })
    await handing.handle([{ to: here.did, tasks: [`${receipt.ran.link()}`] }])
    expect(await parts.stores.aggregate.get({ id: (await recordOf(tried))!.aggregateId! })).toMatchObject({
      stage: 'offered',
    })
    await settle()
    expect(await recordOf(tried)).toMatchObject({ stage: 'retried' })
    expect(await recordOf(blamed)).toMatchObject({ stage: 'failed' })
  })

  it.each<[string, 'handed over' | 'asked for']>([
    ['is seen when it is handed over', 'handed over'],
    ['is seen when it is asked for', 'asked for'],
  ])('since the dealer refused its offer, %s', async (_, how) => {
    const first = await aggregatedPieces([`refused and ${how}`, `not at fault and ${how}`])
    const [blamed, tried] = first.pieces
    const refusal = await first.inNoDeal(
      { faults: [blamed.piece], again: [tried.piece] },
      first.aggregateOffer,
    )
    if (how === 'handed over') await conclude(refusal)
    else await theAggregator.receipts.put(refusal)
    await sweepAfter(timing.pollMs)
    expect((await endOf(blamed))?.out.error).toMatchObject({ name: 'InvalidContentPiece' })
    expect(await recordOf(tried)).toMatchObject({ stage: 'retried' })
  })

  it('has not failed when its offer is taken', async () => {
    const first = await aggregatedPieces(['taken'])
    const taken = await issueReceipt(dealer, first.aggregateOffer, {
      out: { ok: { aggregate: first.link } },
      fx: { join: first.aggregateAccept },
    })
    expect((await conclude(taken)).out.ok).toBeDefined()
    await settle()
    expect(await recordOf(first.pieces[0]!)).toMatchObject({ stage: 'aggregated' })
  })

  it('that says nothing of a piece ends it', async () => {
    const first = await aggregatedPieces(['not mentioned'])
    await conclude(await first.inNoDeal({ again: [somePiece('another')] }))
    await settle()
    expect((await endOf(first.pieces[0]!))?.out.error).toMatchObject({ name: 'ProofNotFound' })
  })

  it('is heard of also by a piece that hears late that it is in it', async () => {
    const [early, late] = await queuedPieces('in time', 'too late')
    const aggregate = await aggregateOf([early.piece, late.piece])
    await conclude(await aggregate.pieceAccepted(early.piece))
    await conclude(await aggregate.inNoDeal({ again: [early.piece], faults: [late.piece] }))
    await settle()
    expect(await recordOf(late)).toMatchObject({ stage: 'queued' })
    await conclude(await aggregate.pieceAccepted(late.piece))
    await settle()
    expect(await recordOf(late)).toMatchObject({ stage: 'failed', reason: { name: 'InvalidContentPiece' } })
    expect(await recordOf(early)).toMatchObject({ stage: 'retried' })
  })

  it.each([
    ['ProofNotFound', 'ProofNotFound'],
    ['InvalidPieceCID', 'InvalidContentPiece'],
    ['UnknownAggregate', 'ProofNotFound'],
  ])('is the last one where the aggregator refuses the retry: %s ends with %s', async (name, expected) => {
    const first = await aggregatedPieces([`retry refused as ${name}`])
    const [content] = first.pieces
    await conclude(await first.inNoDeal({ again: [content.piece] }))
    await settle()
    const refusal = { out: { error: failure(name, 'ten times is enough') } }
    await theAggregator.receipts.put(
      await issueReceipt(aggregator, await first.retry(content.piece), refusal),
    )
    await sweepAfter(timing.retryMs)
    expect(reasonOf(await endOf(content))).toMatchObject({ name: expected, message: 'ten times is enough' })
    const record = await recordOf(content)
    expect(record).toMatchObject({ stage: 'failed', reason: { name: expected } })
    expect(record?.checkAt).toBeUndefined()
  })

  it('is followed also when the aggregator could not be reached for a while', async () => {
    const first = await aggregatedPieces(['out of reach'])
    const [content] = first.pieces
    await conclude(await first.inNoDeal({ again: [content.piece] }))
    state.down = true
    await settle()
    expect(await recordOf(content)).toMatchObject({
      stage: 'retried',
      trouble: { message: `${aggregator.did()} can not be reached`, times: 1 },
    })
    state.down = false
    await inNext(first, content.piece)
    expect(await recordOf(content)).toMatchObject({ stage: 'accepted' })
    expect((await recordOf(content))?.trouble).toBeUndefined()
  })

  it.each<[string, Cut]>([
    [
      'before what becomes of the pieces is stored',
      ({ stores }) => ({ stores: { ...stores, blocks: cut(stores.blocks, 'put') } }),
    ],
    [
      'before the aggregate is marked',
      ({ stores }) => ({ stores: { ...stores, aggregate: cut(stores.aggregate, 'replace') } }),
    ],
    [
      'before the ranges of its pieces are sent',
      ({ queues }) => ({ queues: { ...queues, outcome: cut(queues.outcome, 'send') } }),
    ],
    [
      'before what becomes of the pieces is read',
      ({ stores }) => ({ stores: { ...stores, blocks: cut(stores.blocks, 'get') } }),
    ],
    [
      'before a receipt is filed',
      ({ stores }) => ({ stores: { ...stores, receipts: cut(stores.receipts, 'put') } }),
    ],
    [
      'before a piece is marked',
      ({ stores }) => ({ stores: { ...stores, piece: cut(stores.piece, 'replace') } }),
    ],
    [
      'before the aggregator is asked',
      ({ queues }) => ({ queues: { ...queues, aggregation: cut(queues.aggregation, 'send') } }),
    ],
  ])('cut %s ends the same', async (how, cutting) => {
    const first = await aggregatedPieces([`blamed, cut ${how}`, `tried, cut ${how}`])
    const [blamed, tried] = first.pieces
    const receipt = await first.inNoDeal({ faults: [blamed.piece], again: [tried.piece] })
    const { api, consumers } = createStorefront({ ...parts, ...cutting(parts) })
    const told = await Tasks.conclude(aggregator, storefront, {
      root: receipt.root,
      blocks: receipt.iterateIPLDBlocks(),
    })
    const answer = errorOf(await ask(api, told))
    const { failed } = await aws.deliver('outcome', consumers.outcome as never)
    expect([answer?.name, ...failed].filter(reason => reason !== undefined)).toHaveLength(1)
    await conclude(receipt)
    await settle()
    // Should the messages have been lost, the sweep looks once more.
    await sweepAfter(timing.pollMs)
    expect(await recordOf(blamed)).toMatchObject({ stage: 'failed' })
    expect((await endOf(blamed))?.out.error).toMatchObject({ name: 'InvalidContentPiece' })
    expect(await recordOf(tried)).toMatchObject({
      stage: 'retried',
      former: [{ aggregate: `${first.link}` }],
    })
    await inNext(first, tried.piece)
    expect(await stagesOf(tried)).toHaveLength(8)
    expect((await endOf(tried))?.out.ok).toBeDefined()
  })
})

describe('the sweep', () => {
  it('goes through all tables, also where one can not be swept', async () => {
    const [only] = await queuedPieces('swept')
    const { aggregateOffer, pieceAccepted, inNoDeal } = await aggregateOf([only.piece])
    await conclude(await pieceAccepted(only.piece))
    await theAggregator.receipts.put(await inNoDeal({ faults: [only.piece] }, aggregateOffer))
    const { stores } = parts
    const { schedules } = createStorefront({
      ...parts,
      stores: { ...stores, piece: cut(stores.piece, 'find', Infinity) },
    })
    clock.now += timing.pollMs
    await expect(schedules.sweep!()).rejects.toThrow('Cut by the test')
    await settle()
    expect(await recordOf(only)).toMatchObject({ stage: 'failed' })
  })
})
