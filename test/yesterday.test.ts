import { messages as aggregatorMessages, tables as aggregatorTables } from '@w3filecoin/aggregator'
import { messages as trackerMessages, tables as trackerTables } from '@w3filecoin/deal-tracker'
import { messages as dealerMessages, tables as dealerTables } from '@w3filecoin/dealer'
import type { AnyMessageFormats, RecordFormat, Row } from '@w3filecoin/runtime'
import { messages as storefrontMessages, tables as storefrontTables } from '@w3filecoin/storefront'
import { describe, expect, test } from 'vitest'
import { continueJourney, readYesterday } from './simulation/yesterday.ts'

/** The stages of records, by fixture. */
const STAGES: Record<string, string[]> = {
  // Records and messages have no version yet.
  '0.1.0': [
    'aggregator.aggregate accepted',
    'aggregator.aggregate failed',
    'aggregator.aggregate offered',
    'aggregator.aggregate sealed',
    'aggregator.piece included',
    'aggregator.piece offered',
    'aggregator.piece pending',
    'dealer.aggregate accepted',
    'dealer.aggregate failed',
    'dealer.aggregate offered',
    'storefront.aggregate accepted',
    'storefront.aggregate failed',
    'storefront.aggregate offered',
    'storefront.piece accepted',
    'storefront.piece aggregated',
    'storefront.piece failed',
    'storefront.piece offered',
    'storefront.piece queued',
    'storefront.piece retried',
    'storefront.piece submitted',
  ],
  // Before decision 0076: the aggregator has rows of `member`, and writes a piece as `offered` first.
  '2026-11-27': [
    'aggregator.aggregate accepted',
    'aggregator.aggregate failed',
    'aggregator.aggregate offered',
    'aggregator.aggregate sealed',
    'aggregator.piece included',
    'aggregator.piece offered',
    'aggregator.piece pending',
    'aggregator.translation blocked',
    'aggregator.translation done',
    'aggregator.translation promised',
    'dealer.aggregate accepted',
    'dealer.aggregate failed',
    'dealer.aggregate offered',
    'dealer.translation done',
    'dealer.translation promised',
    'storefront.aggregate accepted',
    'storefront.aggregate failed',
    'storefront.aggregate offered',
    'storefront.group polled',
    'storefront.piece accepted',
    'storefront.piece aggregated',
    'storefront.piece failed',
    'storefront.piece offered',
    'storefront.piece queued',
    'storefront.piece retried',
    'storefront.piece submitted',
    'storefront.translation done',
    'storefront.translation filed',
    'storefront.translation promised',
  ],
}

const TABLES: Record<string, Record<string, RecordFormat<object>>> = {
  storefront: storefrontTables,
  aggregator: aggregatorTables,
  dealer: dealerTables,
  tracker: trackerTables,
}
const MESSAGES: Record<string, AnyMessageFormats> = {
  storefront: storefrontMessages,
  aggregator: aggregatorMessages,
  dealer: dealerMessages,
  tracker: trackerMessages,
}
/** Queues that had another name. */
const FORMER: Record<string, string> = {
  pieceOffer: 'aggregation',
  accept: 'outcome',
  aggregateOffer: 'deal',
}

