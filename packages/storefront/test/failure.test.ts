import type { Receipt } from '@ucanto/interface'
import { type FilecoinAcceptSuccess, failure, type PieceLink, Tasks } from '@w3filecoin/capabilities'
import { verifyInclusion } from '@w3filecoin/piece'
import { Authority, configuredPeers, issueReceipt, onConclude, Peer } from '@w3filecoin/runtime'
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
  dependencies,
  errorOf,
  offer,
  offers,
  queuePieces,
  recordOf,
  service,
  settle,
  state,
  storefront,
  sweepAfter,
  theAggregator,
  timing,
  upload,
  uploadContent,
} from './setup.ts'

/** Returns the receipt of `filecoin/accept`, if the workflow of the piece has ended. */
const endOf = async (content: Pick<Content, 'content' | 'piece'>) =>
  served(service.api, (await Tasks.filecoinAccept(storefront, content)).cid)
/** Returns the receipt of `filecoin/submit`, if it exists. */
const submitOf = async (content: Pick<Content, 'content' | 'piece'>) =>
  served(service.api, (await Tasks.filecoinSubmit(storefront, content)).cid)

/** Returns the error of a receipt as plain values. */
const reasonOf = (receipt: Receipt | undefined) => {
  const error = receipt && errorOf(receipt)
  return error && { ...error, content: `${(error as { content?: unknown }).content}` }
}

/** Replaces some dependencies, so that a run is killed at one step. */
type Cut = (whole: Dependencies) => Partial<Dependencies>

describe('S4: an offer of content that does not exist', () => {
  it('is refused if so configured, is not recorded, and succeeds after the upload', async () => {
    const { api } = createStorefront({ ...dependencies, missingContent: 'refuse' })
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
    expect(
      (await ask(api, task)).out.ok,
      'the content of a recorded offer is not checked again',
    ).toBeDefined()
    upload(content)
    await settle()
    expect(await recordOf(content)).toMatchObject({ stage: 'queued' })
  })

  it('fails, and can be repeated, if the source fails', async () => {
    const content = {
      ...dependencies.content,
      has: async () => {
        throw new Error('https://secret.example answered 500')
      },
    }
    const { api } = createStorefront({ ...dependencies, missingContent: 'refuse', content })
    const error = errorOf(await ask(api, await offer(await someContent('unknown'))))
    expect(error?.name).toBe('HandlerExecutionError')
    expect(error?.message).not.toContain('secret')
  })
})

