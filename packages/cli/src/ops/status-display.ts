import type { HealthRecord } from '@w3filecoin/runtime'
import stringWidth from 'string-width'
import { count, fit, fitWords, shortCid, table, toTerminal } from '../text.ts'
import type { Status } from './status.ts'

/** The most and the least columns of the cell that is cut to the width of the terminal. */
const MAX_CELL = 90
const MIN_CELL = 12
/** Groups that are shown: those with most bytes. */
const MAX_GROUPS = 20
/** Peers of each service that are shown. */
const MAX_PEERS = 20
/** Columns of a line that is not in a table. */
const MAX_COLUMNS = 1_000

/**
 * Formats a status as lines. The first ones list the problems.
 *
 * @param columns the width of the terminal; `undefined` if there is none
 */
export const statusLines = (status: Status, now: number, columns = Infinity): string[] => {
  const { attention, stages, groups, checks, peers, sources, queues } = status
  const age = (time: number | undefined) => (time === undefined ? '-' : formatAge(now - time))
  const busy = queues.filter(
    ({ visible, inFlight, delayed, deadLetters }) => visible + inFlight + delayed + deadLetters > 0,
  )
  const unfinished = stages.reduce((sum, { records }) => sum + records, 0)
  /** A table with a title. Its cells at `flexible` are cut where the terminal ends. */
  const section = <T>(
    title: string,
    heads: readonly string[],
    flexible: number,
    items: readonly T[],
    row: (item: T) => string[],
  ): string[] => {
    if (items.length === 0) return []
    const rows = items.map(row)
    const widths = heads.map((head, n) =>
      Math.max(...[head, ...rows.map(row => row[n]!)].map(cell => stringWidth(cell))),
    )
    const others = widths.reduce((sum, width, n) => sum + (n === flexible ? 0 : width + 2), 2)
    const room = Math.max(MIN_CELL, Math.min(MAX_CELL, columns - others))
    const fitting = rows.map(row => row.map((cell, n) => (n === flexible ? fitWords(cell, room) : cell)))
    return [title, ...table(heads, fitting).map(line => `  ${line}`)]
  }

  const sections = [
    attention.length === 0
      ? [
          `All is well: ${count(unfinished)} unfinished ${unfinished === 1 ? 'record' : 'records'}, ${checks.length} checks pass, no dead letters`,
        ]
      : [
          `${attention.length === 1 ? 'One thing needs' : `${count(attention.length)} things need`} attention:`,
          ...attention.flatMap(line => toTerminal(`  ${fit(line, MAX_COLUMNS)}`, columns).split('\n')),
        ],
    section('RECORDS', ['STAGE', 'COUNT', 'OLDEST', 'WHY'], 3, stages, row => [
      `${row.service} ${row.table} ${row.stage}`,
      `${row.more ? 'more than ' : ''}${count(row.records)}`,
      age(row.oldest),
      row.why,
    ]),
    section(
      'GROUPS',
      ['STOREFRONT', 'PIECES', 'FULL', 'OLDEST', 'GROUP'],
      4,
      groups.slice(0, MAX_GROUPS),
      row => [
        shortDid(row.storefront),
        count(row.pieces),
        row.capacity === undefined ? '-' : `${Math.floor((row.bytes / row.capacity) * 100)} %`,
        age(row.oldest),
        row.group,
      ],
    ),
    section('CHECKS', ['SERVICE', 'CHECK', 'STATE', 'SINCE', 'CHECKED'], 1, checks, row => [
      row.service,
      describeCheck(row),
      row.ok ? 'ok' : (row.problem ?? 'failed'),
      age(row.since),
      `${age(row.checkedAt)} ago`,
    ]),
    ...peers.map(({ service, peers: listed, records, more }) => {
      const shown = listed.slice(0, MAX_PEERS)
      const hidden = records - shown.length
      return [
        ...section(
          `PEERS in the table of the ${service}`,
          ['LIST', 'PEER', 'SINCE', 'TODAY', 'URL'],
          4,
          shown,
          row => [
            row.list,
            shortDid(row.did),
            age(row.addedAt),
            row.piecesPerDay === undefined
              ? '-'
              : `${count(row.piecesToday ?? 0)} of ${count(row.piecesPerDay)} pieces`,
            row.url ?? '-',
          ],
        ),
        ...(hidden > 0 ? [`  and ${more ? 'more than ' : ''}${count(hidden)} more that are not shown`] : []),
      ]
    }),
    section('SOURCES', ['SOURCE', 'EPOCH', 'LAST GOOD RUN', 'STATE'], 3, sources, row => [
      row.source,
      row.epoch === undefined ? '-' : `${row.epoch}`,
      row.at === undefined ? 'never' : `${age(row.at)} ago`,
      row.problems.join(', ') || 'ok',
    ]),
    busy.length === 0
      ? [`QUEUES: all ${queues.length} are empty`]
      : section('QUEUES', ['QUEUE', 'VISIBLE', 'IN FLIGHT', 'DELAYED', 'DEAD LETTERS'], 0, busy, row => [
          `${row.service} ${row.queue}`,
          ...[row.visible, row.inFlight, row.delayed, row.deadLetters].map(count),
        ]),
  ]
  return sections
    .filter(lines => lines.length > 0)
    .flatMap((lines, n) => [...(n === 0 ? [] : ['']), ...lines])
}

/** @example 'dealTracker did:key…fVr4mTzk9a' */
const describeCheck = ({ name, check, setting, subject }: HealthRecord): string =>
  check === 'peer' && subject !== undefined
    ? `${setting} ${shortDid(subject)}`
    : subject === undefined
      ? name
      : name.replace(subject, shortDid(subject))

const shortDid = (did: string): string => (did.startsWith('did:key:') ? shortCid(did) : did)

const UNITS: [name: string, ms: number][] = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['min', 60_000],
]

/** Formats an age with one unit. @example formatAge(7_300_000) // '2 h' */
export const formatAge = (ms: number): string => {
  const [unit, size] = UNITS.find(([, size]) => ms >= size) ?? ['s', 1000]
  return `${Math.max(0, Math.floor(ms / size))} ${unit}`
}
