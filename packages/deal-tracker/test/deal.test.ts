import { epochToMs } from '@w3filecoin/capabilities'
import { toV1 } from '@w3filecoin/piece'
import { somePiece } from '@w3filecoin/testing'
import { describe, expect, it } from 'vitest'
import {
  identify,
  type KnownDeal,
  mergeChange,
  toDealRecord,
  toDeals,
  toPieceKey,
  toPlaces,
  toStatus,
} from '../src/domain/deal.ts'
import { MAX_EPOCH } from '../src/domain/epoch.ts'

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
  seenEpoch: 9,
  updated: epochToMs(20),
}
const place: KnownDeal = { ...deal, id: 0 }
const recordOf = (change: Partial<KnownDeal> = {}, source = 'a', run = 1) =>
  toDealRecord(source, { ...deal, ...change }, run)

describe('a deal', () => {
  it.each([
    ['Active', deal, epochToMs(100) - 1],
    ['Expired', deal, epochToMs(100)],
    ['Terminated', { ...deal, terminated: true as const }, epochToMs(100) - 1],
    ['Terminated', { ...deal, terminated: true as const }, epochToMs(100)],
    ['Active', place, epochToMs(100) - 1],
    ['Expired', place, epochToMs(100)],
    ['Active', { ...place, endEpoch: 0 }, epochToMs(100)],
    ['Terminated', { ...place, endEpoch: 0, terminated: true as const }, epochToMs(100)],
  ])('is %s', (status, deal, now) => {
    expect(toStatus(deal, now)).toBe(status)
  })

  it('is reported with all its fields', () => {
    const label = 'bafkzci/kD3.json'
    const optional = { label, client: 'f02', dataCid: 'bafybei', activationEpoch: 8 }
    expect(toDeals([recordOf(optional)], piece, epochToMs(50))).toEqual({
      '7': {
        provider: 'f01001',
        storageProvider: 'f01001',
        status: 'Active',
        pieceCid: `${piece.root}`,
        dataCid: 'bafybei',
        activation: '2020-08-24T22:04:00.000Z',
        label,
        client: 'f02',
        expiration: '2020-08-24T22:50:00.000Z',
        created: '2020-08-24T22:05:00.000Z',
        updated: '2020-08-24T22:10:00.000Z',
        seen: { at: '2020-08-24T22:05:00.000Z', epoch: 9 },
      },
    })
  })

  it('of several sources is reported once, by the latest source that still lists it', () => {
    const lost = recordOf({ terminated: true, updated: epochToMs(30) }, 'b')
    const longer = recordOf({ endEpoch: 200, updated: epochToMs(25) }, 'c')
    for (const records of [
      [lost, longer, recordOf()],
      [recordOf(), lost, longer],
    ])
      expect(toDeals(records, piece, epochToMs(50))).toMatchObject({
        '7': { status: 'Active', expiration: new Date(epochToMs(200)).toISOString() },
      })
  })

  it('K7: of earlier code has neither the CID of its data nor its activation; another source may have them', () => {
    expect(toDeals([recordOf()], piece, epochToMs(50))['7']).not.toHaveProperty('dataCid')
    expect(toDeals([recordOf()], piece, epochToMs(50))['7']).not.toHaveProperty('activation')
    const other = recordOf({ dataCid: 'bafybei', activationEpoch: 0 }, 'b')
    for (const order of [
      [recordOf(), other],
      [other, recordOf()],
    ])
      expect(toDeals(order, piece, epochToMs(50))['7']).toMatchObject({
        dataCid: 'bafybei',
        activation: '2020-08-24T22:00:00.000Z',
      })
  })

  it('A4: of several sources has the label of one of them, and was seen when the first one saw it', () => {
    const late = { created: epochToMs(30), seenEpoch: 29, updated: epochToMs(30) }
    const records = [recordOf({ label: 'x.json', terminated: true }), recordOf(late, 'b')]
    for (const order of [records, records.toReversed()])
      expect(toDeals(order, piece, epochToMs(50))).toMatchObject({
        '7': { status: 'Active', label: 'x.json', seen: { epoch: 9 }, created: '2020-08-24T22:05:00.000Z' },
      })
  })

  it('of earlier code has no epoch at which it was seen', () => {
    const { seenEpoch: _, ...earlier } = recordOf()
    expect(toDeals([earlier], piece, epochToMs(50))['7']).not.toHaveProperty('seen')
  })

  it('is changed only by later runs, and keeps the time at which it was created', () => {
    const record = { ...recordOf({}, 'a', 4), revision: 3 }
    const later = { created: epochToMs(30), seenEpoch: 29, updated: epochToMs(30) }
    const change = recordOf({ ...later, terminated: true }, 'a', 6)
    expect(mergeChange(record, change)).toEqual({
      ...change,
      created: epochToMs(10),
      seenEpoch: 9,
      revision: 3,
    })
    expect(mergeChange(record, { ...change, run: 4, updated: record.updated })).toBeUndefined()
    expect(mergeChange(record, { ...change, run: 3 })).toBeUndefined()
    const back = recordOf({ updated: epochToMs(40) }, 'a', 7)
    expect(mergeChange({ ...change, revision: 4 }, back)).toEqual({ ...back, revision: 4 })
  })

  it('A7: is changed by a later run although an earlier run had a clock that was ahead', () => {
    const ahead = {
      ...recordOf({ created: epochToMs(900), seenEpoch: 899, updated: epochToMs(900) }, 'a', 4),
    }
    const change = recordOf({ endEpoch: 300, updated: epochToMs(50) }, 'a', 5)
    expect(mergeChange({ ...ahead, revision: 1 }, change)).toEqual({ ...change, revision: 1 })
  })

  it('of earlier code, without the number of its run, is changed by every later run', () => {
    const { run: _, ...earlier } = recordOf()
    const record = { ...earlier, revision: 1 }
    expect(mergeChange(record, recordOf({ endEpoch: 300 }))).toMatchObject({ endEpoch: 300, run: 1 })
    expect(mergeChange(record, { ...earlier, updated: deal.updated + 1 })).toBeDefined()
    expect(mergeChange(record, earlier)).toBeUndefined()
    expect(
      mergeChange({ ...recordOf(), revision: 1 }, { ...earlier, updated: epochToMs(30) }),
    ).toBeUndefined()
  })
})