describe.each(Object.keys(STAGES))('records and messages of version %s', version => {
  const { snapshots, messages } = readYesterday(version)

  test('show every stage of every record', () => {
    const stages = snapshots.flatMap(({ services }) =>
      Object.entries(services).flatMap(([service, { tables }]) =>
        Object.entries(tables).flatMap(([table, rows]) =>
          rows.flatMap(({ stage }) => (stage === undefined ? [] : `${service}.${table} ${stage}`)),
        ),
      ),
    )
    expect([...new Set(stages)].sort()).toEqual(STAGES[version])
  })

  test('keep their attributes and values, whatever the version under which they are written again', () => {
    for (const { services } of snapshots)
      for (const [service, { tables }] of Object.entries(services))
        for (const [table, rows] of Object.entries(tables)) {
          const { decode, encode, version } = TABLES[service]![table]!
          for (const row of rows) {
            const written = encode(decode(row))
            expect(written.v).toBe(version)
            expect(decode(written), `${service}.${table}`).toEqual(decode(row))
            // A later version may store an attribute under another name, or packed.
            if (version === (row.v ?? 1))
              expect(written, `${service}.${table}`).toEqual({ ...row, v: version })
          }
        }
  })

  test('name the deals with which aggregates were accepted, and those on chain, as places', () => {
    const read: Record<string, (row: Row) => object> = {
      'storefront.aggregate': ({ dealID }) => ({ metadata: { dataType: 0, dataSource: { dealID } } }),
      'dealer.aggregate': ({ dealID }) => ({ place: `${dealID}` }),
      'tracker.deal': ({ id, provider }) => ({
        place: { type: 'market', dealID: id },
        provider: `f0${provider}`,
      }),
    }
    for (const [name, expected] of Object.entries(read)) {
      const [service, table] = name.split('.') as [string, string]
      const rows = snapshots
        .flatMap(({ services }) => services[service]?.tables[table] ?? [])
        .filter(row => row.dealID !== undefined || name === 'tracker.deal')
      expect(rows.length, name).toBeGreaterThan(0)
      for (const row of rows) {
        const record = TABLES[service]![table]!.decode(row)
        expect(record, name).toMatchObject(expected(row))
        for (const former of ['id', 'dealID', 'dataType'].filter(field => field !== 'id' || table === 'deal'))
          expect(record, name).not.toHaveProperty(former)
      }
    }
  })

  test('have the identifiers that the log line of a transition names', async () => {
    const found = new Set<string>()
    for (const { services } of snapshots)
      for (const [service, { tables }] of Object.entries(services))
        for (const [table, rows] of Object.entries(tables)) {
          const { workflow, decode } = TABLES[service]![table]!
          if (workflow === undefined) continue
          for (const row of rows) {
            const record = decode(row)
            const identifiers = await workflow.identify(record)
            for (const [name, value] of Object.entries(identifiers))
              if (value !== undefined) found.add(`${service}.${table} ${workflow.stageOf(record)} ${name}`)
          }
        }
    expect([...found]).toEqual(
      expect.arrayContaining([
        'storefront.piece accepted task',
        'storefront.piece queued waitsFor',
        'storefront.aggregate accepted aggregate',
        'aggregator.piece pending task',
        'aggregator.piece included aggregateId',
        'aggregator.group collecting group',
        'aggregator.aggregate offered task',
        'dealer.aggregate offered task',
        'dealer.aggregate accepted deal',
        'storefront.aggregate accepted deal',
        'tracker.source written epoch',
      ]),
    )
  })

  test('are messages that consumers still read', () => {
    for (const [service, queues] of Object.entries(messages))
      for (const [queue, sent] of Object.entries(queues)) {
        const { decode } = MESSAGES[service]![FORMER[queue] ?? queue]!
        for (const message of sent) {
          const { v: _, ...decoded } = message as { v?: number }
          expect(decode(message), `${service}.${queue}`).toEqual(decoded)
        }
      }
  })

  test.each(snapshots.map(snapshot => [new Date(snapshot.at).toISOString(), snapshot] as const))(
    'lead to the same end: a journey that they began until %s, whose messages are lost, is completed',
    async (_, resume) => {
      const report = await continueJourney(resume)
      expect(report.violations).toEqual([])
      expect(report.checked.get('the end is the one that the content deserves')).toBe(5)
    },
  )
})

test('a record of a later version is refused, so that it is not rewritten', () => {
  const { decode } = aggregatorTables.piece
  expect(() => decode({ v: 3, id: 'kD3' })).toThrow(
    'The record has version 3, and this code reads versions up to 2: a later version of the service wrote it',
  )
})

test('a message of a later version is refused, so that SQS delivers it again', () => {
  const { decode } = aggregatorMessages.piece
  expect(() => decode({ v: 2, id: 'kD3' })).toThrow(
    'The message has version 2, and this code reads versions up to 1: a later version of the service sent it',
  )
})
