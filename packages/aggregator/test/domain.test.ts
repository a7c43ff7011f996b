import type { DID } from '@ucanto/interface'
import { capacityOf } from '@w3filecoin/piece'
import type { Stored } from '@w3filecoin/runtime'
import { describe, expect, it } from 'vitest'
import {
  type AggregateRecord,
  type AggregateStage,
  aggregateId,
  belongsToSeal,
  closeRange,
  markEnded,
  markOffered,
  newAggregate,
  nextCheckMs,
  sealNonce,
} from '../src/domain/aggregate.ts'
import {
  addSeal,
  type Count,
  closeSeals,
  FORGET_MS,
  isForgotten,
  mustCount,
  newGroup,
  nextCheckAt,
  recordCount,
  type Seal,
  scheduleCheck,
  wake,
} from '../src/domain/group.ts'
import { type Backlog, isFull, isRipe, type Limits } from '../src/domain/limits.ts'
import {
  groupId,
  markIncluded,
  markPending,
  newPendingRow,
  newPiece,
  type PieceStage,
  pieceId,
} from '../src/domain/piece.ts'

const storefront = 'did:web:storefront' as DID
const other = 'did:web:other' as DID
const stored = <R extends object>(record: R): Stored<R> => ({ ...record, revision: 3 })

describe('limits', () => {
  const limits: Limits = { paddedBytes: 2 ** 20, minPaddedBytes: 1000, maxPieces: 5, maxWaitMs: 60 }
  const capacity = capacityOf(limits.paddedBytes)
  const NOW = 10_000

  it.each<[string, Backlog, { full: boolean; ripe: boolean }]>([
    ['nothing', { pieces: 0, bytes: 0 }, { full: false, ripe: false }],
    ['a new piece', { pieces: 1, bytes: 5000, oldestAt: NOW - 59 }, { full: false, ripe: false }],
    ['a piece that waited', { pieces: 1, bytes: 5000, oldestAt: NOW - 60 }, { full: false, ripe: true }],
    ['just enough bytes that waited', { pieces: 1, bytes: 1000, oldestAt: 0 }, { full: false, ripe: true }],
    [
      'too few bytes, however long they waited',
      { pieces: 4, bytes: 999, oldestAt: 0 },
      { full: false, ripe: false },
    ],
    ['almost all bytes', { pieces: 1, bytes: capacity - 1, oldestAt: NOW }, { full: false, ripe: false }],
    ['all bytes', { pieces: 1, bytes: capacity, oldestAt: NOW }, { full: true, ripe: true }],
    ['all pieces', { pieces: 5, bytes: 5000, oldestAt: NOW }, { full: true, ripe: true }],
    [
      'all pieces, with fewer bytes than the minimum: no piece can be added',
      { pieces: 5, bytes: 640, oldestAt: NOW },
      { full: true, ripe: true },
    ],
    ['far more than fits', { pieces: 50, bytes: capacity * 9, oldestAt: NOW }, { full: true, ripe: true }],
  ])('%s', (_, backlog, expected) => {
    expect({
      full: isFull(backlog, limits),
      ripe: isRipe(
        backlog,
        { pieces: Math.min(backlog.pieces, 5), bytes: Math.min(backlog.bytes, capacity) },
        limits,
        NOW,
      ),
    }).toEqual(expected)
  })
})

