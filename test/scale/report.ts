import { readFileSync, writeFileSync } from 'node:fs'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { Cloud, Runs } from '../aws/cloud.ts'

/** The work that a simulated AWS did. */
export interface Work {
  runs: ReadonlyMap<string, Runs>
  deadLetters: number
  /** Calls of DynamoDB that were throttled. */
  throttled: number
  /** Bytes of the largest payloads, by kind. */
  largest: { item: number; message: number; messages: number; request: number; response: number }
  /** Seconds of simulated time. */
  seconds: number
  /** The most memory of the process, in bytes. */
  peakBytes: number
}

/** Limits of AWS in bytes, by the payloads of {@link Work}. A call and a message of SQS have one limit. */
export const LIMITS: Record<keyof Work['largest'], number> = {
  item: 400 * 1024,
  message: 1024 * 1024,
  messages: 1024 * 1024,
  request: 6 * 1024 * 1024,
  response: 6 * 1024 * 1024,
}

export const workOf = ({ runs, deadLetters, dynamodb, largest, timeline }: Cloud, since: number): Work => ({
  runs: new Map(runs),
  deadLetters,
  throttled: dynamodb.count.throttled,
  largest: { item: dynamodb.count.largestBytes, ...largest },
  seconds: (timeline.now - since) / 1000,
  peakBytes: process.resourceUsage().maxRSS * 1024,
})

/** Lambda counts memory in units of 2^20 bytes. */
export const MEGABYTE = 2 ** 20

/** Describes some work in lines: its functions, payloads and memory. */
export const describeWork = ({
  runs,
  deadLetters,
  throttled,
  largest,
  seconds,
  peakBytes,
}: Work): string[] => [
  `  ${seconds.toFixed(0)} s of simulated time; ${throttled} calls throttled; ${deadLetters} dead letters; peak of this process ${Math.round(peakBytes / MEGABYTE)} MB`,
  ...[...runs]
    .sort(([one], [other]) => (one < other ? -1 : 1))
    .map(([name, { spec, runs, failed, totalMs, longestMs, cpuMs }]) =>
      [
        `  ${name.padEnd(22)} ${`${runs}`.padStart(6)} runs, ${failed} failed`,
        `longest ${(longestMs / 1000).toFixed(1)} s of ${spec.timeout}`,
        `${(totalMs / 1000).toFixed(0)} s in all, ${(cpuMs / 1000).toFixed(0)} s of processor`,
      ].join('; '),
    ),
  `  largest payloads: ${Object.entries(LIMITS)
    .map(([kind, limit]) => `${kind} ${toKb(largest[kind as keyof Work['largest']])} of ${toKb(limit)} KB`)
    .join(', ')}`,
]

const toKb = (bytes: number): string => (bytes / 1024).toFixed(bytes < 10_240 ? 1 : 0)

/** Returns the aims that some work missed, as sentences. */
export const findFailures = ({ runs, deadLetters, largest }: Work): string[] => [
  ...(deadLetters > 0 ? [`${deadLetters} messages became dead letters`] : []),
  ...[...runs].flatMap(([name, { spec, failed, longestMs }]) => [
    ...(failed > 0 ? [`${failed} runs of ${name} failed`] : []),
    ...(longestMs > spec.timeout * 1000
      ? [`a run of ${name} took ${(longestMs / 1000).toFixed(1)} s, and its timeout is ${spec.timeout} s`]
      : []),
  ]),
  ...Object.entries(LIMITS).flatMap(([kind, limit]) => {
    const bytes = largest[kind as keyof Work['largest']]
    return bytes > limit ? [`the largest ${kind} has ${bytes} bytes, and the limit is ${limit}`] : []
  }),
]

/** Collects garbage, and returns the bytes that are in use. */
const liveBytes = (): number => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  // Buffers are released by the collection after the one that found them unreachable.
  for (let n = 0; n < 3; n++) collect()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

/**
 * Measures the memory of a function that runs alone in this process, beside records in memory: the peak of the process without the
 * live bytes of these records. It is an upper bound: it has the garbage and the gaps that creating the records left. Linux only;
 * elsewhere it returns `undefined`.
 */
export const measureMemory = async (
  createRecords: () => Promise<unknown>,
  work: () => Promise<unknown>,
): Promise<number | undefined> => {
  const before = liveBytes()
  await createRecords()
  const recordBytes = liveBytes() - before
  if (!resetPeak()) return undefined
  await work()
  return readPeak() - recordBytes
}

/** Lets Linux measure the peak memory of this process again. */
const resetPeak = (): boolean => {
  try {
    writeFileSync('/proc/self/clear_refs', '5')
    return true
  } catch {
    return false
  }
}

const readPeak = (): number => {
  const [, kilobytes] = readFileSync('/proc/self/status', 'utf8').match(/^VmHWM:\s*(\d+) kB/m) ?? []
  return Number(kilobytes) * 1024
}
