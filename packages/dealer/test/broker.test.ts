import { decode } from '@ipld/dag-cbor'
import { Delegation, invoke } from '@ucanto/core'
import type { DID, Proof, Receipt, Signer } from '@ucanto/interface'
import {
  type AggregateListSuccess,
  type DealReportSuccess,
  failure,
  MAX_LISTED_OFFERS,
  type OpenOffer,
  type PlaceStatus,
} from '@w3filecoin/capabilities'
import type { Row } from '@w3filecoin/runtime'
import { ask, call, served, somePiece } from '@w3filecoin/testing'
import { sha256 } from 'multiformats/hashes/sha2'
import { create as createLink } from 'multiformats/link'
import { beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { MAX_REPORTED_DEALS, newAggregate } from '../src/domain/aggregate.ts'
import { documentName } from '../src/domain/offer-document.ts'
import { newWhole } from '../src/domain/whole.ts'
import { createDealer } from '../src/index.ts'
import {
  aggregator,
  anAggregate,
  asked,
  aws,
  broker,
  clock,
  dealer,
  dependencies,
  documentOf,
  errorOf,
  later,
  type Offered,
  offer,
  publish,
  recordOf,
  retried,
  service,
  state,
  stranger,
  TENANT,
  timing,
  watched,
} from './setup.ts'

interface By {
  issuer?: Signer
  with?: DID
  proofs?: Proof[]
}
let nonce = 0
const invocationOf = (
  can: `${string}/${string}`,
  nb: object,
  { issuer = broker, proofs = [], ...by }: By = {},
) =>
  invoke({
    issuer,
    audience: dealer,
    capability: { can, with: by.with ?? issuer.did(), nb },
    proofs,
    nonce: `${nonce++}`,
    expiration: Infinity,
  })
const list = (nb: object = {}, by?: By) => ask(service.api, invocationOf('aggregate/list', nb, by))
const report = (nb: object, by?: By, api = service.api) => ask(api, invocationOf('deal/report', nb, by))
const okOf = <T>({ out }: Receipt) => {
  expect(out.error).toBeUndefined()
  return out.ok as T
}
const listed = async (nb?: object) => okOf<AggregateListSuccess>(await list(nb))
const reported = async (nb: object) => okOf<DealReportSuccess>(await report(nb))

/** Lists all offers, page by page. */
const listAll = async (limit = MAX_LISTED_OFFERS): Promise<OpenOffer[]> => {
  const offers: OpenOffer[] = []
  let after: string | undefined
  do {
    const page = await listed({ limit, ...(after && { after }) })
    expect(page.aggregates.length).toBeLessThanOrEqual(limit)
    offers.push(...page.aggregates)
    after = page.next
  } while (after !== undefined)
  return offers
}
const nameOf = async (offered: Offered) => documentName(await recordOf(offered))
const namesOf = (offers: readonly OpenOffer[]) => offers.map(({ offer }) => offer)
const offerNew = async (name: string) => {
  const offered = anAggregate(`broker ${name}`)
  const receipt = await offer(offered)
  return { offered, receipt, name: await nameOf(offered) }
}
const place = (key: string, fields: Partial<PlaceStatus> = {}): PlaceStatus => ({
  type: 'sector',
  key,
  provider: 'f01000',
  status: 'Active',
  pieceCid: 'baga…',
  epoch: 10,
  ...fields,
})
const queued = async () => (await aws.drain('report')).map(({ Body }) => JSON.parse(Body as string))
/** Runs a request that must be refused, and change nothing of an offer. */
const expectUnchanged = async (offered: Offered, request: () => Promise<Receipt>, error: object) => {
  const before = await recordOf(offered)
  const receipt = await request()
  expect(errorOf(receipt)).toMatchObject(error)
  expect(await served(service.api, receipt.ran.link())).toBeUndefined()
  expect(await recordOf(offered)).toEqual(before)
  expect(await queued()).toEqual([])
  expect(watched).toEqual([])
}

beforeEach(() => {
  clock.now += 1000
})

describe('a broker', () => {
  it('is a principal that the dealer lists, or that has a delegation of the dealer or of a broker', async () => {
    const { offered, name } = await offerNew('authority')
    const fault = { message: 'No provider accepted it' }
    for (const request of [list, (_: object, by: By) => report({ offer: name, fault }, by)]) {
      // An aggregator is not a broker.
      for (const issuer of [stranger, aggregator])
        await expectUnchanged(offered, () => request({}, { issuer }), { name: 'UnknownBroker' })
      const otherResources = [dealer.did(), broker.did()].map(did => ({ issuer: stranger, with: did }))
      for (const by of otherResources)
        await expectUnchanged(offered, () => request({}, by), { name: 'Unauthorized' })
    }
    for (const issuer of [dealer, broker]) {
      const can = [{ can: 'aggregate/list', with: issuer.did() } as const]
      const proofs = [await Delegation.delegate({ issuer, audience: stranger, capabilities: can as never })]
      const by = { issuer: stranger, with: issuer.did(), proofs }
      expect(namesOf(okOf<AggregateListSuccess>(await list({}, by)).aggregates)).toContain(name)
      await expectUnchanged(offered, () => report({ offer: name, fault }, by), { name: 'Unauthorized' })
    }
  })

  it('may delegate reports about one offer', async () => {
    const [one, other] = [await offerNew('delegated'), await offerNew('not delegated')]
    const proof = await Delegation.delegate({
      issuer: broker,
      audience: stranger,
      capabilities: [{ can: 'deal/report', with: broker.did(), nb: { offer: one.name } }] as never,
    })
    const by = { issuer: stranger, with: broker.did(), proofs: [proof] }
    await expectUnchanged(other.offered, () => report({ offer: other.name, place: '81' }, by), {
      name: 'Unauthorized',
    })
    expect(okOf(await report({ offer: one.name, place: '81' }, by))).toMatchObject({ stage: 'offered' })
  })
})

describe('aggregate/list', () => {
  it('returns the facts of the offer document, and a URL of the block that lists the pieces', async () => {
    const { offered, name } = await offerNew('facts')
    const found = (await listAll()).find(({ offer }) => offer === name)!
    const { offer: _, pieces, piecesUrl, ...facts } = found
    const { pieces: texts, ...document } = await documentOf(name)
    expect({ ...facts, aggregate: `${facts.aggregate}` }).toEqual({
      ...document,
      source: expect.stringMatching(
        /^https:\/\/storefront\.test\/piece\/\d+\.bafkzci\w+\.[\w-]{86}\/\{piece\}$/,
      ),
    })
    const response = await fetch(piecesUrl)
    const bytes = new Uint8Array(await response.arrayBuffer())
    expect(`${createLink(0x71, await sha256.digest(bytes))}`).toBe(`${pieces}`)
    expect(decode(bytes)).toEqual(offered.pieces)
    expect(offered.pieces.map(String)).toEqual(texts)
  })

  it('returns the URL of a whole aggregate once it is ready, and the door serves it', async () => {
    const { offered, name } = await offerNew('whole')
    const wholeOf = async () => (await listAll()).find(({ offer }) => offer === name)!.whole
    expect(await wholeOf()).toBeUndefined()
    const { piecesCid } = await recordOf(offered)
    const filling = newWhole(
      { id: `${offered.aggregate}`, piecesCid, storefront: TENANT.storefront, upload: 'upload' },
      clock.now,
      timing.retryMs,
    )
    const { ok } = await dependencies.stores.whole.insert(filling)
    expect(await wholeOf()).toBeUndefined()
    await dependencies.stores.whole.replace({ ...ok!, stage: 'ready' })
    // The offer has waited for longer than the permits in its document last.
    clock.now += 3 * timing.dealWaitMs
    const url = await wholeOf()
    expect(url).toMatch(/^https:\/\/dealer\.test\/\d+\.bafkzci\w+\.[\w-]{86}\/piece\/bafkzci\w+$/)
    const { pathname } = new URL(url!)
    expect((await service.api.request(pathname)).status).toBe(302)
    expect((await service.api.request(pathname.replace(/\d/, digit => `${9 - +digit}`))).status).toBe(403)
  })

  it('has the open offers only, the oldest first', async () => {
    const first = await offerNew('first')
    clock.now += 1
    const [accepted, failed] = [await offerNew('accepted'), await offerNew('failed')]
    clock.now += 1
    const last = await offerNew('last')
    publish(accepted.offered, { 4711: {} })
    await reported({ offer: failed.name, fault: { message: 'No provider accepted it' } })
    const own = new Set([first, accepted, failed, last].map(({ name }) => name))
    expect(namesOf(await listAll()).filter(name => own.has(name))).toHaveLength(4)
    await later()
    expect(namesOf(await listAll()).filter(name => own.has(name))).toEqual([first.name, last.name])
    const { items } = await dependencies.stores.aggregate.find('open', 'accepted', { limit: 1 })
    expect(items).toEqual([])
  })

  it('returns each offer on one page, also if many were made in the same millisecond', async () => {
    for (let n = 0; n < 7; n++) await offerNew(`page ${n}`)
    const all = namesOf(await listAll())
    expect(all.length).toBeGreaterThan(7)
    for (const limit of [1, 2, 3]) expect(namesOf(await listAll(limit))).toEqual(all)
  })

  it('goes on behind a cursor whose offer has ended, and behind one that another broker got', async () => {
    const offers = []
    for (let n = 0; n < 4; n++) {
      clock.now += 1
      offers.push(await offerNew(`cursor ${n}`))
    }
    const all = namesOf(await listAll())
    const { next } = await listed({ limit: all.indexOf(offers[1]!.name) + 1 })
    await reported({ offer: offers[1]!.name, fault: { message: 'No provider accepted it' } })
    await aws.settle(service.consumers)
    const proof = await Delegation.delegate({
      issuer: dealer,
      audience: stranger,
      capabilities: [{ can: 'aggregate/list', with: dealer.did() }],
    })
    const by = { issuer: stranger, with: dealer.did(), proofs: [proof] }
    const rest = [offers[2]!.name, offers[3]!.name]
    expect(namesOf((await listed({ after: next })).aggregates)).toEqual(rest)
    expect(namesOf(okOf<AggregateListSuccess>(await list({ after: next }, by)).aggregates)).toEqual(rest)
    expect(namesOf((await listed({ after: `${'9'.repeat(13)}-${'z'.repeat(43)}` })).aggregates)).toEqual([])
  })

  it.each([
    ['an empty cursor', { after: '' }],
    ['another text', { after: 'next' }],
    ['a cursor of DynamoDB', { after: '{"id":"x"}' }],
    ['a longer cursor', { after: `${'1'.repeat(13)}-${'z'.repeat(1000)}` }],
    ['a limit of 0', { limit: 0 }],
    ['a limit of 101', { limit: 101 }],
    ['half an offer', { limit: 0.5 }],
  ])('refuses %s', async (_, nb) => {
    const [field] = Object.keys(nb)
    expect(errorOf(await list(nb))).toMatchObject({ name: 'MalformedCapability', field: `nb.${field}` })
  })

  it('has an offer of earlier code, which had no index of open offers, after its next check', async () => {
    const { offered, name } = await offerNew('earlier code')
    const table = aws.table<Row>('aggregate')
    const { id } = await recordOf(offered)
    const { openKey: _, ...row } = (await table.get({ id }))!
    await table.replace({ ...row, v: 1, revision: row.revision as number })
    expect(namesOf(await listAll())).not.toContain(name)
    await later()
    expect(namesOf(await listAll())).toContain(name)
  })
})

describe('deal/report of a place', () => {
  it('has the deal tracker search a deal, and accepts the offer only when the tracker sees it live', async () => {
    const { offered, name, receipt } = await offerNew('hint')
    const accepted = () => served(service.api, receipt.fx.join!.link())
    expect(await reported({ offer: name, place: '81' })).toMatchObject({
      stage: 'offered',
      asOf: [{ source: 'chain' }],
    })
    expect(watched).toEqual([81])
    await later()
    expect(await accepted()).toBeUndefined()

    publish(offered, { 81: { status: 'Terminated' } })
    expect(await reported({ offer: name, place: '81' })).toMatchObject({ status: 'Terminated' })
    await later()
    expect(await accepted()).toBeUndefined()
    expect((await recordOf(offered)).stage).toBe('offered')

    publish(offered, { 81: {} })
    expect(await reported({ offer: name, place: '81' })).toMatchObject({ stage: 'offered', status: 'Active' })
    await later()
    expect((await accepted())?.out.ok).toMatchObject({ dataType: 0, dataSource: { dealID: 81 } })
    expect(await reported({ offer: name, place: '82' })).toEqual({ stage: 'accepted' })
    // The active deal, and that of the accepted offer, were not searched.
    expect(watched).toEqual([81, 81])
  })

  it('repeated changes nothing but the search of the deal tracker', async () => {
    const { offered, name } = await offerNew('repeated')
    const first = await reported({ offer: name, place: '91' })
    const record = await recordOf(offered)
    expect(record.reportedDeals).toEqual(['91'])
    expect(await reported({ offer: name, place: '91' })).toEqual(first)
    expect(await recordOf(offered)).toEqual(record)
    expect(watched).toEqual([91, 91])
  })

  it.each([
    ['sector:f01000/77', { type: 'sector' }],
    [`pdp:314/0x${'ab'.repeat(20)}/12/0`, { type: 'pdp', status: 'Pending' }],
  ] as const)('answers about %s with the knowledge of the deal tracker', async (key, fields) => {
    const { offered, name } = await offerNew(key)
    const before = await recordOf(offered)
    const unknown = await reported({ offer: name, place: key })
    expect(unknown).toEqual({ stage: 'offered', asOf: [expect.objectContaining({ source: 'chain' })] })
    state.places.set(`${offered.aggregate}`, [place('sector:f01000/76'), place(key, fields)])
    const known = await reported({ offer: name, place: key })
    expect(known).toMatchObject({ stage: 'offered', status: place(key, fields).status })
    expect(await recordOf(offered)).toEqual(before)
    expect(watched).toEqual([])
  })

  it('about a deal of another aggregate does not accept the offer', async () => {
    const [one, other] = [await offerNew('liar'), await offerNew('victim')]
    publish(other.offered, { 101: {} })
    expect(await reported({ offer: one.name, place: '101' })).not.toHaveProperty('status')
    await later()
    expect([(await recordOf(one.offered)).stage, (await recordOf(other.offered)).stage]).toEqual([
      'offered',
      'accepted',
    ])
  })

  it('of more deals than an offer may have is refused, and known ones are still searched', async () => {
    const { offered, name } = await offerNew('flood')
    for (let n = 1; n <= MAX_REPORTED_DEALS; n++) await reported({ offer: name, place: `${n}000` })
    const before = await recordOf(offered)
    watched.length = 0
    await expectUnchanged(offered, () => report({ offer: name, place: '99999' }), { name: 'TooManyReports' })
    expect(await recordOf(offered)).toEqual(before)
    await reported({ offer: name, place: '1000' })
    expect(watched).toEqual([1000])
  })

  it('fails while the deal tracker does not answer or refuses, and a repeated report succeeds', async () => {
    const { name } = await offerNew('unreachable')
    state.trackerDown = true
    expect(errorOf(await report({ offer: name, place: '111' }))).toMatchObject({ name: 'PeerUnreachable' })
    state.trackerDown = false
    state.watchRefusal = failure('TooManyDeals', 'The source market searches 5000 deals already')
    expect(errorOf(await report({ offer: name, place: '111' }))).toMatchObject({
      name: 'DealNotWatched',
      message: expect.stringContaining('TooManyDeals'),
    })
    expect(watched).toEqual([])
    state.watchRefusal = undefined
    await reported({ offer: name, place: '111' })
    expect(watched).toEqual([111])
  })

  it('that runs ten times in one message asks the deal tracker ten times, and no more', async () => {
    const { name } = await offerNew('many in a message')
    const invocations = Array.from({ length: 12 }, () =>
      invocationOf('deal/report', { offer: name, place: '121' }),
    )
    const receipts = await call(service.api, ...invocations)
    expect(receipts.filter(({ out }) => out.ok)).toHaveLength(10)
    expect(asked).toHaveLength(10)
  })
})

describe('deal/report of a fault', () => {
  it('fails the offer as deal making does, names the invalid pieces, and retries the others', async () => {
    const { offered, name, receipt } = await offerNew('fault')
    const [wrong, ...others] = offered.pieces
    const fault = {
      message: 'One piece is invalid',
      invalid: [{ piece: wrong!, message: 'No content has it' }],
    }
    expect(await reported({ offer: name, fault })).toEqual({ stage: 'offered' })
    const messages = await queued()
    expect(messages).toEqual([
      {
        v: 1,
        offer: name,
        message: fault.message,
        invalid: [{ piece: `${wrong}`, message: 'No content has it' }],
      },
    ])
    // The message was lost. It is reported again, twice.
    for (const _ of [1, 2]) expect(await reported({ offer: name, fault })).toEqual({ stage: 'offered' })
    await aws.settle(service.consumers)
    const outcome = await served(service.api, receipt.fx.join!.link())
    expect(outcome?.out.error).toMatchObject({
      name: 'InvalidPiece',
      cause: [{ name: 'InvalidPieceCID', piece: wrong, message: 'No content has it' }],
    })
    const pieces = retried.map(({ capabilities: [{ nb }] }) => `${(nb as { piece: object }).piece}`)
    expect(pieces.toSorted()).toEqual(others.map(String).toSorted())

    const record = await recordOf(offered)
    expect(await reported({ offer: name, fault: { message: 'Another reason' } })).toEqual({ stage: 'failed' })
    expect(await reported({ offer: name, place: '131' })).toEqual({ stage: 'failed' })
    expect(await recordOf(offered)).toEqual(record)
    expect(await queued()).toEqual([])
  })

  const { aggregate, pieces } = anAggregate('broker refused')
  const message = 'No provider accepted it'
  const [piece] = pieces
  it.each<[string, object, object]>([
    ['neither a place nor a fault', {}, { name: 'MalformedCapability', field: 'nb' }],
    ['both', { place: '7', fault: { message } }, { name: 'MalformedCapability', field: 'nb' }],
    ['the place of no kind', { place: 'f020378' }, { name: 'MalformedCapability', field: 'nb.place' }],
    ['the deal 0', { place: '0' }, { name: 'MalformedCapability', field: 'nb.place' }],
    ['a place as a map', { place: { dealID: 7 } }, { name: 'MalformedCapability', field: 'nb.place' }],
    ['an empty reason', { fault: { message: '' } }, { name: 'MalformedCapability', field: 'nb.fault' }],
    [
      'a reason of 1,001 characters',
      { fault: { message: 'x'.repeat(1001) } },
      { name: 'MalformedCapability', field: 'nb.fault' },
    ],
    [
      'a reason of 501 characters for a piece',
      { fault: { message, invalid: [{ piece, message: 'x'.repeat(501) }] } },
      { name: 'MalformedCapability', field: 'nb.fault' },
    ],
    [
      'a piece as text',
      { fault: { message, invalid: [{ piece: `${piece}`, message }] } },
      { name: 'MalformedCapability', field: 'nb.fault' },
    ],
    [
      'a piece of another aggregate',
      {
        fault: {
          message,
          invalid: [
            { piece, message },
            { piece: somePiece('stray', 4), message },
          ],
        },
      },
      { name: 'UnknownPiece' },
    ],
    [
      'an unknown offer',
      { offer: `${aggregate}/${'x'.repeat(43)}.json`, place: '7' },
      { name: 'UnknownOffer' },
    ],
    ['no name of an offer', { offer: '../secrets.json', fault: { message } }, { name: 'UnknownOffer' }],
    ['no offer', { offer: undefined, place: '7' }, { name: 'MalformedCapability', field: 'nb.offer' }],
  ])('that has %s is refused, and changes nothing', async (_, nb, error) => {
    const offered = { aggregate, pieces }
    await offer(offered)
    const given = { offer: await nameOf(offered), ...nb }
    const present = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined))
    await expectUnchanged(offered, () => report(present), error)
  })

  it('that is interrupted before its message is sent succeeds when it is repeated', async () => {
    const { offered, name } = await offerNew('interrupted')
    const { queues } = dependencies
    const failing = { ...queues.report, send: async () => Promise.reject(new Error('SQS is down')) }
    const { api } = createDealer({ ...dependencies, queues: { ...queues, report: failing } })
    const nb = { offer: name, fault: { message } }
    expect(errorOf(await report(nb, undefined, api))).toMatchObject({ name: 'HandlerExecutionError' })
    expect((await recordOf(offered)).stage).toBe('offered')
    await reported(nb)
    await aws.settle(service.consumers)
    expect((await recordOf(offered)).stage).toBe('failed')
  })
})

