#!/usr/bin/env node
import { join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { UserError } from '@w3filecoin/runtime/user-error'
import { parseOptions } from '../options.ts'
import { wrap } from '../text.ts'

const HELP = `Runs the whole W3 Filecoin system on this machine and takes files to a Filecoin
deal.

  npm start -- [options]

  --once           stop after the journey; exit code 0 if every file was read
                   and has a deal
  --no-journey     only serve: take no files to a deal
  --files DIR      take the files of this directory (default: samples/); hidden
                   files and symbolic links are skipped
  --data DIR       keep all data in this directory; the next start continues
                   from it (default: .w3filecoin/)
  --engine NAME    keep the tables in sqlite, or in dynamodb, an engine for
                   DynamoDB (Linux x64 only) (default: sqlite)
  --port BASE      listen on port BASE (storage providers' stand-in), BASE+1
                   (storefront), BASE+2 (aggregator), BASE+3 (dealer), BASE+4
                   (deal tracker) and BASE+5 (uploads) (default: 4000; 0: any
                   free ports)
  --fault FILE     storage providers reject this file: it fails, and the other
                   pieces of its aggregate are retried; may be repeated
  --timeout SEC    fail the remaining files after this many seconds without
                   progress (default: 180)
  --json           print one JSON line per event
  -h, --help       print this help

Everything listens on 127.0.0.1 only. DATA/local.json has the addresses,
DATA/keys.json the private keys, and DATA/logs/ the services' logs.
npm run ops shows dead letters. Ctrl-C stops; a second Ctrl-C stops at once.
`

const SAMPLES = fileURLToPath(new URL('../../../../samples/', import.meta.url))

/** The user's working directory; npm changes it. */
const cwd = process.env.npm_lifecycle_event === 'start' ? (process.env.INIT_CWD ?? '.') : '.'

const readOptions = () => {
  const { values } = parseOptions('start', {
    options: {
      once: { type: 'boolean', default: false },
      'no-journey': { type: 'boolean', default: false },
      files: { type: 'string' },
      data: { type: 'string' },
      engine: { type: 'string', default: 'sqlite' },
      port: { type: 'string', default: '4000' },
      fault: { type: 'string', multiple: true, default: [] },
      timeout: { type: 'string', default: '180' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  })
  const port = Number(values.port)
  if (!(Number.isInteger(port) && port >= 0 && port <= 65_535 - 5))
    throw new UserError(`--port must be a whole number from 0 to ${65_535 - 5}, not ${values.port}`)
  const seconds = Number(values.timeout)
  if (!(seconds > 0))
    throw new UserError(`--timeout must be a number of seconds above 0, not ${values.timeout}`)
  const { engine } = values
  if (engine !== 'sqlite' && engine !== 'dynamodb')
    throw new UserError(`--engine must be sqlite or dynamodb, not ${engine}`)
  if (values.once && values['no-journey']) throw new UserError('--once cannot be combined with --no-journey')
  return {
    ...values,
    engine: engine as 'sqlite' | 'dynamodb',
    port,
    patienceMs: seconds * 1000,
    files: values.files === undefined ? SAMPLES : resolve(cwd, values.files),
    data: values.data === undefined ? resolve('.w3filecoin') : resolve(cwd, values.data),
    journey: !values['no-journey'],
  }
}

/** Shortens a path inside the working directory. */
const shortenPath = (path: string): string => {
  const short = relative(process.cwd(), path)
  return short !== '' && !short.startsWith('..') ? short : path
}

const run = async (): Promise<number> => {
  const options = readOptions()
  if (options.help) {
    process.stdout.write(HELP)
    return 0
  }
  const { findFiles, identify } = await import('./content.ts')
  const { files, skipped } = options.journey ? await findFiles(options.files) : { files: [], skipped: [] }
  for (const name of options.fault)
    if (!files.some(file => file.name === name))
      throw new UserError(
        `The journey has no file ${name}. Pass --fault a path relative to the --files directory.`,
      )
  const { createDisplay, tally, toEntry } = await import('./display.ts')
  const display = createDisplay(process.stdout, { json: options.json, dumb: process.env.TERM === 'dumb' })
  process.on('exit', () => display.close())
  const stop = new AbortController()
  const crash = (error: Error) => stop.abort(error)
  const interrupt = () => {
    if (stop.signal.aborted) process.exit(130)
    stop.abort(new Interrupted())
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, interrupt)
  // The reader of the output is gone.
  process.stdout.on('error', interrupt)

  const began = performance.now()
  display.starting(shortenPath(options.data))
  try {
    const { startLocal, writePrivateFile } = await import('@w3filecoin/local')
    const faulty = files.filter(({ name }) => options.fault.includes(name))
    const pieces = faulty.map(async file => {
      const { piece } = await identify(file, { onProgress: () => {}, signal: stop.signal })
      return `${piece}`
    })
    const local = await startLocal({
      data: options.data,
      engine: options.engine,
      port: options.port,
      faulty: await Promise.all(pieces),
      onCrash: crash,
    })
    try {
      stop.signal.throwIfAborted()
      const { services, agent, market } = local
      display.ready({
        services,
        agent: agent.did,
        market: market.url,
        data: shortenPath(options.data),
        tookMs: performance.now() - began,
      })
      let failed = 0
      if (options.journey) {
        const { Journey } = await import('./journey.ts')
        const proofs = join(options.data, 'proofs')
        const journey = new Journey({
          files,
          proofs,
          local,
          patienceMs: options.patienceMs,
          signal: stop.signal,
          onProgress: trip => display.progress(trip),
        })
        display.found(shortenPath(options.files), journey.trips, skipped)
        await journey.travel()
        const details = join(options.data, 'journey.json')
        writePrivateFile(details, `${JSON.stringify(journey.trips.map(toEntry), null, 2)}\n`)
        display.finished(journey.trips, { details: shortenPath(details), proofs: shortenPath(proofs) })
        failed = tally(journey.trips).failed + skipped.filter(({ reason }) => reason === 'unreadable').length
      }
      if (options.once) return failed > 0 ? 1 : 0
      await rejectOnAbort(stop.signal)
    } finally {
      if (!options.once || stop.signal.aborted) display.stopping()
      await local.stop()
    }
  } catch (cause) {
    const reason = stop.signal.aborted ? stop.signal.reason : cause
    if (reason instanceof Interrupted) return options.once ? 130 : 0
    throw reason
  }
  return 0
}

/** The user stops the system. */
class Interrupted extends Error {}

/** Keeps the process alive until the signal aborts, then rejects with its reason. */
const rejectOnAbort = (signal: AbortSignal): Promise<never> =>
  new Promise((_, reject) => {
    // A pending promise does not keep the process alive.
    const alive = setInterval(() => {}, 2 ** 30)
    const end = () => {
      clearInterval(alive)
      reject(signal.reason)
    }
    if (signal.aborted) end()
    else signal.addEventListener('abort', end, { once: true })
  })

try {
  process.exitCode = await run()
} catch (cause) {
  process.exitCode = 1
  const lines =
    cause instanceof UserError
      ? wrap(`w3filecoin: ${cause.message}`, process.stderr.columns ?? Infinity)
      : [`w3filecoin: ${(cause as Error).stack ?? cause}`]
  process.stderr.write(`${lines.join('\n')}\n`)
}
process.exit()
