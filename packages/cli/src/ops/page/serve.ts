import { timingSafeEqual } from 'node:crypto'
import { mkdtempDisposableSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { serve } from '@hono/node-server'
import { addWebPage, openWebPage, type WebPage } from '@w3filecoin/runtime'
import { Hono } from 'hono'
import { describeError } from '../describe-error.ts'
import { readStatus, type Status } from '../status.ts'
import { readTimes, type Times } from './times.ts'

/**
 * The answer of `GET /status`: the state of the services, and how long pieces took. Times are in milliseconds since 1970.
 *
 * @example { at: 1793836800000, status: { attention: [], stages: [], … }, times: [{ from: 'offered', to: 'accepted', … }] }
 */
export interface PageStatus {
  at: number
  status: Status
  times: Times[]
}

/** Pages that are open share one reading, and that of the sample, for this long. */
const STATUS_MS = 10_000
const TIMES_MS = 600_000

type StatusOptions = Parameters<typeof readStatus>[0]

/** Creates the HTTP application: the files of the page are public, the status needs the key. */
export const createPageApp = ({
  key,
  page,
  now,
  read,
}: {
  key: string
  page: WebPage
  now: () => number
  read: { status: () => Promise<Status>; times: () => Promise<Times[]> }
}): Hono => {
  const app = new Hono()
  addWebPage(app, page)
  const status = remember(read.status, STATUS_MS, now)
  const times = remember(read.times, TIMES_MS, now)
  app.get('/status', async context => {
    context.header('cache-control', 'no-store')
    const given = Buffer.from(context.req.header('authorization') ?? '')
    const expected = Buffer.from(`Bearer ${key}`)
    if (given.length !== expected.length || !timingSafeEqual(given, expected))
      return context.json({ message: 'The key is missing, or it is that of an earlier start' }, 401)
    try {
      const [state, sample] = await Promise.all([status(), times()])
      return context.json({ at: now(), status: state, times: sample } satisfies PageStatus)
    } catch (cause) {
      return context.json({ message: describeError(cause) }, 500)
    }
  })
  return app
}

/** Shares the result of a reading for some time. A failed one is not kept. */
const remember = <T>(read: () => Promise<T>, forMs: number, now: () => number): (() => Promise<T>) => {
  let kept: { at: number; result: Promise<T> } | undefined
  return () => {
    if (kept === undefined || now() - kept.at >= forMs) {
      const reading = { at: now(), result: read() }
      reading.result.catch(() => {
        if (kept === reading) kept = undefined
      })
      kept = reading
    }
    return kept.result
  }
}

/**
 * Serves the operator's page on 127.0.0.1, until the signal aborts. Resolves with the exit code.
 *
 * @param options how the status is read, the key without which it is not shown, and the port (0: any free one)
 */
export const servePage = async ({
  key,
  port,
  stop,
  print,
  json = false,
  ...options
}: StatusOptions & {
  key: string
  port: number
  stop: AbortSignal
  print: (text: string) => void
  json?: boolean | undefined
}): Promise<number> => {
  const { buildPage } = await import('@w3filecoin/page/build')
  using directory = mkdtempDisposableSync(join(tmpdir(), 'w3filecoin-page-'))
  await buildPage(directory.path, 'operator')
  const app = createPageApp({
    key,
    page: openWebPage(directory.path),
    now: options.now,
    read: { status: () => readStatus(options), times: () => readTimes(options) },
  })
  await new Promise<void>((resolve, reject) => {
    const server = serve({ fetch: app.fetch, hostname: '127.0.0.1', port }, ({ port }) => {
      // Browsers do not send the part after #, so no log has the key.
      const url = `http://127.0.0.1:${port}/#${key}`
      print(json ? `${JSON.stringify({ url })}\n` : `The operator's page: ${url}\nCtrl-C stops.\n`)
    })
    server.on('error', reject)
    const close = () => {
      server.close(() => resolve())
      if ('closeAllConnections' in server) server.closeAllConnections()
    }
    if (stop.aborted) close()
    else stop.addEventListener('abort', close, { once: true })
  })
  return 0
}
