import { AsyncLocalStorage } from 'node:async_hooks'
import { createHash } from 'node:crypto'
import { type Call, type CallFault, type Faults, InjectedFault, NONE } from './faults.ts'
import type { Choices } from './random.ts'
import { Timeline } from './timeline.ts'

/** What a call does when its time has come. */
export interface Effect<T> {
  run(): T
  /** A part of it, for calls that AWS may do in part. */
  part?: (choices: Choices) => void
}

/** A function that runs: it can be killed at any call. */
interface Execution {
  name: string
  dead: boolean
  /** Nothing is to go wrong in it any more: a message is at its last attempt, which people would have to look at. */
  spared: boolean
  /** Its calls take so long that its message is given to another one meanwhile. */
  slow: boolean
  end: (how: Ended<never>) => void
}

export type Ended<T> = { ok: T } | { error: unknown } | { killed: true }

export interface WorldOptions {
  choices: Choices
  /** When it begins, in milliseconds since 1970. */
  start?: number
}

/** How long a call takes, in milliseconds: as ever, where the whole function is slow, and where nobody answers. */
const LATENCY = { least: 1, most: 60 }
const SLOW = { least: 10_000, most: 600_000 }
const STALL = { least: 20_000, most: 3 * 3_600_000 }

/**
 * A world whose time, chance and misfortune a seed drives. Whatever the services ask of it is a call; what happens to a
 * call is decided here, and nowhere else does anything wait. So a seed gives one run, byte for byte.
 */
export class DeterministicWorld {
  readonly timeline: Timeline
  readonly choices: Choices
  /** What goes wrong. Replaced when the world heals. */
  faults: Faults = NONE
  /** How often what went wrong. */
  readonly injected = new Map<string, number>()
  readonly #executions = new AsyncLocalStorage<Execution>()
  readonly #trace = createHash('sha256')
  #calls = 0
  #running = 0
  #nonces = 0

  constructor({ choices, start = Date.UTC(2026, 0, 1) }: WorldOptions) {
    this.choices = choices
    this.timeline = new Timeline(start)
  }

  readonly now = (): number => this.timeline.now

  /** `AbortSignal.timeout`, of this world's time. */
  readonly timeout = (milliseconds: number): AbortSignal => {
    const controller = new AbortController()
    this.timeline.after(milliseconds, () =>
      controller.abort(new DOMException('It took too long', 'TimeoutError')),
    )
    return controller.signal
  }

  readonly nonce = (): string => `nonce-${this.#nonces++}`

  /** Calls so far. */
  get calls(): number {
    return this.#calls
  }

  /** Functions that run. */
  get running(): number {
    return this.#running
  }

  /** A hash of all that happened. */
  trace(): string {
    return this.#trace.copy().digest('hex')
  }

  /** A call: takes a while, and may go wrong. */
  call<T>(call: Call, effect: Effect<T>): Promise<T> {
    const execution = this.#executions.getStore()
    if (execution?.dead) return NEVER
    // What is no function, like an agent, is not of this world's misfortune.
    const fault =
      !execution || execution.spared ? undefined : this.faults.callFault(call, this.#calls, execution.name)
    if (execution) this.#calls += 1
    if (fault) this.count(fault)
    const { least, most } = fault === 'stall' ? STALL : execution?.slow ? SLOW : LATENCY
    const wait = this.choices.between(least, most)
    return new Promise<T>((resolve, reject) => {
      this.timeline.after(wait, () => {
        this.#trace.update(
          `${this.now()} ${execution?.name} ${call.port} ${call.name} ${call.method} ${fault ?? ''}\n`,
        )
        if (execution && (execution.dead || fault === 'killBefore')) {
          // What was on its way when its function ended may arrive, or not.
          if (execution.dead && this.choices.chance(0.5)) ignoring(effect.run)
          return this.#kill(execution)
        }
        try {
          const value = this.#happen(effect, fault)
          if (execution && fault === 'killAfter') this.#kill(execution)
          else resolve(value)
        } catch (cause) {
          reject(cause)
        }
      })
    })
  }

  #happen<T>({ run, part }: Effect<T>, fault: CallFault | undefined): T {
    if (fault === 'refuse') throw new InjectedFault('It was refused')
    if (fault === 'part') {
      part?.(this.choices)
      throw new InjectedFault('A part of it failed')
    }
    const value = run()
    if (fault === 'fail') throw new InjectedFault('It failed after it took effect')
    return fault === 'repeat' ? run() : value
  }

  /** Runs a function as AWS does: for so long at the most. */
  execute<T>(
    {
      name,
      seconds,
      spared = false,
      mayBeSlow = false,
    }: { name: string; seconds: number; spared?: boolean; mayBeSlow?: boolean },
    run: () => Promise<T>,
  ): Promise<Ended<T>> {
    const caller = this.#executions.getStore()
    const isSpared = spared || caller?.spared === true
    const slow = mayBeSlow && !isSpared && this.faults.isSlow()
    if (slow) this.count('slow')
    return new Promise(resolve => {
      const execution: Execution = {
        name,
        dead: false,
        spared: isSpared,
        slow,
        end: how => {
          if (execution.dead) return
          execution.dead = true
          this.#running -= 1
          resolve(how)
        },
      }
      this.#running += 1
      this.timeline.after(seconds * (slow ? 100 : 1) * 1000, () => this.#kill(execution))
      void this.#executions.run(execution, () =>
        run().then(
          ok => execution.end({ ok } as never),
          error => execution.end({ error }),
        ),
      )
    })
  }

  #kill(execution: Execution): void {
    execution.end({ killed: true })
  }

  count(fault: string): void {
    this.injected.set(fault, (this.injected.get(fault) ?? 0) + 1)
  }
}

const ignoring = (run: () => unknown): void => {
  try {
    run()
  } catch {
    // Nobody is there to be told.
  }
}

/** What somebody waits for who is no more. */
const NEVER = new Promise<never>(() => {})
