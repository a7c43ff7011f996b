import type { Log } from './ports.ts'

const LEVELS = { debug: 10, info: 20, warn: 30, error: 40 }

/** Writes a JSON line an event, errors with their chain of causes. */
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

/** An error as data for a log: name, message, stack, and the same of its cause. */
const describe = (error: Error): object => ({
  ...error,
  name: error.name,
  message: error.message,
  stack: error.stack,
  ...(error.cause instanceof Error ? { cause: describe(error.cause) } : {}),
})
