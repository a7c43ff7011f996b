import type { Stored } from '@w3filecoin/service'
import { describe, expect, it } from 'vitest'
import { fromGateway } from '../src/content.ts'
import {
  type AggregateRecord,
  aggregateAccepted,
  aggregateFinished,
  aggregateId,
  aggregateOffered,
} from '../src/domain/aggregate.ts'
import {
  accepted,
  aggregated,
  failed,
  MEMBER_SHARDS,
  memberShard,
  nextCheck,
  offered,
  type PieceRecord,
  pieceId,
  queued,
  type Stage,
  submitted,
} from '../src/domain/piece.ts'

const timing = { retry: 60, poll: 900 }
const WEEK = 7 * 24 * 3600 * 1000
const bytes = new Uint8Array([1])
const record = (stage: Stage): Stored<PieceRecord> => ({
  ...offered({ content: 'c', piece: 'p', group: 'g', submit: bytes, accept: bytes }, 1000, timing),
  stage,
  revision: 3,
})
const membership = { aggregate: 'a', aggregateId: 'A', inclusion: bytes }

describe('a piece', () => {
  it('is offered first, and looked at again after a while', () => {
    const { id, ...rest } = offered(
      { content: 'c', piece: 'p', nonce: 'n', group: 'g', submit: bytes, accept: bytes },
      1000,
      timing,
    )
    expect(id).toBe(pieceId({ content: 'c', piece: 'p', nonce: 'n' }))
    expect(rest).toMatchObject({ stage: 'offered', times: { offered: 1000 }, checkAt: 1060 })
  })

  const events: Record<string, (at: Stored<PieceRecord>) => Stored<PieceRecord> | undefined> = {
    submitted: at => submitted(at, bytes, 2000, timing),
    queued: at => queued(at, 'task', 2000, timing),
    aggregated: at => aggregated(at, membership, 2000, timing),
    accepted: at => accepted(at, 2000),
    failed: at => failed(at, 2000),
  }
  const stages: Stage[] = ['offered', 'submitted', 'queued', 'aggregated', 'accepted', 'failed']

  /** Which events count at which stage; all others are behind it, or come too early. */
  const counts: Record<string, Stage[]> = {
    submitted: ['offered'],
    queued: ['submitted'],
    aggregated: ['queued'],
    accepted: ['aggregated'],
    failed: ['offered'],
  }

  it.each(Object.keys(events).flatMap(event => stages.map(stage => ({ event, stage }))))(
    '$event at $stage',
    ({ event, stage }) => {
      const before = record(stage)
      const copy = structuredClone(before)
      const after = events[event]!(before)
      expect(before, 'a transition is pure').toEqual(copy)
      if (!counts[event]!.includes(stage)) return expect(after).toBeUndefined()
      expect(after).toMatchObject({ stage: event, times: { offered: 1000, [event]: 2000 }, revision: 3 })
      return undefined
    },
  )

  it.each<[string, number | undefined]>([
    ['submitted', 2060],
    ['queued', 2900],
    ['aggregated', 2000 + WEEK],
    ['accepted', undefined],
    ['failed', undefined],
  ])('is looked at again after %s: %s', (event, checkAt) => {
    const after = events[event]!(record(counts[event]![0]!))
    expect(after?.checkAt).toBe(checkAt)
    expect(after?.due === undefined).toBe(checkAt === undefined)
  })

  it('carries what each stage adds', () => {
    expect(events.submitted!(record('offered'))).toMatchObject({ pieceOffer: bytes })
    expect(events.queued!(record('submitted'))).toMatchObject({ waitsFor: 'task' })
    const { id, ...member } = events.aggregated!(record('queued'))!
    expect(member).toMatchObject({ ...membership, memberOf: memberShard('A', id) })
  })

  it.each<[Stage, number]>([
    ['offered', 60],
    ['submitted', 60],
    ['queued', 900],
    ['aggregated', WEEK],
  ])('at %s is looked at every %i ms', (stage, interval) => {
    expect(nextCheck({ stage, times: { [stage]: 1000 } }, 1000, timing)).toBe(interval)
  })

  it.each([
    ['at once', 0, 60],
    ['after a while', 500, 500],
    ['at the latest', WEEK, 6 * 60 * 60 * 1000],
  ])('waits for what is missing as long as it has been: %s', (_, age, interval) => {
    expect(nextCheck({ stage: 'offered', times: { offered: 1000 } }, 1000 + age, timing)).toBe(interval)
  })

  it('is its own by content, piece and nonce', () => {
    const ids = [
      { content: 'c', piece: 'p' },
      { content: 'd', piece: 'p' },
      { content: 'c', piece: 'q' },
      { content: 'c', piece: 'p', nonce: 'n' },
    ].map(pieceId)
    expect(new Set(ids).size).toBe(4)
  })

  it('is in one of the shards of its aggregate, all of which are used', () => {
    const shards = Array.from({ length: 500 }, (_, n) =>
      memberShard('A', pieceId({ content: `${n}`, piece: 'p' })),
    )
    expect(new Set(shards)).toEqual(new Set(Array.from({ length: MEMBER_SHARDS }, (_, n) => `A#${n}`)))
  })
})

describe('an aggregate', () => {
  const offer = { aggregate: 'a', aggregateOffer: 'task' }
  const stored = (): Stored<AggregateRecord> => ({
    ...aggregateOffered({ ...offer, nonce: undefined }, 1000, timing),
    revision: 1,
  })
  const deal = { dataType: 0, dealID: 7 }

  it('is offered, accepted once, looked at once more, and done', () => {
    expect(stored()).toMatchObject({ stage: 'offered', checkAt: 1900, id: aggregateId({ aggregate: 'a' }) })
    const after = aggregateAccepted(stored(), deal, 2000)!
    expect(after).toMatchObject({ stage: 'accepted', ...deal, checkAt: 2000 + 15 * 60 * 1000 })
    expect(aggregateAccepted(after, { ...deal, dealID: 8 }, 3000)).toBeUndefined()
    expect(aggregateFinished(after)).toMatchObject({ stage: 'accepted', checkAt: undefined, due: undefined })
  })

  it('is another one with a nonce', () => {
    expect(aggregateId({ aggregate: 'a', nonce: 'n' })).not.toBe(aggregateId({ aggregate: 'a' }))
  })
})

describe('content from a gateway', () => {
  const open = (response: Response, asked: string[] = []) =>
    fromGateway('https://{cid}.example/x', async url => {
      asked.push(url)
      return response
    }).open('bafy')

  it('is streamed from the address of its CID', async () => {
    const asked: string[] = []
    const chunks = await Array.fromAsync((await open(new Response('bytes'), asked))!)
    expect(Buffer.concat(chunks).toString()).toBe('bytes')
    expect(asked).toEqual(['https://bafy.example/x'])
  })

  it.each([404, 410])('is not there: %i', async status => {
    expect(await open(new Response('', { status }))).toBeUndefined()
  })

  it.each([403, 429, 500, 504])('may come later: %i', async status => {
    await expect(open(new Response('', { status }))).rejects.toThrow(`${status}`)
  })
})
