import { boundByRuns, liveDeal } from '../test/scale/deal.ts'
import { count } from './measure.ts'
import type { Table } from './table.ts'

const PIECES = 95_000
/** Write units that DynamoDB takes per second at one partition key. */
const WRITES_PER_SECOND = 1_000
/** Functions that run at fixed times, whatever happens. */
const SCHEDULES = /\/(sweep|check)$/
/** Pieces of the deal without a limit of writes, which shows how long a run takes at least. */
const UNLIMITED_PIECES = 6_000
const MAX_RATIO = 2
const SHOWN_KEYS = 3

/** A deal that goes live for all pieces of one aggregate, to their receipts of `filecoin/accept`, on the simulated AWS. */
export const run = async ({ pieces = PIECES }: { pieces?: number } = {}): Promise<Table> => {
  const deal = await liveDeal(pieces, { writesPerSecond: WRITES_PER_SECOND, processor: true })
  const unlimited = await liveDeal(Math.min(pieces, UNLIMITED_PIECES), { processor: true })
  const { runs, phases, seconds, byWrites, loads } = deal
  const byRuns = boundByRuns(unlimited, pieces)
  const failed = [...runs.values()].reduce((sum, { failed }) => sum + failed, 0)
  const leastSeconds = Math.max(byWrites.seconds, byRuns.seconds)
  const ratio = seconds / leastSeconds
  return {
    title: `a live deal for ${count(pieces)} pieces of one aggregate, ${count(WRITES_PER_SECOND)} write units a second and key`,
    columns: ['function', 'runs', 'failed', 'longest, s', 'timeout, s', 'in all, s', 'processor, s'],
    rows: [...runs]
      .filter(([name]) => !SCHEDULES.test(name))
      .sort(([, one], [, other]) => one.firstAt - other.firstAt)
      .map(([name, { spec, runs, failed, longestMs, totalMs, cpuMs }]) => [
        name,
        runs,
        failed,
        toSeconds(longestMs),
        spec.timeout,
        toSeconds(totalMs),
        toSeconds(cpuMs),
      ]),
    aims: [
      { name: 'failed runs', aim: '0', seen: `${failed}`, met: failed === 0 },
      { name: 'dead letters', aim: '0', seen: `${deal.deadLetters}`, met: deal.deadLetters === 0 },
      { name: 'receipts', aim: count(pieces), seen: count(deal.receipts), met: deal.receipts === pieces },
      {
        name: 'time by the least possible',
        aim: `≤ ${MAX_RATIO}`,
        seen: `${ratio.toFixed(2)} (${seconds.toFixed(1)} s by ${leastSeconds.toFixed(1)} s)`,
        met: ratio <= MAX_RATIO,
      },
    ],
    notes: [
      ...phases.map(
        ({ name, seconds, isPoll }) =>
          `${seconds.toFixed(1)} s until ${name}${isPoll ? ', a wait for the time of a poll, which does not count' : ''}`,
      ),
      `Least by writes: ${byWrites.seconds.toFixed(1)} s, ${byWrites.name}. Least by runs: ${byRuns.seconds.toFixed(1)} s, ${byRuns.name}.`,
      `${count(deal.throttled)} calls throttled. Keys with the most write units: ${hottest(loads)}.`,
    ],
  }
}

const toSeconds = (milliseconds: number): string => (milliseconds / 1000).toFixed(1)

const hottest = (loads: Awaited<ReturnType<typeof liveDeal>>['loads']): string =>
  [...loads]
    .filter(([name]) => name.includes(' '))
    .sort(([, one], [, other]) => other.units - one.units)
    .slice(0, SHOWN_KEYS)
    .map(([name, { units, refused }]) => `${name} ${count(units)}, ${count(refused)} refused`)
    .join('; ')