describe('content that cannot be read', () => {
  const SECRET = 'https://secret.example/?token=1 failed at /var/task/store.ts:1'
  const sources: [string, (content: Content) => (() => AsyncIterable<Uint8Array>) | undefined, string][] = [
    ['does not exist', () => undefined, 'There is no content'],
    [
      'cannot be opened',
      () => () => {
        throw new Error(SECRET)
      },
      'cannot be read',
    ],
    [
      'fails in the middle',
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
      'cannot be read: less than 64 KiB a second arrived',
    ],
    [
      'is truncated without an error',
      ({ bytes }) =>
        async function* () {
          yield bytes.subarray(0, 500)
        },
      'cannot be read: the bytes received do not hash to it',
    ],
    [
      'is an error page',
      () =>
        async function* () {
          yield Buffer.from('Bad gateway')
        },
      'cannot be read: the bytes received do not hash to it',
    ],
  ]
  /** Shortens the time to read content that takes too long. */
  const shortenTimeout = (how: string) => {
    const { timeout } = AbortSignal
    if (how === 'takes too long')
      vi.spyOn(AbortSignal, 'timeout').mockImplementation(time => timeout(time === 30_000 ? 50 : time))
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

  it.each(sources)(
    'that %s is retried, and the record contains the problem',
    async (how, source, message) => {
      shortenTimeout(how)
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
    },
  )

  it.each(sources)('that %s is abandoned in the end', async (how, source, message) => {
    shortenTimeout(how)
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

    // Content that arrives after the end changes nothing.
    upload(content)
    await dependencies.queues.submit.send([{ id: record!.id }])
    await settle()
    expect(await recordOf(content)).toEqual(record)
  })

  it.each<[string, Cut]>([
    [
      'before the receipt',
      ({ stores }) => ({ stores: { ...stores, receipts: cut(stores.receipts, 'put') } }),
    ],
    ['before the record', ({ stores }) => ({ stores: { ...stores, piece: cut(stores.piece, 'replace') } })],
  ])('is abandoned once, even if the run is killed %s', async (how, cutAt) => {
    const content = await offered(how, () => undefined)
    await sweepAfter(timing.contentWaitMs - 1)
    const { id } = (await recordOf(content))!
    const { consumers } = createStorefront({
      ...dependencies,
      ...cutAt(dependencies),
      timing: { ...timing, contentWaitMs: 1 },
    })
    await dependencies.queues.submit.send([{ id }])
    expect((await aws.deliver('submit', consumers.submit as never)).failed).toMatchObject([
      { message: 'Cut by the test' },
    ])
    // The claim of the killed run ends by itself.
    await sweepAfter(2 * timing.retryMs)
    expect(await recordOf(content)).toMatchObject({ stage: 'failed' })
    expect((await endOf(content))?.out.error).toMatchObject({ name: 'ContentNotFound' })
  })
})

describe('content that hashes to another piece', () => {
  const RAW = 0x55
  const CAR = 0x0202
  const DAG_PB = 0x70
  /** Offers content under a CID with this codec, with the piece of other content. */
  const offered = async (seed: string, codec: number) => {
    const [{ bytes }, { piece }] = [await someContent(seed), await someContent(`not ${seed}`)]
    const named = { content: linkOf(bytes, codec), piece, bytes }
    upload(named)
    await ask(service.api, await offer(named))
    await settle()
    return named
  }
  /** Makes the source return other bytes for the CID. */
  const give = ({ content }: Content, seed: string) =>
    someContent(seed).then(({ bytes }) => upload({ content, bytes } as Content))

  it.each([
    ['a block', RAW],
    ['a CAR', CAR],
  ])('ends the workflow at once if its CID is the hash of its bytes: %s', async (name, codec) => {
    const content = await offered(name, codec)
    expect(await recordOf(content)).toMatchObject({
      stage: 'failed',
      reason: { name: 'InvalidContentPiece' },
    })
    expect((await submitOf(content))?.out.error).toMatchObject({ name: 'InvalidPieceCID' })
  })

  it('is retried if its CID is the hash of other bytes', async () => {
    const { content, piece } = await someContent('the content')
    await give({ content } as Content, 'something else')
    await ask(service.api, await offer({ content, piece: (await someContent('something else')).piece }))
    await ask(service.api, await offer({ content, piece }))
    await settle()
    const something = await recordOf({ content, piece: (await someContent('something else')).piece })
    expect(something, 'even if the piece is that of the other bytes').toMatchObject({ stage: 'offered' })
    expect(await recordOf({ content, piece })).toMatchObject({ stage: 'offered' })
  })

  it('is read twice if its CID is not the hash of its bytes', async () => {
    const content = await offered('read twice', DAG_PB)
    const before = await recordOf(content)
    expect(before).toMatchObject({ stage: 'offered', trouble: { times: 1 } })
    expect(before?.trouble?.message).toContain('it is read once more to confirm this')
    expect(await submitOf(content)).toBeUndefined()
    // A repeated offer causes another read, but too early to confirm the first one.
    clock.now += timing.retryMs - 1
    await ask(service.api, await offer(content))
    await dependencies.queues.submit.send([{ id: before!.id }, { id: before!.id }])
    await settle()
    expect(await recordOf(content)).toMatchObject({ stage: 'offered' })
    await sweepAfter(timing.retryMs)
    expect(await recordOf(content)).toMatchObject({
      stage: 'failed',
      reason: { name: 'InvalidContentPiece' },
    })
    expect((await submitOf(content))?.out.error).toMatchObject({ name: 'InvalidPieceCID' })
  })

  it('B3: is not named in any message, unless its CID is the hash of its bytes', async () => {
    const content = await offered('a page of an internal service', DAG_PB)
    const { piece } = await someContent('a page of an internal service')
    expect((await recordOf(content))?.trouble?.message).not.toContain(`${piece}`)
    await sweepAfter(timing.retryMs)
    const receipt = await submitOf(content)
    expect(receipt?.out.error).toMatchObject({ name: 'InvalidPieceCID' })
    expect(JSON.stringify(receipt?.out.error)).not.toContain(`${piece}`)
    const named = await offered('a block that hashes to its CID', RAW)
    expect(errorOf((await submitOf(named))!)?.message).toContain(
      `${(await someContent('a block that hashes to its CID')).piece}`,
    )
  })

  it.each([
    ['a DAG', DAG_PB, 127],
    ['a block', RAW, 127 + 2 ** 20],
  ])('B3: is not read beyond the bytes that the piece can stand for: %s', async (name, codec, most) => {
    const chunk = new Uint8Array(64 * 1024)
    let sent = 0
    const content = linkOf(Buffer.from(name), codec)
    contents.set(`${content}`, async function* () {
      for (;;) {
        sent += chunk.byteLength
        yield chunk
      }
    })
    const long = { content, piece: somePiece(name, 2) }
    await ask(service.api, await offer(long))
    await settle()
    expect(sent).toBeLessThanOrEqual(most + chunk.byteLength)
    expect((await recordOf(long))?.trouble?.message).toContain('has more bytes than the piece')
    expect(await submitOf(long)).toBeUndefined()
    await sweepAfter(timing.retryMs)
    expect((await submitOf(long))?.out.error).toMatchObject({ name: 'InvalidPieceCID' })
    expect(await recordOf(long)).toMatchObject({ stage: 'failed', reason: { name: 'InvalidContentPiece' } })
  })

  it('B3: is rejected at once if it is a block a little longer than the piece', async () => {
    const { content } = await uploadContent('a little longer', 5000)
    const piece = somePiece('a little longer', 2)
    await ask(service.api, await offer({ content, piece }))
    await settle()
    expect((await submitOf({ content, piece }))?.out.error).toMatchObject({ name: 'InvalidPieceCID' })
  })

  it('B3: is retried if an error page is longer than the piece', async () => {
    const content = await someContent('small', 100)
    await give(content, 'a long error page')
    await ask(service.api, await offer(content))
    await settle()
    for (let n = 0; n < 2; n++) await sweepAfter(timing.retryMs * 4 ** n)
    expect(await recordOf(content)).toMatchObject({ stage: 'offered', trouble: { times: 3 } })
    upload(content)
    await sweepAfter(timing.retryMs * 16)
    expect(await recordOf(content)).toMatchObject({ stage: 'queued' })
  })

  it('is submitted if a later read returns the right bytes', async () => {
    const content = await offered('a bad day', DAG_PB)
    await give(content, 'another bad day')
    await sweepAfter(timing.retryMs)
    expect(await recordOf(content)).toMatchObject({ stage: 'offered', trouble: { times: 2 } })
    await give(content, 'not a bad day')
    await sweepAfter(timing.retryMs * 2)
    expect(await recordOf(content)).toMatchObject({ stage: 'queued' })
    expect((await recordOf(content))?.trouble).toBeUndefined()
  })

  it('is abandoned if each read finds another piece', async () => {
    const content = await offered('never the same', DAG_PB)
    await give(content, 'still not the same')
    await sweepAfter(timing.contentWaitMs)
    expect(await recordOf(content)).toMatchObject({ stage: 'failed', reason: { name: 'ContentNotFound' } })
  })
})

describe('a run that reads content', () => {
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
  ])('is repeated if it is killed %s', async (how, cutAt) => {
    const content = await uploadContent(`cut ${how}`)
    await ask(service.api, await offer(content))
    const { consumers } = createStorefront({ ...dependencies, ...cutAt(dependencies) })
    const { failed } = await aws.deliver('submit', consumers.submit as never)
    expect(failed).toMatchObject([{ message: 'Cut by the test' }])
    expect((await recordOf(content))?.trouble).toBeUndefined()
    // The claim of the killed run ends by itself.
    await settle()
    await sweepAfter(2 * timing.retryMs)
    expect(await recordOf(content)).toMatchObject({ stage: 'queued' })
    expect(new Set(offers.map(({ cid }) => `${cid}`)).size).toBe(1)
  })
})

