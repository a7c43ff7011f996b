import { createHash, hash } from 'node:crypto'
import { failure, type Stage } from '@w3filecoin/capabilities'
import { LONGEST_CHECK_MS, notDue, type Stored } from '@w3filecoin/runtime'
import { create as createDigest } from 'multiformats/hashes/digest'
import { create as createLink } from 'multiformats/link'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { configSchema } from '../src/config.ts'
import { contentHash } from '../src/content/content-hash.ts'
import { fromGateway } from '../src/content/gateway.ts'
import { readInCid } from '../src/content/in-cid.ts'
import {
  type AggregateRecord,
  aggregateId,
  ensureMemberCheck,
  markAccepted,
  markChecked,
  markFailed,
  newAggregate,
  upgradeAggregate,
} from '../src/domain/aggregate.ts'
import { MAX_INDEX_LAG_MS, MEMBER_SHARDS, memberShard, shardOf } from '../src/domain/member-shards.ts'
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

const timing = { retryMs: 60, pollMs: 900, contentWaitMs: 5000 }
const WEEK = 7 * 24 * 3600 * 1000
const membership = { aggregate: 'a', aggregateId: 'A', aggregateSince: 900 }
const promises = { submitCid: 'submit', acceptCid: 'accept' }
const record = (stage: Stage): Stored<PieceRecord> => ({
  ...newPiece({ content: 'c', piece: 'p', group: 'g', ...promises }, 1000, timing),
  ...membership,
  stage,
  revision: 3,
})

