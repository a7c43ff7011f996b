import type { Row } from '@w3filecoin/runtime'
import type { DeterministicTable, DeterministicWorld } from '@w3filecoin/testing/deterministic'

/**
 * Maximum time from one run of a schedule to the next, in milliseconds. It is shorter than the waits of services, so a record
 * whose `checkAt` is wrong is found in time.
 */
const MAX_PAUSE = 6 * 3_600_000

/**
 * Runs the schedules of a service, each at most once per period. It skips most runs that would find no work, because a
 * simulated week would consist of them. There is work when a record is due, and after `wake`.
 */
export class Clockwork {
  readonly #world: DeterministicWorld
  readonly #tables: () => readonly DeterministicTable<Row>[]
  #schedules: Schedule[] = []
  #woken = false

  constructor(world: DeterministicWorld, tables: () => readonly DeterministicTable<Row>[]) {
    this.#world = world
    this.#tables = tables
  }

  start(name: string, everySeconds: number, seconds: number, run: () => Promise<void>): void {
    this.#schedules.push({
      name,
      every: everySeconds * 1000,
      seconds,
      run,
      ranAt: -Infinity,
      armedAt: Infinity,
    })
    this.#arm(this.#schedules.at(-1) as Schedule, this.#world.now() + MAX_PAUSE)
  }

  /** A record was written that the sweep must check at this time. */
  noteCheck(checkAt: number | undefined): void {
    if (checkAt !== undefined) for (const schedule of this.#schedules) this.#arm(schedule, checkAt)
  }

  /** There is work without a record that is due. */
  wake(): void {
    this.#woken = true
    for (const schedule of this.#schedules) this.#arm(schedule, this.#world.now())
  }

  #arm(schedule: Schedule, at: number): void {
    const next = Math.max(at, schedule.ranAt + schedule.every, this.#world.now())
    if (next >= schedule.armedAt) return
    schedule.armedAt = next
    this.#world.timeline.at(next, () => {
      if (schedule.armedAt === next) void this.#run(schedule)
    })
  }

  async #run(schedule: Schedule): Promise<void> {
    schedule.ranAt = this.#world.now()
    schedule.armedAt = Infinity
    this.#woken = false
    const ended = await this.#world.execute(schedule, schedule.run)
    if (!('ok' in ended) || this.#woken || this.#unwritten()) this.wake()
    const due = this.#tables().flatMap(({ items }) =>
      [...items.values()].flatMap(({ checkAt }) => (checkAt === undefined ? [] : [checkAt as number])),
    )
    this.#arm(schedule, Math.min(this.#world.now() + MAX_PAUSE, ...due))
  }

  /** Whether a decision of the deal tracker is not written completely: the next run sends its messages again. */
  #unwritten(): boolean {
    return this.#tables().some(({ items }) =>
      [...items.values()].some(({ checkAt, openRanges, changes }) => {
        const ranges = openRanges as unknown[] | undefined
        return checkAt === undefined && changes !== undefined && ranges !== undefined && ranges.length > 0
      }),
    )
  }
}

interface Schedule {
  name: string
  /** Minimum time from one run to the next, in milliseconds. */
  every: number
  /** Maximum duration of a run, in seconds. */
  seconds: number
  run: () => Promise<void>
  ranAt: number
  armedAt: number
}