describe('a piece that the aggregator refuses with a final failure', () => {
  it.each([
    ['InvalidPieceCID', 'InvalidContentPiece'],
    ['ProofNotFound', 'ProofNotFound'],
  ])('%s ends with %s', async (name, expected) => {
    state.refusal = failure(name, 'too large')
    const content = await uploadContent(`refused as ${name}`)
    await ask(service.api, await offer(content))
    await settle()
    expect((await endOf(content))?.out.error).toMatchObject({ name: expected, message: 'too large' })
    expect(await recordOf(content)).toMatchObject({ stage: 'failed', reason: { name: expected } })
    expect((await submitOf(content))?.out.ok, 'the content hashes to the piece').toBeDefined()
  })
})

describe('an aggregate that gets no deal', () => {
  /** Offers new pieces, and puts them into one aggregate; `more` are pieces of other storefronts. */
  const aggregatePieces = async <const S extends string[]>(seeds: S, more: PieceLink[] = []) => {
    const pieces = await queuePieces(...seeds)
    const aggregate = await aggregateOf([...pieces.map(({ piece }) => piece), ...more])
    for (const { piece } of pieces) await conclude(await aggregate.acceptPiece(piece))
    return { pieces, ...aggregate }
  }
  type Aggregated = Awaited<ReturnType<typeof aggregateOf>>
  /** Puts a retried piece into a second aggregate, which gets a deal. */
  const acceptInNext = async ({ attempt, retry }: Aggregated, piece: PieceLink) => {
    await ask(theAggregator.api, await retry(piece))
    await sweepAfter(3_600_000)
    const next = await aggregateOf([piece, somePiece(`next to ${piece}`)])
    expect((await conclude(await next.acceptPiece(piece, attempt))).out.ok).toBeDefined()
    expect((await conclude(await next.acceptAggregate())).out.ok).toBeDefined()
    await settle()
    return next
  }
  const stagesOf = async (content: Content) => (await recordOf(content))?.history.map(({ stage }) => stage)

  it('D5: ends its invalid pieces, and the other ones end with the proof of the next aggregate', async () => {
    const first = await aggregatePieces(['invalid', 'retried'])
    const [invalid, tried] = first.pieces
    const receipt = await first.failAggregate({ invalid: [invalid.piece], retried: [tried.piece] })
    expect((await conclude(receipt)).out.ok).toBeDefined()
    await settle()

    expect(reasonOf(await endOf(invalid))).toMatchObject({
      name: 'InvalidContentPiece',
      message: 'No provider can read it',
      content: `${invalid.content}`,
    })
    expect(await recordOf(invalid)).toMatchObject({ stage: 'failed' })
    expect((await recordOf(invalid))?.checkAt).toBeUndefined()
    expect(await recordOf(tried)).toMatchObject({
      stage: 'retried',
      retryOfferCid: `${(await first.retry(tried.piece)).cid}`,
      former: [{ aggregate: `${first.link}` }],
    })
    expect(await endOf(tried)).toBeUndefined()

    const next = await acceptInNext(first, tried.piece)
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

    // Repeated and late receipts change nothing.
    const before = await Promise.all([invalid, tried].map(content => recordOf(content)))
    for (const late of [receipt, await first.acceptAggregate(), await first.acceptPiece(tried.piece)])
      await conclude(late)
    await dependencies.queues.aggregation.send(before.map(record => ({ id: record!.id })))
    await sweepAfter(timing.pollMs)
    expect(await Promise.all([invalid, tried].map(content => recordOf(content)))).toEqual(before)
  })

  it('may be followed by more aggregates that get no deal', async () => {
    const first = await aggregatePieces(['again and again'])
    const [content] = first.pieces
    let failed: Aggregated = first
    const links = [`${first.link}`]
    for (let n = 0; n < 3; n++) {
      await conclude(await failed.failAggregate({ retried: [content.piece] }))
      await settle()
      await ask(theAggregator.api, await failed.retry(content.piece))
      await sweepAfter(timing.retryMs)
      // The second aggregate contains the same piece only: it has the same CID, and a nonce.
      const next = await (n === 0
        ? aggregateOf([content.piece], 'sealed again')
        : aggregateOf([content.piece, somePiece(n)]))
      await conclude(await next.acceptPiece(content.piece, failed.attempt))
      expect(await recordOf(content)).toMatchObject({ stage: 'aggregated', aggregate: `${next.link}` })
      expect((await recordOf(content))?.former?.map(({ aggregate }) => aggregate)).toEqual(links)
      links.push(`${next.link}`)
      failed = next
    }
    expect(links[1]).toBe(links[0])
  })

  it('is known from a receipt with too many effects to be delivered, which is fetched whole', async () => {
    const others = Array.from({ length: 101 }, (_, n) => somePiece(`many ${n}`))
    const first = await aggregatePieces(['one of many', 'invalid among many'], others)
    const [tried, invalid] = first.pieces
    const receipt = await first.failAggregate({ invalid: [invalid.piece], retried: [...others, tried.piece] })
    await theAggregator.receipts.put(first.promise)
    await theAggregator.receipts.put(receipt)

    const authority = new Authority()
    const here = { did: storefront.did(), url: 'https://storefront.test' }
    const fetch = networkOf(() => [{ ...here, api: service.api }])
    const handing = onConclude({
      id: aggregator,
      receipts: theAggregator.receipts,
      peers: configuredPeers([new Peer(here, { authority, fetch })]),
      log: (_, event) => expect.fail(event),
    })
    await handing.handle([{ to: here.did, tasks: [`${receipt.ran.link()}`] }])
    expect(
      await dependencies.stores.aggregate.get({ id: (await recordOf(tried))!.aggregateId! }),
    ).toMatchObject({
      stage: 'offered',
    })
    await settle()
    expect(await recordOf(tried)).toMatchObject({ stage: 'retried' })
    expect(await recordOf(invalid)).toMatchObject({ stage: 'failed' })
  })

  it.each<[string, 'handed over' | 'asked for']>([
    ['receives the receipt', 'handed over'],
    ['fetches the receipt', 'asked for'],
  ])('is settled if the dealer refused its offer and the storefront %s', async (_, how) => {
    const first = await aggregatePieces([`refused and ${how}`, `valid and ${how}`])
    const [invalid, tried] = first.pieces
    const refusal = await first.failAggregate(
      { invalid: [invalid.piece], retried: [tried.piece] },
      first.aggregateOffer,
    )
    if (how === 'handed over') await conclude(refusal)
    else await theAggregator.receipts.put(refusal)
    await sweepAfter(timing.pollMs)
    expect((await endOf(invalid))?.out.error).toMatchObject({ name: 'InvalidContentPiece' })
    expect(await recordOf(tried)).toMatchObject({ stage: 'retried' })
  })

  it('has not failed when the dealer accepts its offer', async () => {
    const first = await aggregatePieces(['accepted'])
    expect((await conclude(first.promise)).out.ok).toBeDefined()
    await settle()
    expect(await recordOf(first.pieces[0]!)).toMatchObject({ stage: 'aggregated' })
  })

  it('ends a piece that its receipt does not mention', async () => {
    const first = await aggregatePieces(['not mentioned'])
    await conclude(await first.failAggregate({ retried: [somePiece('another')] }))
    await settle()
    expect((await endOf(first.pieces[0]!))?.out.error).toMatchObject({ name: 'ProofNotFound' })
  })

  it('also settles a piece that joins it after the outcome', async () => {
    const [early, late] = await queuePieces('in time', 'too late')
    const aggregate = await aggregateOf([early.piece, late.piece])
    await conclude(await aggregate.acceptPiece(early.piece))
    await conclude(await aggregate.failAggregate({ retried: [early.piece], invalid: [late.piece] }))
    await settle()
    expect(await recordOf(late)).toMatchObject({ stage: 'queued' })
    await conclude(await aggregate.acceptPiece(late.piece))
    await settle()
    expect(await recordOf(late)).toMatchObject({ stage: 'failed', reason: { name: 'InvalidContentPiece' } })
    expect(await recordOf(early)).toMatchObject({ stage: 'retried' })
  })

  it.each([
    ['ProofNotFound', 'ProofNotFound'],
    ['InvalidPieceCID', 'InvalidContentPiece'],
    ['UnknownAggregate', 'ProofNotFound'],
  ])('is the last one if the aggregator refuses the retry: %s ends with %s', async (name, expected) => {
    const first = await aggregatePieces([`retry refused as ${name}`])
    const [content] = first.pieces
    await conclude(await first.failAggregate({ retried: [content.piece] }))
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

  it('is followed by the next one even if the aggregator cannot be reached for a while', async () => {
    const first = await aggregatePieces(['out of reach'])
    const [content] = first.pieces
    await conclude(await first.failAggregate({ retried: [content.piece] }))
    state.down = true
    await settle()
    expect(await recordOf(content)).toMatchObject({
      stage: 'retried',
      trouble: { message: `${aggregator.did()} cannot be reached`, times: 1 },
    })
    state.down = false
    await acceptInNext(first, content.piece)
    expect(await recordOf(content)).toMatchObject({ stage: 'accepted' })
    expect((await recordOf(content))?.trouble).toBeUndefined()
  })

  it.each<[string, Cut]>([
    [
      'before the verdicts are stored',
      ({ stores }) => ({ stores: { ...stores, blocks: cut(stores.blocks, 'put') } }),
    ],
    [
      'before the aggregate is marked',
      ({ stores }) => ({ stores: { ...stores, aggregate: cut(stores.aggregate, 'replace') } }),
    ],
    [
      'before the messages to its shards are sent',
      ({ queues }) => ({ queues: { ...queues, outcome: cut(queues.outcome, 'send') } }),
    ],
    [
      'before the verdicts are read',
      ({ stores }) => ({ stores: { ...stores, blocks: cut(stores.blocks, 'get') } }),
    ],
    [
      'before a receipt is stored',
      ({ stores }) => ({ stores: { ...stores, receipts: cut(stores.receipts, 'putMany') } }),
    ],
    [
      'before a piece is marked',
      ({ stores }) => ({ stores: { ...stores, piece: cut(stores.piece, 'replace') } }),
    ],
    [
      'before the message for the retried pieces is sent',
      ({ queues }) => ({ queues: { ...queues, aggregation: cut(queues.aggregation, 'send') } }),
    ],
  ])('has the same result if a run is killed %s', async (how, cutAt) => {
    const first = await aggregatePieces([`invalid, cut ${how}`, `tried, cut ${how}`])
    const [invalid, tried] = first.pieces
    const receipt = await first.failAggregate({ invalid: [invalid.piece], retried: [tried.piece] })
    await conclude(first.promise)
    const { api, consumers } = createStorefront({ ...dependencies, ...cutAt(dependencies) })
    const delivery = await Tasks.conclude(aggregator, storefront, {
      root: receipt.root,
      blocks: receipt.iterateIPLDBlocks(),
    })
    const answer = errorOf(await ask(api, delivery))
    const { failed } = await aws.deliver('outcome', consumers.outcome as never)
    expect([answer?.name, ...failed].filter(reason => reason !== undefined)).toHaveLength(1)
    await conclude(receipt)
    await settle()
    // If the messages were lost, the sweep sends them again.
    await sweepAfter(timing.pollMs)
    expect(await recordOf(invalid)).toMatchObject({ stage: 'failed' })
    expect((await endOf(invalid))?.out.error).toMatchObject({ name: 'InvalidContentPiece' })
    expect(await recordOf(tried)).toMatchObject({
      stage: 'retried',
      former: [{ aggregate: `${first.link}` }],
    })
    await acceptInNext(first, tried.piece)
    expect(await stagesOf(tried)).toHaveLength(8)
    expect((await endOf(tried))?.out.ok).toBeDefined()
  })
})

describe('the sweep', () => {
  it('sweeps every table, even if one of them fails', async () => {
    const [only] = await queuePieces('swept')
    const { aggregateOffer, acceptPiece, failAggregate } = await aggregateOf([only.piece])
    await conclude(await acceptPiece(only.piece))
    await theAggregator.receipts.put(await failAggregate({ invalid: [only.piece] }, aggregateOffer))
    const { stores } = dependencies
    const { schedules } = createStorefront({
      ...dependencies,
      stores: { ...stores, piece: cut(stores.piece, 'find', Infinity) },
    })
    clock.now += timing.pollMs
    await expect(schedules.sweep!()).rejects.toThrow('Cut by the test')
    await settle()
    expect(await recordOf(only)).toMatchObject({ stage: 'failed' })
  })
})
