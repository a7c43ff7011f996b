import { AsyncLocalStorage } from 'node:async_hooks'
import { createHash } from 'node:crypto'
import { type Call, type CallFault, type Faults, InjectedFault, NONE } from './faults.ts'
import type { Choices } from './random.ts'
import { Timeline } from './timeline.ts'

/** The effect of a call, at the end of its latency. */
export interface Effect<T> {
  run(): T
  /** A partial effect, for calls that AWS may carry out in part. */
  part?: (choices: Choices) => void
}

/** A running function. It can be killed at any call. */
interface Execution {
  name: string
  dead: boolean
  /** Whether it has no faults, because it handles a message at its last attempt, which would otherwise become a dead letter. */
  spared: boolean
  /** Whether its calls take so long that its messages are delivered to another consumer in the meantime. */
  slow: boolean
  end: (outcome: Ended<never>) => void
}

/** How a function ended. */
export type Ended<T> = { ok: T } | { error: unknown } | { killed: true }

export interface WorldOptions {
  choices: Choices
  /** Start of the simulated time, in milliseconds since 1970. */
  start?: number
}

/** Duration of a call: normally, in a slow function, and for a call that stalls. */
const LATENCY_MS = { min: 1, max: 60 }
const SLOW_MS = { min: 10_000, max: 600_000 }
const STALL_MS = { min: 20_000, max: 3 * 3_600_000 }

/**
 * A simulated world: a seed determines its time, its random choices and its faults. Every use of a port is a call, and
 * only calls take time. So the same seed gives the same run, byte for byte.
 */
export class DeterministicWorld {
  readonly timeline: Timeline
  readonly choices: Choices
  /** Decides the faults. Replaced when the world heals. */
  faults: Faults = NONE
  /** Number of injected faults by kind. */
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

  /** `AbortSignal.timeout` in simulated time. */
  readonly timeout = (milliseconds: number): AbortSignal => {
    const controller = new AbortController()
    this.timeline.after(milliseconds, () =>
      controller.abort(new DOMException('The call took too long', 'TimeoutError')),
    )
    return controller.signal
  }

  readonly nonce = (): string => `nonce-${this.#nonces++}`

  /** Number of calls so far. */
  get calls(): number {
    return this.#calls
  }

  /** Number of running functions. */
  get running(): number {
    return this.#running
  }

  /** Returns a hash of all calls and their faults. */
  trace(): string {
    return this.#trace.copy().digest('hex')
  }

  /** Makes a call, which takes time and may have a fault. */
  call<T>(call: Call, effect: Effect<T>): Promise<T> {
    const execution = this.#executions.getStore()
    if (execution?.dead) return NEVER
    // Only calls of functions fail; calls of agents do not.
    const fault =
      !execution || execution.spared ? undefined : this.faults.callFault(call, this.#calls, execution.name)
    if (execution) this.#calls += 1
    if (fault) this.count(fault)
    const { min, max } = fault === 'stall' ? STALL_MS : execution?.slow ? SLOW_MS : LATENCY_MS
    const wait = this.choices.between(min, max)
    return new Promise<T>((resolve, reject) => {
      this.timeline.after(wait, () => {
        this.#trace.update(
          `${this.now()} ${execution?.name} ${call.port} ${call.name} ${call.method} ${fault ?? ''}\n`,
        )
        if (execution && (execution.dead || fault === 'killBefore')) {
          // The request of a function that has ended may still arrive, or not.
          if (execution.dead && this.choices.chance(0.5)) runIgnoringErrors(effect.run)
          return this.#kill(execution)
        }
        try {
          const value = this.#takeEffect(effect, fault)
          if (execution && fault === 'killAfter') this.#kill(execution)
          else resolve(value)
        } catch (cause) {
          reject(cause)
        }
      })
    })
  }

  #takeEffect<T>({ run, part }: Effect<T>, fault: CallFault | undefined): T {
    if (fault === 'refuse') throw new InjectedFault('The call was refused')
    if (fault === 'part') {
      part?.(this.choices)
      throw new InjectedFault('A part of the call failed')
    }
    const value = run()
    if (fault === 'fail') throw new InjectedFault('The call failed after it took effect')
    return fault === 'repeat' ? run() : value
  }

  /** Runs a function, and kills it at its timeout, as AWS does. */
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
        end: outcome => {
          if (execution.dead) return
          execution.dead = true
          this.#running -= 1
          resolve(outcome)
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

const runIgnoringErrors = (run: () => unknown): void => {
  try {
    run()
  } catch {
    // The caller has ended.
  }
}

/** Never resolves: the caller was killed. */
const NEVER = new Promise<never>(() => {})
