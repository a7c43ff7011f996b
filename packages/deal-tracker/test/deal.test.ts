import { epochToMs } from '@w3filecoin/capabilities'
import { toV1 } from '@w3filecoin/piece'
import { somePiece } from '@w3filecoin/testing'
import { describe, expect, it } from 'vitest'
import {
  type DealRecord,
  identify,
  type KnownDeal,
  mergeChange,
  type ReadSources,
  toDealRecord,
  toDeals,
  toPieceKey,
  toPlaces,
  toStatus,
  upgradeDeal,
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
  place: { type: 'market', dealID: 7 },
  piece: toPieceKey(piece),
  provider: 'f01001',
  endEpoch: 100,
  created: epochToMs(10),
  seenEpoch: 9,
  updated: epochToMs(20),
}
const { endEpoch: _, ...endless } = deal
/** A provider that has the piece, the source does not say where. */
const at = (provider = 'f01001') => ({ place: { type: 'provider' as const, provider }, provider })
const place: KnownDeal = { ...deal, ...at() }
const sector: KnownDeal = { ...deal, place: { type: 'sector', miner: 'f01001', sector: 77 } }
const verifier = `0x${'ab'.repeat(20)}`
const pdp: KnownDeal = {
  ...endless,
  place: { type: 'pdp', chain: 314, verifier, dataSet: 12, piece: 0 },
  provider: 'pdp:3',
}
/** Four sources that the tracker reads, without a good run yet. */
const read: ReadSources = new Map(['a', 'b', 'c', 'd'].map(name => [name, undefined]))
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
    ['Active', pdp, epochToMs(100)],
    ['Active', { ...pdp, condition: 'faulty' as const }, epochToMs(100)],
    ['Pending', { ...pdp, condition: 'pending' as const }, epochToMs(100)],
    ['Leaving', { ...pdp, condition: 'leaving' as const }, epochToMs(100)],
    ['Expired', { ...sector, condition: 'leaving' as const }, epochToMs(100)],
    ['Terminated', { ...pdp, condition: 'pending' as const, terminated: true as const }, epochToMs(100)],
  ])('is %s', (status, deal, now) => {
    expect(toStatus(deal, now)).toBe(status)
  })

  it('is reported with all its fields', () => {
    const label = 'bafkzci/kD3.json'
    const optional = { label, client: 'f02', dataCid: 'bafybei', activationEpoch: 8 }
    expect(toDeals([recordOf(optional)], piece, epochToMs(50), read)).toEqual({
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

  it('is reported as terminated with the reason; a record of earlier code has none', () => {
    const gone = { terminated: true as const, updated: epochToMs(30) }
    const reason = 'The deal was slashed at epoch 29'
    expect(toDeals([recordOf({ ...gone, reason })], piece, epochToMs(50), read)['7']).toMatchObject({
      status: 'Terminated',
      reason,
      updated: '2020-08-24T22:15:00.000Z',
    })
    expect(toDeals([recordOf(gone)], piece, epochToMs(50), read)['7']).not.toHaveProperty('reason')
    const [place] = toPlaces([toDealRecord('a', { ...pdp, ...gone, reason }, 1)], piece, epochToMs(50), read)
    expect(place).toMatchObject({ status: 'Terminated', reason, ended: '2020-08-24T22:15:00.000Z' })
    const [earlier] = toPlaces([toDealRecord('a', { ...pdp, ...gone }, 1)], piece, epochToMs(50), read)
    expect(earlier).toMatchObject({ status: 'Terminated', ended: '2020-08-24T22:15:00.000Z' })
    expect(earlier).not.toHaveProperty('reason')
  })

  it('of several sources is reported once, by the latest source that still lists it', () => {
    const lost = recordOf({ terminated: true, updated: epochToMs(30) }, 'b')
    const longer = recordOf({ endEpoch: 200, updated: epochToMs(25) }, 'c')
    for (const records of [
      [lost, longer, recordOf()],
      [recordOf(), lost, longer],
    ])
      expect(toDeals(records, piece, epochToMs(50), read)).toMatchObject({
        '7': { status: 'Active', expiration: new Date(epochToMs(200)).toISOString() },
      })
  })

  it('K7: of earlier code has neither the CID of its data nor its activation; another source may have them', () => {
    expect(toDeals([recordOf()], piece, epochToMs(50), read)['7']).not.toHaveProperty('dataCid')
    expect(toDeals([recordOf()], piece, epochToMs(50), read)['7']).not.toHaveProperty('activation')
    const other = recordOf({ dataCid: 'bafybei', activationEpoch: 0 }, 'b')
    for (const order of [
      [recordOf(), other],
      [other, recordOf()],
    ])
      expect(toDeals(order, piece, epochToMs(50), read)['7']).toMatchObject({
        dataCid: 'bafybei',
        activation: '2020-08-24T22:00:00.000Z',
      })
  })

  it('A4: of several sources has the label of one of them, and was seen when the first one saw it', () => {
    const late = { created: epochToMs(30), seenEpoch: 29, updated: epochToMs(30) }
    const records = [recordOf({ label: 'x.json', terminated: true }), recordOf(late, 'b')]
    for (const order of [records, records.toReversed()])
      expect(toDeals(order, piece, epochToMs(50), read)).toMatchObject({
        '7': { status: 'Active', label: 'x.json', seen: { epoch: 9 }, created: '2020-08-24T22:05:00.000Z' },
      })
  })

  it('of a source that is not read any more has its history and its end from it, and not its life', () => {
    const old = { created: epochToMs(5), seenEpoch: 4, updated: epochToMs(45), label: 'x.json' }
    const seen = { label: 'x.json', seen: { epoch: 4 } }
    const removed = (change: Partial<KnownDeal> = {}) => recordOf({ ...old, ...change }, 'removed')
    const statusOf = (...records: DealRecord[]) => toDeals(records, piece, epochToMs(50), read)
    const lost = { terminated: true as const, updated: epochToMs(30) }
    expect(statusOf(removed(), recordOf(lost))).toMatchObject({ '7': { status: 'Terminated', ...seen } })
    expect(statusOf(removed(lost), recordOf())).toMatchObject({ '7': { status: 'Active', ...seen } })
    expect(statusOf(removed(lost))).toMatchObject({ '7': { status: 'Terminated' } })
    expect(statusOf(removed({ endEpoch: 40 }))).toMatchObject({ '7': { status: 'Expired' } })
    expect(statusOf(removed())).toEqual({})

    const places = [toDealRecord('removed', { ...pdp, updated: epochToMs(45) }, 1)]
    expect(toPlaces(places, piece, epochToMs(50), read)).toEqual([])
    places.push(toDealRecord('b', { ...pdp, ...lost }, 1))
    expect(toPlaces(places, piece, epochToMs(50), read)).toMatchObject([{ status: 'Terminated' }])
  })

  it('of earlier code has no epoch at which it was seen', () => {
    const { seenEpoch: _, ...earlier } = recordOf()
    expect(toDeals([earlier], piece, epochToMs(50), read)['7']).not.toHaveProperty('seen')
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
    expect(recordOf(at()).deal).toBe('f01001@a')
    expect(toDealRecord('a', sector, 1).deal).toBe('sector:f01001/77@a')
    expect(toDealRecord('a', pdp, 1).deal).toBe(`pdp:314/${verifier}/12/0@a`)
    expect(identify(place)).toBe(`f01001 ${place.piece}`)
    expect(identify(sector)).toBe(`sector:f01001/77 ${place.piece}`)
    expect(identify(deal)).toBe(7)
  })

  it('is not reported as a deal, but once for each provider', () => {
    const records = [
      recordOf(at()),
      recordOf({ ...at(), terminated: true, updated: epochToMs(30) }, 'b'),
      toDealRecord('a', { ...endless, ...at('f01002') }, 1),
    ]
    const pieceCid = `${piece.root}`
    expect(toDeals(records, piece, epochToMs(50), read)).toEqual({})
    const seen = { at: '2020-08-24T22:05:00.000Z', epoch: 9 }
    const known = { type: 'provider', status: 'Active', pieceCid, seen }
    expect(toPlaces(records, piece, epochToMs(50), read)).toEqual([
      { ...known, key: 'f01001', provider: 'f01001', expiration: '2020-08-24T22:50:00.000Z' },
      { ...known, key: 'f01002', provider: 'f01002' },
    ])
  })

  it('is reported with its kind, its state, its last proof, and the epoch of the last good run of its source', () => {
    const proven = { condition: 'faulty' as const, activationEpoch: 20, provenEpoch: 30 }
    const records = [toDealRecord('a', sector, 1), toDealRecord('b', { ...pdp, ...proven }, 1)]
    const epochs = new Map([['b', 45]])
    const known = {
      status: 'Active',
      pieceCid: `${piece.root}`,
      seen: { at: '2020-08-24T22:05:00.000Z', epoch: 9 },
    }
    expect(toPlaces(records, piece, epochToMs(50), new Map([...read, ...epochs]))).toEqual([
      {
        ...known,
        type: 'sector',
        key: 'sector:f01001/77',
        provider: 'f01001',
        expiration: '2020-08-24T22:50:00.000Z',
      },
      {
        ...known,
        type: 'pdp',
        key: `pdp:314/${verifier}/12/0`,
        provider: 'pdp:3',
        faulty: true,
        since: '2020-08-24T22:10:00.000Z',
        lastProof: '2020-08-24T22:15:00.000Z',
        epoch: 45,
      },
    ])
    expect(toDeals(records, piece, epochToMs(50), read)).toEqual({})
  })

  it('has no epoch while the last good run of its source is one before the run that found it', () => {
    const epochIn = (good: number) =>
      toPlaces([recordOf(sector)], piece, epochToMs(50), new Map([['a', good]]))[0]?.epoch
    expect([8, 9, 45].map(epochIn)).toEqual([undefined, 9, 45])
  })

  it('and a deal are read from rows of earlier code, which had the number of the provider and the id 0', () => {
    const { place: _, provider: __, endEpoch, ...rest } = recordOf()
    expect(upgradeDeal({ ...rest, id: 7, provider: 1001, endEpoch })).toEqual(recordOf())
    const earlier = { ...rest, id: 0, provider: 1001, endEpoch: 0, deal: 'f01001@a' }
    expect(upgradeDeal(earlier)).toEqual(toDealRecord('a', { ...endless, ...at() }, 1))
    expect(upgradeDeal(recordOf() as never)).toEqual(recordOf())
    const ended = recordOf({ endEpoch: 0 })
    expect(upgradeDeal({ ...rest, id: 7, provider: 1001, endEpoch: 0 }), 'a deal has an end').toEqual(ended)
    expect(toStatus(ended, epochToMs(50))).toBe('Expired')
  })

  it('that earlier code stored as the deal 0 is reported neither as a deal nor as a place', () => {
    const earlier = { ...recordOf(at()), deal: '0@a' }
    expect(toDeals([earlier], piece, epochToMs(50), read)).toEqual({})
    expect(toPlaces([earlier], piece, epochToMs(50), read)).toEqual([])
  })
})
