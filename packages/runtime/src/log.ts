import type { Clock, Log } from './ports.ts'

/** From the least severe to the most severe. */
export const LOG_LEVELS = ['debug', 'info', 'warn', 'error'] as const
export type LogLevel = (typeof LOG_LEVELS)[number]

/**
 * Returns a log that writes one JSON line per event. Errors include their chain of causes.
 *
 * @param options.request returns the id of the current Lambda run, if there is one
 * @example {"time":"2026-01-01T00:00:00.000Z","level":"warn","service":"dealer","request":"8f5e…",
 * "event":"peer not reached","peer":"did:web:tracker.test","url":"https://tracker.test","cause":{…}}
 */
export const jsonLog =
  (
    write: (line: string) => void,
    {
      service,
      level = 'info',
      now,
      request = () => undefined,
    }: { service: string; level?: LogLevel; now: Clock; request?: () => string | undefined },
  ): Log =>
  (severity, event, fields = {}) => {
    if (LOG_LEVELS.indexOf(severity) < LOG_LEVELS.indexOf(level)) return
    const line = { time: new Date(now()).toISOString(), level: severity, service, request: request(), event }
    write(
      JSON.stringify({ ...line, ...fields }, (_name, value) =>
        value instanceof Error ? describe(value) : typeof value === 'bigint' ? Number(value) : value,
      ),
    )
  }

/** Returns a URL as log lines name it: without the parts that may be secret, i.e. user, password and query. */
export const loggedUrl = (url: string): string => {
  const { origin, pathname } = new URL(url)
  return `${origin}${pathname}`
}

/** Returns an error as data: its own fields, name, message, stack, and its cause in the same form. */
const describe = (error: Error): object => ({
  ...error,
  name: error.name,
  message: error.message,
  stack: error.stack,
  ...(error.cause instanceof Error ? { cause: describe(error.cause) } : {}),
})
