import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Invocation } from '@ucanto/interface'
import {
  failure,
  type PieceLink,
  type Place,
  type PlaceStatus,
  placeIn,
  toPlaceKey,
} from '@w3filecoin/capabilities'
import { buildAggregate, createHasher, layout } from '@w3filecoin/piece'
import { listAll, type Stored, signPermit } from '@w3filecoin/runtime'
import { bytesOf, served } from '@w3filecoin/testing'
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { policiesOf } from '../src/config.ts'
import type { OpenTarget } from '../src/dependencies.ts'
import { documentName } from '../src/domain/offer-document.ts'
import { markAsked, type OrderRecord, pardon } from '../src/domain/order.ts'
import type { Policy } from '../src/domain/policy.ts'
import { partsToAskFor } from '../src/domain/whole.ts'
import { createDealer } from '../src/index.ts'
import type { MakerOrder, Progress } from '../src/makers/maker.ts'
import {
  aggregator,
  aws,
  clock,
  customer,
  dealer,
  delivered,
  dependencies,
  type Offered,
  offer as offerTo,
  recordOf,
  retried,
  rival,
  sourceAt,
  state,
  TENANT,
  timing,
} from './setup.ts'

const HOUR = 3_600_000
const DAY = 24 * HOUR
/** Parts of 8 KiB after padding, so that a small aggregate has several. */
const PART_BYTES = 127 * 2 ** 6

/** Contents by piece CID, and the answers of the storefront's door. */
const contents = new Map<string, Uint8Array>()
const door = { status: 200, requests: 0, ignoresRanges: false }
const pieces = createServer((request, response) => {
  door.requests++
  const piece = request.url!.split('/').at(-1)!
  if (request.url!.startsWith('/door/')) {
    response.writeHead(door.status === 200 ? 302 : door.status, { location: `/content/${piece}` }).end()
    return
  }
  const bytes = contents.get(piece)
  if (bytes === undefined) return void response.writeHead(404).end()
  if (request.url!.startsWith('/wrong/')) return void response.writeHead(200).end(bytes.map(byte => byte ^ 1))
  const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? []
  if (door.ignoresRanges || from === undefined) return void response.writeHead(200).end(bytes)
  const range = `bytes ${from}-${to}/${bytes.byteLength}`
  response.writeHead(206, { 'content-range': range }).end(bytes.subarray(Number(from), Number(to) + 1))
})
let origin: string
beforeAll(async () => {
  await new Promise<void>(resolve => pieces.listen(0, '127.0.0.1', resolve))
  origin = `http://127.0.0.1:${(pieces.address() as AddressInfo).port}`
})
afterAll(() => pieces.close())

/** Targets whose answers the tests choose. By default, a target stores what it is asked to. */
const asked: { target: string; order: MakerOrder; url: string | undefined }[] = []
const answers = new Map<string, (order: MakerOrder) => Progress | Promise<Progress>>()
const STORING: Progress = { state: 'storing', message: 'it seals' }
const target = (name: string, provider: string, fields: Partial<OpenTarget> = {}): OpenTarget => ({
  name,
  provider,
  place: 'sector',
  maxInFlight: 100,
  deadlineMs: 5 * DAY,
  maker: {
    advance: async (order, url) => {
      asked.push({ target: name, order, url })
      return answers.get(name)?.(order) ?? STORING
    },
    check: async () => ({ ok: { message: `${name} takes orders` } }),
  },
  ...fields,
})
const TARGETS = [target('one', 'f01001'), target('two', 'f01002'), target('three', 'f01003')]

const start = (
  policy: Partial<Policy> = {},
  { targets = TARGETS, ...changed }: Partial<typeof dependencies> = {},
) =>
  aws.host(
    createDealer({
      ...dependencies,
      policies: policiesOf({ policies: [] }).map(rule => ({ ...rule, ...policy })),
      targets,
      pieceSources: new Map([[TENANT.storefront, `${origin}/door/{permit}/{piece}`]]),
      batching: { ...dependencies.batching, partBytes: PART_BYTES },
      ...changed,
    }),
  )
type Dealer = ReturnType<typeof start>
let service: Dealer

beforeEach(async () => {
  for (const queue of ['order', 'fill'] as const) await aws.drain(queue)
  asked.length = 0
  answers.clear()
  Object.assign(door, { status: 200, requests: 0, ignoresRanges: false })
  service = start()
  for (const { name } of TARGETS) await dependencies.stores.target.removeMany([{ name }])
})

/** A body of which a byte arrives now and then, for ever. */
const drip = (signal: AbortSignal) =>
  ReadableStream.from(
    (async function* () {
      while (!signal.aborted) {
        await new Promise(resolve => setTimeout(resolve, 5))
        yield new Uint8Array(1)
      }
    })(),
  )

/** An aggregate of contents that the storefront serves. */
const anAggregate = (
  name: string,
  lengths: readonly number[] = [20_000, 3_000, 100, 1],
  size = 2 ** 16,
): Offered => {
  const links = lengths.map((length, n) => {
    const bytes = bytesOf(`${name} ${n}`, length)
    const link = createHasher().write(bytes).digest()
    contents.set(`${link}`, bytes)
    return link
  })
  const { ok, error } = buildAggregate({ pieces: layout(links), size })
  if (error) throw new Error(error.message)
  return { aggregate: ok.link, pieces: ok.pieces }
}

/** The requests to targets about an aggregate. */
const askedFor = ({ aggregate }: Offered) =>
  asked.filter(({ order }) => `${order.aggregate}` === `${aggregate}`)

const settle = () => aws.settle(service.consumers)
const later = async (milliseconds: number) => {
  clock.now += milliseconds
  await service.schedules.sweep?.()
  await settle()
}
/** Offers an aggregate, and handles all messages that follow. */
const offer = async (offered: Offered, options?: Parameters<typeof offerTo>[1]) => {
  clock.now += 1
  const receipt = await offerTo(offered, options, service.api)
  await settle()
  return receipt
}
const ordersOf = async (offered: Offered): Promise<OrderRecord[]> =>
  listAll(dependencies.stores.order, (await recordOf(offered)).id)
const stagesOf = async (offered: Offered) =>
  (await ordersOf(offered)).map(({ order, target, stage }) => `${order} ${target} ${stage}`)
/** Has deal making report that an aggregate gets no deal. */
const fail = async (offered: Offered) => {
  const message = 'No provider takes it'
  await dependencies.queues.report.send([
    { offer: documentName(await recordOf(offered)), message, invalid: [] },
  ])
  await settle()
  expect(await recordOf(offered)).toMatchObject({ stage: 'failed', reason: { message } })
}
const wholeOf = ({ aggregate }: Offered) => dependencies.stores.whole.get({ id: `${aggregate}` })

/** Reports a place to the deal tracker, live unless the fields say otherwise. */
const report = ({ aggregate }: Offered, place: Place, fields: Partial<PlaceStatus> = {}) => {
  const { epoch = 0 } = sourceAt(clock.now)
  const key = toPlaceKey(place)
  const known = state.places.get(`${aggregate}`) ?? []
  const status: PlaceStatus = {
    type: place.type as 'sector',
    key,
    provider: place.type === 'sector' ? place.miner : 'pdp:1',
    status: 'Active',
    pieceCid: 'baga…',
    epoch,
    seen: { at: new Date(clock.now).toISOString(), epoch },
    ...fields,
  }
  state.places.set(`${aggregate}`, [...known.filter(known => known.key !== key), status])
}
let sector = 0
/** Reports live sectors at the providers of all open orders. */
const seal = async (offered: Offered, providers?: readonly string[]) => {
  for (const { provider, stage } of await ordersOf(offered))
    if (stage === 'storing' && (providers?.includes(provider) ?? true))
      report(offered, { type: 'sector', miner: provider, sector: ++sector })
}

