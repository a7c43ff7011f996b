import { isPausedNow, type Stores, type TargetRecord } from '@w3filecoin/dealer'
import { type HealthRecord, MAX_CHECK_AGE_MS, type Stored, update } from '@w3filecoin/runtime'
import { CommandError, type Outcome } from '../outcome.ts'
import { count, table } from '../text.ts'
import { type Dealer, readTargetChecks } from './dealer.ts'
import { time } from './display.ts'
import { readOpenOrders } from './orders.ts'

/** Rows of the table `target` that are shown, and orders in flight that are counted. */
const MAX_COUNTED = 100

/** A target, as a check, its row and orders show it. */
interface ShownTarget {
  name: string
  /** Whether it takes no orders: `paused` by an operator, or `held` for a day after it refused one. */
  state: 'open' | 'paused' | 'held'
  /** Why, and until when in milliseconds since 1970. */
  reason?: string
  until?: number
  /** The problem of its last check; `ok` if it passed. Absent if there was no check: then it is not in the configuration. */
  check?: string
  /** Copies that it is storing, and whether there are more. */
  inFlight: number
  moreInFlight: boolean
}

/**
 * Shows the targets that the dealer checks, those with a row, and those that open orders name. The configuration of a service cannot
 * be read from outside.
 *
 * @param options.limit open orders that are read
 */
export const listTargets = async (
  { stores, scanTargets, now }: Dealer,
  { limit }: { limit: number },
): Promise<Outcome> => {
  const checks = await readTargetChecks(stores)
  const rows = await scanTargets(MAX_COUNTED)
  const { orders, more } = await readOpenOrders(stores, limit)
  const names = new Set([
    ...checks.flatMap(({ subject }) => subject ?? []),
    ...rows.map(({ name }) => name),
    ...orders.map(({ target }) => target),
  ])
  const targets: ShownTarget[] = []
  for (const name of [...names].toSorted())
    targets.push(await readTarget(stores, name, { checks, rows, now: now() }))
  return {
    result: { targets, ordersRead: orders.length, more },
    lines: [
      ...(targets.length === 0
        ? ['No target is known.']
        : table(
            ['TARGET', 'STATE', 'CHECK', 'IN FLIGHT', 'REASON'],
            targets.map(({ name, state, until, check = '-', inFlight, moreInFlight, reason = '' }) => [
              name,
              state === 'held' ? `held until ${time(until)} UTC` : state,
              check,
              `${moreInFlight ? 'at least ' : ''}${count(inFlight)}`,
              reason,
            ]),
          )),
      'The configuration of the dealer cannot be read from outside. These are the targets that its schedule check has checked,',
      `those in its table target, and those of ${count(orders.length)} open orders${more ? ', of which there are more: see --limit' : ''}.`,
    ],
  }
}

const readTarget = async (
  { order: table }: Stores,
  name: string,
  { checks, rows, now }: { checks: readonly HealthRecord[]; rows: readonly TargetRecord[]; now: number },
): Promise<ShownTarget> => {
  const row = rows.find(row => row.name === name)
  const check = checks.find(({ subject }) => subject === name)
  const { items, next } = await table.find('inFlight', name, { limit: MAX_COUNTED })
  return {
    name,
    ...(row && isPausedNow(row, now)
      ? {
          state: row.until === undefined ? 'paused' : 'held',
          reason: row.reason,
          ...(row.until !== undefined && { until: row.until }),
        }
      : { state: 'open' }),
    ...(check && { check: check.ok ? 'ok' : (check.problem ?? 'failed') }),
    inFlight: items.length,
    moreInFlight: next !== undefined,
  }
}

/** Has the dealer send no further orders to a target, until an operator resumes it. */
export const pauseTarget = async (
  { stores }: Dealer,
  name: string,
  { reason }: { reason: string },
): Promise<Outcome> => {
  const checks = await readTargetChecks(stores)
  const known = checks.flatMap(({ subject }) => subject ?? [])
  if (known.length > 0 && !known.includes(name))
    throw new CommandError('NotFound', `The dealer checks no target ${name}`, {
      hint: `It checks ${known.toSorted().join(', ')}. A new one is known after the next run of its schedule check.`,
    })
  const row: TargetRecord = { name, reason }
  const { error } = await stores.target.insert(row)
  if (error) await update(stores.target, { name }, ({ revision }) => ({ ...row, revision }))
  return {
    result: { target: name, reason, paused: true },
    lines: [
      `${name} gets no further orders. Orders that it has go on, and their copies count.`,
      ...(known.length === 0
        ? ['No check of a target is recorded yet: make sure that the dealer has a target of this name.']
        : []),
      `w3fil ops target resume ${name} ends the pause.`,
    ],
  }
}

/** Ends the pause of a target, also one for a day after it refused an order. */
export const resumeTarget = async ({ stores }: Dealer, name: string): Promise<Outcome> => {
  if ((await stores.target.get({ name })) === undefined)
    throw new CommandError('NotFound', `The target ${name} is not paused`, {
      hint: 'See w3fil ops target list.',
    })
  await stores.target.removeMany([{ name }])
  return {
    result: { target: name, resumed: true },
    lines: [
      `${name} gets orders again. Stuck ones are tried again within 6 hours, or now with w3fil ops order retry.`,
    ],
  }
}

/** Shows the last check of each target: until when its payer is funded, and when the key that signs expires. */
export const showFunds = async ({ stores, now }: Dealer): Promise<Outcome> => {
  const checks = (await readTargetChecks(stores)).toSorted((a, b) => (a.name < b.name ? -1 : 1))
  const isOld = ({ checkedAt }: HealthRecord) => now() - checkedAt > MAX_CHECK_AGE_MS
  const bad = checks.filter(check => !check.ok || isOld(check))
  return {
    result: { targets: checks.map(check => ({ ...describeCheck(check), isOld: isOld(check) })) },
    lines:
      checks.length === 0
        ? ['The dealer has checked no target: it has none, or its schedule check did not run yet.']
        : checks.flatMap(check => [
            `${check.subject}: ${check.ok ? 'ok' : (check.problem ?? 'failed')} since ${time(check.since)} UTC, checked ${time(check.checkedAt)} UTC`,
            `  ${check.message}`,
            ...(isOld(check)
              ? ['  This check is old: the schedule check of the dealer does not run, or fails. See its log.']
              : []),
          ]),
    ...(bad.length > 0 && {
      error: new CommandError(
        'NeedsOperator',
        `${bad.length} of ${checks.length} targets need an operator: ${bad.map(({ subject }) => subject).join(', ')}`,
      ),
    }),
  }
}

const describeCheck = ({ subject, ok, problem, message, since, checkedAt }: Stored<HealthRecord>) => ({
  target: subject,
  ok,
  problem,
  message,
  since,
  checkedAt,
})
