import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type HttpSource, serveHttp } from '../src/http-source.ts'

describe('the HTTP source', () => {
  let source: HttpSource
  let sockets: Socket[] = []
  const bodies: number[] = []

  beforeEach(async () => {
    const run = async (event: unknown) => {
      const { body = '' } = event as { body?: string }
      bodies.push(Buffer.from(body, 'base64').byteLength)
      return { statusCode: 200, body: 'done' }
    }
    const spec = { timeout: 5, memory: 128, uses: {} }
    source = await serveHttp(0, Promise.resolve({ name: 'api', run, spec, log: () => {} }))
  })
  afterEach(async () => {
    for (const socket of sockets) socket.destroy()
    sockets = []
    bodies.length = 0
    await source.stop()
  })

  const open = async (text: string) => {
    const socket = connect(source.port, '127.0.0.1')
    socket.on('error', () => {}).resume()
    sockets.push(socket)
    await once(socket, 'connect')
    socket.write(text)
    return socket
  }
  const post = (bytes: number) =>
    fetch(`http://127.0.0.1:${source.port}/`, { method: 'POST', body: new Uint8Array(bytes) })
  const HEADERS = 'POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n'

  it('answers others at once while 200 senders of slow bodies hold connections', async () => {
    for (let n = 0; n < 200; n++) await open(n % 2 === 0 ? HEADERS : `${HEADERS}x`)
    const began = performance.now()
    for (let n = 0; n < 5; n++) expect((await post(10_000)).status).toBe(200)
    expect(performance.now() - began).toBeLessThan(5_000)
    expect(bodies).toEqual(Array(5).fill(10_000))
  })

  it('closes the connection of a body that stands still, and of one that arrives byte by byte', async () => {
    const still = await open(HEADERS)
    const slow = await open(HEADERS)
    const closed = [still, slow].map(socket => once(socket, 'close'))
    const began = performance.now()
    while (performance.now() - began < 20_000 && !(still.closed && slow.closed)) {
      if (slow.writable) slow.write('x')
      await sleep(100)
    }
    await Promise.all(closed)
    expect(performance.now() - began).toBeLessThan(20_000)
    expect(bodies).toEqual([])
  })

  it('accepts a body that arrives in parts, at a fair speed', async () => {
    const socket = await open('POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n')
    const answered = once(socket, 'data')
    for (let n = 0; n < 10; n++) {
      await sleep(300)
      socket.write(Buffer.alloc(100_000))
    }
    const [answer] = await answered
    expect(`${answer}`).toMatch(/^HTTP\/1.1 200 /)
    expect(bodies).toEqual([1_000_000])
  })
})