describe('a piece', () => {
  const offer = { storefront, group: 'g', piece: 'p', size: 128 }
  const record = (stage: PieceStage) =>
    stored({ ...newPiece({ ...offer, id: 'id', acceptTask: new Uint8Array() }, 1000), stage })

  it('is pending from the start, and not in the sweep index: its group is', () => {
    const piece = newPiece({ ...offer, id: 'id', acceptTask: new Uint8Array() }, 1000)
    expect(piece).toMatchObject({ stage: 'pending', offeredAt: 1000 })
    expect(piece).not.toHaveProperty('due')
  })

  it.each<[PieceStage, PieceStage | undefined, PieceStage | undefined]>([
    ['offered', 'pending', 'included'],
    ['pending', undefined, 'included'],
    ['included', undefined, undefined],
  ])('at %s can become %s and %s', (stage, afterPending, afterIncluded) => {
    const before = record(stage)
    const copy = structuredClone(before)
    expect(markPending(before)?.stage).toBe(afterPending)
    expect(markIncluded(before, 'A')?.stage).toBe(afterIncluded)
    expect(before).toEqual(copy)
  })

  it('is not in the sweep index once it is in a list', () => {
    expect(markPending(record('offered'))).toMatchObject({ checkAt: undefined, due: undefined })
    expect(markIncluded(record('pending'), 'A')).toMatchObject({ checkAt: undefined, aggregateId: 'A' })
  })

  it.each<[string, Parameters<typeof pieceId>, boolean]>([
    ['the same', [offer], true],
    ['another storefront’s first', [{ ...offer, storefront: other } as never], true],
    ['another storefront’s second', [offer, other], false],
    ['another group', [{ ...offer, group: 'h' }], false],
    ['another piece', [{ ...offer, piece: 'q' }], false],
    ['a nonce', [{ ...offer, nonce: 'n' }], false],
  ])('has the key of %s: %s', (_, given, same) => {
    expect(pieceId(...given) === pieceId(offer)).toBe(same)
  })

  it('is in the list of its storefront and group, which sorts retries first, then by age', () => {
    expect(groupId({ storefront, group: 'g' })).not.toBe(groupId({ storefront: other, group: 'g' }))
    expect(groupId({ storefront, group: 'g' })).not.toBe(groupId({ storefront, group: 'h' }))
    const at = (offeredAt: number, id: string, attempt?: number) =>
      newPendingRow({ ...record('offered'), offeredAt, id, attempt }).order
    const orders = [
      at(999_999, 'a', 3),
      at(1_700_000_000_000, 'a', 2),
      at(9, 'a'),
      at(10, 'a'),
      at(999_999, 'z'),
      at(1_700_000_000_000, 'b'),
      at(1_700_000_000_000, 'c'),
    ]
    expect(orders.toSorted()).toEqual(orders)
    expect(new Set(orders).size).toBe(7)
    expect(newPendingRow(record('offered'))).toEqual(newPendingRow(record('pending')))
  })
})

const seal = (sequence: number): Seal => ({
  sequence,
  aggregate: 'a',
  pieces: 'p',
  memberShards: 'm',
  ranges: 'r',
  sealedAt: 5,
})
const group = stored(newGroup({ storefront, group: 'g' }, 1000))

describe('a group', () => {
  it('lists its seals until their pieces have receipts', () => {
    const once = stored(addSeal(group, seal(1), 2000))
    expect(once).toMatchObject({ sequence: 1, openSeals: [seal(1)], checkAt: 2000 })
    const twice = stored(addSeal(once, seal(2), 3000))
    expect(twice).toMatchObject({ sequence: 2, openSeals: [seal(1), seal(2)] })
    expect(closeSeals(twice, new Set([1]))).toMatchObject({ sequence: 2, openSeals: [seal(2)] })
    expect(scheduleCheck(twice, 9000)).toMatchObject({ checkAt: 9000, sequence: 2 })
  })
})