describe('the payload of an aggregate', () => {
  const fetchWhole = async ({ aggregate }: Offered, init: RequestInit = {}, signer = dealer) => {
    const expires = Math.ceil(clock.now / 1000) + 60
    const permit = await signPermit(signer, { storefront: dealer.did(), aggregate: `${aggregate}`, expires })
    const response = await service.api.request(`/${permit}/piece/${aggregate}`, init)
    if (response.status !== 302) return response
    return fetch(response.headers.get('location')!, init)
  }

  it.each([
    ['pieces of several sizes', [20_000, 3_000, 100, 1], 2 ** 16],
    ['one piece that is larger than a part', [30_000], 2 ** 16],
    ['many small pieces', Array.from({ length: 32 }, (_, n) => 1 + n * 3), 2 ** 22, 127 * 2 ** 13],
    ['one small piece in one part', [5], 2 ** 9],
  ] as [string, number[], number, number?][])(
    'is fetched from the door, and has the aggregate as its piece: %s',
    async (name, lengths, size, partBytes = PART_BYTES) => {
      service = start({}, { batching: { ...dependencies.batching, partBytes } })
      const offered = anAggregate(name, lengths, size)
      await offer(offered)
      expect(await wholeOf(offered)).toMatchObject({ stage: 'ready' })
      const response = await fetchWhole(offered)
      const bytes = new Uint8Array(await response.arrayBuffer())
      expect(bytes.byteLength).toBe((size / 128) * 127)
      expect(`${createHasher().write(bytes).digest()}`).toBe(`${offered.aggregate}`)

      const head = await fetchWhole(offered, { method: 'HEAD' })
      expect([head.status, head.headers.get('content-length')]).toEqual([200, `${bytes.byteLength}`])
      const part = await fetchWhole(offered, { headers: { range: 'bytes=100-199' } })
      expect(part.status).toBe(206)
      expect(Buffer.from(await part.arrayBuffer()).equals(bytes.subarray(100, 200))).toBe(true)
    },
  )

  it('is filled although the storefront ignores ranges', async () => {
    door.ignoresRanges = true
    const offered = anAggregate('no ranges')
    await offer(offered)
    expect(await wholeOf(offered)).toMatchObject({ stage: 'ready' })
  })

  it('is not served without a permit of this dealer for it, and not before it is complete', async () => {
    door.status = 429
    const offered = anAggregate('doors')
    await offer(offered)
    const early = await fetchWhole(offered)
    expect([early.status, early.headers.get('retry-after')]).toEqual([429, '60'])
    expect((await fetchWhole(offered, {}, aggregator)).status).toBe(403)
    const other = anAggregate('another')
    const expires = Math.ceil(clock.now / 1000) + 60
    const permit = await signPermit(dealer, {
      storefront: dealer.did(),
      aggregate: `${other.aggregate}`,
      expires,
    })
    expect((await service.api.request(`/${permit}/piece/${offered.aggregate}`)).status).toBe(403)
    expect((await service.api.request(`/${permit}/piece/x`)).status).toBe(400)
    expect((await fetchWhole(other)).status).toBe(404)
  })

  it.each([429, 404, 503])('waits while the storefront answers %i, and no order is sent', async status => {
    door.status = status
    const offered = anAggregate(`status ${status}`)
    await offer(offered)
    expect(await wholeOf(offered)).toMatchObject({
      stage: 'filling',
      trouble: { message: `${origin} answers with status ${status}` },
    })
    expect(askedFor(offered)).toEqual([])
    door.status = 200
    await later(timing.retryMs * 2)
    await later(HOUR)
    expect(await wholeOf(offered)).toMatchObject({ stage: 'ready' })
    expect(askedFor(offered).length).toBeGreaterThan(0)
  })

  it('is filled although messages of its parts are lost', async () => {
    const offered = anAggregate('lost parts')
    await offerTo(offered, undefined, service.api)
    await aws.deliver('order', service.consumers.order as never)
    await aws.drain('fill')
    await aws.drain('order')
    expect(await wholeOf(offered)).toMatchObject({ stage: 'filling' })
    await later(timing.retryMs + 1)
    expect(await wholeOf(offered)).toMatchObject({ stage: 'ready' })
  })

  it.each([
    ['inside of a part', 1],
    ['larger than a part', 0],
  ])('fails for a piece whose bytes are wrong, and names it: %s', async (name, n) => {
    const offered = anAggregate(name, [20_000, 3_000, 100])
    const wrong = [...offered.pieces].sort(
      (a, b) => contents.get(`${b}`)!.length - contents.get(`${a}`)!.length,
    )[n]!
    contents.get(`${wrong}`)![7]! ^= 1
    await offer(offered)
    expect(await wholeOf(offered)).toMatchObject({ stage: 'faulty', fault: { piece: `${wrong}` } })
    await later(timing.retryMs + 1)
    expect(await recordOf(offered)).toMatchObject({ stage: 'failed' })
    expect(delivered.at(-1)?.out.error).toMatchObject({ cause: [{ name: 'InvalidPieceCID', piece: wrong }] })
    expect(
      retried.map(({ capabilities: [{ nb }] }) => `${(nb as { piece: PieceLink }).piece}`).toSorted(),
    ).toEqual(
      offered.pieces
        .map(String)
        .filter(piece => piece !== `${wrong}`)
        .toSorted(),
    )
    expect(askedFor(offered)).toEqual([])
    await later(HOUR)
    expect(new Set((await ordersOf(offered)).map(({ stage }) => stage))).toEqual(new Set(['refused']))
  })

  it('is filled again if two runs wrote a part at once, and the tag of the earlier one was stored last', async () => {
    const { wholes } = dependencies
    const firstParts: Parameters<typeof wholes.putPart>[0][] = []
    let completions = 0
    service = start(
      {},
      {
        wholes: {
          ...wholes,
          putPart: part => {
            if (part.part === 0) firstParts.push(part)
            return wholes.putPart(part)
          },
          complete: async upload => {
            // The storefront sent other bytes of a large piece to that run.
            if (++completions === 1)
              await wholes.putPart({ ...firstParts[0]!, bytes: bytesOf('other bytes', PART_BYTES) })
            return wholes.complete(upload)
          },
        },
      },
    )
    const offered = anAggregate('written twice')
    await offer(offered)
    expect(await wholeOf(offered)).toMatchObject({ stage: 'ready', upload: firstParts[1]!.upload })
    expect(await wholes.putPart(firstParts[0]!), 'the first upload is removed').toBeUndefined()
    const bytes = new Uint8Array(await (await fetchWhole(offered)).arrayBuffer())
    expect(`${createHasher().write(bytes).digest()}`).toBe(`${offered.aggregate}`)
  })

  it('is removed when the copies have been live for a week, and filled again for another copy', async () => {
    const offered = anAggregate('removed')
    await offer(offered)
    await seal(offered)
    await later(HOUR)
    expect(await stagesOf(offered)).toEqual([
      expect.stringMatching(/^00\/0000 \w+ live$/),
      expect.stringMatching(/^01\/0000 \w+ live$/),
    ])
    await later(8 * DAY)
    expect(await wholeOf(offered)).toMatchObject({ stage: 'gone' })
    expect((await fetchWhole(offered)).status).toBe(429)
    const [place] = state.places.get(`${offered.aggregate}`)!
    Object.assign(place!, { status: 'Terminated' })
    await later(2 * DAY)
    expect(await wholeOf(offered)).toMatchObject({ stage: 'ready' })
    const bytes = new Uint8Array(await (await fetchWhole(offered)).arrayBuffer())
    expect(`${createHasher().write(bytes).digest()}`).toBe(`${offered.aggregate}`)
  })

  it.each(['missing', 'wrong'])(
    'is filled from another storefront that offers the aggregate, where the contents of the first one are %s',
    async path => {
      const others = { ...TENANT, storefront: customer.did() }
      service = start(
        {},
        {
          pieceSources: new Map([
            [others.storefront, `${origin}/${path}/{permit}/{piece}${path === 'missing' ? '-' : ''}`],
            [TENANT.storefront, `${origin}/door/{permit}/{piece}`],
          ]),
        },
      )
      const offered = anAggregate(path)
      // Two offers, before any message is handled.
      await offerTo(offered, { tenant: others, nonce: 'theirs' }, service.api)
      await offer(offered)
      await later(timing.retryMs * 2)
      await later(HOUR)
      expect(await wholeOf(offered)).toMatchObject({ stage: 'ready', storefront: TENANT.storefront })
      expect((await ordersOf(offered)).map(({ stage }) => stage)).toEqual(['storing', 'storing'])
    },
  )

  it('is filled from a storefront that offers the aggregate after another one served wrong bytes', async () => {
    const others = { ...TENANT, storefront: customer.did() }
    service = start(
      {},
      {
        pieceSources: new Map([
          [others.storefront, `${origin}/wrong/{permit}/{piece}`],
          [TENANT.storefront, `${origin}/door/{permit}/{piece}`],
        ]),
      },
    )
    const offered = anAggregate('wrong before')
    await offer(offered, { tenant: others, nonce: 'theirs' })
    await later(timing.retryMs * 2)
    expect(await wholeOf(offered)).toMatchObject({ stage: 'faulty' })
    await offer(offered)
    await later(timing.retryMs * 2)
    await later(HOUR)
    const whole = await wholeOf(offered)
    expect(whole).toMatchObject({ stage: 'ready', storefront: TENANT.storefront })
    expect(whole!.fault).toBeUndefined()
    expect((await ordersOf(offered)).map(({ stage }) => stage)).toEqual(['storing', 'storing'])
  })

  it.each(['missing', 'wrong'])(
    'is filled with the list of the storefront that serves it, where the first one (%s) names the same bytes by other CIDs',
    async path => {
      const others = { ...TENANT, storefront: customer.did() }
      service = start(
        {},
        {
          pieceSources: new Map([
            [others.storefront, `${origin}/${path}/{permit}/{piece}${path === 'missing' ? '-' : ''}`],
            [TENANT.storefront, `${origin}/door/{permit}/{piece}`],
          ]),
        },
      )
      const ours = anAggregate(`lists ${path}`, [200, 100])
      // The same bytes with zeros behind them, that are otherwise those of the padding.
      const theirs = {
        ...ours,
        pieces: ours.pieces.map(piece => {
          const bytes = Buffer.concat([contents.get(`${piece}`)!, Buffer.alloc(5)])
          const link = createHasher().write(bytes).digest()
          contents.set(`${link}`, bytes)
          return link
        }),
      }
      expect(theirs.pieces.map(String)).not.toEqual(ours.pieces.map(String))
      await offerTo(theirs, { tenant: others, nonce: 'theirs' }, service.api)
      await offer(ours)
      for (const link of theirs.pieces) contents.delete(`${link}`)
      await later(timing.retryMs * 2)
      await later(HOUR)
      const { piecesCid } = await recordOf(ours)
      expect(await wholeOf(ours)).toMatchObject({ stage: 'ready', storefront: TENANT.storefront, piecesCid })
    },
  )

  it('is asked for by one part at each check, after five in a row were not served', async () => {
    door.status = 503
    service = start({ copies: 1 })
    const offered = anAggregate('not served', [120_000], 2 ** 18)
    await offer(offered)
    const timesNow = async () => (await wholeOf(offered))?.trouble?.times
    expect(await timesNow()).toBe(5)
    for (const times of [6, 7]) {
      await later(2 * HOUR)
      expect(await timesNow()).toBe(times)
    }
    door.status = 200
    await later(6 * HOUR)
    expect(await wholeOf(offered)).not.toHaveProperty('trouble', expect.anything())
    await later(1)
    expect(await wholeOf(offered)).toMatchObject({ stage: 'ready' })
    expect(await stagesOf(offered)).toEqual([expect.stringContaining('storing')])
  })

  it('is asked for by each part in turn while the storefront does not serve one of them', () => {
    const trouble = (times: number) => ({ trouble: { message: 'no answer', at: 0, times } })
    const missing = [2, 5, 7]
    expect([5, 6, 7, 8].map(times => partsToAskFor(missing, trouble(times)))).toEqual([[7], [2], [5], [7]])
    expect(partsToAskFor(missing, trouble(4))).toEqual(missing)
  })

  it('is asked for later when a storefront sends it too slowly', async () => {
    const { timeout } = AbortSignal
    // The windows in which the speed is measured.
    vi.spyOn(AbortSignal, 'timeout').mockImplementation(ms => timeout(ms === 30_000 ? 50 : ms))
    const offered = anAggregate('drips', [8_000])
    let isSlow = true
    service = start(
      { copies: 1 },
      {
        fetchContent: async (url, init) =>
          isSlow ? new Response(drip(init?.signal as AbortSignal)) : dependencies.fetchContent(url, init),
      },
    )
    await offer(offered)
    vi.restoreAllMocks()
    expect(await wholeOf(offered)).toMatchObject({
      stage: 'filling',
      trouble: { message: 'The contents cannot be read: less than 64 KiB a second arrived' },
    })
    isSlow = false
    await later(HOUR)
    expect(await wholeOf(offered)).toMatchObject({ stage: 'ready' })
  })

  it('is removed within a day when the aggregate has failed, although all its orders have ended', async () => {
    for (const { name } of TARGETS)
      answers.set(name, () => ({ state: 'refused', error: failure('Full', 'full'), blames: 'order' }))
    const offered = anAggregate('failed')
    await offer(offered)
    await fail(offered)
    expect(await wholeOf(offered)).toMatchObject({ stage: 'ready' })
    await later(DAY + HOUR)
    expect(await wholeOf(offered)).toMatchObject({ stage: 'gone' })
    expect((await fetchWhole(offered)).status).toBe(429)
  })

  it('is not filled any more when the aggregate has failed and the storefront does not serve its pieces', async () => {
    door.status = 404
    const offered = anAggregate('dropped while filled')
    await offer(offered)
    await fail(offered)
    await later(HOUR)
    expect(await wholeOf(offered)).toMatchObject({ stage: 'gone' })
    expect(await wholeOf(offered)).not.toHaveProperty('checkAt', expect.anything())
  })

  it('is kept while an order of another offer of the aggregate needs it', async () => {
    service = start({ copies: 1 })
    const offered = anAggregate('shared')
    await offer(offered)
    await seal(offered)
    await later(HOUR)
    await later(6 * DAY)
    state.places.delete(`${offered.aggregate}`)
    await offer(offered, { issuer: rival, nonce: 'theirs' })
    const [theirs] = await listAll(dependencies.stores.order, (await recordOf(offered, 'theirs')).id)
    expect(theirs).toMatchObject({ stage: 'storing' })
    await later(2 * DAY)
    expect(await wholeOf(offered)).toMatchObject({ stage: 'ready' })
    expect((await fetchWhole(offered)).status).toBe(200)
  })

  it('stays ready if an order needs it although its removal was begun', async () => {
    service = start({ copies: 1 })
    const offered = anAggregate('needed again')
    await offer(offered)
    const { whole } = dependencies.stores
    const ready = (await wholeOf(offered))!
    await whole.replace({ ...ready, stage: 'removing' })
    await dependencies.queues.fill.send([{ aggregate: `${offered.aggregate}` }])
    await settle()
    expect(await wholeOf(offered)).toMatchObject({ stage: 'ready' })
    expect((await fetchWhole(offered)).status).toBe(200)
  })

  it('is removed with the last copy that becomes live, if it shall not be kept', async () => {
    service = start({}, { keepWholeMs: 0 })
    const offered = anAggregate('not kept')
    await offer(offered)
    const [first, second] = await ordersOf(offered)
    await seal(offered, [first!.provider])
    await later(HOUR)
    expect(await wholeOf(offered)).toMatchObject({ stage: 'ready' })
    await seal(offered, [second!.provider])
    await later(HOUR)
    expect(await wholeOf(offered)).toMatchObject({ stage: 'gone' })
  })

  it('stays while another copy is ordered after a refusal, also if it shall not be kept', async () => {
    service = start({ copies: 1 }, { keepWholeMs: 0 })
    const offered = anAggregate('refused, not kept')
    const uploads: string[] = []
    for (const { name } of TARGETS)
      answers.set(name, async () => {
        uploads.push((await wholeOf(offered))!.upload)
        if (uploads.length > 1) return STORING
        return { state: 'refused', error: failure('Refused', 'no'), blames: 'order' }
      })
    await offer(offered)
    await later(HOUR)
    expect(await stagesOf(offered)).toEqual([
      expect.stringMatching(/^00\/0000 \w+ refused$/),
      expect.stringMatching(/^00\/0001 \w+ storing$/),
    ])
    expect(new Set(uploads).size).toBe(1)
  })
})

