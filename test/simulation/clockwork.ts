import type { Row } from '@w3filecoin/runtime'
import type { DeterministicTable, DeterministicWorld } from '@w3filecoin/testing/deterministic'

/**
 * Runs the schedules of a service, each at most once in its period. Runs that would find nothing to do are left out: a
 * simulated week would consist of them. There is something to do when a record is due, or when somebody wakes the clock.
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
  }

  /** A record was written that is to be looked at then. */
  noteCheck(checkAt: number | undefined): void {
    if (checkAt !== undefined) for (const schedule of this.#schedules) this.#arm(schedule, checkAt)
  }

  /** There is something to do that no record tells of. */
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
    if (due.length > 0) this.#arm(schedule, Math.min(...due))
  }

  /** Whether what a run of the deal tracker decided is still being written: the next run sends it again. */
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
  /** Milliseconds from one run to the next, at the least. */
  every: number
  /** Seconds that a run may take. */
  seconds: number
  run: () => Promise<void>
  ranAt: number
  armedAt: number
}
