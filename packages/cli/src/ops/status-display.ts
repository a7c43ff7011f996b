import type { HealthRecord } from '@w3filecoin/runtime'
import { count, fit, fitWords, shortCid, table } from '../text.ts'
import type { Status } from './status.ts'

/** Columns of a reason. The lines about things that need attention are whole. */
const REASON_COLUMNS = 90
/** Columns of a line. */
const MAX_COLUMNS = 1_000

/** Formats a status as lines. The first ones say what needs attention. */
export const statusLines = (status: Status, now: number): string[] => {
  const { attention, stages, checks, sources, queues } = status
  const age = (time: number | undefined) => (time === undefined ? '-' : formatAge(now - time))
  const busy = queues.filter(
    ({ visible, inFlight, delayed, deadLetters }) => visible + inFlight + delayed + deadLetters > 0,
  )
  const unfinished = stages.reduce((sum, { records }) => sum + records, 0)
  const sections = [
    attention.length === 0
      ? [
          `All is well: ${count(unfinished)} unfinished ${unfinished === 1 ? 'record' : 'records'}, ${checks.length} checks pass, no dead letters`,
        ]
      : [
          `${attention.length === 1 ? 'One thing needs' : `${count(attention.length)} things need`} attention:`,
          ...attention.map(line => `  ${line}`),
        ],
    section('RECORDS', ['STAGE', 'COUNT', 'OLDEST', 'WHY'], stages, row => [
      `${row.service} ${row.table} ${row.stage}`,
      `${row.more ? 'more than ' : ''}${count(row.records)}`,
      age(row.oldest),
      fitWords(row.why, REASON_COLUMNS),
    ]),
    section('CHECKS', ['SERVICE', 'CHECK', 'STATE', 'SINCE', 'CHECKED'], checks, row => [
      row.service,
      describeCheck(row),
      row.ok ? 'ok' : (row.problem ?? 'failed'),
      age(row.since),
      `${age(row.checkedAt)} ago`,
    ]),
    section('SOURCES', ['SOURCE', 'EPOCH', 'LAST GOOD RUN', 'STATE'], sources, row => [
      row.source,
      row.epoch === undefined ? '-' : `${row.epoch}`,
      row.at === undefined ? 'never' : `${age(row.at)} ago`,
      row.problems.join(', ') || 'ok',
    ]),
    busy.length === 0
      ? [`QUEUES: all ${queues.length} are empty`]
      : section('QUEUES', ['QUEUE', 'VISIBLE', 'IN FLIGHT', 'DELAYED', 'DEAD LETTERS'], busy, row => [
          `${row.service} ${row.queue}`,
          ...[row.visible, row.inFlight, row.delayed, row.deadLetters].map(count),
        ]),
  ]
  return sections
    .filter(lines => lines.length > 0)
    .flatMap((lines, n) => [...(n === 0 ? [] : ['']), ...lines])
    .map(line => fit(line, MAX_COLUMNS))
}

const section = <T>(
  title: string,
  heads: readonly string[],
  items: readonly T[],
  row: (item: T) => string[],
): string[] => {
  if (items.length === 0) return []
  return [title, ...table(heads, items.map(row)).map(line => `  ${line}`)]
}

/** @example 'dealTracker did:key…fVr4mTzk9a' */
const describeCheck = ({ name, check, setting, subject }: HealthRecord): string =>
  check === 'peer' && subject !== undefined ? `${setting} ${shortDid(subject)}` : fit(name, 60)

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
