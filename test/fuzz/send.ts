import { Agent, request } from 'node:http'
import type { Hit } from './mutations.ts'

/** What came back, and after how many milliseconds. `problem`: nothing came back, or too much or too late. */
export interface Reply {
  status: number
  type: string
  body: Uint8Array
  took: number
  problem?: string
}

/** A service may take so long, and say so much. */
const MAX_TIME = 10_000
const MAX_BODY = 6 * 1024 * 1024

const agent = new Agent({ keepAlive: true, maxSockets: 64 })

/** Sends it as it is: `fetch` would put paths and headers right. */
export const send = async (url: string, hit: Hit): Promise<Reply> => {
  const reply = await attempt(url, hit)
  // The service may close a connection that was idle just as it is used again.
  return reply === 'idle connection was closed' ? ((await attempt(url, hit, false)) as Reply) : reply
}

const attempt = (
  url: string,
  { method, path, headers, body }: Hit,
  reuse = true,
): Promise<Reply | 'idle connection was closed'> =>
  new Promise(resolve => {
    const begun = performance.now()
    const { hostname, port } = new URL(url)
    const chunks: Uint8Array[] = []
    let size = 0
    const end = (status: number, type: string, problem?: string) =>
      resolve({
        status,
        type,
        body: Buffer.concat(chunks),
        took: performance.now() - begun,
        ...(problem === undefined ? {} : { problem }),
      })
    const asked = request(
      {
        hostname,
        port,
        method,
        path,
        headers,
        signal: AbortSignal.timeout(MAX_TIME),
        agent: reuse ? agent : false,
      },
      response => {
        const { statusCode = 0, headers } = response
        const type = headers['content-type'] ?? ''
        response.on('data', (chunk: Uint8Array) => {
          size += chunk.byteLength
          if (size > MAX_BODY) response.destroy(new Error(`more than ${MAX_BODY} bytes`))
          else chunks.push(chunk)
        })
        response.on('end', () => end(statusCode, type))
        response.on('error', (cause: Error) =>
          end(statusCode, type, `the answer broke off: ${cause.message}`),
        )
      },
    )
    asked.on('error', (cause: NodeJS.ErrnoException) => {
      if (asked.reusedSocket && cause.code === 'ECONNRESET') resolve('idle connection was closed')
      else end(0, '', `no answer: ${cause.message}`)
    })
    asked.end(body)
  })

export const hangUp = () => agent.destroy()
