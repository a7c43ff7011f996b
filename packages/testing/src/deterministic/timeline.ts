import { setImmediate as turn } from 'node:timers/promises'

interface Event {
  at: number
  order: number
  run: () => void
}

/**
 * Time that passes only from one event to the next. Events happen one by one, in the order of their times; before the next
 * one, all code that the last one set going has come to wait for something.
 */
export class Timeline {
  /** Milliseconds since 1970. */
  now: number
  readonly #events: Event[] = []
  #count = 0

  constructor(start: number) {
    this.now = start
  }

  /** Has something happen, now or later. */
  at(time: number, run: () => void): void {
    const event = { at: Math.max(time, this.now), order: this.#count++, run }
    // Sorted, the next one last. Few are far away from their place.
    let place = this.#events.length
    while (place > 0 && this.#events[place - 1]!.at <= event.at) place -= 1
    this.#events.splice(place, 0, event)
  }

  after(milliseconds: number, run: () => void): void {
    this.at(this.now + milliseconds, run)
  }

  /**
   * Goes from event to event until `done`, or until there are none.
   *
   * @returns whether it is done
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

  /** Nothing here waits for the world outside, so what goes on ends within some turns of the event loop. */
  async #settle(): Promise<void> {
    for (let quiet = 0; quiet < QUIET; quiet++) {
      const before = this.#count
      await turn()
      if (this.#count !== before) quiet = 0
    }
  }
}

/** Turns without a new event after which nothing is going on: reading a body in memory takes fewer. */
const QUIET = 1
