import { Agent, request } from 'node:http'
import type { Hit } from './mutations.ts'

export interface Reply {
  status: number
  type: string
  body: Uint8Array
  tookMs: number
  /** No complete answer arrived within `MAX_ANSWER_MS`. */
  late: boolean
  /** Why the answer is missing or incomplete, e.g. `no answer: socket hang up`. */
  problem?: string
}

/** How long to wait for an answer. It is less than the 29 s after which the function of a service is stopped. */
export const MAX_ANSWER_MS = 25_000
const MAX_ANSWER_BYTES = 6 * 1024 * 1024

const agent = new Agent({ keepAlive: true, maxSockets: 64 })

/** Sends a message unchanged: `fetch` would normalize its path and headers. */
export const send = async (url: string, hit: Hit): Promise<Reply> => {
  const reply = await attempt(url, hit)
  // The service may close an idle connection at the moment of its reuse.
  return reply === 'idle connection was closed' ? ((await attempt(url, hit, false)) as Reply) : reply
}

const attempt = (
  url: string,
  { method, path, headers, body }: Hit,
  reuse = true,
): Promise<Reply | 'idle connection was closed'> =>
  new Promise(resolve => {
    const startedAt = performance.now()
    const signal = AbortSignal.timeout(MAX_ANSWER_MS)
    const { hostname, port } = new URL(url)
    const chunks: Uint8Array[] = []
    let bytes = 0
    const end = (status: number, type: string, problem?: string) =>
      resolve({
        status,
        type,
        body: Buffer.concat(chunks),
        tookMs: performance.now() - startedAt,
        late: problem !== undefined && signal.aborted,
        ...(problem === undefined ? {} : { problem }),
      })
    const outgoing = request(
      { hostname, port, method, path, headers, signal, agent: reuse ? agent : false },
      response => {
        const { statusCode = 0, headers } = response
        const type = headers['content-type'] ?? ''
        response.on('data', (chunk: Uint8Array) => {
          bytes += chunk.byteLength
          if (bytes > MAX_ANSWER_BYTES) response.destroy(new Error(`more than ${MAX_ANSWER_BYTES} bytes`))
          else chunks.push(chunk)
        })
        response.on('end', () => end(statusCode, type))
        response.on('error', (cause: Error) => end(statusCode, type, `incomplete answer: ${cause.message}`))
      },
    )
    outgoing.on('error', (cause: NodeJS.ErrnoException) => {
      const wasClosed = cause.code === 'ECONNRESET' || cause.code === 'EPIPE'
      if (outgoing.reusedSocket && wasClosed) resolve('idle connection was closed')
      else end(0, '', `no answer: ${cause.message}`)
    })
    outgoing.end(body)
  })

export const closeConnections = () => agent.destroy()
