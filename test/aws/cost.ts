import { type Content, signerOf, someContent } from '@w3filecoin/testing'
import { type Price, priceOf, type Usage } from './meter.ts'
import { CloudSystem } from './system.ts'

const SECOND = 1000
const HOUR = 3_600 * SECOND
const DAY = 24 * HOUR

/** Bytes of a content. Larger ones cost the same, but for the time of reading them. */
const CONTENT_BYTES = 200

/** What some work cost. */
export interface Cost {
  used: Usage
  price: Price
  byFunction: ReadonlyMap<string, Usage>
  byCall: ReadonlyMap<string, Usage>
  /** Bytes in tables afterwards, by table, and in S3. */
  tableBytes: Record<string, number>
  s3Bytes: number
  cpuSeconds: number
}

/** Runs work, and returns its cost. */
const measure = async (system: CloudSystem, work: () => Promise<void>): Promise<Cost> => {
  const { cloud } = system
  const { meter } = cloud
  meter.reset()
  const before = process.cpuUsage()
  await work()
  const { user, system: kernel } = process.cpuUsage(before)
  const cpuSeconds = (user + kernel) / 1e6
  const used = meter.total
  return {
    used,
    price: priceOf(used, cpuSeconds),
    byFunction: meter.byFunction,
    byCall: meter.byCall,
    tableBytes: cloud.dynamodb.storedBytes(),
    s3Bytes: [...cloud.objects]
      .filter(([place]) => place.includes('-blocks/'))
      .reduce((sum, [, { bytes }]) => sum + bytes.byteLength, 0),
    cpuSeconds,
  }
}

const contentsOf = (pieces: number): Promise<Content[]> =>
  Promise.all(Array.from({ length: pieces }, (_, n) => someContent(n, CONTENT_BYTES)))

/** Measures pieces from their offers, 50 in a message, to the receipts of `filecoin/accept`. */
export const burst = async (pieces: number, { groups = 1 } = {}): Promise<Cost> => {
  const contents = await contentsOf(pieces)
  const inGroup = Math.ceil(pieces / groups)
  using system = await CloudSystem.open({ limits: { maxPieces: inGroup } })
  return await measure(system, async () => {
    for (let n = 0; n < groups; n++) {
      const by = await signerOf(`space ${n}`)
      system.listSpace(by.did(), `did:web:group-${n}.test`)
      await system.cloud.during(
        () => system.offer(contents.slice(n * inGroup, (n + 1) * inGroup), { by }),
        HOUR,
      )
    }
    await allAccepted(system, pieces)
  })
}

/** Measures pieces that are offered one by one. Their aggregate is sealed once it is full. */
export const trickle = async (pieces: number): Promise<Cost> => {
  const contents = await contentsOf(pieces)
  using system = await CloudSystem.open({ limits: { maxPieces: pieces } })
  return await measure(system, async () => {
    for (const content of contents) {
      await system.cloud.during(() => system.offer([content]), HOUR)
      await system.cloud.pass(2 * SECOND)
    }
    await allAccepted(system, pieces)
  })
}

/** Measures what pieces cost for each hour in which they wait for their aggregate, beside an idle system. */
export const waiting = async (pieces: number, hours: number): Promise<Cost> => {
  const contents = await contentsOf(pieces)
  using system = await CloudSystem.open({ limits: { maxWaitSeconds: 30 * 24 * 3600 } })
  await system.cloud.during(() => system.offer(contents), HOUR)
  await system.cloud.until(() => (system.stages().queued ?? 0) === pieces, HOUR)
  return await measure(system, () => system.cloud.pass(hours * HOUR))
}

/** Measures what aggregates cost for each day in which they wait for their deals, beside an idle system. */
export const waitingForDeals = async (aggregates: number, days: number): Promise<Cost> => {
  const contents = await contentsOf(aggregates * 2)
  using system = await CloudSystem.open({ limits: { maxPieces: 2 }, makesDeals: false })
  await system.cloud.during(() => system.offer(contents), HOUR)
  await system.cloud.until(() => (system.stages().aggregated ?? 0) === contents.length, 2 * HOUR)
  return await measure(system, () => system.cloud.pass(days * DAY))
}

/** Measures a system without any work. */
export const idle = async (hours: number): Promise<Cost> => {
  using system = await CloudSystem.open()
  return await measure(system, () => system.cloud.pass(hours * HOUR))
}

const allAccepted = (system: CloudSystem, pieces: number): Promise<void> =>
  system.cloud.until(() => (system.stages().accepted ?? 0) === pieces, DAY)
