import { setImmediate as turn } from 'node:timers/promises'

interface Event {
  at: number
  order: number
  run: () => void
}

/**
 * Simulated time, which passes only from one event to the next. Events run one by one in the order of their times. The next
 * event runs when all code started by the last one waits for something.
 */
export class Timeline {
  /** The present time, in milliseconds since 1970. */
  now: number
  readonly #events: Event[] = []
  #count = 0

  constructor(start: number) {
    this.now = start
  }

  /** Schedules an event at a time, which is now if it is in the past. */
  at(time: number, run: () => void): void {
    const event = { at: Math.max(time, this.now), order: this.#count++, run }
    // The list is sorted with the next event last. Most new events belong near its end.
    let place = this.#events.length
    while (place > 0 && this.#events[place - 1]!.at <= event.at) place -= 1
    this.#events.splice(place, 0, event)
  }

  /** Schedules an event. */
  after(milliseconds: number, run: () => void): void {
    this.at(this.now + milliseconds, run)
  }

  /**
   * Runs events until `done` returns true, or until none are left before `until`.
   *
   * @returns whether `done` returned true
   */
  async run(done: () => boolean, until = Infinity): Promise<boolean> {
    for (;;) {
      await this.#settle()
      if (done()) return true
      const event = this.#events.at(-1)
      if (event === undefined || event.at > until) return false
      this.#events.pop()
      this.now = event.at
      event.run()
    }
  }

  /** Waits until the code is idle. It does not wait for anything outside, so a few turns of the event loop are enough. */
  async #settle(): Promise<void> {
    for (let quiet = 0; quiet < QUIET_TURNS; quiet++) {
      const before = this.#count
      await turn()
      if (this.#count !== before) quiet = 0
    }
  }
}

/** The code is idle after this many turns without a new event: reading a body in memory takes fewer. */
const QUIET_TURNS = 1