describe('a piece', () => {
  it('is offered first, and checked again after retryMs', () => {
    const { id, ...rest } = newPiece(
      { content: 'c', piece: 'p', nonce: 'n', group: 'g', ...promises },
      1000,
      timing,
    )
    expect(id).toBe(pieceId({ content: 'c', piece: 'p', nonce: 'n' }))
    expect(rest).toMatchObject({ stage: 'offered', history: [{ stage: 'offered', at: 1000 }], checkAt: 1060 })
  })

  const events: Record<string, (at: Stored<PieceRecord>) => Stored<PieceRecord> | undefined> = {
    submitted: at => markSubmitted(at, 2000, timing),
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
    // Its group, and its aggregate, cover it.
    ['queued', undefined],
    ['aggregated', undefined],
    ['retried', 2060],
    ['accepted', undefined],
    ['failed', undefined],
  ])('is checked again after %s: %s', (event, checkAt) => {
    const after = events[event]!(record(counts[event]![0]!))
    expect(after?.checkAt).toBe(checkAt)
    expect(after?.due === undefined).toBe(checkAt === undefined)
  })

  it('gets new fields at each stage', () => {
    expect(events.queued!(record('submitted'))).toMatchObject({ waitsFor: 'task', offerNonce: 'n' })
    const member = events.aggregated!(record('queued'))!
    expect(member).toMatchObject({ ...membership, memberOf: memberShard('A', shardOf(member.piece)) })
    expect(events.failed!(record('queued'))?.reason).toEqual({ name: 'ProofNotFound', message: 'no deal' })
  })

  it('remembers its earlier aggregates when it is retried', () => {
    const first = events.retried!(record('aggregated'))!
    expect(first).toMatchObject({ retryOfferCid: 'offer', former: [{ aggregate: 'a', since: 900 }] })
    for (const gone of ['aggregate', 'aggregateId', 'aggregateSince', 'memberOf', 'waitsFor'] as const)
      expect(first[gone]).toBeUndefined()
    const again = { aggregate: 'b', aggregateId: 'B', aggregateSince: 4000 }
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
    ['aggregated', 900],
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
    const offered = { content: 'c', piece: 'p', group: 'g', ...promises }
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

    const next = { submitCid: 'again', acceptCid: 'second' }
    const second = startAttempt(failed('ContentNotFound'), 2, next, 7000, timing)!
    expect(second).toMatchObject({ stage: 'offered', attempt: 2, acceptCid: 'second', checkAt: 7060 })
    expect(second.history).toEqual([...record('failed').history, { stage: 'offered', at: 7000 }])
    expect([second.reason, second.waitingSince]).toEqual([undefined, undefined])
    expect(startAttempt(second, 2, next, 8000, timing), 'a concurrent offer').toBeUndefined()
    expect(startAttempt(failed('ContentNotFound', { attempt: 2 }), 2, next, 8000, timing)).toBeUndefined()

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
  const deal = { dataType: 0 as const, dataSource: { dealID: 7 } }

  it('is offered, accepted once, and checked for remaining pieces', () => {
    expect(stored()).toMatchObject({ stage: 'offered', checkAt: 1900, id: aggregateId({ aggregate: 'a' }) })
    const after = markAccepted(stored(), deal, 2000, timing)!
    expect(after).toMatchObject({ stage: 'accepted', metadata: deal, checkAt: 2000 + timing.pollMs })
    expect(markAccepted(after, { ...deal, dataSource: { dealID: 8 } }, 3000, timing)).toBeUndefined()
    expect(markFailed(after, 'verdicts', 3000, timing)).toBeUndefined()
  })

  it('ends its checks after none found a piece for the longest lag of the index, and begins them again for a late piece', () => {
    const after = markAccepted(stored(), deal, 2000, timing)!
    const none = { hasPieces: false }
    expect(
      markChecked(after, { hasPieces: true }, 2900, timing),
      'the next check is scheduled',
    ).toBeUndefined()
    const empty = markChecked(after, none, 2900, timing)!
    expect(empty).toMatchObject({ emptyAt: 2900, checkAt: 2900 + LONGEST_CHECK_MS })
    const soon = markChecked(empty, none, 2900 + MAX_INDEX_LAG_MS - 1, timing)!
    expect(soon).toMatchObject({ emptyAt: 2900, checkAt: 2899 + MAX_INDEX_LAG_MS + LONGEST_CHECK_MS })
    expect(markChecked(soon, none, 2900 + MAX_INDEX_LAG_MS, timing)).toMatchObject(notDue)
    const late = { checkAt: 5000 + timing.pollMs }
    expect(markChecked(empty, { hasPieces: true }, 5000, timing)).toMatchObject(late)
    expect(ensureMemberCheck(empty, 5000, timing), 'a far check may be the last one').toMatchObject(late)
    for (const again of [
      markChecked(empty, { hasPieces: true }, 5000, timing),
      ensureMemberCheck(empty, 5000, timing),
    ])
      expect(again?.emptyAt).toBeUndefined()
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

  it('is failed once, and checked for remaining pieces', () => {
    const after = markFailed(stored(), 'verdicts', 2000, timing)!
    expect(after).toMatchObject({ stage: 'failed', verdictsCid: 'verdicts', checkAt: 2000 + timing.pollMs })
    expect(markFailed(after, 'others', 3000, timing)).toBeUndefined()
    expect(markAccepted(after, deal, 3000, timing)).toBeUndefined()
  })

  it('is read from a row of earlier code, which had the id of the deal', () => {
    const accepted = markAccepted(stored(), deal, 2000, timing)!
    const { metadata: _, ...row } = accepted
    expect(upgradeAggregate({ ...row, dataType: 0, dealID: 7 } as never)).toEqual(accepted)
    expect(upgradeAggregate(stored() as never)).toEqual(stored())
  })

  it('has another key with a nonce', () => {
    expect(aggregateId({ aggregate: 'a', nonce: 'n' })).not.toBe(aggregateId({ aggregate: 'a' }))
  })
})

describe('the hash of content', () => {
  const abc = Buffer.from('abc')
  const cid = (codec: number, code: number, digest: Uint8Array) =>
    `${createLink(codec, createDigest(code, digest))}`
  const matches = (content: string, ...chunks: Uint8Array[]) => {
    const hash = contentHash(content)
    for (const chunk of chunks) hash?.update(chunk)
    return hash?.matches()
  }

  /** The digests of `abc`, by Python's hashlib. */
  it.each<[number, string, string]>([
    [0x11, 'sha1', 'a9993e364706816aba3e25717850c26c9cd0d89d'],
    [0x12, 'sha2-256', 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'],
    [
      0x13,
      'sha2-512',
      'ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f',
    ],
    [
      0x14,
      'sha3-512',
      'b751850b1a57168a5693cd924b6b096e08f621827444f70d884f5d0240d2712e10e116e9192af3c91a7ec57647e3934057340b4cf408d5a56592f8274eec53f0',
    ],
    [
      0x15,
      'sha3-384',
      'ec01498288516fc926459f58e2c6ad8df9b473cb0fc08c2596da7cf0e49be4b298d88cea927ac7f539f1edf228376d25',
    ],
    [0x16, 'sha3-256', '3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532'],
    [0x17, 'sha3-224', 'e642824c3f8cf24ad09234ee7d3c766fc9a3a5168d0c94ad73b46fdf'],
    [0x18, 'shake-128', '5881092dd818bf5cf8a3ddb793fbcba74097d5c526a6d35f97b83351940f2cc8'],
    [
      0x19,
      'shake-256',
      '483366601360a8771c6863080cc4114d8db44530f8f1e1ee4f94ea37e78b5739d5a15bef186a5386c75744c0527e1faa9f8726e462a12a4feb06bd8801e751e4',
    ],
    [
      0x20,
      'sha2-384',
      'cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7',
    ],
    [0x56, 'dbl-sha2-256', '4f8b42c22dd3729b519ba6f68d2da7cc5b2d606d05daed5ad5128cc03e6c6358'],
    [0xd5, 'md5', '900150983cd24fb0d6963f7d28e17f72'],
    [0x1013, 'sha2-224', '23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7'],
    [0x1014, 'sha2-512-224', '4634270f707b6a54daae7530460842e20e37ed265ceee9a43e8924aa'],
    [0x1015, 'sha2-512-256', '53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23'],
    [0x1053, 'ripemd-160', '8eb208f7e05d987a9b044a8e98c6b087f15a0bfc'],
    [0x534d, 'sm3-256', '66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0'],
    [
      0xb240,
      'blake2b-512',
      'ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d17d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923',
    ],
    [0xb260, 'blake2s-256', '508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982'],
  ])('of multihash 0x%x is %s', (code, _, hex) => {
    const digest = Buffer.from(hex, 'hex')
    const content = cid(0x55, code, digest)
    expect(matches(content, abc)).toBe(true)
    expect(matches(content, abc.subarray(0, 1), abc.subarray(1))).toBe(true)
    expect(matches(content, Buffer.from('abd'))).toBe(false)
    expect(matches(content)).toBe(false)
    const changed = Buffer.from(digest)
    changed[0]! ^= 1
    expect(matches(cid(0x55, code, changed), abc)).toBe(false)
  })

  const sha256 = hash('sha256', abc, 'buffer')
  it.each<[string, number, number, Uint8Array]>([
    ['is in the CID of a raw block', 0x55, 0x12, sha256],
    ['is in the CID of a CAR', 0x0202, 0x12, sha256],
    ['may be truncated', 0x55, 0x12, sha256.subarray(0, 16)],
    [
      'may be a longer output of SHAKE',
      0x55,
      0x18,
      createHash('shake128', { outputLength: 50 }).update(abc).digest(),
    ],
    ['is the bytes themselves in an identity CID', 0x55, 0x00, abc],
  ])('%s', (_, codec, code, digest) => {
    expect(matches(cid(codec, code, digest), abc)).toBe(true)
    expect(matches(cid(codec, code, digest), Buffer.from('abd'))).toBe(false)
  })

  it('is empty in an identity CID of no bytes', () => {
    expect(matches('bafkqaaa')).toBe(true)
    expect(matches('bafkqaaa', abc)).toBe(false)
  })

  it('matches no bytes if the CID has a longer digest than the hash', () => {
    expect(matches(cid(0x55, 0x12, Buffer.concat([sha256, sha256])), abc)).toBe(false)
  })

  it.each<[string, number, number, Uint8Array]>([
    ['the CID of a DAG', 0x70, 0x12, sha256],
    ['the identity CID of a DAG', 0x70, 0x00, abc],
    ['a digest of fewer than 16 bytes', 0x55, 0x12, sha256.subarray(0, 15)],
    ['a BLAKE2b of 256 bits, which is not the beginning of the longer one', 0x55, 0xb220, sha256],
    ['a hash that Node does not have', 0x55, 0x1e, sha256],
    ['a piece CID', 0x55, 0x1011, Buffer.concat([Buffer.from([0, 2]), sha256])],
  ])('is not in %s', (_, codec, code, digest) => {
    expect(contentHash(cid(codec, code, digest))).toBeUndefined()
  })
})

describe('content in its CID', () => {
  const asked: string[] = []
  const source = readInCid({
    has: async content => asked.push(content) < 0,
    open: async content => void asked.push(content),
    locate: async content => content,
  })
  const { signal } = new AbortController()
  const abc = Buffer.from('abc')
  const identity = (codec: number) => `${createLink(codec, createDigest(0x00, abc))}`

  it.each([0x55, 0x0202])('is read from it if its codec is 0x%x', async codec => {
    expect(await source.has(identity(codec))).toBe(true)
    const chunks = await Array.fromAsync((await source.open(identity(codec), signal))!)
    expect(Buffer.concat(chunks)).toEqual(abc)
    expect(asked).toEqual([])
  })

  it('is asked from the source if the CID names a DAG or a hash', async () => {
    const others = [identity(0x70), `${createLink(0x55, createDigest(0x12, hash('sha256', abc, 'buffer')))}`]
    for (const content of others) {
      expect(await source.has(content)).toBe(false)
      expect(await source.open(content, signal)).toBeUndefined()
    }
    expect(asked).toEqual(others.flatMap(content => [content, content]))
  })
})

describe('content from a gateway', () => {
  afterEach(() => void vi.restoreAllMocks())

  const { signal } = new AbortController()
  /** A gateway at `https://{cid}.example/x` that answers with these responses, one after the other. */
  const from = (responses: Response[], asked: string[] = [], options: object = {}) =>
    fromGateway('https://{cid}.example/x', {
      fetch: async (url, init) => {
        const range = new Headers(init?.headers).get('range')
        asked.push(`${init?.method} ${url}${range === null ? '' : ` ${range}`}`)
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

  it('cannot be read from an unreachable host, which the error names without its query', async () => {
    const cause = new TypeError('fetch failed')
    const source = fromGateway('https://gateway.example/{cid}?token=secret', {
      fetch: () => Promise.reject(cause),
    })
    const error = new Error('https://gateway.example/bafy cannot be reached', { cause })
    await expect(source.open('bafy', signal)).rejects.toEqual(error)
    await expect(source.has('bafy')).rejects.toEqual(error)
  })

  it.each([404, 410])('does not exist at status %i', async status => {
    expect(await from([new Response('', { status })]).open('bafy', signal)).toBeUndefined()
    expect(await from([new Response('', { status })]).has('bafy')).toBe(false)
  })

  it.each([304, 401, 403, 416, 429, 500, 504])('is retried at status %i', async status => {
    const response = () => new Response(status === 304 ? null : '', { status })
    await expect(from([response()]).open('bafy', signal)).rejects.toThrow(`${status}`)
    if (status !== 403)
      await expect(from([response()]).has('bafy')).rejects.toThrow(`HEAD of bafy with status ${status}`)
  })

  describe.each([403, 405, 501])('whose HEAD is answered with status %i', head => {
    const refused = () => new Response(null, { status: head })

    it.each<[string, number, boolean]>([
      ['exists', 200, true],
      ['exists', 206, true],
      ['exists and is empty', 416, true],
      ['does not exist', 403, false],
      ['does not exist', 404, false],
      ['does not exist', 410, false],
    ])('%s if GET of its first byte is answered with status %i', async (_, status, expected) => {
      const asked: string[] = []
      let isCancelled = false
      const body = new ReadableStream({
        pull: controller => controller.enqueue(new Uint8Array(1)),
        cancel: () => {
          isCancelled = true
        },
      })
      const source = from([refused(), new Response(body, { status })], asked)
      expect(await source.has('bafy')).toBe(expected)
      expect(asked).toEqual(['HEAD https://bafy.example/x', 'GET https://bafy.example/x bytes=0-0'])
      expect(isCancelled).toBe(true)
    })

    it.each([304, 401, 405, 429, 500, 501])('is unknown if GET is answered with status %i', async status => {
      const source = from([refused(), new Response(status === 304 ? null : '', { status })])
      await expect(source.has('bafy')).rejects.toThrow(`GET of bafy with status ${status}`)
    })
  })

  it('exists if it redirects to a URL that is signed for GET', async () => {
    const asked: string[] = []
    const signed = 'https://bafy.s3.test/x?signature'
    const source = from(
      [
        redirect(signed),
        new Response(null, { status: 403 }),
        redirect(signed),
        new Response('b', { status: 206 }),
      ],
      asked,
      { hosts: ['s3.test'] },
    )
    expect(await source.has('bafy')).toBe(true)
    expect(asked).toEqual([
      'HEAD https://bafy.example/x',
      `HEAD ${signed}`,
      'GET https://bafy.example/x bytes=0-0',
      `GET ${signed} bytes=0-0`,
    ])
  })

  it('is not asked for with GET at a host that is not listed', async () => {
    const asked: string[] = []
    const source = from([new Response(null, { status: 405 }), redirect('https://elsewhere.test/')], asked)
    await expect(source.has('bafy')).rejects.toThrow('gatewayHosts')
    expect(asked).toHaveLength(2)
  })

  it('is asked for within ten seconds in all', async () => {
    const signals = new Set<unknown>()
    const source = fromGateway('https://{cid}.example/x', {
      fetch: async (_, init) => {
        signals.add(init?.signal)
        return new Response(null, { status: init?.method === 'HEAD' ? 405 : 206 })
      },
    })
    const timeout = vi.spyOn(AbortSignal, 'timeout')
    expect(await source.has('bafy')).toBe(true)
    expect(timeout.mock.calls).toEqual([[10_000]])
    expect([...signals]).toEqual(timeout.mock.results.map(({ value }) => value))
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
    expect(problems({ gateway: 'https://gateway.test/{cid}', uploads: 'open' })?.[0]).toContain(
      'expected off',
    )
    expect(problems({ uploads: 'listed' })).toBeUndefined()
    expect(problems({ gatewayHosts: ['https://a.test/'] })?.[0]).toContain('expected a host')
  })

  it('is read over plain HTTP only where private addresses are allowed', async () => {
    const fetch = async () => new Response('bytes')
    const template = 'http://127.0.0.1:8080/{cid}'
    await expect(fromGateway(template, { fetch }).open('bafy', signal)).rejects.toThrow('https')
    expect(await fromGateway(template, { fetch, allowPrivate: true }).open('bafy', signal)).toBeDefined()
  })
})
