import { resolve } from 'node:path'
import type { Context } from '../context.ts'
import { EXIT_CODES } from '../outcome.ts'

/** Options of `ops`, of which each command has some. */
export interface OpsOptions {
  command: 'dlq' | 'reconcile' | 'seal' | 'status' | 'doctor' | 'page'
  /** The group to seal. */
  group: string
  data?: string
  stage?: string
  service?: string
  queue?: string
  all?: boolean
  scan?: boolean
  segments?: number
  /** Seconds. */
  overdue?: number
  limit?: number
  storefront?: string
  send?: boolean
  /** Id of the message whose dead letter is dropped, and the file for its copy. */
  drop?: string
  copy?: string
  json?: boolean
  /** Whether the doctor offers a piece, as whom, and for how many seconds it follows the piece. */
  canary?: boolean
  key?: string
  with?: string
  delegation?: string[]
  wait?: number
  /** The port of the operator's page. 0: any free port. */
  port?: number
}

/** Finds, resends or seals. Resolves with the exit code. */
export const ops = async (options: OpsOptions, context: Context): Promise<number> => {
  const print = (text: string) => process.stdout.write(text)
  const { directoryOf, openTarget } = await import('./open-target.ts')
  const { findQueues, findServices } = await import('./services.ts')
  const { Display, failureLine, letterLine, recordLine } = await import('./display.ts')
  const services = findServices(options.service)
  const queues = findQueues(services, options.queue)
  const target = openTarget(options, process.env)

  const { json, all = false, send = false, limit = 100, overdue = 300 } = options
  const graceMs = overdue * 1000
  const display = new Display(json ? () => {} : print)
  const line = (value: object) => json && print(`${JSON.stringify(value)}\n`)
  /** Whether some were found and are still there. */
  let found = false
  let failed = false

  if (options.command === 'doctor') {
    const { doctor } = await import('./doctor/command.ts')
    return doctor({ ...options, target, services, print, now: Date.now }, context)
  }
  if (options.command === 'dlq') {
    const { SQSClient } = await import('@aws-sdk/client-sqs')
    const client = new SQSClient({})
    if (options.drop !== undefined) {
      const { dropLetter } = await import('./drop.ts')
      const { drop: message, copy = `${message}.dead-letter.json` } = options
      const dropped = await dropLetter({
        target,
        client,
        queues,
        message,
        copy: resolve(directoryOf(process.env), copy),
      })
      display.dropped(dropped)
      line({ ...dropped, dropped: true })
      return EXIT_CODES.done
    }
    const { readDeadLetters } = await import('./dlq.ts')
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
    return failed ? EXIT_CODES.failed : found ? EXIT_CODES.notYet : EXIT_CODES.done
  }
  const { openTables } = await import('@w3filecoin/aws')
  const tables = await openTables(target.env)
  if (options.command === 'page') {
    const { SQSClient } = await import('@aws-sdk/client-sqs')
    const { randomBytes } = await import('node:crypto')
    const { servePage } = await import('./page/serve.ts')
    const stop = new AbortController()
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => stop.abort())
    return servePage({
      target,
      tables,
      client: new SQSClient({}),
      services,
      limit,
      key: randomBytes(24).toString('base64url'),
      port: options.port ?? 0,
      stop: stop.signal,
      now: Date.now,
      print,
      json,
    })
  }
  if (options.command === 'status') {
    const { SQSClient } = await import('@aws-sdk/client-sqs')
    const { readStatus } = await import('./status.ts')
    const { statusLines } = await import('./status-display.ts')
    const now = Date.now
    const status = await readStatus({ target, tables, client: new SQSClient({}), services, limit, now })
    line(status)
    if (!json) print(`${statusLines(status, now(), process.stdout.columns).join('\n')}\n`)
    found = status.attention.length > 0
  } else if (options.command === 'seal') {
    const { sealGroup } = await import('./seal.ts')
    const { group, storefront } = options
    const request = await sealGroup({ target, tables, group, storefront, now: Date.now })
    display.seal(request)
    line(request)
  } else {
    const { reconcile } = await import('./reconcile.ts')
    const reports = []
    const segments = options.scan ? options.segments : undefined
    const settings = { target, tables, services, segments, all, send, graceMs, limit, now: Date.now }
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
  return found ? EXIT_CODES.notYet : EXIT_CODES.done
}
