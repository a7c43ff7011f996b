import { randomUUID } from 'node:crypto'
import type { EventEmitter } from 'node:events'
import type { Log } from '@w3filecoin/runtime'
import type { ScheduleSpec } from '@w3filecoin/runtime/resources'
import { scheduleEvent } from './events.ts'
import { type EventSource, invoke, type LambdaFunction } from './invoke.ts'

/** An event after which a schedule runs, without waiting for its interval. */
export interface Wake {
  /**
   * Names of the queues and APIs whose functions have run, e.g. `deal-tracker-update` or `aggregator-api`; `market` after a change
   * on chain.
   */
  after: string | readonly string[]
  /** The schedule runs this long after the event, when its work is due. */
  seconds: number
}

/** Least time between two runs that events ask for: many events share a run. */
const MIN_GAP_MS = 200

interface ScheduleSourceOptions {
  /** Physical name of the schedule. */
  schedule: string
  spec: ScheduleSpec
  /** Upper limit of the schedule's interval, because a minute is long on a laptop. */
  everySeconds: number
  wake?: Wake | undefined
  /** The first run waits for it. */
  ready?: Promise<unknown>
  /** Emits the events of the system, see {@link Wake}. */
  events: EventEmitter
  run: LambdaFunction
  log: Log
}

/** Runs a function at an interval, and after the events that leave it work; one run at a time. */
export const runSchedule = ({
  schedule,
  spec,
  everySeconds,
  wake,
  ready,
  events,
  run,
  log,
}: ScheduleSourceOptions): EventSource => {
  const intervalMs = Math.min(spec.everySeconds, everySeconds) * 1000
  /** Times of the runs that events ask for, ascending, as `performance.now()` has them. */
  const wakes: number[] = []
  let lastWakeAt = -Infinity
  let stopped = false
  /** Sets the timer of the present pause again. */
  let replan = () => {}

  const onEvent = () => {
    const at = performance.now() + wake!.seconds * 1000
    if (lastWakeAt >= at) return
    lastWakeAt = Math.max(at, lastWakeAt + MIN_GAP_MS)
    wakes.push(lastWakeAt)
    replan()
  }
  const names = [wake?.after ?? []].flat()
  for (const name of names) events.on(name, onEvent)

  const pause = (): Promise<void> =>
    new Promise(resolve => {
      const regularAt = performance.now() + intervalMs
      let timer: NodeJS.Timeout | undefined
      replan = () => {
        clearTimeout(timer)
        if (stopped) return resolve()
        const at = Math.min(regularAt, wakes[0] ?? Infinity)
        timer = setTimeout(resolve, Math.ceil(Math.max(0, at - performance.now())))
      }
      replan()
    })

  const repeat = async (): Promise<void> => {
    await ready
    while (!stopped) {
      const beganAt = performance.now()
      while (wakes[0] !== undefined && wakes[0] <= beganAt) wakes.shift()
      try {
        const event = scheduleEvent(schedule, { id: randomUUID(), time: new Date() })
        await invoke(schedule, run, event, spec.run)
      } catch (cause) {
        log('error', 'run failed', { schedule, cause })
      }
      await pause()
    }
  }

  const repeating = repeat()
  return {
    stop: () => {
      stopped = true
      for (const name of names) events.off(name, onEvent)
      replan()
      return repeating
    },
  }
}
