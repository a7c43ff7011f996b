import pMap from 'p-map'
import type { Clock, Log, Metrics, Stored, Table } from '../ports.ts'
import { listAll } from '../records/record.ts'
import { CHECK_SECONDS } from '../resources.ts'

/** Kinds of checks, for metrics. Each has a row in docs/operations.md. */
export type CheckKind = 'peer' | 'self' | 'source' | 'hasher' | 'gateway' | 'pieces' | 'target' | 'order'

/**
 * A check of the configuration or the surroundings of a service, which nothing else reports. It changes nothing at other
 * services.
 */
export interface Check {
  /** Key of its row, unique in the service. */
  name: string
  check: CheckKind
  /** DID of the peer, or name of the source or target. */
  subject?: string | undefined
  /** The setting that it checks, e.g. `dealTracker` or `storefronts`. */
  setting?: string | undefined
  /** Throws if the check itself has a bug. */
  run: (previous: HealthRecord | undefined) => Promise<Finding>
}

/** The result of a check. The message is for operators: it names setting and service, and may name internal URLs. */
export interface Finding {
  ok: boolean
  /** Name of the problem, e.g. `PeerUnreachable`. Also of a state that is a problem only if it lasts. */
  problem?: string | undefined
  message: string
}

export const fine = (message: string): Finding => ({ ok: true, message })
export const failing = (problem: string, message: string): Finding => ({ ok: false, problem, message })

/**
 * The last result of a check.
 *
 * @example { service: 'storefront', name: 'peer dealTracker did:web:tracker.test', check: 'peer',
 * subject: 'did:web:tracker.test', setting: 'dealTracker', ok: false, problem: 'PeerUnreachable',
 * message: 'did:web:tracker.test cannot be reached at https://tracker.test: …', since: 1733306400000,
 * checkedAt: 1733306700000, loggedAt: 1733306400000 }
 */
export interface HealthRecord extends Finding, Omit<Check, 'run'> {
  service: string
  /** When `ok` or `problem` changed last, in milliseconds since 1970. */
  since: number
  /** Time of the check, in milliseconds since 1970. */
  checkedAt: number
  /** When the log had a line about the failure last, in milliseconds since 1970. */
  loggedAt?: number | undefined
}

/** A check that keeps failing is logged again after this. */
const LOG_AGAIN_MS = 60 * 60 * 1000
/** A state that has not changed is written again after this, by a caller that has a result more often. */
const WRITE_AGAIN_MS = 2 * 60 * 1000
/** The longest message that is stored, in characters. It may quote a peer. */
const MAX_MESSAGE = 2_000
/** Checks that run in parallel. */
const MAX_PARALLEL_CHECKS = 10
/** A finding that is older than three intervals does not show the present state: the schedule does not run. */
export const MAX_CHECK_AGE_MS = 3 * CHECK_SECONDS * 1000

interface HealthDependencies {
  /** Name of the service. */
  service: string
  table: Table<HealthRecord>
  now: Clock
  log: Log
}

/**
 * Stores the finding of a check, and logs a change: `check failed` and `check passes again`. A finding that arrives again soon
 * and changes nothing is not written. Returns the record.
 *
 * @param previous the stored record of the check
 */
export const recordFinding = async (
  { service, table, now, log }: HealthDependencies,
  { run: _, ...check }: Omit<Check, 'run'> & { run?: unknown },
  { ok, problem, ...finding }: Finding,
  previous: Stored<HealthRecord> | undefined,
): Promise<HealthRecord> => {
  const time = now()
  const message = finding.message.slice(0, MAX_MESSAGE)
  const isSame = previous?.ok === ok && previous.problem === problem
  // The difference is negative if a wrong clock wrote the record.
  const isOld = (at: number | undefined, ms: number) => at === undefined || Math.abs(time - at) >= ms
  if (isSame && previous.message === message && !isOld(previous.checkedAt, WRITE_AGAIN_MS)) return previous
  const isLogged = !ok && (!isSame || isOld(previous.loggedAt, LOG_AGAIN_MS))
  const record: HealthRecord = {
    ...check,
    service,
    ok,
    ...(problem !== undefined && { problem }),
    message,
    since: isSame ? previous.since : time,
    checkedAt: time,
    ...(!ok && { loggedAt: isLogged ? time : previous?.loggedAt }),
  }
  const written = await (previous
    ? table.replace({ ...record, revision: previous.revision })
    : table.insert(record))
  // Another run was faster, and has logged the change.
  if (written.error) return record
  const fields = { check: check.name, message, ...(problem !== undefined && { problem }) }
  if (isLogged) log('warn', 'check failed', { ...fields, since: new Date(record.since).toISOString() })
  else if (ok && previous?.ok === false) log('info', 'check passes again', fields)
  return record
}

/**
 * Returns the function of the schedule `check`: runs the checks of a service, stores their findings, and removes the rows of
 * checks that the service no longer has.
 *
 * @param options.elsewhere names of checks whose findings other functions of the service record
 */
export const runChecks =
  ({
    checks,
    elsewhere = [],
    metrics,
    ...dependencies
  }: HealthDependencies & {
    checks: readonly Check[]
    elsewhere?: readonly string[] | undefined
    metrics: Metrics
  }) =>
  async (): Promise<void> => {
    const { service, table, log } = dependencies
    const before = new Map((await listAll(table, service)).map(row => [row.name, row]))
    const records = await pMap(
      checks,
      async check => {
        const previous = before.get(check.name)
        return recordFinding(dependencies, check, await runCheck(check, previous, log), previous)
      },
      { concurrency: MAX_PARALLEL_CHECKS },
    )
    const recorded = elsewhere.map(name => before.get(name)).filter(row => row !== undefined)
    const names = new Set([...checks.map(({ name }) => name), ...elsewhere])
    const gone = [...before.keys()].filter(name => !names.has(name))
    if (gone.length > 0) await table.removeMany(gone.map(name => ({ service, name })))
    for (const [check, some] of Map.groupBy([...records, ...recorded], ({ check }) => check))
      metrics({ FailedChecks: some.filter(({ ok }) => !ok).length }, { check })
  }

/** A bug in one check must not keep the service from the others. */
const runCheck = async (check: Check, previous: HealthRecord | undefined, log: Log): Promise<Finding> => {
  try {
    return await check.run(previous)
  } catch (cause) {
    log('error', 'check not run', { check: check.name, cause })
    return failing('CheckNotRun', `The check ended with an error: ${(cause as Error).message}`)
  }
}
