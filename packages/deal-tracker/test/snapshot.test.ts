import { decode, encode } from '@ipld/dag-cbor'
import { epochToMs } from '@w3filecoin/capabilities'
import { describe, expect, it } from 'vitest'
import { type ChainDeal, identify, type KnownDeal } from '../src/domain/deal.ts'
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

const chain = (dealID: number, endEpoch = 500): ChainDeal => ({
  place: { type: 'market', dealID },
  piece: `piece-${dealID}`,
  provider: 'f01001',
  endEpoch,
})
/** A provider that has a piece, the source does not say where. */
const at = (provider: string) => ({ place: { type: 'provider' as const, provider }, provider })
const known = (id: number, change: Partial<KnownDeal> = {}): KnownDeal => ({
  ...chain(id),
  created: 1,
  updated: 1,
  ...change,
})
/** The deal as a place whose end is not known. */
const endless = (deal: KnownDeal, place: Pick<KnownDeal, 'place' | 'provider'> = at('f05')): KnownDeal => {
  const { endEpoch: _, ...rest } = { ...deal, ...place }
  return rest
}
const pdp = {
  place: { type: 'pdp' as const, chain: 314, verifier: `0x${'ab'.repeat(20)}`, dataSet: 12, piece: 0 },
  provider: 'pdp:3',
}
const byId = <D extends ChainDeal>(deals: D[]) => new Map(deals.map(deal => [identify(deal), deal]))
const snapshot = (deals: KnownDeal[], stateEpoch = 100): Snapshot => ({ stateEpoch, deals: byId(deals) })
const report = (deals: ChainDeal[], change: Partial<Report> = {}): Report => ({
  stateEpoch: 101,
  deals: byId(deals),
  malformed: 0,
  refused: 0,
  unreadable: new Set(),
  ...change,
})

