import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { request } from '../src/http.ts'

/** Starts a server that answers the requests in turn; the last answer stays. */
const serve = async (...answers: RequestListener[]): Promise<{ url: string; count: () => number }> => {
  let count = 0
  const server = createServer((incoming, response) => {
    answers[Math.min(count++, answers.length - 1)]!(incoming, response)
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, count: () => count }
}

const answer =
  (status: number, body = '', headers: Record<string, string> = {}): RequestListener =>
  (_, response) =>
    response.writeHead(status, headers).end(body)

const options = { fetch, maxBytes: 1000 }

describe('request', () => {
  it.each([429, 500, 502, 503, 504])('repeats a request that is answered %i', async status => {
    const { url, count } = await serve(answer(status), answer(200, 'fine'))
    const onRetry = vi.fn()
    const { body } = await request(url, { ...options, onRetry })
    expect(new TextDecoder().decode(body)).toBe('fine')
    expect(count()).toBe(2)
    expect(onRetry).toHaveBeenCalledWith({
      type: 'retry',
      attempt: 1,
      pauseMs: expect.any(Number),
      reason: `it answered ${status}`,
    })
  })

  it('repeats a request whose connection breaks, also within the answer', async () => {
    const { url, count } = await serve(
      incoming => incoming.socket.destroy(),
      (_, response) => {
        response.writeHead(200, { 'content-length': '10' }).write('half')
        setTimeout(() => response.destroy(), 50)
      },
      answer(200, 'fine'),
    )
    expect((await request(url, options)).status).toBe(200)
    expect(count()).toBe(3)
  })

  it('waits as long as Retry-After says, in seconds or as a date', async () => {
    for (const value of [() => '2', () => new Date(Date.now() + 3_000).toUTCString()]) {
      const { url } = await serve(answer(503, '', { 'retry-after': value() }), answer(200))
      const onRetry = vi.fn()
      const start = performance.now()
      await request(url, { ...options, onRetry })
      expect(performance.now() - start).toBeGreaterThan(1_500)
      expect(onRetry.mock.calls[0]![0].pauseMs).toBeGreaterThan(1_500)
    }
  })

  it('does not wait longer than a minute, but says when to repeat the call', async () => {
    const { url, count } = await serve(answer(429, '', { 'retry-after': '3600' }))
    await expect(request(url, options)).rejects.toMatchObject({
      code: 'Unreachable',
      retryable: true,
      retryAfterMs: 3_600_000,
      hint: 'Repeat the call after 3600 seconds.',
    })
    expect(count()).toBe(1)
  })

  it('abandons a host that remains unreachable', async () => {
    const sent = vi.fn(async () => {
      throw new TypeError('fetch failed', { cause: new Error('connect ECONNREFUSED 127.0.0.1:1') })
    })
    vi.useFakeTimers()
    onTestFinished(() => void vi.useRealTimers())
    const running = request('http://127.0.0.1:1/', { ...options, fetch: sent })
    const failed = expect(running).rejects.toMatchObject({
      code: 'Unreachable',
      retryable: true,
      message: expect.stringContaining('ECONNREFUSED'),
    })
    await vi.advanceTimersByTimeAsync(60_000)
    await failed
    expect(sent).toHaveBeenCalledTimes(5)
  })

  it.each([400, 404, 413])('returns an answer of status %i at once', async status => {
    const { url, count } = await serve(answer(status, 'no'))
    expect((await request(url, options)).status).toBe(status)
    expect(count()).toBe(1)
  })

  it('stops at the limit of an answer', async () => {
    const { url } = await serve((_, response) => {
      response.writeHead(200)
      const timer = setInterval(() => response.write('x'.repeat(400)), 5)
      response.on('close', () => clearInterval(timer))
    })
    await expect(request(url, options)).rejects.toMatchObject({ code: 'InvalidAnswer' })
  })

  it('ends with the reason of its signal, in a request and in a pause', async () => {
    const reason = new Error('the user left')
    for (const listener of [() => {}, answer(503, '', { 'retry-after': '30' })] satisfies RequestListener[]) {
      const { url } = await serve(listener)
      const controller = new AbortController()
      setTimeout(() => controller.abort(reason), 200)
      await expect(request(url, { ...options, signal: controller.signal })).rejects.toBe(reason)
    }
  })

  it('ends an attempt without an answer after its time', async () => {
    const { url, count } = await serve(() => {}, answer(200))
    expect((await request(url, { ...options, timeoutMs: 100 })).status).toBe(200)
    expect(count()).toBe(2)
  })
})
