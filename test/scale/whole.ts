import { randomBytes } from 'node:crypto'
import { rmSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type DealWay, fourServices, type Local, startLocal } from '@w3filecoin/local'
import { sqsClient } from '@w3filecoin/local/engines'
import { readPlaces } from '@w3filecoin/local/identity'
import { capacityOf, payloadSizeOf } from '@w3filecoin/piece'
import { Journey, type Trip } from '../../packages/cli/src/dev/journey.ts'
import { DeadLetterQueue } from '../../packages/cli/src/ops/dead-letter-queue.ts'
import { countFetched, type Fetched } from './fetched.ts'
import { collectRuns, type MeasuredRuns } from './runs.ts'

/** The way of a whole aggregate on this machine. Times are real, in seconds. */
export interface WholeWork {
  /** Aggregates that the pieces are in. */
  aggregates: number
  /** Pieces that ended with a verified receipt of `filecoin/accept`, and why the others did not. */
  accepted: number
  failures: string[]
  runs: ReadonlyMap<string, MeasuredRuns>
  /** Lines of the services' log about failed runs, some of them. */
  failedRuns: string[]
  deadLetters: number
  /** Bytes of the whole that storage providers received from the S3 engine. */
  fetched: Fetched
  /** The most bytes of the data directory at once: those of all files, and those that they took on the disk. */
  storedBytes: number
  diskBytes: number
  /** Whether the payload was removed after the copies were live. */
  isRemoved: boolean
  /** From the first offer until all pieces are aggregated, and until all are accepted. */
  aggregatedSeconds: number
  seconds: number
  /** The most memory of this process, in bytes: of the system without the functions that have processes, and of the providers. */
  peakBytes: number
}

export interface WholeOptions {
  /** Padded bytes of the aggregate. */
  aggregateBytes: number
  /** Bytes of each content. Together, they must fit into one aggregate. */
  contents: readonly number[]
  deals: Exclude<DealWay, 'offers'>
  /** Copies at different providers. */
  copies: number
}

/** The journey fails its remaining pieces after this long without progress: the payload must be written and fetched meanwhile. */
const PATIENCE_MS = 30 * 60_000
/** The payload must be removed within this time after the last receipt. */
const REMOVAL_MS = 60_000
const PAUSE_MS = 500

/**
 * Takes random contents from `filecoin/offer` to `filecoin/accept` in one aggregate, on the engines of this machine. The dealer writes the
 * payload of the aggregate, and storage providers fetch and check it. All data are in a temporary directory, which is removed at the end of
 * this process. It needs a process for itself.
 */
export const storeWhole = async ({
  aggregateBytes,
  contents,
  deals,
  copies,
}: WholeOptions): Promise<WholeWork> => {
  const directory = await mkdtemp(join(tmpdir(), 'w3filecoin-whole-'))
  // The threads still write meanwhile.
  process.once('exit', () => rmSync(directory, { recursive: true, force: true, maxRetries: 10 }))
  const end = (reason: string) => {
    console.error(`Ended by ${reason}`)
    process.exit(1)
  }
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, end)
  process.once('disconnect', () => end('the end of the process that waits for this one'))
  await using started = new AsyncDisposableStack()
  const data = join(directory, 'data')
  const files = await writeContents(join(directory, 'contents'), contents)

  const channel = crypto.randomUUID()
  const measured = started.adopt(collectRuns(channel), ({ close }) => close())
  const crashed = new AbortController()
  const fetched = started.adopt(countFetched('/dealer-wholes/'), ({ stop }) => stop())
  const functions = `${new URL(`measured-functions.ts?channel=${channel}`, import.meta.url)}`
  const minPaddedBytes = contents.reduce((sum, bytes) => sum + paddedBytesOf(bytes), 0)
  const local = started.adopt(
    await startLocal({
      data,
      deals,
      onCrash: error => crashed.abort(error),
      services: fourServices().map(spec => ({ ...spec, functions })),
      configure: (role, config) => {
        if (role === 'aggregator')
          // Seal when all pieces are there.
          return { ...config, limits: { ...config.limits, paddedBytes: aggregateBytes, minPaddedBytes } }
        return role === 'dealer' ? { ...config, policies: [{ copies, minLive: copies }] } : config
      },
    }),
    local => local.stop(),
  )
  const disk = started.use(watchDisk(data))

  const startedAt = performance.now()
  let aggregatedAt = startedAt
  const journey = new Journey({
    files,
    proofs: join(directory, 'proofs'),
    local,
    onProgress: ({ stage }) => {
      if (stage === 'aggregated') aggregatedAt = performance.now()
    },
    patienceMs: PATIENCE_MS,
    signal: crashed.signal,
  })
  await journey.travel()
  const endedAt = performance.now()
  const isRemoved = await isEmptied(join(data, 's3', 'dealer-wholes'))
  const { trips } = journey
  return {
    aggregates: new Set(trips.map(({ aggregate }) => aggregate)).size,
    accepted: trips.filter(({ stage }) => stage === 'accepted').length,
    failures: [...new Set(trips.flatMap(({ failure = [] }) => failure))],
    // A copy: runs fail while the parts of the system stop one after the other.
    runs: new Map(measured.runs),
    failedRuns: await readFailedRuns(data),
    deadLetters: await countDeadLetters(data, local),
    fetched: fetched.total,
    ...disk.most,
    isRemoved,
    aggregatedSeconds: (aggregatedAt - startedAt) / 1000,
    seconds: (endedAt - startedAt) / 1000,
    peakBytes: process.resourceUsage().maxRSS * 1024,
  }
}

