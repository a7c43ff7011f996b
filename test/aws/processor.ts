import { AsyncLocalStorage } from 'node:async_hooks'
import { Timeline } from '@w3filecoin/testing/deterministic'

/** Lambda allots one core at this memory, in megabytes, and a share of a core below it. */
export const CORE_MB = 1769

/** A run of a function. */
export interface Run {
  name: string
  /** The part of a core that the function has: 1 at most, because its own code has one thread. */
  share: number
  /** Processor time that it used, in milliseconds of a whole core. */
  cpuMs: number
  /** Simulated time from which its processor is free. */
  freeAt: number
}

/** Processor time of this thread, in milliseconds. */
const cpuNow = (): number => {
  const { user, system } = process.threadCpuUsage()
  return (user + system) / 1000
}

/**
 * Simulated time in which runs of functions also take the time of their processor. Each run has its own. The time is measured: it is
 * the processor time of this thread from the event that continues a run to the next event. So it has the work of the simulated
 * AWS in it, and this machine must be about as fast as a core of Lambda.
 */
export class ProcessorTimeline extends Timeline {
  readonly #runs = new AsyncLocalStorage<Run>()
  #present: Run | undefined
  #presentAt = 0
  #measuredMs = cpuNow()

  /** Runs a function with a separate processor. */
  async within<T>(run: Run, work: () => Promise<T>): Promise<T> {
    return this.#runs.run(run, async () => {
      await this.#next()
      try {
        return await work()
      } finally {
        await this.#next()
      }
    })
  }

  /** Continues the present run in a separate event, after another run has worked for it. */
  async continue(): Promise<void> {
    if (this.#runs.getStore() !== undefined) await this.#next()
  }

  /** Adds processor time that this process does not use, e.g. that of the AWS SDK. In milliseconds of a whole core. */
  spend(cpuMs: number): void {
    const run = this.#runs.getStore()
    if (run !== undefined) this.#charge(run, cpuMs, this.now)
  }

  override at(time: number, run: () => void): void {
    const owner = this.#runs.getStore()
    if (owner === undefined) {
      super.at(time, () => this.#begin(undefined, run))
      return
    }
    this.#measure()
    const aheadMs = Math.max(0, owner.freeAt - this.now)
    const begin = () => {
      if (owner.freeAt > this.now) super.at(owner.freeAt, begin)
      else this.#begin(owner, run)
    }
    super.at(time + aheadMs, begin)
  }

  #next(): Promise<void> {
    return new Promise(resolve => this.after(0, resolve))
  }

  #begin(owner: Run | undefined, run: () => void): void {
    this.#measure()
    this.#present = owner
    this.#presentAt = this.now
    run()
  }

  /** Charges the time since the last measurement to the run that had the processor of this process. */
  #measure(): void {
    const now = cpuNow()
    if (this.#present !== undefined) this.#charge(this.#present, now - this.#measuredMs, this.#presentAt)
    this.#measuredMs = now
  }

  #charge(run: Run, cpuMs: number, at: number): void {
    run.cpuMs += cpuMs
    run.freeAt = Math.max(run.freeAt, at) + cpuMs / run.share
  }
}
