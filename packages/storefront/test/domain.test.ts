import { failure, type Stage } from '@w3filecoin/capabilities'
import type { Stored } from '@w3filecoin/runtime'
import { bytesOf } from '@w3filecoin/testing'
import { create as createDigest } from 'multiformats/hashes/digest'
import { create as createLink } from 'multiformats/link'
import { describe, expect, it } from 'vitest'
import { configSchema } from '../src/config.ts'
import { fromGateway } from '../src/content/gateway.ts'
import { sha256Of } from '../src/content/sha256.ts'
import {
  type AggregateRecord,
  aggregateId,
  ensureMemberCheck,
  markAccepted,
  markFailed,
  markFinished,
  newAggregate,
} from '../src/domain/aggregate.ts'
import { MEMBER_SHARDS, memberShard, shardOf } from '../src/domain/member-shards.ts'
import {
  contentDeadline,
  distinctGroup,
  isConfirmed,
  isFinal,
  markAggregated,
  markEnded,
  markQueued,
  markRetried,
  markSubmitted,
  newPiece,
  nextAttempt,
  nextCheckMs,
  type PieceRecord,
  pieceId,
  recordProblem,
  renewClaim,
  renewWait,
  startAttempt,
} from '../src/domain/piece.ts'

const timing = { retryMs: 60, pollMs: 900, contentWaitMs: 5000, safetyCheckMs: 604_800_000 }
const WEEK = 7 * 24 * 3600 * 1000
const bytes = new Uint8Array([1])
const membership = { aggregate: 'a', aggregateId: 'A', inclusion: bytes }
const record = (stage: Stage): Stored<PieceRecord> => ({
  ...newPiece({ content: 'c', piece: 'p', group: 'g', submitTask: bytes, acceptTask: bytes }, 1000, timing),
  ...membership,
  stage,
  revision: 3,
})

