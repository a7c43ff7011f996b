import { decode, encode } from '@ipld/dag-cbor'
import { describe, expect, it } from 'vitest'
import type { ChainDeal, KnownDeal } from '../src/domain/deal.ts'
import { timeOf } from '../src/domain/epoch.ts'
import type { Report } from '../src/domain/report.ts'
import { checkReport } from '../src/domain/report-check.ts'
import {
  difference,
  EMPTY,
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

describe('the difference of two runs', () => {
  const AT = 9
  const terminated = known(1, { terminated: true, updated: AT })
  it.each<[string, KnownDeal[], Report, KnownDeal[], KnownDeal[]]>([
    ['nothing', [known(1)], report([chain(1)]), [], [known(1)]],
    [
      'a new deal',
      [known(1)],
      report([chain(1), chain(2)]),
      [known(2, { created: AT, updated: AT })],
      [known(1), known(2, { created: AT, updated: AT })],
    ],
    [
      'another end',
      [known(1)],
      report([chain(1, 600)]),
      [known(1, { endEpoch: 600, updated: AT })],
      [known(1, { endEpoch: 600, updated: AT })],
    ],
    ['a deal gone before its end', [known(1)], report([]), [terminated], [terminated]],
    ['a deal gone at its end', [known(1)], report([], { stateEpoch: 500 }), [], []],
    ['a deal gone that was gone', [terminated], report([]), [], [terminated]],
    ['a deal gone, and its end has come', [terminated], report([], { stateEpoch: 500 }), [], []],
    ['a deal that can not be read', [known(1)], report([], { unreadable: new Set([1]) }), [], [known(1)]],
    [
      'a deal that is back',
      [terminated],
      report([chain(1)]),
      [known(1, { updated: AT })],
      [known(1, { updated: AT })],
    ],
    [
      'a deal that is of another piece',
      [known(1)],
      report([{ ...chain(1), piece: 'other' }]),
      [terminated, known(1, { piece: 'other', created: AT, updated: AT })],
      [known(1, { piece: 'other', created: AT, updated: AT })],
    ],
  ])('%s', (_, before, next, changes, after) => {
    const found = difference(snapshot(before), next, AT)
    expect(found.changes).toEqual(changes)
    expect(found.deals).toEqual(byId(after))
    // The same once more changes nothing, and keeps what there is.
    const again = { stateEpoch: next.stateEpoch, deals: found.deals }
    expect(difference(again, next, AT + 1)).toEqual({ changes: [], deals: found.deals })
    expect(difference(again, next, AT + 1).deals).toBe(found.deals)
  })

  it('is kept in a block, the same for the same deals', () => {
    const deals = byId([known(2), known(1, { terminated: true }), known(3)])
    const bytes = encode(toRows(deals))
    expect(fromRows(decode<SnapshotRow[]>(bytes))).toEqual(deals)
    expect(encode(toRows(byId([...deals.values()].reverse())))).toEqual(bytes)
  })
})

describe('a report', () => {
  const LIMITS = { maxAgeMs: 3 * 24 * 3600 * 1000, maxLossShare: 0.1 }
  const NOW = timeOf(101)
  const many = (count: number) => Array.from({ length: count }, (_, n) => n)
  const before = snapshot(many(20).map(id => known(id)))
  const all = many(20).map(id => chain(id))

  it.each<[string | undefined, string, Snapshot, Report, number]>([
    [undefined, 'of the first run', EMPTY, report(all), NOW],
    [undefined, 'without deals, of the first run', EMPTY, report([]), NOW],
    [undefined, 'of the same epoch', before, report(all, { stateEpoch: 100 }), NOW],
    [undefined, 'of three days ago', before, report(all), NOW + LIMITS.maxAgeMs],
    ['StaleSource', 'that is older', before, report(all), NOW + LIMITS.maxAgeMs + 1],
    [undefined, 'of a clock that is a bit ahead', before, report(all), NOW - 3_600_000],
    ['SourceAhead', 'of the future', before, report(all), NOW - 3_600_001],
    ['SourceWentBack', 'of an earlier epoch', before, report(all, { stateEpoch: 99 }), NOW],
    ['UnreadableSource', 'without a record that can be read', EMPTY, report([], { malformed: 3 }), NOW],
    [undefined, 'that lost as many as it may', before, report(all.slice(2)), NOW],
    ['SourceLostDeals', 'that lost more', before, report(all.slice(3)), NOW],
    ['SourceLostDeals', 'that lost all', before, report([]), NOW],
    [
      'SourceLostDeals',
      'that has more which can not be read',
      before,
      report(all.slice(3), { unreadable: new Set([0, 1, 2]) }),
      NOW,
    ],
    [undefined, 'whose deals came to their end', before, report([], { stateEpoch: 500 }), timeOf(500)],
    [
      undefined,
      'without deals that were lost before',
      snapshot(many(20).map(id => known(id, { terminated: true }))),
      report([]),
      NOW,
    ],
  ])('is %s: %s', (name, _, previous, next, now) => {
    expect(checkReport(previous, next, LIMITS, now)?.name).toBe(name)
  })
})