describe('A4: a place', () => {
  it('has its provider in its key, where a deal has its id', () => {
    expect(recordOf().deal).toBe('7@a')
    expect(recordOf({ id: 0 }).deal).toBe('f01001@a')
    expect(identify(place)).toBe(`${place.piece} 1001`)
    expect(identify(deal)).toBe(7)
  })

  it('is not reported as a deal, but once for each provider', () => {
    const records = [
      recordOf({ id: 0 }),
      recordOf({ id: 0, terminated: true, updated: epochToMs(30) }, 'b'),
      recordOf({ id: 0, provider: 1002, endEpoch: 0 }),
    ]
    const pieceCid = `${piece.root}`
    expect(toDeals(records, piece, epochToMs(50))).toEqual({})
    expect(toPlaces(records, piece, epochToMs(50))).toEqual([
      { provider: 'f01001', status: 'Active', expiration: '2020-08-24T22:50:00.000Z', pieceCid },
      { provider: 'f01002', status: 'Active', pieceCid },
    ])
  })

  it('that earlier code stored as the deal 0 is reported neither as a deal nor as a place', () => {
    const earlier = { ...recordOf({ id: 0 }), deal: '0@a' }
    expect(toDeals([earlier], piece, epochToMs(50))).toEqual({})
    expect(toPlaces([earlier], piece, epochToMs(50))).toEqual([])
  })
})