describe('a piece', () => {
  it('is offered first, and checked again after retryMs', () => {
    const { id, ...rest } = newPiece(
      { content: 'c', piece: 'p', nonce: 'n', group: 'g', submitTask: bytes, acceptTask: bytes },
      1000,
      timing,
    )
    expect(id).toBe(pieceId({ content: 'c', piece: 'p', nonce: 'n' }))
    expect(rest).toMatchObject({ stage: 'offered', history: [{ stage: 'offered', at: 1000 }], checkAt: 1060 })
  })

  const events: Record<string, (at: Stored<PieceRecord>) => Stored<PieceRecord> | undefined> = {
    submitted: at => markSubmitted(at, bytes, 2000, timing),
    queued: at => markQueued(at, { waitsFor: 'task', nonce: 'n' }, 2000, timing),
    aggregated: at => markAggregated(at, membership, 2000, timing),
    retried: at => markRetried(at, { aggregateId: 'A', retry: 'offer' }, 2000, timing),
    accepted: at => markEnded(at, { attempt: undefined, reason: undefined }, 2000),
    failed: at =>
      markEnded(
        at,
        { attempt: undefined, reason: failure('ProofNotFound', 'no deal', { piece: 'p' }) },
        2000,
      ),
  }
  const stages: Stage[] = ['offered', 'submitted', 'queued', 'aggregated', 'retried', 'accepted', 'failed']
  const unfinished = stages.slice(0, 5)

  /** The stages at which each event applies. At any other stage, the event is late or early. */
  const counts: Record<string, Stage[]> = {
    submitted: ['offered'],
    queued: ['submitted', 'retried'],
    aggregated: ['queued'],
    retried: ['aggregated'],
    accepted: unfinished,
    failed: unfinished,
  }

  it.each(Object.keys(events).flatMap(event => stages.map(stage => ({ event, stage }))))(
    '$event at $stage',
    ({ event, stage }) => {
      const before = { ...record(stage), trouble: { message: 'x', at: 1500, times: 2 } }
      const copy = structuredClone(before)
      const after = events[event]!(before)
      expect(before, 'a transition does not change its argument').toEqual(copy)
      if (!counts[event]!.includes(stage)) return expect(after).toBeUndefined()
      expect(after).toMatchObject({
        stage: event,
        history: [
          { stage: 'offered', at: 1000 },
          { stage: event, at: 2000 },
        ],
        revision: 3,
      })
      expect(after).not.toHaveProperty('trouble')
      return undefined
    },
  )

  it.each<[string, number | undefined]>([
    ['submitted', 2060],
    ['queued', 2000 + WEEK],
    ['aggregated', 2000 + WEEK],
    ['retried', 2060],
    ['accepted', undefined],
    ['failed', undefined],
  ])('is checked again after %s: %s', (event, checkAt) => {
    const after = events[event]!(record(counts[event]![0]!))
    expect(after?.checkAt).toBe(checkAt)
    expect(after?.due === undefined).toBe(checkAt === undefined)
  })

  it('gets new fields at each stage', () => {
    expect(events.submitted!(record('offered'))).toMatchObject({ pieceOfferTask: bytes })
    expect(events.queued!(record('submitted'))).toMatchObject({ waitsFor: 'task', offerNonce: 'n' })
    const member = events.aggregated!(record('queued'))!
    expect(member).toMatchObject({ ...membership, memberOf: memberShard('A', shardOf(member.piece)) })
    expect(events.failed!(record('queued'))?.reason).toEqual({ name: 'ProofNotFound', message: 'no deal' })
  })

  it('remembers its earlier aggregates when it is retried', () => {
    const first = events.retried!(record('aggregated'))!
    expect(first).toMatchObject({ retryOfferCid: 'offer', former: [{ aggregate: 'a', inclusion: bytes }] })
    for (const gone of ['aggregate', 'aggregateId', 'inclusion', 'memberOf', 'waitsFor'] as const)
      expect(first[gone]).toBeUndefined()
    const again = { aggregate: 'b', aggregateId: 'B', inclusion: bytes }
    const second = markAggregated(
      markQueued(first, { waitsFor: 'task 2', nonce: 'A' }, 3000, timing)!,
      again,
      4000,
      timing,
    )!
    expect(events.retried!(second), 'a late event of the earlier aggregate').toBeUndefined()
    const third = markRetried(second, { aggregateId: 'B', retry: 'offer 2' }, 5000, timing)
    expect(third?.former?.map(({ aggregate }) => aggregate)).toEqual(['a', 'b'])
    expect(third?.history.map(({ stage }) => stage)).toEqual([
      'offered',
      'retried',
      'queued',
      'aggregated',
      'retried',
    ])
  })

  it.each(stages)(
    'records a problem at %s only if that is its stage, and backs off by its time at the stage',
    stage => {
      const before = record(stage)
      const [once, elsewhere] = ['offered', stage].map(at =>
        recordProblem(before, at as Stage, 'x', 1500, timing),
      )
      expect(once === undefined).toBe(stage !== 'offered')
      expect(elsewhere).toMatchObject({ stage, trouble: { message: 'x', at: 1500, times: 1 } })
      const twice = recordProblem(elsewhere!, stage, 'y', 3000, timing)
      expect(twice).toMatchObject({ trouble: { message: 'y', at: 3000, times: 2 } })
      if (stage === 'offered') expect([elsewhere?.checkAt, twice?.checkAt]).toEqual([2000, 5000])
    },
  )

  it('remembers which other piece its content hashed to, and when that was first found', () => {
    const [one, none, same, other] = [
      ['x', 1500],
      [undefined, 1550],
      ['x', 1600],
      ['y', 1700],
    ] as const
    const look = (at: Stored<PieceRecord>, [found, now]: readonly [string | undefined, number]) =>
      recordProblem(at, 'offered', 'm', now, timing, found)!
    const thrice = [one, none, same].reduce(look, record('offered'))
    expect(thrice.trouble).toEqual({ message: 'm', at: 1600, times: 3, found: { piece: 'x', at: 1500 } })
    expect(look(thrice, other).trouble?.found).toEqual({ piece: 'y', at: 1700 })
    expect(isConfirmed(record('offered'), 'x', 2000, timing)).toBe(false)
    expect(isConfirmed(thrice, 'y', 2000, timing)).toBe(false)
    // A clock that was ten days ahead recorded the earlier read.
    expect(isConfirmed(thrice, 'x', 1500 - 10 * 24 * 3_600_000, timing)).toBe(true)
    expect(isConfirmed(thrice, 'x', 1500 + timing.retryMs - 1, timing)).toBe(false)
    expect(isConfirmed(thrice, 'x', 1500 + timing.retryMs, timing)).toBe(true)
  })

  it('is not checked again for retryMs while its content is read', () => {
    expect(renewClaim(record('offered'), 2000, timing)?.checkAt).toBe(2000 + timing.retryMs)
    expect(renewClaim(record('submitted'), 2000, timing)).toBeUndefined()
  })

  it.each<[Stage, number]>([
    ['offered', 60],
    ['submitted', 60],
    ['queued', 900],
    ['aggregated', WEEK],
    ['retried', 60],
  ])('at %s is checked every %i ms', (stage, interval) => {
    expect(nextCheckMs({ stage, history: [{ stage, at: 1000 }] }, 1000, timing)).toBe(interval)
  })

  it.each([
    ['the first time', 0, 60],
    ['later', 500, 500],
    ['at most', WEEK, 6 * 60 * 60 * 1000],
  ])('backs off exponentially while its content is missing: %s', (_, age, interval) => {
    expect(
      nextCheckMs({ stage: 'offered', history: [{ stage: 'offered', at: 1000 }] }, 1000 + age, timing),
    ).toBe(interval)
  })

  it('at a stage of a newer version stays as it is, and is checked again', () => {
    const newer = record('paused' as Stage)
    for (const event of Object.values(events)) expect(event(newer)).toBeUndefined()
    expect(isFinal(newer)).toBe(false)
    expect(nextCheckMs(newer, 1000, timing)).toBe(60)
  })

  it('has its own key for each content, piece and nonce, and for each group beside the first', () => {
    const ids = [
      { content: 'c', piece: 'p' },
      { content: 'd', piece: 'p' },
      { content: 'c', piece: 'q' },
      { content: 'c', piece: 'p', nonce: 'n' },
    ].flatMap(offered => [pieceId(offered), pieceId(offered, 'g'), pieceId(offered, 'h')])
    expect(new Set(ids).size).toBe(12)
    const offered = { content: 'c', piece: 'p', group: 'g', submitTask: bytes, acceptTask: bytes }
    expect(distinctGroup(newPiece(offered, 1000, timing))).toBeUndefined()
    expect(distinctGroup(newPiece({ ...offered, isDistinct: true }, 1000, timing))).toBe('g')
  })

  it('waits for its content again from each offer on, which causes a write only from time to time', () => {
    const offered = { ...record('offered'), history: [{ stage: 'offered' as const, at: 1000 }] }
    expect(contentDeadline(offered, timing)).toBe(6000)
    expect(renewWait(offered, 1499, timing)).toBeUndefined()
    const renewed = renewWait(offered, 1500, timing)!
    expect(contentDeadline(renewed, timing)).toBe(6500)
    expect(renewed).toMatchObject({ stage: 'offered', history: offered.history, checkAt: offered.checkAt })
    expect(nextCheckMs(renewed, 1700, timing), 'the backoff starts again too').toBe(200)
    expect(renewWait(renewed, 1999, timing)).toBeUndefined()
    expect(renewWait({ ...offered, stage: 'submitted' }, 9000, timing)).toBeUndefined()
  })

  it('starts another attempt only after ContentNotFound, once for each number', () => {
    const failed = (name: string, more: Partial<PieceRecord> = {}) => ({
      ...record('failed'),
      reason: { name, message: 'm' },
      waitingSince: 1500,
      ...more,
    })
    for (const name of ['InvalidContentPiece', 'ProofNotFound'])
      expect(nextAttempt(failed(name)), name).toBeUndefined()
    expect(nextAttempt(record('accepted'))).toBeUndefined()
    expect(nextAttempt(failed('ContentNotFound'))).toBe(2)
    expect(nextAttempt(failed('ContentNotFound', { attempt: 100 })), 'the last attempt').toBeUndefined()

    const promises = { submitTask: bytes, acceptTask: bytes, acceptCid: 'second' }
    const second = startAttempt(failed('ContentNotFound'), 2, promises, 7000, timing)!
    expect(second).toMatchObject({ stage: 'offered', attempt: 2, acceptCid: 'second', checkAt: 7060 })
    expect(second.history).toEqual([...record('failed').history, { stage: 'offered', at: 7000 }])
    expect([second.reason, second.waitingSince]).toEqual([undefined, undefined])
    expect(startAttempt(second, 2, promises, 8000, timing), 'a concurrent offer').toBeUndefined()
    expect(startAttempt(failed('ContentNotFound', { attempt: 2 }), 2, promises, 8000, timing)).toBeUndefined()

    const late = { attempt: undefined, reason: failure('ContentNotFound', 'm') }
    expect(markEnded(second, late, 8000), 'a run that ends the first attempt late').toBeUndefined()
    expect(markEnded(second, { ...late, attempt: 2 }, 8000)).toMatchObject({ stage: 'failed' })
  })

  it('is in one shard of its aggregate, and all shards are used', () => {
    const shards = Array.from({ length: 500 }, (_, n) => memberShard('A', shardOf(`${n}`)))
    expect(new Set(shards)).toEqual(new Set(Array.from({ length: MEMBER_SHARDS }, (_, n) => `A#${n}`)))
  })
})

