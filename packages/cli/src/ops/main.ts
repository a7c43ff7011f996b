#!/usr/bin/env node
import { resolve } from 'node:path'
import { UserError } from '@w3filecoin/runtime/user-error'
import { parseOptions } from '../options.ts'
import { describeError } from './describe-error.ts'

const HELP = `Finds and resends stuck work, and seals groups: of the system on this machine, or of a deployed stage.

  npm run ops -- dlq [options]        shows the dead letters of every queue, with the reason
  npm run ops -- reconcile [options]  shows the unfinished records that no sweep checks in time, or that need an operator
  npm run ops -- seal GROUP [options] seals a group that waits below its minimum

dlq: a message that failed all its attempts is in the dead-letter queue of its queue, with the reason and the line of
code. With --send, each is sent to its queue again and then deleted here. If that is interrupted, a message may be sent
twice, which does no harm. Without --send nothing changes: the letters are visible to others again after a second.

reconcile: SQS cannot say whether it has a message for a record. But every unfinished record has a time of its next
check, and a sweep runs each minute. This command scans whole tables, not the index that sweeps read, and shows records
without such a time, records overdue by more than --overdue, and records whose time lies so far ahead that a wrong clock
has set it. With --send they get the message that the sweep would send, and a new time. While sweeps run, there should be
none. It also shows aggregates that the dealer can neither accept nor fail after their deadline, with the reason: the deal
tracker must see the chain again, or an operator must report them to the dealer's queue report. With --all it shows every
unfinished record, also those
that are not overdue, and with --send sends the message of each now: after the loss of a queue, that is faster than
waiting. A duplicate of a message does no harm.

seal: a group below its minimum (minPaddedBytes) waits for more pieces, however long. This command has the aggregator make
one aggregate of the pieces that the group has now. Every aggregate costs a deal.

  --data DIR       the local system of this data directory, as in npm start (default: .w3filecoin/)
  --stage STAGE    a deployed stage, in the account and region that the AWS SDK finds (AWS_PROFILE, AWS_REGION, …)
  --service NAME   only this service: storefront, aggregator, dealer or deal-tracker
  --queue NAME     only this queue, e.g. submit or aggregation (dlq)
  --all            every unfinished record, also those that are not overdue (reconcile)
  --overdue SEC    tolerate checks that are late by this many seconds (reconcile; default: 300)
  --limit N        at most this many letters of each queue, or records of each table (default: 100)
  --storefront DID the storefront of the group, if several have a group of this name (seal)
  --send           send the messages; without it, nothing changes (dlq, reconcile)
  --json           print one JSON line per letter, record or seal, and nothing else
  -h, --help       print this help

Exit code: 0 if nothing was found, or everything was sent or requested; 2 if something was found; 1 if the command failed,
or failed for some queues.
`

/** Letters or records held in memory. */
const MAX_LIMIT = 10_000
const DEFAULT_LIMIT = 100