// Last, because the sweep would handle these records.
describe('aggregate/list of many offers', () => {
  const text = 'ä'.repeat(512)
  beforeAll(async () => {
    const { piecesCid } = await recordOf(await offerNew('many').then(({ offered }) => offered))
    for (let n = 0; n < MAX_LISTED_OFFERS + 5; n++)
      await dependencies.stores.aggregate.insert(
        newAggregate(
          {
            id: `${n}`.padStart(43, 'm'),
            aggregate: `${somePiece(`many ${n}`, 10)}`,
            piecesCid,
            aggregator: aggregator.did(),
            storefront: TENANT.storefront,
            group: text,
            label: text,
          },
          1_000_000 + n,
          timing,
        ),
      )
  })

  it('returns at most 100, and five answers with the longest texts fit into one message', async () => {
    const page = await listed()
    expect(page.aggregates).toHaveLength(MAX_LISTED_OFFERS)
    expect(page.next).toBeDefined()
    const invocations = Array.from({ length: 6 }, () => invocationOf('aggregate/list', {}))
    const receipts = await call(service.api, ...invocations)
    const answered = receipts.filter(({ out }) => out.ok)
    expect(answered).toHaveLength(5)
    expect(errorOf(receipts.find(({ out }) => out.error)!)?.name).toBe('TooManyInvocations')
  })
})
