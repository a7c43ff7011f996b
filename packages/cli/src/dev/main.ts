import { join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { DealWay } from '@w3filecoin/local'
import { UserError } from '@w3filecoin/runtime/user-error'

const SAMPLES = fileURLToPath(new URL('../../../../samples/', import.meta.url))

/** The user's working directory; npm changes it. */
const cwd = process.env.npm_lifecycle_event === 'start' ? (process.env.INIT_CWD ?? '.') : '.'

export interface DevOptions {
  once?: boolean
  /** Whether to have files stored. */
  journey: boolean
  files?: string
  data?: string
  engine: 'sqlite' | 'dynamodb'
  /** How files are stored. */
  deals: DealWay
  port: number
  fault: string[]
  /** Seconds without progress. */
  timeout: number
  json?: boolean
  /** The DID of the user's key: it may ask the deal tracker, too. */
  user?: string | undefined
}

/** Shortens a path inside the working directory. */
const shortenPath = (path: string): string => {
  const short = relative(process.cwd(), path)
  return short !== '' && !short.startsWith('..') ? short : path
}

/** Runs the local system. Resolves with the exit code. */
export const dev = async ({
  files: directory,
  data,
  once = false,
  json = false,
  timeout,
  user,
  ...others
}: DevOptions): Promise<number> => {
  const options = {
    ...others,
    once,
    json,
    patienceMs: timeout * 1000,
    files: directory === undefined ? SAMPLES : resolve(cwd, directory),
    data: data === undefined ? resolve('.w3filecoin') : resolve(cwd, data),
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
    const { buildPage } = await import('@w3filecoin/page/build')
    const page = join(options.data, 'page')
    const faulty = files.filter(({ name }) => options.fault.includes(name))
    const pieces = faulty.map(async file => {
      const { piece } = await identify(file, { onProgress: () => {}, signal: stop.signal })
      return `${piece}`
    })
    const local = await startLocal({
      data: options.data,
      engine: options.engine,
      deals: options.deals,
      port: options.port,
      page,
      faulty: await Promise.all(pieces),
      configure: (role, config) =>
        role === 'dealTracker' && user !== undefined
          ? { ...config, clients: [...config.clients, { did: user }] }
          : config,
      onCrash: crash,
    })
    try {
      await buildPage(page)
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
        display.finished(journey.trips, {
          details: shortenPath(details),
          proofs: shortenPath(proofs),
          askedChain:
            market.rpc !== undefined && journey.trips.every(({ place }) => place?.type !== 'market'),
        })
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
