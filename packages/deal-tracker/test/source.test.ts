import { epochToMs } from '@w3filecoin/capabilities'
import { describe, expect, it } from 'vitest'
import { closeRange, recordGoodRun, type SourceRecord, toSourceState } from '../src/domain/source.ts'

const record: SourceRecord = {
  name: 'a',
  stateEpoch: 100,
  snapshotCid: 'bafy',
  changesCid: 'bafz',
  rangesToWrite: [],
  deals: 3,
  malformed: 0,
  refused: 0,
  changed: 3,
  syncedAt: epochToMs(101),
  good: { at: epochToMs(91), epoch: 90 },
}
const last = { at: epochToMs(101), epoch: 100 }
const { refused: _, ...earlier } = record

describe('A1: the last good run of a source', () => {
  it.each<[string, SourceRecord, SourceRecord['good']]>([
    ['a complete run whose changes are written', record, last],
    ['not a run with open ranges', { ...record, rangesToWrite: [0] }, record.good],
    ['not a run that skipped malformed records', { ...record, malformed: 1 }, record.good],
    ['not a run that refused new deals', { ...record, refused: 1 }, record.good],
    ['not a run of earlier code, which did not know places', earlier, record.good],
  ])('is %s', (_, run, good) => {
    expect(recordGoodRun(run).good).toEqual(good)
  })

  it('is a run when its last range is closed', () => {
    const open = { ...record, rangesToWrite: [1, 0], revision: 1 }
    const half = closeRange(open, { changes: 'bafz', range: 1 })!
    expect(half).toEqual({ ...open, rangesToWrite: [0] })
    expect(closeRange(half, { changes: 'bafz', range: 1 })).toBeUndefined()
    expect(closeRange(half, { changes: 'bafz', range: 0 })).toEqual({
      ...half,
      rangesToWrite: [],
      good: last,
    })
    expect(closeRange({ ...half, malformed: 1 }, { changes: 'bafz', range: 0 })?.good).toEqual(record.good)
  })

  it('is reported with its time and epoch, unless the epoch lies in the future', () => {
    const source = { name: 'a', types: ['market' as const] }
    const none = { source: 'a', types: ['market'] }
    const state = { ...none, at: '2020-08-24T22:45:30.000Z', epoch: 90 }
    expect(toSourceState(source, record, epochToMs(101))).toEqual(state)
    expect(toSourceState(source, record, epochToMs(90) - 3_600_000)).toEqual(state)
    expect(toSourceState(source, record, epochToMs(90) - 3_600_001)).toEqual(none)
    expect(toSourceState(source, undefined, epochToMs(101))).toEqual(none)
  })
})