describe('the difference between two runs', () => {
  const AT = 9
  /** Fields of a deal that the report lacks. */
  const gone = { terminated: true as const, reason: 'The source does not list it any more', updated: AT }
  const terminated = known(1, gone)
  /** Fields of a deal that the report shows first. */
  const seen = { created: AT, seenEpoch: 101, updated: AT }
  const place = at('f05')
  const other = at('f06')
  it.each<[string, KnownDeal[], Report, KnownDeal[], KnownDeal[]]>([
    ['no change', [known(1)], report([chain(1)]), [], [known(1)]],
    ['a new deal', [known(1)], report([chain(1), chain(2)]), [known(2, seen)], [known(1), known(2, seen)]],
    [
      'a changed end',
      [known(1)],
      report([chain(1, 600)]),
      [known(1, { endEpoch: 600, updated: AT })],
      [known(1, { endEpoch: 600, updated: AT })],
    ],
    ['a deal dropped before its end', [known(1)], report([]), [terminated], [terminated]],
    [
      'a deal whose end the source explains',
      [known(1)],
      report([], { ends: new Map([[1, 'The deal was slashed at epoch 99']]) }),
      [known(1, { ...gone, reason: 'The deal was slashed at epoch 99' })],
      [known(1, { ...gone, reason: 'The deal was slashed at epoch 99' })],
    ],
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
      [terminated, known(1, { piece: 'other', ...seen })],
      [known(1, { piece: 'other', ...seen })],
    ],
    [
      'a deal whose label is known now',
      [known(1)],
      report([{ ...chain(1), label: 'x.json' }]),
      [known(1, { label: 'x.json', updated: AT })],
      [known(1, { label: 'x.json', updated: AT })],
    ],
    [
      'K7: a deal whose data and activation are known now',
      [known(1)],
      report([{ ...chain(1), dataCid: 'bafy', activationEpoch: 5 }]),
      [known(1, { dataCid: 'bafy', activationEpoch: 5, updated: AT })],
      [known(1, { dataCid: 'bafy', activationEpoch: 5, updated: AT })],
    ],
    [
      'places at two providers',
      [known(0, place)],
      report([
        { ...chain(0), ...place },
        { ...chain(0), ...other },
      ]),
      [known(0, { ...other, ...seen })],
      [known(0, place), known(0, { ...other, ...seen })],
    ],
    [
      'a place dropped before its end',
      [known(0, place)],
      report([]),
      [known(0, { ...place, ...gone })],
      [known(0, { ...place, ...gone })],
    ],
    ['a place dropped at its end', [known(0, place)], report([], { stateEpoch: 500 }), [], []],
    [
      'a place whose end is not known',
      [endless(known(0))],
      report([endless(known(0))]),
      [],
      [endless(known(0))],
    ],
    [
      'a place whose end is not known, and that is dropped',
      [endless(known(0))],
      report([]),
      [endless(known(0, gone))],
      [],
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
    const deals = byId([
      known(2, { label: 'x.json', client: 'f01', seenEpoch: 99, dataCid: 'bafy', activationEpoch: 0 }),
      known(1, { terminated: true }),
      known(3),
      known(0, { ...place, seenEpoch: 99 }),
      known(0, { ...other, seenEpoch: 99 }),
      known(0, { piece: 'other', ...place, seenEpoch: 99 }),
      known(0, { place: { type: 'sector', miner: 'f05', sector: 77 }, provider: 'f05', seenEpoch: 99 }),
      endless(known(0, { condition: 'pending', activationEpoch: 90, seenEpoch: 99 }), pdp),
      endless(known(1, { condition: 'faulty', provenEpoch: 95, seenEpoch: 99 }), pdp),
    ])
    const bytes = encode(toRows(deals))
    expect(fromRows(decode<SnapshotRow[]>(bytes))).toEqual(deals)
    expect(encode(toRows(byId([...deals.values()].reverse())))).toEqual(bytes)
  })

  it('K7: of earlier code, whose rows end after the client, is read', () => {
    const rows: SnapshotRow[] = [[1, 'piece-1', 1001, 500, 1, 1, false, 99, 'x.json', 'f01']]
    const deals = fromRows(decode<SnapshotRow[]>(encode(rows)))
    expect(deals).toEqual(byId([known(1, { seenEpoch: 99, label: 'x.json', client: 'f01' })]))
  })

  it('of earlier code is read; a place that it kept as the deal 0 is skipped, and stored by the next run', () => {
    const rows: SnapshotRow[] = [
      [0, 'piece-0', 5, 500, 1, 1, false],
      [1, 'piece-1', 1001, 500, 1, 1, false],
      [2, 'piece-2', 1001, 500, 1, 1, true],
    ]
    const deals = fromRows(decode<SnapshotRow[]>(encode(rows)))
    expect(deals).toEqual(byId([known(1), known(2, { terminated: true })]))
    const next = report([{ ...chain(0), ...place }, chain(1)])
    const { changes } = diffSnapshot({ stateEpoch: 100, deals }, next, AT)
    expect(changes).toEqual([known(0, { ...place, ...seen })])
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
    [
      undefined,
      'after one of an epoch that lies in the future',
      { ...before, stateEpoch: 30_000 },
      report(all),
      NOW,
    ],
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
    [
      'SourceLostDeals',
      'that lost places whose end is not known',
      snapshot(many(20).map(n => endless(known(0), at(`f0${n}`)))),
      report([]),
      NOW,
    ],
    [undefined, 'of a source that saw all deals end', before, report([], { hasSeenEnds: true }), NOW],
    [undefined, 'whose deals ended', before, report([], { stateEpoch: 500 }), epochToMs(500)],
    [
      undefined,
      'that lacks deals terminated before',
      snapshot(many(20).map(id => known(id, { terminated: true }))),
      report([]),
      NOW,
    ],
    [
      undefined,
      'A4: after one with a place that has a market id now',
      snapshot([known(0, { piece: 'piece-1', ...at('f01001') })]),
      report([chain(1)]),
      NOW,
    ],
    [
      'SourceLostDeals',
      'A4: after one with a place that another provider has a deal of now',
      snapshot([known(0, { piece: 'piece-1', ...at('f07') })]),
      report([chain(1)]),
      NOW,
    ],
  ])('is checked (%s): %s', (name, _, previous, next, now) => {
    expect(checkReport(previous, next, LIMITS, now)?.name).toBe(name)
  })
})
