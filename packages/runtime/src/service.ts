import type { Hono } from 'hono'
import type { Consumer } from './consumer.ts'

/** A service, wired: what its functions hand their events to. */
export interface Service {
  /** Takes every HTTP request. */
  api: Hono
  /** By the name of the queue. */
  // biome-ignore lint/suspicious/noExplicitAny: each consumer has messages of its own
  consumers: Record<string, Consumer<any>>
  /** By the name of the schedule. */
  schedules: Record<string, () => Promise<void>>
}