const readOptions = () => {
  const { values, positionals } = parseOptions('ops', {
    allowPositionals: true,
    options: {
      data: { type: 'string' },
      stage: { type: 'string' },
      service: { type: 'string' },
      queue: { type: 'string' },
      all: { type: 'boolean', default: false },
      overdue: { type: 'string' },
      limit: { type: 'string' },
      storefront: { type: 'string' },
      send: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  })
  const [command, ...rest] = positionals
  if (values.help) return undefined
  if (command === undefined) throw new UserError('Missing command: dlq, reconcile or seal (see --help)')
  if (command !== 'dlq' && command !== 'reconcile' && command !== 'seal')
    throw new UserError(`Unknown command: ${command}. Use dlq, reconcile or seal (see --help).`)
  const group = command === 'seal' ? (rest.shift() ?? '') : ''
  if (command === 'seal' && group === '')
    throw new UserError('Missing name of the group to seal (see --help)')
  if (rest.length > 0)
    throw new UserError(
      `Unexpected arguments after ${`${command} ${group}`.trim()}: ${rest.join(' ')} (see --help)`,
    )
  const worksOnlyWith = (option: string, isSet: boolean, ...commands: string[]) => {
    if (isSet && !commands.includes(command))
      throw new UserError(`--${option} works only with ${commands.join(' and ')}`)
  }
  worksOnlyWith('queue', values.queue !== undefined, 'dlq')
  worksOnlyWith('all', values.all, 'reconcile')
  worksOnlyWith('overdue', values.overdue !== undefined, 'reconcile')
  worksOnlyWith('service', values.service !== undefined, 'dlq', 'reconcile')
  worksOnlyWith('limit', values.limit !== undefined, 'dlq', 'reconcile')
  worksOnlyWith('send', values.send, 'dlq', 'reconcile')
  worksOnlyWith('storefront', values.storefront !== undefined, 'seal')
  if (values.stage !== undefined && values.data !== undefined)
    throw new UserError('--data cannot be combined with --stage')
  const limit = Number(values.limit ?? DEFAULT_LIMIT)
  if (!(Number.isInteger(limit) && limit > 0 && limit <= MAX_LIMIT))
    throw new UserError(`--limit must be a whole number from 1 to ${MAX_LIMIT}, not ${values.limit}`)
  const overdue = Number(values.overdue ?? 300)
  if (!(overdue >= 0))
    throw new UserError(`--overdue must be a number of seconds from 0, not ${values.overdue}`)
  return { ...values, command, group, limit, graceMs: overdue * 1000 }
}

/** The user's working directory; npm changes it. */
const cwd = process.env.npm_lifecycle_event === 'ops' ? (process.env.INIT_CWD ?? '.') : '.'

const run = async (): Promise<number> => {
  const options = readOptions()
  const print = (text: string) => process.stdout.write(text)
  if (options === undefined) {
    print(HELP)
    return 0
  }
  const { localTarget, stageTarget } = await import('./target.ts')
  const { findQueues, findServices } = await import('./services.ts')
  const { Display, failureLine, letterLine, recordLine } = await import('./display.ts')
  const services = findServices(options.service)
  const queues = findQueues(services, options.queue)
  const target =
    options.stage === undefined
      ? localTarget(options.data === undefined ? resolve('.w3filecoin') : resolve(cwd, options.data))
      : stageTarget(options.stage)
  // The AWS SDK reads these variables. For the local system, ignore the AWS configuration of this machine.
  if (options.stage === undefined)
    for (const name of Object.keys(process.env)) if (name.startsWith('AWS_')) delete process.env[name]
  Object.assign(process.env, target.env)

  const { json, all, send, limit, graceMs } = options
  const display = new Display(json ? () => {} : print)
  const line = (value: object) => json && print(`${JSON.stringify(value)}\n`)
  /** Whether some were found and are still there. */
  let found = false
  let failed = false

  if (options.command === 'dlq') {
    const { SQSClient } = await import('@aws-sdk/client-sqs')
    const { readDeadLetters } = await import('./dlq.ts')
    const client = new SQSClient({})
    const reports = []
    for await (const report of readDeadLetters({ target, client, queues, send, limit })) {
      reports.push(report)
      display.queue(report)
      for (const letter of report.letters) line(letterLine(report, letter, send))
      if (report.failed !== undefined) line(failureLine(report))
      failed ||= report.failed !== undefined
      found ||= report.left + report.again > 0 || (!send && report.letters.length > 0)
    }
    display.queues(reports, { send, limit })
    return failed ? 1 : found ? 2 : 0
  }
  const { openTables } = await import('@w3filecoin/aws')
  const tables = await openTables(target.env)
  if (options.command === 'seal') {
    const { sealGroup } = await import('./seal.ts')
    const { group, storefront } = options
    const request = await sealGroup({ target, tables, group, storefront, now: Date.now })
    display.seal(request)
    line(request)
  } else {
    const { reconcile } = await import('./reconcile.ts')
    const reports = []
    const settings = { target, tables, services, all, send, graceMs, limit, now: Date.now }
    for await (const report of reconcile(settings)) {
      reports.push(report)
      display.table(report)
      for (const record of report.found) line(recordLine(report, record, send))
      found ||=
        report.more ||
        report.found.some(({ valid }) => !valid) ||
        // With --all, endless records are shown, but they do not count as unfinished.
        (!send && (all ? report.unfinished : report.found.length) > 0)
    }
    display.tables(reports, { send, all })
  }
  return found ? 2 : 0
}

// The reader of the output is gone.
process.stdout.on('error', () => process.exit(1))
try {
  process.exitCode = await run()
} catch (cause) {
  process.exitCode = 1
  process.stderr.write(`w3filecoin: ${describeError(cause)}\n`)
}