describe('orders', () => {
  it('are sent to different providers, and the aggregate is accepted with its first live copy', async () => {
    const offered = anAggregate('two copies')
    const promise = await offer(offered)
    const [first, second] = await ordersOf(offered)
    expect([first!.stage, second!.stage]).toEqual(['storing', 'storing'])
    expect(first!.provider).not.toBe(second!.provider)
    expect(asked.map(({ order }) => order.id).toSorted()).toEqual([first!.id, second!.id].toSorted())
    expect(asked[0]!.url).toMatch(
      new RegExp(
        `^https://dealer\\.test/\\d+\\.${offered.aggregate}\\.[\\w-]{86}/piece/${offered.aggregate}$`,
      ),
    )

    await seal(offered, [second!.provider])
    await later(HOUR)
    const accepted = await served(service.api, (promise.fx.join as Invocation).link())
    expect(placeIn(accepted?.out.ok)).toMatchObject({ type: 'sector', miner: second!.provider })
    expect((await ordersOf(offered)).map(({ stage }) => stage)).toEqual(['storing', 'live'])
    // The other copy goes on behind it.
    await seal(offered, [first!.provider])
    await later(HOUR)
    expect((await ordersOf(offered)).map(({ stage }) => stage)).toEqual(['live', 'live'])
  })

  it('wait with the receipt until as many copies are live as the policy says', async () => {
    service = start({ minLive: 2 })
    const offered = anAggregate('both')
    await offer(offered)
    const [first, second] = await ordersOf(offered)
    await seal(offered, [first!.provider])
    await later(HOUR)
    expect(await recordOf(offered)).toMatchObject({ stage: 'offered' })
    await seal(offered, [second!.provider])
    await later(HOUR)
    expect(await recordOf(offered)).toMatchObject({ stage: 'accepted' })
  })

  it('are made again elsewhere after a refusal, and an operator is asked after three', async () => {
    for (const { name } of TARGETS)
      answers.set(name, () => ({
        state: 'refused',
        error: failure('TooLarge', 'too large'),
        blames: 'order',
      }))
    service = start({ copies: 1 })
    const offered = anAggregate('refused')
    await offer(offered)
    const orders = await ordersOf(offered)
    expect(new Set(orders.map(({ target }) => target)).size).toBe(3)
    expect(orders.map(({ stage }) => stage)).toEqual(['refused', 'refused', 'refused'])
    expect(orders.at(-1)?.stuck).toBe('copy 0 is not ordered: 3 orders in a row had no success')
    // It does not fail by itself.
    await later(timing.dealWaitMs + DAY)
    expect(await recordOf(offered)).toMatchObject({
      stage: 'offered',
      waitsFor: expect.stringContaining('no order of it is open'),
    })
    const findStuck = () => dependencies.stores.order.find('needs', 'operator', { limit: 100 })
    expect(await dependencies.stores.order.getMany((await findStuck()).items)).toContainEqual(
      expect.objectContaining({ id: orders.at(-1)!.id, stuckAt: orders.at(-1)!.stuckAt }),
    )
    // An operator permits further attempts.
    answers.clear()
    const last = (await listAll(dependencies.stores.order, orders[0]!.offer)).at(-1)!
    await dependencies.stores.order.replace(pardon(last)!)
    await dependencies.queues.order.send([{ offer: last.offer }])
    await settle()
    await later(4 * HOUR)
    expect((await ordersOf(offered)).at(-1)).toMatchObject({ attempt: 3, stage: 'storing' })
    for (const field of ['stuck', 'stuckAt', 'needs'])
      expect((await ordersOf(offered))[2]).not.toHaveProperty(field, expect.anything())
    expect((await findStuck()).items).not.toContainEqual(
      expect.objectContaining({ offer: last.offer, order: last.order }),
    )
  })

  it('no longer need an operator when the aggregate was reported as failed', async () => {
    service = start({}, { targets: [target('one', 'f01001')] })
    answers.set('one', () => ({ state: 'refused', error: failure('TooLarge', 'too large'), blames: 'order' }))
    const offered = anAggregate('dropped')
    await offer(offered)
    expect((await ordersOf(offered)).some(({ stuck }) => stuck)).toBe(true)
    await fail(offered)
    for (const order of await ordersOf(offered)) expect(order).not.toMatchObject({ needs: 'operator' })
    expect((await ordersOf(offered)).filter(({ due }) => due !== undefined)).toEqual([])
  })

  it('fail the aggregate after the last one if the policy says so', async () => {
    for (const { name } of TARGETS)
      answers.set(name, () => ({
        state: 'refused',
        error: failure('TooLarge', 'too large'),
        blames: 'order',
      }))
    service = start({ giveUp: 'automatic' })
    const offered = anAggregate('automatic')
    await offer(offered)
    await later(timing.dealWaitMs + HOUR)
    expect(await recordOf(offered)).toMatchObject({ stage: 'failed' })
  })

  it('go to other targets for a day after one refuses for a reason that is its own', async () => {
    const [first] = TARGETS as [OpenTarget]
    service = start({ copies: 1 }, { targets: [first, target('two', 'f01002')] })
    answers.set('one', () => ({
      state: 'refused',
      error: failure('KeyExpired', 'the key expired'),
      blames: 'target',
    }))
    const all = Array.from({ length: 8 }, (_, n) => anAggregate(`held ${n}`))
    for (const offered of all) await offer(offered)
    expect(asked.filter(({ target }) => target === 'one')).toHaveLength(1)
    for (const offered of all)
      expect((await ordersOf(offered)).at(-1)).toMatchObject({ target: 'two', stage: 'storing' })
    clock.now += DAY
    const next = Array.from({ length: 8 }, (_, n) => anAggregate(`not held ${n}`))
    answers.clear()
    asked.length = 0
    for (const offered of next) await offer(offered)
    expect(asked.some(({ target }) => target === 'one')).toBe(true)
  })

  it('leave a target paused that an operator paused while it refuses one', async () => {
    service = start({ copies: 1 }, { targets: [target('one', 'f01001')] })
    answers.set('one', async () => {
      await dependencies.stores.target.insert({ name: 'one', reason: 'maintenance' })
      return { state: 'refused', error: failure('KeyExpired', 'the key expired'), blames: 'target' }
    })
    await offer(anAggregate('paused meanwhile'))
    expect(await dependencies.stores.target.get({ name: 'one' })).toMatchObject({ reason: 'maintenance' })
    expect(await dependencies.stores.target.get({ name: 'one' })).not.toHaveProperty('until')
  })

  it('keep their ids when the target does not answer, and ask again later and less often', async () => {
    let isDown = true
    for (const { name } of TARGETS)
      answers.set(name, () => (isDown ? { state: 'asked', message: 'no answer' } : STORING))
    service = start({ copies: 1 })
    const offered = anAggregate('down')
    await offer(offered)
    for (let n = 0; n < 24; n++) await later(HOUR)
    expect(new Set(askedFor(offered).map(({ order }) => order.id)).size).toBe(1)
    expect(askedFor(offered).length).toBeLessThan(40)
    isDown = false
    await later(HOUR)
    expect(await stagesOf(offered)).toEqual([expect.stringMatching(/storing$/)])
  })

  it('are not made again while the deal tracker is blind, however long it is', async () => {
    service = start({ copies: 1 })
    const offered = anAggregate('blind')
    await offer(offered)
    const [{ provider }] = (await ordersOf(offered)) as [OrderRecord]
    const blind = { source: 'chain', types: ['sector' as const] }
    for (const asOf of [[], [blind], [{ ...blind, ...sourceAt(clock.now) }]]) {
      state.asOf = asOf
      await later(20 * DAY)
      expect(await stagesOf(offered)).toEqual([expect.stringMatching(/storing$/)])
      expect(await recordOf(offered)).toMatchObject({ stage: 'offered' })
    }
    state.trackerDown = true
    await later(20 * DAY)
    expect(await stagesOf(offered)).toEqual([expect.stringMatching(/storing$/)])
    // The copy was live for all that time.
    state.trackerDown = false
    state.asOf = [{ ...sourceAt(clock.now), types: ['sector'] }]
    report(offered, { type: 'sector', miner: provider, sector: ++sector })
    await later(HOUR)
    expect(await recordOf(offered)).toMatchObject({ stage: 'accepted' })
  })

  it('are lost when a later state of the chain shows no copy, and made again', async () => {
    service = start({ copies: 1 })
    const offered = anAggregate('lost')
    await offer(offered)
    state.asOf = [{ ...sourceAt(clock.now + 6 * DAY), types: ['sector'] }]
    await later(6 * DAY)
    const [first, second] = await ordersOf(offered)
    expect([first?.stage, second?.stage]).toEqual(['lost', 'storing'])
    expect(second?.target).not.toBe(first?.target)
    expect(second?.id).not.toBe(first?.id)
  })

  it('are live when a provider stores a copy that it refused, and no further one is made while it is', async () => {
    const isAtTarget: Record<string, Progress> = {}
    const refusal: Progress = { state: 'refused', error: failure('TooLarge', 'too large'), blames: 'order' }
    for (const { name } of TARGETS) answers.set(name, () => isAtTarget[name] ?? STORING)
    service = start({ copies: 1 })
    const offered = anAggregate('refused and stored')
    door.status = 429
    await offer(offered)
    const [{ target: first = '', provider = '' } = {}] = await ordersOf(offered)
    isAtTarget[first] = refusal
    door.status = 200
    await later(timing.retryMs * 2)
    expect((await ordersOf(offered)).map(({ stage }) => stage)).toEqual(['refused', 'storing'])

    const place: Place = { type: 'sector', miner: provider, sector: ++sector }
    report(offered, place)
    await later(HOUR)
    await later(HOUR)
    const [order, second] = await ordersOf(offered)
    expect(order).toMatchObject({ stage: 'live', place: toPlaceKey(place) })
    expect(order).not.toHaveProperty('reason', expect.anything())
    expect(await recordOf(offered)).toMatchObject({ stage: 'accepted', place: toPlaceKey(place) })
    // The copy is there, so no third one is ordered when the second one fails.
    isAtTarget[second!.target] = refusal
    for (let n = 0; n < 3; n++) await later(DAY)
    expect((await ordersOf(offered)).map(({ stage }) => stage)).toEqual(['live', 'refused'])
    // Until it ends.
    report(offered, place, { status: 'Terminated' })
    await later(2 * DAY)
    expect((await ordersOf(offered)).map(({ stage }) => stage)).toEqual(['ended', 'refused', 'storing'])
  })

  it('leave a place to the order of another offer that is in flight at the provider', async () => {
    const [one, two] = TARGETS as [OpenTarget, OpenTarget]
    answers.set('one', () => ({ state: 'refused', error: failure('Busy', 'busy'), blames: 'order' }))
    const offered = anAggregate('refused, and in flight')
    const ordersFor = async (nonce: string) =>
      listAll(dependencies.stores.order, (await recordOf(offered, nonce)).id)
    const store = (miner: string) => report(offered, { type: 'sector', miner, sector: ++sector })
    service = start({ copies: 1 }, { targets: [one] })
    await offer(offered, { nonce: 'refused' })
    service = start({ copies: 1 }, { targets: [two] })
    await later(6 * HOUR)
    await later(6 * HOUR)
    store('f01002')
    await later(HOUR)
    const refused = await ordersFor('refused')
    expect(refused.at(-1)).toMatchObject({ target: 'two', stage: 'live' })

    answers.clear()
    service = start({ copies: 1 }, { targets: [one] })
    await offer(offered, { issuer: rival, nonce: 'in flight' })
    expect(await ordersFor('in flight')).toMatchObject([{ target: 'one', stage: 'storing' }])
    store('f01001')
    await dependencies.queues.order.send([{ offer: (await recordOf(offered, 'refused')).id }])
    await settle()
    expect((await ordersFor('refused')).map(({ stage }) => stage)).toEqual(refused.map(({ stage }) => stage))
    await later(HOUR)
    expect(await ordersFor('in flight')).toMatchObject([{ stage: 'live' }])
  })

  it('do not count a second copy at one provider as a distinct one', async () => {
    const [one, two, three] = TARGETS as [OpenTarget, OpenTarget, OpenTarget]
    const startWith = (...targets: OpenTarget[]) => start({ copies: 2 }, { targets })
    const storeAt = (miner: string, fields?: Partial<PlaceStatus>) =>
      report(offered, { type: 'sector', miner, sector: ++sector }, fields)
    answers.set('one', () => ({ state: 'refused', error: failure('Busy', 'busy'), blames: 'order' }))
    service = startWith(one)
    const offered = anAggregate('twice at one')
    await offer(offered)
    const refused = (await ordersOf(offered))[0]!
    service = startWith(two, three)
    await later(6 * HOUR)
    await later(6 * HOUR)
    await seal(offered)
    await later(HOUR)
    // The other copy is lost, and made again at the provider that refused the first one.
    const other = (await ordersOf(offered)).find(
      ({ copy, stage }) => copy !== refused.copy && stage === 'live',
    )!
    const places = state.places.get(`${offered.aggregate}`)!
    Object.assign(places.find(({ key }) => key === other.place)!, { status: 'Terminated' })
    answers.clear()
    service = startWith(one)
    await later(2 * DAY)
    storeAt('f01001')
    await later(DAY)
    storeAt('f01001')
    await later(2 * DAY)
    const live = (await ordersOf(offered)).filter(({ stage }) => stage === 'live')
    expect(live.map(({ copy, target }) => [copy, target])).toEqual([
      [refused.copy, expect.stringMatching('two|three')],
      [other.copy, 'one'],
    ])
  })

  it('make no request from which a copy could arise after the offer has failed', async () => {
    service = start({ copies: 1 })
    const offered = anAggregate('failed meanwhile')
    await offer(offered)
    const [order] = await ordersOf(offered)
    const urls = () => askedFor(offered).map(({ url }) => url)
    expect(urls()).toEqual([expect.any(String)])
    await fail(offered)
    asked.length = 0
    await later(HOUR)
    expect(urls()).toEqual([undefined])
    // Its copy may arise nevertheless, and is then known.
    report(offered, { type: 'sector', miner: order!.provider, sector: ++sector })
    await later(2 * HOUR)
    expect((await ordersOf(offered)).map(({ stage }) => stage)).toEqual(['live'])
  })

  it('take another target when a provider loses its copy, and the aggregate stays accepted', async () => {
    const offered = anAggregate('dies')
    await offer(offered)
    await seal(offered)
    await later(HOUR)
    const [dead, alive] = await ordersOf(offered)
    const place = state.places
      .get(`${offered.aggregate}`)!
      .find(({ provider }) => provider === dead!.provider)!
    Object.assign(place, { status: 'Terminated' })
    await later(2 * DAY)
    const orders = await ordersOf(offered)
    expect(orders.map(({ stage }) => stage)).toEqual(['ended', 'storing', 'live'])
    expect([dead!.provider, alive!.provider]).not.toContain(orders[1]!.provider)
    expect(await recordOf(offered)).toMatchObject({ stage: 'accepted' })
  })

  it('are made before the place of a copy ends, and the old one counts until then', async () => {
    service = start({ copies: 1 })
    const offered = anAggregate('renewed')
    await offer(offered)
    const [{ provider }] = (await ordersOf(offered)) as [OrderRecord]
    const expiration = new Date(clock.now + 90 * DAY).toISOString()
    report(offered, { type: 'sector', miner: provider, sector: ++sector }, { expiration })
    await later(HOUR)
    await later(29 * DAY)
    expect(await stagesOf(offered)).toEqual([expect.stringMatching(/live$/)])
    await later(2 * DAY)
    const [old, next] = (await ordersOf(offered)) as [OrderRecord, OrderRecord]
    expect([old.stage, next.stage]).toEqual(['live', 'storing'])
    expect(next.target, 'not where it ends').not.toBe(old.target)
    expect(await wholeOf(offered)).toMatchObject({ stage: 'ready' })
    await seal(offered, [next.provider])
    await later(HOUR)
    Object.assign(state.places.get(`${offered.aggregate}`)![0]!, { status: 'Expired' })
    await later(2 * DAY)
    const orders = await ordersOf(offered)
    expect(orders.map(({ stage }) => stage)).toEqual(['ended', 'live'])
    expect(orders[0]!.reason?.message).toBe(`The place ${old.place} is expired since ${expiration}`)
    expect(orders[1]!.history?.map(({ stage }) => stage)).toEqual(['planned', 'asked', 'storing', 'live'])
  })

  it('are made when a provider removes a copy, and name the state of a live place', async () => {
    const offered = anAggregate('leaving')
    await offer(offered)
    await seal(offered)
    await later(HOUR)
    const [place] = state.places.get(`${offered.aggregate}`)!
    const conditionOf = async () =>
      (await ordersOf(offered)).find(({ place: key }) => key === place!.key)?.condition
    Object.assign(place!, { faulty: true })
    await later(2 * DAY)
    expect(await conditionOf()).toBe('faulty')
    expect((await ordersOf(offered)).map(({ stage }) => stage)).toEqual(['live', 'live'])
    Object.assign(place!, { status: 'Leaving', faulty: undefined })
    await later(2 * DAY)
    expect(await conditionOf()).toBe('leaving')
    expect((await ordersOf(offered)).map(({ stage }) => stage).toSorted()).toEqual([
      'live',
      'live',
      'storing',
    ])
    const ended = '2026-11-27T10:00:00.000Z'
    Object.assign(place!, { status: 'Terminated', ended, reason: 'The sector was terminated' })
    await later(2 * DAY)
    expect((await ordersOf(offered)).find(({ stage }) => stage === 'ended')?.reason).toMatchObject({
      name: 'CopyEnded',
      message: `The place ${place!.key} is terminated since ${ended}: The sector was terminated`,
    })
  })

  it('say that no source of the deal tracker sees a live copy any more, and make no other one', async () => {
    const offered = anAggregate('unseen')
    await offer(offered)
    await seal(offered)
    await later(HOUR)
    const places = state.places.get(`${offered.aggregate}`)!
    const [first] = await ordersOf(offered)
    // Until a source that could see it had a run, it may only be late.
    state.asOf = [{ ...sourceAt(clock.now - DAY), types: ['sector'] }]
    state.places.set(
      `${offered.aggregate}`,
      places.filter(({ key }) => key !== first!.place),
    )
    await later(2 * DAY)
    expect((await ordersOf(offered))[0]).not.toHaveProperty('condition', expect.anything())
    state.asOf = [{ ...sourceAt(clock.now), types: ['sector'] }]
    await later(2 * DAY)
    await later(15 * DAY)
    expect(await ordersOf(offered)).toMatchObject([{ stage: 'live', condition: 'unseen' }, { stage: 'live' }])
    expect(await recordOf(offered)).toMatchObject({ stage: 'accepted', lack: { problem: 'TooFewCopies' } })
    // It is seen again.
    state.places.set(`${offered.aggregate}`, places)
    await later(2 * DAY)
    expect((await ordersOf(offered))[0]).not.toHaveProperty('condition', expect.anything())
    expect(await recordOf(offered)).not.toHaveProperty('lack', expect.anything())
  })

  it('say which copies an accepted aggregate lacks for too long, until they are live', async () => {
    service = start({ minLive: 2 }, { targets: TARGETS.slice(0, 2) })
    const offered = anAggregate('lacking')
    await offer(offered)
    await seal(offered)
    await later(HOUR)
    const findLacking = async () =>
      (await dependencies.stores.aggregate.find('open', 'accepted', { limit: 100 })).items.map(({ id }) => id)
    const { id } = await recordOf(offered)
    expect(await recordOf(offered)).toMatchObject({ stage: 'accepted' })
    const [place] = state.places.get(`${offered.aggregate}`)!
    Object.assign(place!, { status: 'Terminated' })
    await later(2 * DAY)
    const endedAt = (await ordersOf(offered)).find(({ stage }) => stage === 'ended')!.stageAt
    expect(await recordOf(offered)).not.toHaveProperty('lack', expect.anything())
    expect(await findLacking()).not.toContain(id)
    await later(3 * DAY)
    const since = new Date(endedAt).toISOString().slice(0, 10)
    expect(await recordOf(offered)).toMatchObject({
      stage: 'accepted',
      lack: {
        problem: 'TooFewCopies',
        message: `1 of 2 copies is live, fewer than 2 since ${since}`,
        at: endedAt + 3 * DAY,
      },
    })
    expect(await findLacking()).toContain(id)
    await seal(offered)
    await later(DAY)
    expect((await ordersOf(offered)).map(({ stage }) => stage).toSorted()).toEqual(['ended', 'live', 'live'])
    expect(await recordOf(offered)).not.toHaveProperty('lack', expect.anything())
    expect(await findLacking()).not.toContain(id)
  })

  it('leave it to a deal of a broker to be the live copy', async () => {
    const offered = anAggregate('deal beside')
    await offer(offered)
    const at = new Date(clock.now).toISOString()
    const fields = { provider: 'f01009', storageProvider: 'f01009', status: 'Active', pieceCid: 'baga…' }
    const times = { expiration: '2030-01-01T00:00:00.000Z', created: at, updated: at }
    const seen = { at, epoch: sourceAt(clock.now).epoch! }
    state.deals.set(`${offered.aggregate}`, { '81234567': { ...fields, ...times, seen } })
    await later(HOUR)
    await later(HOUR)
    expect(await recordOf(offered)).toMatchObject({ stage: 'accepted', place: '81234567' })
    expect(await recordOf(offered)).not.toHaveProperty('lack', expect.anything())
    state.deals.get(`${offered.aggregate}`)!['81234567']!.status = 'Terminated'
    await later(HOUR)
    expect(await recordOf(offered)).toMatchObject({
      lack: { problem: 'TooFewCopies', message: expect.stringMatching(/^0 of 2 copies are live/) },
    })
  })

  it('are not moved by a change of the policy while their copies are live', async () => {
    const offered = anAggregate('policy')
    await offer(offered)
    await seal(offered)
    await later(HOUR)
    const before = await stagesOf(offered)
    service = start({ copies: 1, targets: ['three'], places: ['pdp'] })
    asked.length = 0
    for (let n = 0; n < 3; n++) await later(2 * DAY)
    expect(await stagesOf(offered)).toEqual(before)
    expect(askedFor(offered)).toEqual([])
  })

  it('have a place that no offer of another aggregator is accepted with', async () => {
    const place: Place = { type: 'pdp', chain: 314, verifier: `0x${'a1'.repeat(20)}`, dataSet: 7, piece: 3 }
    const pdp = target('pdp', 'pdp:1', { place: 'pdp' })
    service = start({ copies: 1 }, { targets: [pdp] })
    answers.set('pdp', () => ({ state: 'storing', message: 'added', place }))
    const offered = anAggregate('credited')
    const theirs = await offer(offered, { issuer: rival, nonce: 'theirs' })
    expect(theirs.out.ok).toBeDefined()
    const rivals = await recordOf(offered, 'theirs')
    // The rival's order has the place. An offer of another aggregator, without an order, does not get it.
    service = start({ copies: 1 }, { targets: [] })
    const ours = await offer(offered, { nonce: 'ours' })
    expect(ours.out.ok).toBeDefined()
    report(offered, place)
    await later(HOUR)
    await later(HOUR)
    expect(await recordOf(offered, 'ours')).toMatchObject({ stage: 'offered' })
    expect(await dependencies.stores.aggregate.get({ id: rivals.id })).toMatchObject({
      stage: 'accepted',
      place: toPlaceKey(place),
    })
  })

  it('keep all their copies when their offer is accepted: none of them accepts another offer', async () => {
    service = start({ copies: 2 })
    const offered = anAggregate('two copies')
    await offer(offered, { issuer: rival, nonce: 'theirs' })
    const { id } = await recordOf(offered, 'theirs')
    const orders = () => listAll(dependencies.stores.order, id)
    const [first, second] = await orders()
    report(offered, { type: 'sector', miner: first!.provider, sector: ++sector })
    await later(HOUR)
    await later(HOUR)
    expect(await dependencies.stores.aggregate.get({ id })).toMatchObject({ stage: 'accepted' })

    service = start({ copies: 1 }, { targets: [] })
    await offer(offered, { nonce: 'ours' })
    report(offered, { type: 'sector', miner: second!.provider, sector: ++sector })
    await dependencies.queues.order.send([{ offer: id }])
    await settle()
    expect((await orders()).map(({ stage }) => stage)).toEqual(['live', 'live'])
    await later(2 * HOUR)
    await later(2 * HOUR)
    expect(await recordOf(offered, 'ours')).toMatchObject({ stage: 'offered' })
  })

  it('are live in one sector with the copies of other aggregates', async () => {
    service = start({ copies: 1 }, { targets: [target('one', 'f01001')] })
    const both = [anAggregate('in a sector'), anAggregate('in the same sector')]
    const place: Place = { type: 'sector', miner: 'f01001', sector: ++sector }
    for (const offered of both) {
      await offer(offered)
      report(offered, place)
    }
    await later(HOUR)
    await later(HOUR)
    for (const offered of both) {
      expect(await ordersOf(offered)).toMatchObject([{ stage: 'live', place: toPlaceKey(place) }])
      expect(await recordOf(offered)).toMatchObject({ stage: 'accepted', place: toPlaceKey(place) })
    }
  })

  it('are made again when another offer has been accepted with the place that the maker names', async () => {
    const place: Place = { type: 'pdp', chain: 314, verifier: `0x${'b2'.repeat(20)}`, dataSet: 8, piece: 1 }
    const offered = anAggregate('taken')
    // The first offer has no orders, and is accepted with a place that it did not make.
    service = start({}, { targets: [] })
    await offer(offered, { issuer: rival, nonce: 'theirs' })
    service = start(
      { copies: 1 },
      { targets: [target('pdp', 'pdp:1', { place: 'pdp' }), target('two', 'f01002')] },
    )
    answers.set('two', () => ({ state: 'refused', error: failure('Full', 'full'), blames: 'order' }))
    await offer(offered, { nonce: 'ours' })
    const ordersNow = async () => listAll(dependencies.stores.order, (await recordOf(offered, 'ours')).id)
    report(offered, place)
    await dependencies.queues.track.send([{ aggregates: [(await recordOf(offered, 'theirs')).id] }])
    await settle()
    const theirs = await recordOf(offered, 'theirs')
    expect(theirs).toMatchObject({ stage: 'accepted', place: toPlaceKey(place) })

    answers.set('pdp', () => ({ state: 'storing', message: 'added', place }))
    answers.delete('two')
    await later(HOUR)
    const lost = (await ordersNow()).find(({ target }) => target === 'pdp')
    expect(lost).toMatchObject({ stage: 'lost', reason: { name: 'PlaceTaken' } })
    expect((await ordersNow()).at(-1)).toMatchObject({ target: 'two', stage: 'storing' })
    expect(await recordOf(offered, 'ours')).toMatchObject({ stage: 'offered' })
  })

  it('do not claim a place before the deadline that their maker must name', async () => {
    service = start({ copies: 1 }, { targets: [target('pdp', 'pdp:1', { place: 'pdp' })] })
    const offered = anAggregate('named late')
    await offer(offered)
    const place: Place = { type: 'pdp', chain: 314, verifier: `0x${'c3'.repeat(20)}`, dataSet: 9, piece: 1 }
    report(offered, place)
    await later(HOUR)
    expect(await stagesOf(offered)).toEqual(['00/0000 pdp storing'])
    answers.set('pdp', () => ({ state: 'storing', message: 'added', place }))
    await later(HOUR)
    expect(await stagesOf(offered)).toEqual(['00/0000 pdp live'])
  })

  it('are not sent where another copy will be, although two runs planned them there', async () => {
    door.status = 429
    service = start({ copies: 2 })
    const offered = anAggregate('planned twice')
    await offer(offered)
    const [first, second] = await ordersOf(offered)
    const { target, provider } = first!
    await dependencies.stores.order.replace({ ...(second as Stored<OrderRecord>), target, provider })
    door.status = 200
    await later(timing.retryMs * 2)
    await later(HOUR)
    const orders = await ordersOf(offered)
    expect(orders.map(({ stage }) => stage)).toEqual(['storing', 'refused', 'storing'])
    expect(orders[1]).toMatchObject({ target, reason: { name: 'TargetTaken' } })
    expect(orders[2]!.provider).not.toBe(provider)
  })

  it('go on if another run sent them just before their target was paused', async () => {
    const { stores } = dependencies
    door.status = 429
    service = start({ copies: 1 }, { targets: [target('one', 'f01001')] })
    const offered = anAggregate('sent and paused')
    await offer(offered)
    // While this run reads the pause, another one sends the order.
    const paused = Object.assign(Object.create(stores.target), {
      getMany: async () => {
        const [order] = (await ordersOf(offered)) as [Stored<OrderRecord>]
        if (order.stage === 'planned')
          await stores.order.replace(
            markAsked(order, { deadlineMs: DAY }, clock.now, timing) as Stored<OrderRecord>,
          )
        return [{ name: 'one', reason: 'maintenance', revision: 1 }]
      },
    })
    service = start(
      { copies: 1 },
      { targets: [target('one', 'f01001')], stores: { ...stores, target: paused } },
    )
    await dependencies.queues.order.send([{ offer: (await recordOf(offered)).id }])
    await settle()
    expect(await stagesOf(offered)).toEqual([expect.stringMatching(/^00\/0000 one (asked|storing)$/)])
  })

  it('are planned once, whatever is lost or repeated', async () => {
    const offered = anAggregate('planned once')
    clock.now += 1
    await offerTo(offered, undefined, service.api)
    await aws.drain('order')
    await offerTo(offered, { attach: false }, service.api)
    await settle()
    await later(timing.retryMs + 1)
    expect((await ordersOf(offered)).map(({ order }) => order)).toEqual(['00/0000', '01/0000'])
    expect(new Set(askedFor(offered).map(({ order }) => order.id)).size).toBe(2)
  })

  it('are not counted as attempts while all targets are paused, and a pause of an operator outlives a refusal', async () => {
    const { stores } = dependencies
    service = start({ copies: 1, attempts: 1 }, { targets: [target('fragile', 'f01007')] })
    const offered = anAggregate('paused')
    await stores.target.insert({ name: 'fragile', reason: 'maintenance' })
    await offer(offered)
    expect((await ordersOf(offered)).at(-1)).toMatchObject({
      stage: 'refused',
      stuck: 'copy 0 is not ordered: no target is left that may store another copy',
    })
    await later(2 * DAY)
    expect(askedFor(offered)).toEqual([])
    await stores.target.removeMany([{ name: 'fragile' }])
    answers.set('fragile', async () => {
      await stores.target.insert({ name: 'fragile', reason: 'maintenance' })
      return { state: 'refused', error: failure('KeyExpired', 'the key expired'), blames: 'target' }
    })
    await dependencies.queues.order.send([{ offer: (await recordOf(offered)).id }])
    await settle()
    expect(askedFor(offered)).toHaveLength(1)
    expect(await stores.target.get({ name: 'fragile' })).toMatchObject({ reason: 'maintenance' })
    expect(await stores.target.get({ name: 'fragile' })).not.toHaveProperty('until', expect.anything())
  })

  it('are for targets that store aggregates of this size', async () => {
    const small = target('small', 'f01001', { maxPaddedBytes: 2 ** 15 })
    service = start({ copies: 1 }, { targets: [small, target('large', 'f01002')] })
    for (let n = 0; n < 4; n++) {
      const offered = anAggregate(`size ${n}`)
      await offer(offered)
      expect((await ordersOf(offered)).map(({ target }) => target)).toEqual(['large'])
    }
  })

  it('do not keep an offer from its end if no target stores aggregates of its size', async () => {
    service = start({ copies: 1 }, { targets: [target('small', 'f01001', { maxPaddedBytes: 2 ** 15 })] })
    const offered = anAggregate('too large')
    await offer(offered)
    await later(timing.pollMs + 1)
    expect(await recordOf(offered)).toMatchObject({ stage: 'offered' })
    await later(timing.dealWaitMs + HOUR)
    await later(HOUR)
    expect(await recordOf(offered)).toMatchObject({ stage: 'failed' })
  })

  it('are made for offers that waited before there was a target', async () => {
    service = start({}, { targets: [] })
    const offered = anAggregate('no target yet')
    await offer(offered)
    expect(await ordersOf(offered)).toEqual([])
    service = start()
    await later(timing.pollMs + 1)
    expect((await ordersOf(offered)).map(({ stage }) => stage)).toEqual(['storing', 'storing'])
  })

  it('are made for an offer that waits for a second copy, and had no target before the first one was live', async () => {
    service = start({ minLive: 2 }, { targets: [] })
    const offered = anAggregate('one copy, no target')
    await offer(offered)
    report(offered, { type: 'sector', miner: 'f09999', sector: ++sector })
    await later(timing.pollMs + 1)
    expect(await ordersOf(offered)).toEqual([])
    service = start({ minLive: 2 })
    await later(timing.pollMs + 1)
    expect((await ordersOf(offered)).map(({ stage }) => stage)).toEqual(['storing', 'storing'])
    await seal(offered)
    await later(HOUR)
    expect(await recordOf(offered)).toMatchObject({ stage: 'accepted' })
  })

  it('wait for room at a target', async () => {
    service = start({ copies: 1 }, { targets: [target('narrow', 'f01009', { maxInFlight: 2 })] })
    const all = Array.from({ length: 4 }, (_, n) => anAggregate(`room ${n}`))
    for (const offered of all) await offer(offered)
    const stages = async () =>
      (await Promise.all(all.map(ordersOf)))
        .flat()
        .map(({ stage }) => stage)
        .toSorted()
    expect(await stages()).toEqual(['planned', 'planned', 'storing', 'storing'])
    for (const offered of all) await seal(offered)
    await later(HOUR)
    await later(2 * HOUR)
    expect(await stages()).toEqual(['live', 'live', 'storing', 'storing'])
  })
})
