import { randomUUID } from 'node:crypto'
import type { FunctionSpec } from '@w3filecoin/runtime/resources'
import { runContext } from './events.ts'

/** A Lambda function, as a service's `functions.ts` exports it. */
export type LambdaFunction = (event: unknown, context: unknown) => unknown

/** Passes events to functions until it is stopped. */
export interface EventSource {
  /** Resolves when the runs in progress have ended. */
  stop(): Promise<void>
}

/** Runs a function as Lambda does: with a copy of the event, and with a timeout in seconds. */
export const invoke = async (
  name: string,
  run: LambdaFunction,
  event: object,
  { timeout, memory }: FunctionSpec,
): Promise<unknown> => {
  let timer: NodeJS.Timeout | undefined
  const timedOut = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${name} took longer than ${timeout} s`)), timeout * 1000)
  })
  try {
    const context = runContext(name, { id: randomUUID(), memory, timeout })
    return await Promise.race([Promise.resolve(run(structuredClone(event), context)), timedOut])
  } finally {
    clearTimeout(timer)
  }
}