describe('the list of a group', () => {
  const [MINUTE, HOUR] = [60_000, 3_600_000]
  const NOW = 1_700_000_000_000
  const POLL = 15 * MINUTE
  const limits: Limits = { paddedBytes: 2 ** 20, minPaddedBytes: 1000, maxPieces: 5, maxWaitMs: 6 * HOUR }
  const few = { pieces: 1, bytes: 512 }
  const enough = { pieces: 2, bytes: 1024 }
  const full = { pieces: 5, bytes: 1024 }
  /** The oldest piece waited for its maximum this long ago, and the list was read this long ago. */
  const counted = (ripe: number, read: number): Count => ({
    at: NOW - read,
    oldestAt: NOW - ripe - limits.maxWaitMs,
  })

  it.each<[string, Count | undefined, { pieces: number; bytes: number }, boolean]>([
    ['was never read', undefined, few, true],
    ['is full by its tally', counted(-HOUR, HOUR), full, true],
    ['has pieces that need not be sealed yet', counted(-HOUR, 5 * HOUR), enough, false],
    ['was read before its oldest piece had waited its maximum', counted(MINUTE, HOUR), few, true],
    ['has waited long enough, and is enough by its tally', counted(HOUR, MINUTE), enough, true],
    ['was below its minimum a while ago', counted(HOUR, 20 * MINUTE), few, false],
    ['was below its minimum as long ago as it had been so', counted(HOUR, 30 * MINUTE), few, true],
    ['has been below its minimum for long', counted(100 * HOUR, 5 * HOUR), few, false],
    ['has been below its minimum for long, and was read long ago', counted(100 * HOUR, 6 * HOUR), few, true],
    ['was empty a while ago', { at: NOW - 5 * HOUR }, few, false],
    ['was empty as long ago as a piece may wait', { at: NOW - 6 * HOUR }, few, true],
    ['was read by a clock that was ten days ahead', { at: NOW + 240 * HOUR }, few, true],
  ])('that %s: is it read whole? %#', (_, count, tally, expected) => {
    expect(mustCount({ count }, tally, limits, NOW, POLL)).toBe(expected)
  })

  it.each<[string, Count | undefined, number]>([
    ['is soon ripe', counted(-MINUTE, HOUR), MINUTE],
    ['is not ripe for long', counted(-HOUR, HOUR), POLL],
    ['is below its minimum', counted(HOUR, HOUR), POLL],
    ['was never read', undefined, POLL],
  ])('that %s is checked again in time', (_, count, expected) => {
    expect(nextCheckAt({ count }, limits, NOW, POLL)).toBe(NOW + expected)
  })

  it('is forgotten when it stays empty, and is woken by a piece', () => {
    const empty = (at: number) => ({ at, isEmpty: true })
    const idle = stored(recordCount(group, empty(NOW), NOW + 1))
    expect(idle).toMatchObject({ idleSince: NOW, checkAt: NOW + 1 })
    const still = stored(recordCount(idle, empty(NOW + FORGET_MS - 1), NOW + 2))
    expect(still).toMatchObject({ idleSince: NOW, checkAt: NOW + 2 })
    const forgotten = stored(recordCount(still, empty(NOW + FORGET_MS), NOW + 3))
    expect(forgotten).toMatchObject({ checkAt: undefined, due: undefined })
    expect([idle, still, forgotten].map(isForgotten)).toEqual([false, false, true])
    for (const one of [idle, still, forgotten])
      expect(wake(one, NOW + 4)).toMatchObject({ idleSince: undefined, checkAt: NOW + 4 })
    expect(wake(group, NOW)).toBeUndefined()
  })

  it('is not idle while it has a piece, or a seal whose pieces have no receipts', () => {
    const long = { ...group, idleSince: NOW - 2 * FORGET_MS }
    expect(recordCount(long, { at: NOW, isEmpty: false }, NOW + 1)).toMatchObject({
      idleSince: undefined,
      checkAt: NOW + 1,
    })
    const open = { ...long, openSeals: [seal(1)] }
    expect(recordCount(open, { at: NOW, isEmpty: true }, NOW + 1)).toMatchObject({
      idleSince: undefined,
      checkAt: NOW + 1,
    })
  })

  it('that a clock marked as idle which was ahead is marked again', () => {
    const marked = stored(recordCount(group, { at: NOW + 10 * FORGET_MS, isEmpty: true }, NOW))
    expect(recordCount(marked, { at: NOW, isEmpty: true }, NOW + 1).idleSince).toBe(NOW)
  })
})

