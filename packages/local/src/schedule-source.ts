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
  /** The most seconds between two runs, whatever AWS would do: here nobody wants to wait a minute. */
  atMost: number
  run: LambdaFunction
  log: Log
}

/** Runs a function again and again, one run at a time. */
export const runSchedule = ({ schedule, spec, atMost, run, log }: ScheduleSourceOptions): EventSource => {
  const stopping = new AbortController()
  const pause = Math.min(spec.everySeconds, atMost) * 1000

  const repeat = async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      try {
        const event = scheduleEvent(schedule, { id: randomUUID(), time: new Date() })
        await invoke(schedule, run, event, spec.run)
      } catch (cause) {
        log('error', 'run failed', { schedule, cause })
      }
      await sleep(pause, undefined, { signal: stopping.signal }).catch(() => {})
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
