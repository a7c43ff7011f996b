import type { Log } from './ports.ts'

const LEVELS = { debug: 10, info: 20, warn: 30, error: 40 }

/**
 * Returns a log that writes one JSON line per event. Errors include their chain of causes.
 *
 * @example {"level":"warn","service":"dealer","event":"peer not reached","peer":"did:web:tracker.test","cause":{…}}
 */
export const jsonLog =
  (
    write: (line: string) => void,
    { service, level = 'info' }: { service: string; level?: string | undefined },
  ): Log =>
  (severity, event, fields = {}) => {
    if (LEVELS[severity] < (LEVELS[level as keyof typeof LEVELS] ?? LEVELS.info)) return
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