describe('an aggregate', () => {
  const timing = { retryMs: 60, pollMs: 900 }
  const record = (ranges = 1) =>
    stored(newAggregate(group, seal(1), { offerTask: new Uint8Array(), ranges }, 1000, timing))

  it.each([
    [1, [0]],
    [3, [0, 1, 2]],
  ])('of %i ranges of pieces must include all of them', (ranges, rangesToInclude) => {
    expect(record(ranges)).toMatchObject({ stage: 'sealed', rangesToInclude, checkAt: 1060 })
  })

  type Event = 'offered' | 'included' | 'accepted' | 'failed'
  const events: Record<Event, (at: Stored<AggregateRecord>) => Stored<AggregateRecord> | undefined> = {
    offered: at => markOffered(at, 'task', 2000, timing),
    included: at => closeRange(at, 0, 2000, timing),
    accepted: at => markEnded(at, 'accepted', 2000, timing),
    failed: at => markEnded(at, 'failed', 2000, timing),
  }
  it.each<[Event[], Partial<AggregateRecord> | undefined]>([
    [['offered'], { stage: 'offered', acceptCid: 'task', checkAt: 2060 }],
    [['offered', 'offered'], undefined],
    // Sealed long ago without an answer of the dealer: the offer is repeated as rarely as an outcome is fetched.
    [['included'], { stage: 'sealed', rangesToInclude: [], checkAt: 2900 }],
    [['included', 'included'], undefined],
    [['failed'], { stage: 'failed', rangesToInclude: [0], checkAt: 2060 }],
    [['included', 'failed'], { stage: 'failed', checkAt: undefined, due: undefined }],
    [['failed', 'offered'], undefined],
    [['failed', 'accepted'], undefined],
    // Sealed 1,995 ms ago: the dealer is asked after as long again.
    [['offered', 'included'], { stage: 'offered', checkAt: 3995, due: expect.stringMatching(/^w/) }],
    [['included', 'offered'], { stage: 'offered', checkAt: 3995 }],
    [['offered', 'accepted'], { stage: 'accepted', rangesToInclude: [0], checkAt: 2060 }],
    [['offered', 'accepted', 'accepted'], undefined],
    [['offered', 'accepted', 'failed'], undefined],
    [['offered', 'failed', 'included'], { stage: 'failed', checkAt: undefined, due: undefined }],
    [['offered', 'accepted', 'included'], { stage: 'accepted', checkAt: undefined, due: undefined }],
    [['included', 'offered', 'accepted'], { stage: 'accepted', checkAt: undefined, due: undefined }],
  ])('after %j', (happened, expected) => {
    const after = happened.reduce<Stored<AggregateRecord> | undefined>(
      (at, event) => at && events[event](at),
      record(),
    )
    if (expected === undefined) expect(after).toBeUndefined()
    else expect(after).toMatchObject(expected)
  })

  it.each<[AggregateStage, number[], since: number, number]>([
    ['sealed', [], 0, 60],
    ['sealed', [], 500, 500],
    ['sealed', [], 5000, 900],
    ['sealed', [1], 5000, 60],
    ['offered', [1], 0, 60],
    ['offered', [], 0, 900],
    ['offered', [], 5000, 5000],
    ['offered', [], 10_000_000, 3_600_000],
    // A clock that was ahead sealed it.
    ['offered', [], -864_000_000, 900],
    ['sealed', [], -864_000_000, 60],
    ['accepted', [1], 0, 60],
    ['failed', [1], 0, 60],
  ])(
    'at %s with the ranges %j to include, sealed %i ms ago, is checked after %i ms',
    (stage, rangesToInclude, since, interval) => {
      expect(nextCheckMs({ stage, rangesToInclude, sealedAt: 10_000 - since }, 10_000, timing)).toBe(interval)
    },
  )

  it('has a nonce of its own if the same pieces were sealed before', () => {
    const nonces = [
      sealNonce(group, seal(1)),
      sealNonce(group, seal(2)),
      sealNonce(newGroup({ storefront: other, group: 'g' }, 0), seal(1)),
    ]
    expect(new Set(nonces).size).toBe(3)
    expect(aggregateId({ aggregate: 'a', nonce: nonces[0] })).not.toBe(aggregateId({ aggregate: 'a' }))
  })

  it.each<[string, Partial<AggregateRecord>, boolean]>([
    ['itself', {}, true],
    ['another group', { group: 'h' }, false],
    ['another storefront', { storefront: other }, false],
    ['an earlier seal', { sequence: 0 }, false],
  ])('belongs to its seal, compared with %s: %s', (_, changes, expected) => {
    expect(belongsToSeal({ ...record(), ...changes }, group, seal(1))).toBe(expected)
  })
})
