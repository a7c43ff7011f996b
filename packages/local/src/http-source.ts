import { randomUUID } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { Log } from '@w3filecoin/runtime'
import type { FunctionSpec } from '@w3filecoin/runtime/resources'
import pLimit, { type LimitFunction } from 'p-limit'
import { httpAnswer, httpEvent } from './events.ts'
import { type EventSource, invoke, type LambdaFunction } from './invoke.ts'
import { listen } from './listen.ts'

/** Payload limits of API Gateway and of Lambda. */
const MAX_BODY_BYTES = 10 * 1024 * 1024
const MAX_EVENT_BYTES = 6 * 1024 * 1024
/** A request that is too large is read up to this size, then its connection is closed. */
const MAX_IGNORED_BYTES = 10 * MAX_BODY_BYTES
/** Bytes of all bodies that are being read or wait for a run. The connection of a request beyond it is closed. */
const MAX_BUFFERED_BYTES = 32 * MAX_BODY_BYTES
/** Runs of the function at the same time. Further requests wait, with their bodies. */
const MAX_CONCURRENCY = 32

/**
 * A body must arrive at this speed on average, measured from some seconds after its headers. Slow senders hold a connection,
 * but no run of the function.
 */
const MIN_BYTES_PER_SECOND = 64 * 1024
const SPEED_GRACE_MS = 3_000

/** A request must arrive within this time: its headers, and all of it, as with API Gateway. */
const MAX_HEADERS_MS = 10_000
const MAX_REQUEST_MS = 30_000
const CHECK_INTERVAL_MS = 1_000
/** Open connections; further ones are closed. */
const MAX_CONNECTIONS = 1_000

/** The function behind the API. */
export interface Api {
  name: string
  run: LambdaFunction
  spec: FunctionSpec
  log: Log
}

export interface HttpSource extends EventSource {
  port: number
}

/**
 * A small API Gateway: passes every request to one function as an event. It listens at once, so that the port is
 * reserved, and answers when the function is loaded.
 */
export const serveHttp = async (port: number, api: Promise<Api>): Promise<HttpSource> => {
  const shared: Shared = { run: pLimit(MAX_CONCURRENCY), bufferedBytes: 0 }
  const timeouts = {
    headersTimeout: MAX_HEADERS_MS,
    requestTimeout: MAX_REQUEST_MS,
    connectionsCheckingInterval: CHECK_INTERVAL_MS,
  }
  const server = createServer(timeouts, (request, response) => void answer(api, shared, request, response))
  server.maxConnections = MAX_CONNECTIONS
  return {
    port: await listen(server, port),
    stop: () =>
      new Promise(resolve => {
        server.close(() => resolve())
        server.closeIdleConnections()
      }),
  }
}

/** The limits that all requests share. */
interface Shared {
  run: LimitFunction
  /** The bytes of all bodies in memory. */
  bufferedBytes: number
}

const answer = async (
  api: Promise<Api>,
  shared: Shared,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> => {
  const say = (status: number, message: string) =>
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify({ message }))
  if (!isTarget(request.url)) return void say(400, 'Bad Request')
  let heldBytes = 0
  const hold = (bytes: number) => {
    heldBytes += bytes
    shared.bufferedBytes += bytes
    if (shared.bufferedBytes > MAX_BUFFERED_BYTES)
      throw new Error(`The bodies of all requests have more than ${MAX_BUFFERED_BYTES} bytes`)
  }
  try {
    // Before a run is free: a slow sender must not keep others from running.
    const body = await readBody(request, hold)
    const event = body && httpEvent(request, body, { requestId: randomUUID(), time: new Date() })
    if (event === undefined || (event.body?.length ?? 0) > MAX_EVENT_BYTES)
      return void say(413, 'Request Too Long')
    const { name, run, spec } = await api
    const result = await shared.run(() => invoke(name, run, event, spec))
    const { status, headers, body: bytes } = httpAnswer(result)
    if (bytes.byteLength > MAX_EVENT_BYTES) throw new Error(`${name} answered with ${bytes.byteLength} bytes`)
    const isHead = request.method === 'HEAD'
    // The answer to HEAD has the length of a body that it does not have.
    const length = (isHead && Number(headers['content-length'])) || bytes.byteLength
    response.writeHead(status, { ...headers, 'content-length': length })
    response.end(isHead ? undefined : bytes)
  } catch (cause) {
    const { log } = await api
    // The client disconnected, was too slow, or sent too much: close without a response.
    if (!request.complete) return void log('warn', 'request cut', { method: request.method, cause })
    log('error', 'request failed', { method: request.method, path: request.url, cause })
    if (response.headersSent) response.destroy()
    else say(500, 'Internal Server Error')
  } finally {
    shared.bufferedBytes -= heldBytes
  }
}

/** Whether a request target is a valid path: events have it decoded. */
const isTarget = (target = '/'): boolean => {
  try {
    return decodeURIComponent(new URL(target, 'http://localhost').pathname) !== ''
  } catch {
    return false
  }
}

/**
 * Reads the body; returns `undefined` if it is too large. Reads it to the end all the same: otherwise many clients do not
 * read the response. Throws if it arrives too slowly.
 *
 * @param hold called with the bytes that stay in memory; throws if there are too many
 */
const readBody = async (
  request: IncomingMessage,
  hold: (bytes: number) => void,
): Promise<Uint8Array | undefined> => {
  const chunks: Uint8Array[] = []
  let bytes = 0
  const speedChecks = checkSpeed(request, () => bytes)
  try {
    for await (const chunk of request as AsyncIterable<Uint8Array>) {
      bytes += chunk.byteLength
      if (bytes <= MAX_BODY_BYTES) {
        hold(chunk.byteLength)
        chunks.push(chunk)
      } else if (bytes > MAX_IGNORED_BYTES)
        throw new Error(`A request has more than ${MAX_IGNORED_BYTES} bytes`)
      else chunks.length = 0
    }
  } finally {
    clearInterval(speedChecks)
  }
  return bytes <= MAX_BODY_BYTES ? Buffer.concat(chunks) : undefined
}

/**
 * Closes the connection of a request whose body was too slow at two checks in a row. One check is not enough: if the thread
 * was busy, it sees the time that has passed before it reads the bytes that have arrived.
 */
const checkSpeed = (request: IncomingMessage, receivedBytes: () => number): NodeJS.Timeout => {
  const began = performance.now()
  let wasSlow = false
  return setInterval(() => {
    const expectedBytes = ((performance.now() - began - SPEED_GRACE_MS) / 1000) * MIN_BYTES_PER_SECOND
    const isSlow = receivedBytes() < expectedBytes
    if (isSlow && wasSlow)
      request.destroy(new Error(`A body arrives at fewer than ${MIN_BYTES_PER_SECOND} bytes per second`))
    wasSlow = isSlow
  }, CHECK_INTERVAL_MS)
}
