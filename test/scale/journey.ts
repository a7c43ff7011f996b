import { type Content, someContent } from '@w3filecoin/testing'
import { CloudSystem } from '../aws/system.ts'
import { type Work, workOf } from './report.ts'

const HOUR = 3_600_000
/** Bytes of a content. Larger ones cost the same, but for the time of reading them. */
const CONTENT_BYTES = 200
/** Contents that are created before they are offered. */
const AT_ONCE = 500

export interface Journey extends Work {
  /** Pieces by the stage that they reached. */
  stages: Record<string, number>
  /** Receipts of `filecoin/accept`. */
  receipts: number
}

/** Takes pieces of one agent from `filecoin/offer` to the receipt of `filecoin/accept`, in one aggregate. */
export const runJourney = async (pieces: number, writesPerSecond: number): Promise<Journey> => {
  using system = await CloudSystem.open({
    limits: { maxPieces: pieces },
    writesPerSecond,
    processor: true,
  })
  const { cloud } = system
  const startedAt = cloud.timeline.now
  for (let n = 0; n < pieces; n += AT_ONCE) {
    const contents: Content[] = []
    // One by one: a hasher has 384 KB.
    for (let k = n; k < Math.min(n + AT_ONCE, pieces); k++) contents.push(await someContent(k, CONTENT_BYTES))
    await cloud.during(() => system.offer(contents), 24 * HOUR)
  }
  const isEnded = () => (system.stages().accepted ?? 0) + (system.stages().failed ?? 0) === pieces
  await cloud.until(isEnded, 24 * HOUR)
  // Until the messages of the last pieces are handled.
  await cloud.pass(60_000)
  const accepts = new Set<unknown>()
  for (const { acceptCid } of cloud.dynamodb.items('storefront-piece')) accepts.add(acceptCid)
  let receipts = 0
  for (const { task } of cloud.dynamodb.items('storefront-receipt')) receipts += Number(accepts.has(task))
  return { ...workOf(cloud, startedAt), stages: system.stages(), receipts }
}
