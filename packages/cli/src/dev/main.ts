#!/usr/bin/env node
import { writeFileSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { UserError } from '@w3filecoin/service/user-error'
import { parseOptions } from '../options.ts'

const HELP = `Runs the whole W3 Filecoin system on this machine, and takes files all the way to a Filecoin deal.

  npm start -- [options]

  --once           take the files through, then stop; exit code 0 if every one arrived
  --no-journey     take no files through, just serve
  --files DIR      the files to take through (default: samples/)
  --data DIR       where everything is kept; the next start goes on from there (default: .w3filecoin/)
  --port BASE      the storage providers' stand-in takes port BASE, the services take BASE+1 (storefront),
                   BASE+2 (aggregator), BASE+3 (dealer) and BASE+4 (deal tracker) (default: 4000; 0: any)
  --fault FILE     storage providers find fault with this file: it fails, and what shares an aggregate with it is
                   tried again; may be given more than once
  --timeout SEC    give up when nothing has moved for so many seconds (default: 180)
  --json           print one JSON line an event
  -h, --help       print this

Everything listens on 127.0.0.1 only. Addresses and keys are in DATA/local.json, the services' logs in
DATA/logs/. npm run ops shows messages that were given up. Ctrl-C stops; a second one stops at once.
`

const SAMPLES = fileURLToPath(new URL('../../../../samples/', import.meta.url))

/** Where the command was typed; npm changes the directory. */
const here = process.env.npm_lifecycle_event === 'start' ? (process.env.INIT_CWD ?? '.') : '.'

const readOptions = () => {
  const { values } = parseOptions('start', {
    options: {
      once: { type: 'boolean', default: false },
      'no-journey': { type: 'boolean', default: false },
      files: { type: 'string' },
      data: { type: 'string' },
      port: { type: 'string', default: '4000' },
      fault: { type: 'string', multiple: true, default: [] },
      timeout: { type: 'string', default: '180' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  })
  const port = Number(values.port)
  if (!(Number.isInteger(port) && port >= 0 && port <= 65_535 - 4))
    throw new UserError(`--port takes a number from 0 to ${65_535 - 4}, not ${values.port}`)
  const seconds = Number(values.timeout)
  if (!(seconds > 0)) throw new UserError(`--timeout takes a number of seconds, not ${values.timeout}`)
  if (values.once && values['no-journey']) throw new UserError('--once has nothing to do with --no-journey')
  return {
    ...values,
    port,
    patience: seconds * 1000,
    files: values.files === undefined ? SAMPLES : resolve(here, values.files),
    data: values.data === undefined ? resolve('.w3filecoin') : resolve(here, values.data),
    journey: !values['no-journey'],
  }
}

/** A path as a person would type it here. */
const shown = (path: string): string => {
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
  const files = options.journey ? await findFiles(options.files) : []
  for (const name of options.fault)
    if (!files.some(file => file.name === name))
      throw new UserError(`--fault takes the name of a file to take through, not ${name}`)
  const { createDisplay, record, tally } = await import('./display.ts')
  const display = createDisplay(process.stdout, { json: options.json, dumb: process.env.TERM === 'dumb' })
  process.on('exit', () => display.close())
  const stop = new AbortController()
  const crash = (error: Error) => stop.abort(error)
  const interrupt = () => {
    if (stop.signal.aborted) process.exit(130)
    stop.abort(new Interrupted())
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, interrupt)
  // Whoever read the output is gone: nobody is left to tell anything.
  process.stdout.on('error', interrupt)

  const began = performance.now()
  display.starting(shown(options.data))
  try {
    const { startLocal } = await import('@w3filecoin/local')
    const faulty = files.filter(({ name }) => options.fault.includes(name))
    const pieces = faulty.map(async file => {
      const { piece } = await identify(file, { onProgress: () => {}, signal: stop.signal })
      return `${piece}`
    })
    const local = await startLocal({
      data: options.data,
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
        data: shown(options.data),
        took: performance.now() - began,
      })
      let failed = 0
      if (options.journey) {
        const { Journey } = await import('./journey.ts')
        const journey = new Journey({
          files,
          local,
          patience: options.patience,
          signal: stop.signal,
          onProgress: trip => display.progress(trip),
        })
        display.found(shown(options.files), journey.trips)
        await journey.travel()
        const details = join(options.data, 'journey.json')
        writeFileSync(details, `${JSON.stringify(journey.trips.map(record), null, 2)}\n`)
        display.finished(journey.trips, shown(details))
        failed = tally(journey.trips).failed
      }
      if (options.once) return failed > 0 ? 1 : 0
      await aborted(stop.signal)
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

/** Somebody wants it to stop. */
class Interrupted extends Error {}

const aborted = (signal: AbortSignal): Promise<never> =>
  new Promise((_, reject) => {
    // Waiting for a signal keeps no process alive.
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
  process.stderr.write(
    `w3filecoin: ${cause instanceof UserError ? cause.message : ((cause as Error).stack ?? cause)}\n`,
  )
}
process.exit()
