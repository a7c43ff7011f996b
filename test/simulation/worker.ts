import { parentPort } from 'node:worker_threads'
import { jsonLog } from '@w3filecoin/runtime'
import { type Crash, difference, type Journey, journey } from './crash-points.ts'
import type { Element } from './elements.ts'
import { type Report, simulateSeed } from './simulate.ts'

/**
 * A seed to simulate, with or without a log, and with the elements that it chooses or a single one; or a crash point to
 * compare with the journey without a crash.
 */
export type Job =
  | { seed: number; chatty?: boolean; only?: Element | undefined }
  | { crash: { at: number; how: Crash }; undisturbed: Journey }

export interface Answer {
  report: Report
  crash?: { at: number; how: Crash }
  difference?: string[]
}

const print = jsonLog(line => console.log(line), { service: 'world', now: Date.now })

parentPort?.on('message', async (job: Job) => {
  const answer = async (): Promise<Answer> => {
    if ('seed' in job)
      return { report: await simulateSeed(job.seed, job.chatty ? print : undefined, job.only) }
    const disturbed = await journey(job.undisturbed.name, job.crash)
    return { report: disturbed.report, crash: job.crash, difference: difference(job.undisturbed, disturbed) }
  }
  parentPort?.postMessage(await answer())
})