describe('an aggregate', () => {
  const offer = { aggregate: 'a', aggregateOfferCid: 'task' }
  const stored = (): Stored<AggregateRecord> => ({
    ...newAggregate({ ...offer, nonce: undefined }, 1000, timing),
    revision: 1,
  })
  const deal = { dataType: 0, dealID: 7 }

  it('is offered, accepted once, checked for remaining pieces, and finished', () => {
    expect(stored()).toMatchObject({ stage: 'offered', checkAt: 1900, id: aggregateId({ aggregate: 'a' }) })
    const after = markAccepted(stored(), deal, 2000, timing)!
    expect(after).toMatchObject({ stage: 'accepted', ...deal, checkAt: 2000 + timing.pollMs })
    expect(markAccepted(after, { ...deal, dealID: 8 }, 3000, timing)).toBeUndefined()
    expect(markFailed(after, 'verdicts', 3000, timing)).toBeUndefined()
    expect(markFinished(after)).toMatchObject({ stage: 'accepted', checkAt: undefined, due: undefined })
  })

  it('is checked again after a late piece, unless its next check is far away', () => {
    const after = markAccepted(stored(), deal, 2000, timing)!
    const due = (checkAt: number | undefined) =>
      ensureMemberCheck({ ...after, checkAt }, 5000, timing)?.checkAt
    expect(ensureMemberCheck(stored(), 5000, timing), 'the outcome will cause a check').toBeUndefined()
    expect(due(undefined)).toBe(5000 + timing.pollMs)
    expect(due(5001), 'that check may be running already').toBe(5000 + timing.pollMs)
    expect(due(5000 + timing.pollMs - 1)).toBeUndefined()
  })

  it('is failed once, checked for remaining pieces, and finished', () => {
    const after = markFailed(stored(), 'verdicts', 2000, timing)!
    expect(after).toMatchObject({ stage: 'failed', verdictsCid: 'verdicts', checkAt: 2000 + timing.pollMs })
    expect(markFailed(after, 'others', 3000, timing)).toBeUndefined()
    expect(markAccepted(after, deal, 3000, timing)).toBeUndefined()
    expect(markFinished(after)).toMatchObject({ stage: 'failed', checkAt: undefined, due: undefined })
  })

  it('has another key with a nonce', () => {
    expect(aggregateId({ aggregate: 'a', nonce: 'n' })).not.toBe(aggregateId({ aggregate: 'a' }))
  })
})

