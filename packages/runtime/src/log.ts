import type { Log } from './ports.ts'

/** From the least severe to the most severe. */
export const LOG_LEVELS = ['debug', 'info', 'warn', 'error'] as const
export type LogLevel = (typeof LOG_LEVELS)[number]

/**
 * Returns a log that writes one JSON line per event. Errors include their chain of causes.
 *
 * @example {"level":"warn","service":"dealer","event":"peer not reached","peer":"did:web:tracker.test","cause":{…}}
 */
export const jsonLog =
  (write: (line: string) => void, { service, level = 'info' }: { service: string; level?: LogLevel }): Log =>
  (severity, event, fields = {}) => {
    if (LOG_LEVELS.indexOf(severity) < LOG_LEVELS.indexOf(level)) return
    write(
      JSON.stringify({ level: severity, service, event, ...fields }, (_name, value) =>
        value instanceof Error ? describe(value) : typeof value === 'bigint' ? Number(value) : value,
      ),
    )
  }

/** Returns an error as data: its own fields, name, message, stack, and its cause in the same form. */
const describe = (error: Error): object => ({
  ...error,
  name: error.name,
  message: error.message,
  stack: error.stack,
  ...(error.cause instanceof Error ? { cause: describe(error.cause) } : {}),
})
