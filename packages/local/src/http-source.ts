import { randomUUID } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { Log } from '@w3filecoin/runtime'
import type { FunctionSpec } from '@w3filecoin/runtime/resources'
import pLimit from 'p-limit'
import { httpAnswer, httpEvent } from './events.ts'
import { type EventSource, invoke, type LambdaFunction } from './invoke.ts'
import { listen } from './listen.ts'

/** Payload limits of API Gateway and of Lambda. */
const MAX_BODY_BYTES = 10 * 1024 * 1024
const MAX_EVENT_BYTES = 6 * 1024 * 1024
/** A request that is too large is read up to this size, then its connection is closed. */
const MAX_IGNORED_BYTES = 10 * MAX_BODY_BYTES
/** Requests that are handled concurrently. The others wait, and their bodies are not read meanwhile. */
const MAX_CONCURRENCY = 32

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
  const limit = pLimit(MAX_CONCURRENCY)
  const timeouts = {
    headersTimeout: MAX_HEADERS_MS,
    requestTimeout: MAX_REQUEST_MS,
    connectionsCheckingInterval: CHECK_INTERVAL_MS,
  }
  const server = createServer(timeouts, (request, response) => {
    void limit(async () => answer(await api, request, response))
  })
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

const answer = async (
  { name, run, spec, log }: Api,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> => {
  const say = (status: number, message: string) =>
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify({ message }))
  if (!isTarget(request.url)) return void say(400, 'Bad Request')
  try {
    const body = await bodyOf(request)
    const event = body && httpEvent(request, body, { requestId: randomUUID(), time: new Date() })
    if (event === undefined || (event.body?.length ?? 0) > MAX_EVENT_BYTES)
      return void say(413, 'Request Too Long')
    const { status, headers, body: bytes } = httpAnswer(await invoke(name, run, event, spec))
    if (bytes.byteLength > MAX_EVENT_BYTES) throw new Error(`${name} answered with ${bytes.byteLength} bytes`)
    response.writeHead(status, { ...headers, 'content-length': bytes.byteLength })
    response.end(request.method === 'HEAD' ? undefined : bytes)
  } catch (cause) {
    // The client disconnected, was too slow, or sent too much: close without a response.
    if (!request.complete) return void log('warn', 'request cut', { method: request.method, cause })
    log('error', 'request failed', { method: request.method, path: request.url, cause })
    if (response.headersSent) response.destroy()
    else say(500, 'Internal Server Error')
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

/** Reads the body; returns `undefined` if it is too large. Reads it to the end all the same: otherwise many clients do not read the response. */
const bodyOf = async (request: IncomingMessage): Promise<Uint8Array | undefined> => {
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of request as AsyncIterable<Uint8Array>) {
    bytes += chunk.byteLength
    if (bytes <= MAX_BODY_BYTES) chunks.push(chunk)
    else if (bytes > MAX_IGNORED_BYTES) throw new Error(`A request has more than ${MAX_IGNORED_BYTES} bytes`)
    else chunks.length = 0
  }
  return bytes <= MAX_BODY_BYTES ? Buffer.concat(chunks) : undefined
}