describe('the hash of content', () => {
  const digest = bytesOf('digest', 32)
  it.each<[string, number, number, Uint8Array, boolean]>([
    ['is in the CID of a raw block', 0x55, 0x12, digest, true],
    ['is in the CID of a CAR', 0x0202, 0x12, digest, true],
    ['is not in the CID of a DAG', 0x70, 0x12, digest, false],
    ['is not in an identity CID', 0x55, 0x00, digest, false],
    ['is not a hash of another kind', 0x55, 0x13, bytesOf('digest', 64), false],
    ['is not a truncated hash', 0x55, 0x12, digest.subarray(0, 20), false],
  ])('%s', (_, codec, code, bytes, known) => {
    expect(sha256Of(`${createLink(codec, createDigest(code, bytes))}`)).toEqual(known ? bytes : undefined)
  })
})

describe('content from a gateway', () => {
  const { signal } = new AbortController()
  /** A gateway at `https://{cid}.example/x` that answers with these responses, one after the other. */
  const from = (responses: Response[], asked: string[] = [], options: object = {}) =>
    fromGateway('https://{cid}.example/x', {
      fetch: async (url, init) => {
        asked.push(`${init?.method} ${url}`)
        expect(init?.redirect).toBe('manual')
        return responses.shift()!
      },
      ...options,
    })
  const redirect = (location: string) => new Response(null, { status: 302, headers: { location } })

  it('is streamed from the URL of its CID', async () => {
    const asked: string[] = []
    const source = from([new Response(), new Response('bytes')], asked)
    expect(await source.has('bafy')).toBe(true)
    const chunks = await Array.fromAsync((await source.open('bafy', signal))!)
    expect(Buffer.concat(chunks).toString()).toBe('bytes')
    expect(asked).toEqual(['HEAD https://bafy.example/x', 'GET https://bafy.example/x'])
  })

  it.each([404, 410])('does not exist at status %i', async status => {
    expect(await from([new Response('', { status })]).open('bafy', signal)).toBeUndefined()
    expect(await from([new Response('', { status })]).has('bafy')).toBe(false)
  })

  it.each([304, 403, 429, 500, 504])('is retried at status %i', async status => {
    const response = () => new Response(status === 304 ? null : '', { status })
    await expect(from([response()]).open('bafy', signal)).rejects.toThrow(`${status}`)
    await expect(from([response()]).has('bafy')).rejects.toThrow(`${status}`)
  })

  it('is read after redirects to the gateway’s own host, and to listed ones', async () => {
    const asked: string[] = []
    const hops = ['https://other.example/y', 'https://bafy.listed.test/z', '/last']
    const source = from([...hops.map(redirect), new Response('bytes')], asked, { hosts: ['listed.test'] })
    expect(await source.open('bafy', signal)).toBeDefined()
    expect(asked.slice(1)).toEqual([
      'GET https://other.example/y',
      'GET https://bafy.listed.test/z',
      'GET https://bafy.listed.test/last',
    ])
  })

  it.each([
    'https://elsewhere.test/',
    'https://notexample/',
    'https://example.test/',
    'https://example:8443/',
    'http://bafy.example/x',
    'https://127.0.0.1/',
    'file:///etc/passwd',
  ])('is not read after a redirect to %s', async location => {
    const asked: string[] = []
    await expect(from([redirect(location)], asked).open('bafy', signal)).rejects.toThrow()
    expect(asked).toHaveLength(1)
  })

  it('is not read after more than three redirects', async () => {
    const asked: string[] = []
    const source = from(
      Array(9)
        .fill(undefined)
        .map(() => redirect('/again')),
      asked,
    )
    await expect(source.open('bafy', signal)).rejects.toThrow('302')
    expect(asked).toHaveLength(4)
  })

  it('is configured with an https URL, or with private addresses allowed', () => {
    const peer = { did: 'did:web:peer.example.com', url: 'https://peer.example.com' }
    const settings = { aggregator: peer, dealer: { did: peer.did }, dealTracker: peer, defaultGroup: 'g' }
    const problems = (more: object) =>
      configSchema.safeParse({ ...settings, ...more }).error?.issues.map(({ message }) => message)
    expect(problems({ gateway: 'https://{cid}.ipfs.w3s.link/' })).toBeUndefined()
    expect(problems({ gateway: 'http://gateway.test/{cid}' })?.[0]).toContain('expected an https URL')
    expect(problems({ gateway: 'http://gateway.test/{cid}', didWeb: { allowPrivate: true } })).toBeUndefined()
    expect(problems({ gateway: 'gateway.test/{cid}' })?.[0]).toContain('expected a URL')
    expect(problems({ gatewayHosts: ['https://a.test/'] })?.[0]).toContain('expected a host')
  })

  it('is read over plain HTTP only where private addresses are allowed', async () => {
    const fetch = async () => new Response('bytes')
    const template = 'http://127.0.0.1:8080/{cid}'
    await expect(fromGateway(template, { fetch }).open('bafy', signal)).rejects.toThrow('https')
    expect(await fromGateway(template, { fetch, allowPrivate: true }).open('bafy', signal)).toBeDefined()
  })
})
