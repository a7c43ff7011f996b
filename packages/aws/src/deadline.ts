import { AsyncLocalStorage } from 'node:async_hooks'

/** The part of Lambda's context that names a run, and says how much time it has. */
export interface RunContext {
  awsRequestId: string
  getRemainingTimeInMillis(): number
}

const runs = new AsyncLocalStorage<RunContext>()

/**
 * Runs a function within a Lambda run, so that calls below it know how long they may be patient, and log lines name the run.
 */
export const withinRun = <T>(context: RunContext | undefined, run: () => T): T =>
  context === undefined ? run() : runs.run(context, run)

/** Returns the id of the current Lambda run; `undefined` outside of a run. */
export const currentRequest = (): string | undefined => runs.getStore()?.awsRequestId

/** Time at the end of a run in which nothing waits any more, so that the run can still report its failure. */
const RESERVE_MS = 5_000

/** Time outside of a run, e.g. in the command `ops`. */
const WITHOUT_RUN_MS = 30_000

/** Returns a function that returns the milliseconds that a call may still wait. They are negative when the run nearly ends. */
export const startPatience = (): (() => number) => {
  const context = runs.getStore()
  if (context !== undefined) return () => context.getRemainingTimeInMillis() - RESERVE_MS
  const end = performance.now() + WITHOUT_RUN_MS
  return () => end - performance.now()
}
