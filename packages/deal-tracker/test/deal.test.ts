import { toV1 } from '@w3filecoin/piece'
import { somePiece } from '@w3filecoin/testing'
import { describe, expect, it } from 'vitest'
import { dealRecord, type KnownDeal, mergeChange, pieceKey, statusOf, toDeals } from '../src/domain/deal.ts'
import { LAST_EPOCH, timeOf } from '../src/domain/epoch.ts'

describe('an epoch', () => {
  it.each([
    [0, '2020-08-24T22:00:00.000Z'],
    [1, '2020-08-24T22:00:30.000Z'],
    [2880, '2020-08-25T22:00:00.000Z'],
    [5_000_000, '2025-05-27T00:40:00.000Z'],
    [LAST_EPOCH, '2971-04-24T03:20:00.000Z'],
  ])('%i begins at %s', (epoch, time) => {
    expect(new Date(timeOf(epoch)).toISOString()).toBe(time)
  })
})

const piece = toV1(somePiece('a')).ok!
const deal: KnownDeal = {
  id: 7,
  piece: pieceKey(piece),
  provider: 1001,
  endEpoch: 100,
  created: timeOf(10),
  updated: timeOf(20),
}

describe('a deal', () => {
  it.each([
    ['Active', deal, timeOf(100) - 1],
    ['Expired', deal, timeOf(100)],
    ['Terminated', { ...deal, terminated: true as const }, timeOf(100) - 1],
    ['Terminated', { ...deal, terminated: true as const }, timeOf(100)],
  ])('is %s', (status, deal, now) => {
    expect(statusOf(deal, now)).toBe(status)
  })

  it('is told with all that is known of it', () => {
    expect(toDeals([deal], piece, timeOf(50))).toEqual({
      '7': {
        provider: 'f01001',
        storageProvider: 'f01001',
        status: 'Active',
        pieceCid: `${piece.root}`,
        expiration: '2020-08-24T22:50:00.000Z',
        created: '2020-08-24T22:05:00.000Z',
        updated: '2020-08-24T22:10:00.000Z',
      },
    })
  })

  it('of several sources is told once, as the one sees it that still does', () => {
    const lost: KnownDeal = { ...deal, terminated: true, updated: timeOf(30) }
    const longer: KnownDeal = { ...deal, endEpoch: 200, updated: timeOf(25) }
    for (const records of [
      [lost, longer, deal],
      [deal, lost, longer],
    ])
      expect(toDeals(records, piece, timeOf(50))).toMatchObject({
        '7': { status: 'Active', expiration: new Date(timeOf(200)).toISOString() },
      })
  })

  it('is changed by later runs only, and keeps the time when it was seen first', () => {
    const record = { ...dealRecord('a', deal), revision: 3 }
    const change = dealRecord('a', { ...deal, terminated: true, created: timeOf(30), updated: timeOf(30) })
    expect(mergeChange(record, change)).toEqual({
      ...record,
      terminated: true,
      created: timeOf(10),
      updated: timeOf(30),
    })
    expect(mergeChange(record, { ...change, updated: deal.updated })).toBeUndefined()
    expect(mergeChange(record, { ...change, updated: deal.updated - 1 })).toBeUndefined()
    const back = dealRecord('a', { ...deal, updated: timeOf(40) })
    expect(mergeChange({ ...change, revision: 4 }, back)).toEqual({ ...back, revision: 4 })
  })
})
