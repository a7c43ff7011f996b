#!/usr/bin/env node
import { resolve } from 'node:path'
import { UserError } from '@w3filecoin/service/user-error'
import { parseOptions } from '../options.ts'
import { wordsOf } from './failure.ts'

const HELP = `Looks after a system: the one that runs on this machine, or a deployed stage.

  npm run ops -- dlq [options]        shows the messages that were given up, and why
  npm run ops -- reconcile [options]  shows the unfinished records that nobody looks at in time

dlq: a message that failed at all its attempts is in the dead-letter queue of its queue, with the reason and the line
of code. With --send each goes back to its queue and then from here; cut in between, it may be sent twice, which does
no harm. Without --send nothing changes: what was looked at is there for others again in a second.

reconcile: whether a message for a record is in a queue can not be asked. What counts is whether somebody will look at
it: every unfinished record has a time for that, and a sweep comes by each minute. This reads whole tables, not the
index that sweeps go by, and shows records that have no such time, or are overdue by more than --overdue. With --send
they get the message that the sweep would send, and a time to be looked at. While sweeps run, there should be none.
With --all it shows every unfinished record, whether or not somebody will look at it, and with --send sends the message
of each now: after a queue was lost, that is faster than waiting. A message that is there already does no harm.

  --data DIR       the local system with its data there, as npm start has it (default: .w3filecoin/)
  --stage STAGE    a deployed stage; account and region are those that the AWS SDK finds (AWS_PROFILE, AWS_REGION, …)
  --service NAME   only storefront, aggregator, dealer or deal-tracker
  --queue NAME     only this queue, as in submit or pieceOffer (dlq)
  --all            every unfinished record, also those that somebody will look at (reconcile)
  --overdue SEC    how late the sweep may be (reconcile; default: 300)
  --limit N        the most letters of one queue, or records of one table (default: 100)
  --send           does something about them
  --json           prints one JSON line for each, and nothing else
  -h, --help       prints this

Exit code: 0 if there are none, or all were sent; 2 if there are some; 1 if it could not be done, or not everywhere.
`

/** The most records or letters that are held at once. */
const MOST = 10_000

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
      limit: { type: 'string', default: '100' },
      send: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  })
  const [command, ...rest] = positionals
  if (values.help) return undefined
  if (command !== 'dlq' && command !== 'reconcile')
    throw new UserError(
      command === undefined
        ? 'Say dlq or reconcile; --help says what they do'
        : `There is no ${command}; there are dlq and reconcile`,
    )
  if (rest.length > 0) throw new UserError(`${command} does not take ${rest.join(' ')}`)
  if (values.queue !== undefined && command === 'reconcile') throw new UserError('--queue is for dlq')
  if (values.all && command === 'dlq') throw new UserError('--all is for reconcile')
  if (values.overdue !== undefined && command === 'dlq') throw new UserError('--overdue is for reconcile')
  if (values.stage !== undefined && values.data !== undefined)
    throw new UserError('Either --data or --stage: a system is here or there')
  const limit = Number(values.limit)
  if (!(Number.isInteger(limit) && limit > 0 && limit <= MOST))
    throw new UserError(`--limit takes a number from 1 to ${MOST}, not ${values.limit}`)
  const overdue = Number(values.overdue ?? 300)
  if (!(overdue >= 0)) throw new UserError(`--overdue takes a number of seconds, not ${values.overdue}`)
  return { ...values, command, limit, grace: overdue * 1000 }
}

/** Where the command was typed; npm changes the directory. */
const here = process.env.npm_lifecycle_event === 'ops' ? (process.env.INIT_CWD ?? '.') : '.'

const run = async (): Promise<number> => {
  const options = readOptions()
  const print = (text: string) => process.stdout.write(text)
  if (options === undefined) {
    print(HELP)
    return 0
  }
  const { localTarget, stageTarget } = await import('./target.ts')
  const { queuesNamed, servicesNamed } = await import('./services.ts')
  const { Display, failureLine, letterLine, recordLine } = await import('./display.ts')
  const services = servicesNamed(options.service)
  const queues = queuesNamed(services, options.queue)
  const target =
    options.stage === undefined
      ? localTarget(options.data === undefined ? resolve('.w3filecoin') : resolve(here, options.data))
      : stageTarget(options.stage)
  // The AWS SDK finds endpoints, region and credentials there; here nothing that the machine may know of AWS counts.
  if (options.stage === undefined)
    for (const name of Object.keys(process.env)) if (name.startsWith('AWS_')) delete process.env[name]
  Object.assign(process.env, target.env)

  const { json, all, send, limit, grace } = options
  const display = new Display(json ? () => {} : print)
  const line = (value: object) => json && print(`${JSON.stringify(value)}\n`)
  /** Some were found, and are still there. */
  let some = false
  let failed = false

  if (options.command === 'dlq') {
    const { SQSClient } = await import('@aws-sdk/client-sqs')
    const { deadLetters } = await import('./dlq.ts')
    const client = new SQSClient({})
    const reports = []
    for await (const report of deadLetters({ target, client, queues, send, limit })) {
      reports.push(report)
      display.queue(report)
      for (const letter of report.letters) line(letterLine(report, letter, send))
      if (report.failed !== undefined) line(failureLine(report))
      failed ||= report.failed !== undefined
      some ||= report.left + report.again > 0 || (!send && report.letters.length > 0)
    }
    display.queues(reports, { send, limit })
  } else {
    const { DynamoDBClient } = await import('@aws-sdk/client-dynamodb')
    const { DynamoDBDocumentClient } = await import('@aws-sdk/lib-dynamodb')
    const { reconcile } = await import('./reconcile.ts')
    const dynamodb = DynamoDBDocumentClient.from(new DynamoDBClient({}))
    const reports = []
    const how = { target, dynamodb, services, all, send, grace, limit, now: Date.now }
    for await (const report of reconcile(how)) {
      reports.push(report)
      display.table(report)
      for (const record of report.found) line(recordLine(report, record, send))
      some ||=
        report.more ||
        report.found.some(({ understood }) => !understood) ||
        // What has no end is shown with --all, but nothing is amiss.
        (!send && (all ? report.unfinished : report.found.length) > 0)
    }
    display.tables(reports, { send, all })
  }
  return failed ? 1 : some ? 2 : 0
}

// Whoever read the output is gone: nobody is left to tell anything.
process.stdout.on('error', () => process.exit(1))
try {
  process.exitCode = await run()
} catch (cause) {
  process.exitCode = 1
  process.stderr.write(`w3filecoin: ${wordsOf(cause)}\n`)
}