/** Padded bytes of the largest piece of {@link contentsThatFill}. */
const MAX_PIECE_BYTES = 2 ** 25

/**
 * Returns the bytes of contents whose pieces fill an aggregate to the last byte before its index: contents of 16 to 31 MiB, and some
 * smaller ones.
 */
export const contentsThatFill = (aggregateBytes: number): number[] => {
  const contents: number[] = []
  let left = capacityOf(aggregateBytes)
  for (let size = MAX_PIECE_BYTES; left > 0; size /= 2)
    for (; left >= size; left -= size) {
      // From more than half of the piece to all of it, in tenths.
      const half = (size / 256) * 127
      contents.push(half + Math.ceil((half / 10) * (1 + ((7 * contents.length) % 10))))
    }
  return contents
}

/** The largest aggregates: that of PDP, which is full, and that of sectors, which is zeros but for some pieces and the index. */
export const WHOLES = {
  '1GiB': { aggregateBytes: 2 ** 30, contents: contentsThatFill(2 ** 30), deals: 'pdp', copies: 2 },
  '32GiB': {
    aggregateBytes: 2 ** 35,
    contents: [5_000_000, 3_000_000, 2_000_000, 1_000_000, 1_000],
    deals: 'curio',
    copies: 1,
  },
} satisfies Record<string, WholeOptions>

/** Padded bytes of the piece of a content. */
const paddedBytesOf = (bytes: number): number => {
  let height = 2
  while (payloadSizeOf(height) < bytes) height++
  return 32 * 2 ** height
}

const writeContents = async (directory: string, contents: readonly number[]): Promise<Trip['file'][]> => {
  await mkdir(directory)
  const files: Trip['file'][] = []
  for (const [n, size] of contents.entries()) {
    const file = { path: join(directory, `${n}`), name: `${n}`, size }
    await writeFile(file.path, randomBytes(size))
    files.push(file)
  }
  return files
}

/** Measures a directory until it is disposed of. */
const watchDisk = (directory: string) => {
  const most = { storedBytes: 0, diskBytes: 0 }
  const stopping = new AbortController()
  const watching = (async () => {
    while (!stopping.signal.aborted) {
      const { storedBytes, diskBytes } = await measureFiles(directory)
      most.storedBytes = Math.max(most.storedBytes, storedBytes)
      most.diskBytes = Math.max(most.diskBytes, diskBytes)
      await sleep(PAUSE_MS, undefined, { signal: stopping.signal }).catch(() => {})
    }
  })()
  return {
    most,
    [Symbol.asyncDispose]: () => {
      stopping.abort()
      return watching
    },
  }
}

/** Adds up the files of a directory: their sizes, and the space that they take on the disk. */
const measureFiles = async (directory: string): Promise<{ storedBytes: number; diskBytes: number }> => {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true })
  const stats = await Promise.all(
    entries
      .filter(entry => entry.isFile())
      // It may be removed meanwhile.
      .map(entry => stat(join(entry.parentPath, entry.name)).catch(() => undefined)),
  )
  return {
    storedBytes: stats.reduce((sum, file) => sum + (file?.size ?? 0), 0),
    diskBytes: stats.reduce((sum, file) => sum + (file?.blocks ?? 0) * 512, 0),
  }
}

/** Waits until a directory is empty. Returns whether it is. */
const isEmptied = async (directory: string): Promise<boolean> => {
  const end = performance.now() + REMOVAL_MS
  for (;;) {
    if ((await readdir(directory)).length === 0) return true
    if (performance.now() > end) return false
    await sleep(PAUSE_MS)
  }
}

/** Lines of failed runs that are kept. */
const MAX_LINES = 5

const readFailedRuns = async (data: string): Promise<string[]> => {
  const text = await readFile(join(data, 'logs', 'services.log'), 'utf8')
  return text
    .split('\n')
    .filter(line => /"event":"(message|run) failed"/.test(line))
    .slice(0, MAX_LINES)
}

const countDeadLetters = async (data: string, { engines }: Local): Promise<number> => {
  const client = sqsClient(engines)
  const urls = Object.values(readPlaces(data)!.resources).flatMap(variables =>
    Object.entries(variables).flatMap(([name, url]) => (name.startsWith('DEAD_LETTER_') ? [url] : [])),
  )
  const counts = await Promise.all(urls.map(url => new DeadLetterQueue({ client, url, work: '' }).count()))
  client.destroy()
  return counts.reduce((sum, count) => sum + count, 0)
}
