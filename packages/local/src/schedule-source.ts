import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Log } from '@w3filecoin/runtime'
import type { ScheduleSpec } from '@w3filecoin/runtime/resources'
import { scheduleEvent } from './events.ts'
import { type EventSource, invoke, type LambdaFunction } from './invoke.ts'

interface ScheduleSourceOptions {
  /** Physical name of the schedule. */
  schedule: string
  spec: ScheduleSpec
  /** Upper limit of the schedule's interval, because a minute is long on a laptop. */
  everySeconds: number
  run: LambdaFunction
  log: Log
}

/** Runs a function at an interval, one run at a time. */
export const runSchedule = ({
  schedule,
  spec,
  everySeconds,
  run,
  log,
}: ScheduleSourceOptions): EventSource => {
  const stopping = new AbortController()
  const pauseMs = Math.min(spec.everySeconds, everySeconds) * 1000

  const repeat = async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      try {
        const event = scheduleEvent(schedule, { id: randomUUID(), time: new Date() })
        await invoke(schedule, run, event, spec.run)
      } catch (cause) {
        log('error', 'run failed', { schedule, cause })
      }
      await sleep(pauseMs, undefined, { signal: stopping.signal }).catch(() => {})
    }
  }

  const repeating = repeat()
  return {
    stop: () => {
      stopping.abort()
      return repeating
    },
  }
}
