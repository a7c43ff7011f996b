import { decode, encode } from '@ipld/dag-cbor'
import { describe, expect, it } from 'vitest'
import type { ChainDeal, KnownDeal } from '../src/domain/deal.ts'
import { epochToMs } from '../src/domain/epoch.ts'
import type { Report } from '../src/domain/report.ts'
import { checkReport } from '../src/domain/report-check.ts'
import {
  diffSnapshot,
  EMPTY_SNAPSHOT,
  fromRows,
  type Snapshot,
  type SnapshotRow,
  toRows,
} from '../src/domain/snapshot.ts'

const chain = (id: number, endEpoch = 500): ChainDeal => ({
  id,
  piece: `piece-${id}`,
  provider: 1001,
  endEpoch,
})
const known = (id: number, change: Partial<KnownDeal> = {}): KnownDeal => ({
  ...chain(id),
  created: 1,
  updated: 1,
  ...change,
})
const byId = <D extends ChainDeal>(deals: D[]) => new Map(deals.map(deal => [deal.id, deal]))
const snapshot = (deals: KnownDeal[], stateEpoch = 100): Snapshot => ({ stateEpoch, deals: byId(deals) })
const report = (deals: ChainDeal[], change: Partial<Report> = {}): Report => ({
  stateEpoch: 101,
  deals: byId(deals),
  malformed: 0,
  unreadable: new Set(),
  ...change,
})

describe('the difference between two runs', () => {
  const AT = 9
  const terminated = known(1, { terminated: true, updated: AT })
  it.each<[string, KnownDeal[], Report, KnownDeal[], KnownDeal[]]>([
    ['no change', [known(1)], report([chain(1)]), [], [known(1)]],
    [
      'a new deal',
      [known(1)],
      report([chain(1), chain(2)]),
      [known(2, { created: AT, updated: AT })],
      [known(1), known(2, { created: AT, updated: AT })],
    ],
    [
      'a changed end',
      [known(1)],
      report([chain(1, 600)]),
      [known(1, { endEpoch: 600, updated: AT })],
      [known(1, { endEpoch: 600, updated: AT })],
    ],
    ['a deal dropped before its end', [known(1)], report([]), [terminated], [terminated]],
    ['a deal dropped at its end', [known(1)], report([], { stateEpoch: 500 }), [], []],
    ['a terminated deal that is still missing', [terminated], report([]), [], [terminated]],
    ['a terminated deal past its end', [terminated], report([], { stateEpoch: 500 }), [], []],
    ['an unreadable deal', [known(1)], report([], { unreadable: new Set([1]) }), [], [known(1)]],
    [
      'a terminated deal that is listed again',
      [terminated],
      report([chain(1)]),
      [known(1, { updated: AT })],
      [known(1, { updated: AT })],
    ],
    [
      'a deal that is listed for another piece',
      [known(1)],
      report([{ ...chain(1), piece: 'other' }]),
      [terminated, known(1, { piece: 'other', created: AT, updated: AT })],
      [known(1, { piece: 'other', created: AT, updated: AT })],
    ],
  ])('%s', (_, before, next, changes, after) => {
    const found = diffSnapshot(snapshot(before), next, AT)
    expect(found.changes).toEqual(changes)
    expect(found.deals).toEqual(byId(after))
    // The same report again changes nothing, and returns the same object.
    const again = { stateEpoch: next.stateEpoch, deals: found.deals }
    expect(diffSnapshot(again, next, AT + 1)).toEqual({ changes: [], deals: found.deals })
    expect(diffSnapshot(again, next, AT + 1).deals).toBe(found.deals)
  })

  it('of equal deals is an equal block, which decodes to the deals', () => {
    const deals = byId([known(2), known(1, { terminated: true }), known(3)])
    const bytes = encode(toRows(deals))
    expect(fromRows(decode<SnapshotRow[]>(bytes))).toEqual(deals)
    expect(encode(toRows(byId([...deals.values()].reverse())))).toEqual(bytes)
  })
})

describe('a report', () => {
  const LIMITS = { maxAgeMs: 3 * 24 * 3600 * 1000, maxLossShare: 0.1 }
  const NOW = epochToMs(101)
  const many = (count: number) => Array.from({ length: count }, (_, n) => n)
  const before = snapshot(many(20).map(id => known(id)))
  const all = many(20).map(id => chain(id))

  it.each<[string | undefined, string, Snapshot, Report, number]>([
    [undefined, 'the first report', EMPTY_SNAPSHOT, report(all), NOW],
    [undefined, 'the first report, without deals', EMPTY_SNAPSHOT, report([]), NOW],
    [undefined, 'of the same epoch', before, report(all, { stateEpoch: 100 }), NOW],
    [undefined, 'as old as allowed', before, report(all), NOW + LIMITS.maxAgeMs],
    ['StaleSource', 'older than allowed', before, report(all), NOW + LIMITS.maxAgeMs + 1],
    [undefined, 'an hour ahead of our clock', before, report(all), NOW - 3_600_000],
    ['SourceAhead', 'more than an hour ahead of our clock', before, report(all), NOW - 3_600_001],
    ['SourceWentBack', 'of an earlier epoch', before, report(all, { stateEpoch: 99 }), NOW],
    ['UnreadableSource', 'with malformed records only', EMPTY_SNAPSHOT, report([], { malformed: 3 }), NOW],
    [undefined, 'that lost as many deals as allowed', before, report(all.slice(2)), NOW],
    ['SourceLostDeals', 'that lost more deals than allowed', before, report(all.slice(3)), NOW],
    ['SourceLostDeals', 'that lost all deals', before, report([]), NOW],
    [
      'SourceLostDeals',
      'with more unreadable deals than it may lose',
      before,
      report(all.slice(3), { unreadable: new Set([0, 1, 2]) }),
      NOW,
    ],
    [undefined, 'whose deals ended', before, report([], { stateEpoch: 500 }), epochToMs(500)],
    [
      undefined,
      'that lacks deals terminated before',
      snapshot(many(20).map(id => known(id, { terminated: true }))),
      report([]),
      NOW,
    ],
  ])('is checked (%s): %s', (name, _, previous, next, now) => {
    expect(checkReport(previous, next, LIMITS, now)?.name).toBe(name)
  })
})
