import { MEGABYTE } from './report.ts'
import type { WholeOptions, WholeWork } from './whole.ts'

/** Payload bytes of the aggregate. */
const payloadBytesOf = ({ aggregateBytes }: WholeOptions): number => (aggregateBytes / 128) * 127

/** Describes an aggregate and its way in lines. */
export const describeWhole = (options: WholeOptions, work: WholeWork): string[] => {
  const { aggregateBytes, contents, deals, copies } = options
  const { runs, fetched, deadLetters } = work
  const sum = contents.reduce((sum, bytes) => sum + bytes, 0)
  const writtenFrom = runs.get('dealer/fill')?.firstAt ?? fetched.firstAt
  return [
    `An aggregate of ${inUnits(aggregateBytes)} with ${contents.length} pieces of ${inUnits(sum)}, from filecoin/offer to filecoin/accept, ${copies === 1 ? 'one copy' : `${copies} copies`} at providers with ${deals}:`,
    `  ${work.accepted} pieces with a verified receipt of filecoin/accept; ${deadLetters} dead letters; peak of this process ${inUnits(work.peakBytes)}`,
    `  ${work.seconds.toFixed(0)} s in all; ${work.aggregatedSeconds.toFixed(0)} s until all pieces are in an aggregate; ${seconds(fetched.firstAt - writtenFrom)} s from its first part to the first response to a provider; ${seconds(fetched.lastAt - fetched.firstAt)} s for ${inUnits(fetched.bytes)} that providers fetch, in ${plural(fetched.responses, 'response')}`,
    `  most data: ${inUnits(work.storedBytes)}, which took ${inUnits(work.diskBytes)} on the disk`,
    ...[...runs]
      .sort(([one], [other]) => (one < other ? -1 : 1))
      .map(([name, { spec, runs, failed, longestMs, peakBytes, readBytes, writtenBytes }]) =>
        [
          `  ${name.padEnd(22)} ${`${runs}`.padStart(6)} runs, ${failed} failed`,
          `longest ${seconds(longestMs)} s of ${spec.timeout}`,
          ...(peakBytes > 0 ? [`${Math.ceil(peakBytes / MEGABYTE)} of ${spec.memory} MB`] : []),
          ...(readBytes && writtenBytes
            ? [`read ${inUnits(readBytes)}, wrote ${inUnits(writtenBytes)}`]
            : []),
        ].join('; '),
      ),
  ]
}

/** Returns the aims that the way of a whole missed, as sentences. */
export const findWholeFailures = (options: WholeOptions, work: WholeWork): string[] => {
  const { accepted, aggregates, deadLetters, fetched, runs, isRemoved } = work
  const { contents, copies } = options
  const expectedBytes = copies * payloadBytesOf(options)
  return [
    ...work.failures,
    ...work.failedRuns,
    ...(accepted === contents.length ? [] : [`${accepted} of ${contents.length} pieces were accepted`]),
    ...(aggregates === 1 ? [] : [`the pieces are in ${aggregates} aggregates`]),
    ...(deadLetters > 0 ? [`${deadLetters} messages became dead letters`] : []),
    ...(fetched.bytes === expectedBytes
      ? []
      : [`providers fetched ${fetched.bytes} bytes, and ${copies} copies have ${expectedBytes}`]),
    ...(isRemoved ? [] : ['the payload was not removed after its copies were live']),
    ...[...runs].flatMap(([name, { spec, failed, longestMs, peakBytes }]) => [
      ...(failed > 0 ? [`${plural(failed, 'run')} of ${name} failed`] : []),
      ...(longestMs > spec.timeout * 1000
        ? [`a run of ${name} took ${(longestMs / 1000).toFixed(1)} s, and its timeout is ${spec.timeout} s`]
        : []),
      ...(peakBytes > spec.memory * MEGABYTE
        ? [
            `a process of ${name} took ${Math.ceil(peakBytes / MEGABYTE)} MB, and its memory is ${spec.memory}`,
          ]
        : []),
    ]),
  ]
}

/** @example inUnits(1_065_353_216) // '1,016 MiB' */
const inUnits = (bytes: number): string => {
  const [unit, size] = UNITS.find(([, size]) => bytes >= size) ?? ['bytes', 1]
  return `${(bytes / size).toLocaleString('en', { maximumFractionDigits: 2 })} ${unit}`
}

const UNITS = [
  ['GiB', 2 ** 30],
  ['MiB', 2 ** 20],
  ['KiB', 2 ** 10],
] as const

/** @example plural(2, 'response') // '2 responses' */
const plural = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? '' : 's'}`

const seconds = (ms: number): string => (ms / 1000).toFixed(1)
