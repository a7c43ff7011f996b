import { burst, type Cost, idle, trickle, waiting, waitingForDeals } from '../test/aws/cost.ts'
import { PRICES, type Price } from '../test/aws/meter.ts'
import { RESOURCES } from '../test/aws/system.ts'
import type { Aim, Table } from './table.ts'

const MILLION = 1e6
const HOURS_OF_MONTH = 730
/** Lambda polls each queue with five long polls of 20 s, because all queues have a maximum concurrency. */
const POLLS_OF_MONTH = 5 * HOURS_OF_MONTH * 180

const PIECES = 2_000
const TRICKLED = 300
const WAITING = { pieces: 300, hours: 6 }
const DEALS = { aggregates: 20, days: 1 }
const IDLE_HOURS = 6

/** The cost of a piece, from the real functions on the simulated AWS: units of each kind, and dollars for a million pieces. */
export const run = async (): Promise<Table> => {
  const inBurst = await burst(PIECES)
  const inGroups = await burst(PIECES, { groups: 20 })
  const oneByOne = await trickle(TRICKLED)
  const nothing = await idle(IDLE_HOURS)
  const waited = await waiting(WAITING.pieces, WAITING.hours)
  const nothingForDays = await idle(DEALS.days * 24)
  const withoutDeals = await waitingForDeals(DEALS.aggregates, DEALS.days)

  const queues = Object.values(RESOURCES).flatMap(({ queues }) => Object.values(queues))
  const polls = queues.reduce(
    (sum, { fifo }) => sum + POLLS_OF_MONTH * (fifo ? PRICES.fifoRequest : PRICES.sqsRequest),
    0,
  )
  const idleMonth = (nothing.price.total / IDLE_HOURS) * HOURS_OF_MONTH + polls
  const waitedMore = perMillion(
    waited.price.total - (nothing.price.total / IDLE_HOURS) * WAITING.hours,
    WAITING.pieces,
  )
  const dealDay = (withoutDeals.price.total - nothingForDays.price.total) / DEALS.aggregates / DEALS.days

  const rows = [
    rowOf(`${PIECES} in one group`, inBurst, PIECES),
    rowOf(`${PIECES} over 20 groups`, inGroups, PIECES),
    rowOf(`${TRICKLED} one by one, 2 s apart`, oneByOne, TRICKLED),
  ]
  const [bytes, yearly] = storageOf(inBurst, PIECES)
  return {
    title: 'Dollars for a million pieces',
    columns: ['pieces', 'write units', 'read units', ...KINDS],
    rows,
    aims: [
      aimOf('one group', perMillion(inBurst.price.total, PIECES), 25),
      aimOf('20 groups', perMillion(inGroups.price.total, PIECES), 27),
      aimOf('one by one', perMillion(oneByOne.price.total, TRICKLED), 28),
      aimOf('6 h of waiting, in addition', waitedMore, 2),
      aimOf('an idle month', idleMonth, 4),
    ],
    notes: [
      `An aggregate that waits for its deal costs $${dealDay.toFixed(5)} a day, however many pieces it has.`,
      `Of the idle month, $${polls.toFixed(2)} are empty polls of ${queues.length} queues.`,
      `A piece leaves ${bytes.toFixed(0)} bytes: $${yearly.toFixed(1)} for a million pieces and year, with point-in-time recovery of the tables.`,
      ...largest(inBurst, PIECES),
    ],
  }
}

const KINDS = [
  'writes',
  'reads',
  'sqs',
  's3',
  'lambda',
  'http',
  'logs',
  'total',
] as const satisfies (keyof Price)[]

const perMillion = (dollars: number, pieces: number): number => (dollars / pieces) * MILLION

const rowOf = (name: string, { used, price }: Cost, pieces: number): (string | number)[] => [
  name,
  (used.writes / pieces).toFixed(1),
  (used.reads / pieces).toFixed(1),
  ...KINDS.map(kind => perMillion(price[kind], pieces).toFixed(2)),
]

const aimOf = (name: string, dollars: number, most: number): Aim => ({
  name,
  aim: `≤ $${most}`,
  seen: `$${dollars.toFixed(2)}`,
  met: dollars <= most,
})

/** Bytes that a piece leaves, and dollars for a million of them and a year. DynamoDB adds 100 bytes to each item. */
const storageOf = ({ tableBytes, s3Bytes }: Cost, pieces: number): [bytes: number, yearly: number] => {
  const inTables = Object.values(tableBytes).reduce((sum, bytes) => sum + bytes, 0) / pieces
  const inS3 = s3Bytes / pieces
  const monthly = inTables * (PRICES.tableByteMonth + PRICES.recoveryByteMonth) + inS3 * PRICES.s3ByteMonth
  return [inTables + inS3, monthly * 12 * MILLION]
}

/** The calls with the most write units. */
const largest = ({ byCall }: Cost, pieces: number): string[] =>
  [...byCall]
    .filter(([, { writes }]) => writes / pieces >= 0.5)
    .sort(([, one], [, other]) => other.writes - one.writes)
    .map(
      ([call, { writes, indexWrites }]) =>
        `${call}: ${(writes / pieces).toFixed(2)} write units, ${(indexWrites / pieces).toFixed(2)} of them for indexes`,
    )
