import { randomUUID } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { Log } from '@w3filecoin/runtime'
import type { FunctionSpec } from '@w3filecoin/runtime/resources'
import pLimit from 'p-limit'
import { httpAnswer, httpEvent } from './events.ts'
import { type EventSource, invoke, type LambdaFunction } from './invoke.ts'
import { listen } from './listen.ts'

/** What API Gateway takes, and what Lambda does, in bytes. */
const MAX_BODY = 10 * 1024 * 1024
const MAX_EVENT = 6 * 1024 * 1024
/** How much of a request that is too large is read before the connection is cut. */
const MAX_IGNORED = 10 * MAX_BODY
/** Requests that are worked on at a time; others wait, and their bodies stay outside meanwhile. */
const CONCURRENCY = 32

/** Milliseconds that a request may take to arrive: its headers, and all of it, as API Gateway waits. */
const HEADERS_TIMEOUT = 10_000
const REQUEST_TIMEOUT = 30_000
/** How often connections are looked at for that. */
const LOOK = 1_000
/** Connections that are open at a time; more are cut. */
const MAX_CONNECTIONS = 1_000

/** The function behind the API, once it is there. */
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
 * API Gateway in small: every request becomes an event for one function. It listens at once, so that the port is
 * taken, and answers when the function is there.
 */
export const serveHttp = async (port: number, api: Promise<Api>): Promise<HttpSource> => {
  const limit = pLimit(CONCURRENCY)
  const timeouts = {
    headersTimeout: HEADERS_TIMEOUT,
    requestTimeout: REQUEST_TIMEOUT,
    connectionsCheckingInterval: LOOK,
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
    if (event === undefined || (event.body?.length ?? 0) > MAX_EVENT) return void say(413, 'Request Too Long')
    const { status, headers, body: bytes } = httpAnswer(await invoke(name, run, event, spec))
    if (bytes.byteLength > MAX_EVENT) throw new Error(`${name} answered with ${bytes.byteLength} bytes`)
    response.writeHead(status, { ...headers, 'content-length': bytes.byteLength })
    response.end(request.method === 'HEAD' ? undefined : bytes)
  } catch (cause) {
    // Who goes away, is too slow or does not end hears nothing more.
    if (!request.complete) return void log('warn', 'request cut', { method: request.method, cause })
    log('error', 'request failed', { method: request.method, path: request.url, cause })
    if (response.headersSent) response.destroy()
    else say(500, 'Internal Server Error')
  }
}

/** Whether it is a path that can be read: events hold it decoded. */
const isTarget = (target = '/'): boolean => {
  try {
    return decodeURIComponent(new URL(target, 'http://localhost').pathname) !== ''
  } catch {
    return false
  }
}

/** The body; `undefined` if it is too large. It is read to its end all the same: only then clients hear an answer. */
const bodyOf = async (request: IncomingMessage): Promise<Uint8Array | undefined> => {
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of request as AsyncIterable<Uint8Array>) {
    bytes += chunk.byteLength
    if (bytes <= MAX_BODY) chunks.push(chunk)
    else if (bytes > MAX_IGNORED) throw new Error(`A request has more than ${MAX_IGNORED} bytes`)
    else chunks.length = 0
  }
  return bytes <= MAX_BODY ? Buffer.concat(chunks) : undefined
}
