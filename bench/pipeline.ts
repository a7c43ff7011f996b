import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { filecoinOffer } from '../packages/capabilities/src/index.ts'
import { type Local, startLocal } from '../packages/local/src/index.ts'
import { Authority, Peer, parseSigner } from '../packages/runtime/src/index.ts'
import { type Content, someContent } from '../packages/testing/src/pieces.ts'
import { callInFreshProcess, costOf, count, ms } from './measure.ts'
import { profileThread, sumByPackage } from './profile.ts'
import type { Table } from './table.ts'

const FEW = 300
const MANY = 1_500
/** Offers in one message, and contents that are uploaded at once. */
const BATCH = 50
const CONTENT_BYTES = 200
const MAX_WAIT_MS = 20 * 60_000

interface Journey {
  pieces: number
  /** From the first offer to the last receipt of `filecoin/accept`. */
  elapsedMs: number
  /** Of the process: services, engines, market and agent. */
  cpuMs: number
  /** Busy milliseconds of the services' thread, by package; empty without a profile. */
  profile: [name: string, ms: number][]
}

const upload = async ({ engines: { s3 } }: Local, { content, bytes }: Content): Promise<void> => {
  const { ok, status } = await fetch(`${s3}/storefront-content/${content}`, {
    method: 'PUT',
    body: bytes as Uint8Array<ArrayBuffer>,
  })
  if (!ok) throw new Error(`S3 answered ${status} to an upload`)
}

/** Offers contents, and returns the tasks `filecoin/accept` that the storefront promised. */
const offer = async (local: Local, storefront: Peer, contents: readonly Content[]): Promise<string[]> => {
  const agent = parseSigner(local.agent.key)
  const offers = await Promise.all(
    contents.map(({ content, piece }) =>
      filecoinOffer
        .invoke({
          issuer: agent,
          audience: storefront.principal,
          with: agent.did(),
          nb: { content, piece },
          expiration: Infinity,
        })
        .delegate(),
    ),
  )
  return (await storefront.execute(offers as never)).map(({ ok, error }) => {
    if (error) throw new Error(error.message)
    return `${(ok.fx.join as { cid?: unknown }).cid ?? ok.fx.join}`
  })
}

/** Takes pieces from their offers to their receipts of `filecoin/accept`, in a dedicated system. */
export const take = async (pieces: number, isProfiled: boolean): Promise<Journey> => {
  const data = await mkdtemp(join(tmpdir(), 'w3filecoin-bench-'))
  const local = await startLocal({ data })
  try {
    const contents: Content[] = []
    for (let n = 0; n < pieces; n++) contents.push(await someContent(n, CONTENT_BYTES))
    for (let n = 0; n < pieces; n += BATCH)
      await Promise.all(contents.slice(n, n + BATCH).map(content => upload(local, content)))
    const storefront = new Peer(local.services.storefront!, { authority: new Authority(), fetch })
    const stopProfile = isProfiled ? await profileThread('services') : undefined
    const cost = await costOf(async () => {
      const tasks: string[] = []
      for (let n = 0; n < pieces; n += BATCH)
        tasks.push(...(await offer(local, storefront, contents.slice(n, n + BATCH))))
      const end = performance.now() + MAX_WAIT_MS
      for (const task of tasks)
        for (;;) {
          const receipt = await storefront.receipt(task)
          if (receipt?.out.error) throw new Error(`A piece failed: ${JSON.stringify(receipt.out.error)}`)
          if (receipt) break
          if (performance.now() > end) throw new Error('The pieces were not accepted in time')
          await sleep(200)
        }
    })
    const profile = stopProfile ? sumByPackage(await stopProfile()) : []
    return { pieces, ...cost, profile }
  } finally {
    await local.stop()
    await rm(data, { recursive: true, force: true })
  }
}

/** Measures the local system from `filecoin/offer` to the receipt of `filecoin/accept`. */
export const run = async ({ pieces: many = MANY }: { pieces?: number | undefined } = {}): Promise<Table> => {
  const journeys: Journey[] = []
  for (const pieces of [FEW, many])
    journeys.push(await callInFreshProcess<Journey>(import.meta.url, 'take', pieces, false))
  const { profile } = await callInFreshProcess<Journey>(import.meta.url, 'take', FEW, true)
  const busyMs = profile.reduce((sum, [, ms]) => sum + ms, 0)
  const shares = profile.map(([name, ms]) => `${name} ${((ms / busyMs) * 100).toFixed(0)} %`)
  const rates = journeys.map(({ pieces, elapsedMs }) => (pieces / elapsedMs) * 1000)
  const cpu = journeys.map(({ pieces, cpuMs }) => cpuMs / pieces)
  const [slowest, worstCpu] = [Math.min(...rates), Math.max(...cpu)]
  return {
    title: 'From filecoin/offer to filecoin/accept on one machine',
    columns: ['pieces', 'seconds', 'pieces per s', 'ms CPU a piece'],
    rows: journeys.map(({ pieces, elapsedMs }, n) => [
      count(pieces),
      (elapsedMs / 1000).toFixed(1),
      rates[n]!.toFixed(1),
      ms(cpu[n]!),
    ]),
    aims: [
      { name: 'pieces per second', aim: '≥ 40', seen: slowest.toFixed(1), met: slowest >= 40 },
      {
        name: `pieces per second, ${count(many)} against ${count(FEW)}`,
        aim: 'flat: ≥ 0.9×',
        seen: `${(rates[1]! / rates[0]!).toFixed(2)}×`,
        met: rates[1]! >= 0.9 * rates[0]!,
      },
      { name: 'CPU of a piece', aim: '≤ 40 ms', seen: `${ms(worstCpu)} ms`, met: worstCpu <= 40 },
    ],
    notes: [
      `The contents have ${CONTENT_BYTES} bytes, and are uploaded before. The time includes 1 s in which pieces wait for an aggregate, and 0.3 s for its deal. CPU is that of all threads of the process: services, engines, market, and the agent, which fetches every receipt.`,
      `The three largest consumers of the services' thread, of ${FEW} pieces in a run with a profile: ${shares.slice(0, 3).join(', ')}. Then: ${shares.slice(3, 10).join(', ')}.`,
    ],
  }
}
