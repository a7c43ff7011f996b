import { toV1 } from '@w3filecoin/piece'
import { somePiece } from '@w3filecoin/testing'
import { describe, expect, it } from 'vitest'
import {
  type KnownDeal,
  mergeChange,
  toDealRecord,
  toDeals,
  toPieceKey,
  toStatus,
} from '../src/domain/deal.ts'
import { epochToMs, MAX_EPOCH } from '../src/domain/epoch.ts'

describe('an epoch', () => {
  it.each([
    [0, '2020-08-24T22:00:00.000Z'],
    [1, '2020-08-24T22:00:30.000Z'],
    [2880, '2020-08-25T22:00:00.000Z'],
    [5_000_000, '2025-05-27T00:40:00.000Z'],
    [MAX_EPOCH, '2971-04-24T03:20:00.000Z'],
  ])('%i begins at %s', (epoch, time) => {
    expect(new Date(epochToMs(epoch)).toISOString()).toBe(time)
  })
})

const piece = toV1(somePiece('a')).ok!
const deal: KnownDeal = {
  id: 7,
  piece: toPieceKey(piece),
  provider: 1001,
  endEpoch: 100,
  created: epochToMs(10),
  updated: epochToMs(20),
}

describe('a deal', () => {
  it.each([
    ['Active', deal, epochToMs(100) - 1],
    ['Expired', deal, epochToMs(100)],
    ['Terminated', { ...deal, terminated: true as const }, epochToMs(100) - 1],
    ['Terminated', { ...deal, terminated: true as const }, epochToMs(100)],
  ])('is %s', (status, deal, now) => {
    expect(toStatus(deal, now)).toBe(status)
  })

  it('is reported with all its fields', () => {
    expect(toDeals([deal], piece, epochToMs(50))).toEqual({
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

  it('of several sources is reported once, by the latest source that still lists it', () => {
    const lost: KnownDeal = { ...deal, terminated: true, updated: epochToMs(30) }
    const longer: KnownDeal = { ...deal, endEpoch: 200, updated: epochToMs(25) }
    for (const records of [
      [lost, longer, deal],
      [deal, lost, longer],
    ])
      expect(toDeals(records, piece, epochToMs(50))).toMatchObject({
        '7': { status: 'Active', expiration: new Date(epochToMs(200)).toISOString() },
      })
  })

  it('is changed only by later runs, and keeps the time at which it was created', () => {
    const record = { ...toDealRecord('a', deal), revision: 3 }
    const change = toDealRecord('a', {
      ...deal,
      terminated: true,
      created: epochToMs(30),
      updated: epochToMs(30),
    })
    expect(mergeChange(record, change)).toEqual({
      ...record,
      terminated: true,
      created: epochToMs(10),
      updated: epochToMs(30),
    })
    expect(mergeChange(record, { ...change, updated: deal.updated })).toBeUndefined()
    expect(mergeChange(record, { ...change, updated: deal.updated - 1 })).toBeUndefined()
    const back = toDealRecord('a', { ...deal, updated: epochToMs(40) })
    expect(mergeChange({ ...change, revision: 4 }, back)).toEqual({ ...back, revision: 4 })
  })
})
