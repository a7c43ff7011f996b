import { once } from 'node:events'
import { createServer as createHttpServer, type RequestListener } from 'node:http'
import { type AddressInfo, createServer, type LookupFunction, type Server } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { hostFetch, isPublicAddress } from '../src/host-fetch.ts'

const running: Server[] = []
afterEach(async () => {
  for (const server of running.splice(0)) await once(server.close(), 'close')
})

const listen = async (server: Server): Promise<number> => {
  running.push(server)
  await once(server.listen(0, '127.0.0.1'), 'listening')
  return (server.address() as AddressInfo).port
}
const serve = async (listener: RequestListener): Promise<string> =>
  `http://127.0.0.1:${await listen(createHttpServer(listener))}`

/** Resolves every name to these addresses. */
const names =
  (...addresses: string[]): LookupFunction =>
  (_, { all }, callback) => {
    const found = addresses.map(address => ({ address, family: address.includes(':') ? 6 : 4 }))
    if (all) callback(null, found)
    else callback(null, found[0]!.address, found[0]!.family)
  }

const PRIVATE = [
  '0.0.0.0',
  '10.1.2.3',
  '100.64.0.1',
  '127.0.0.1',
  '127.255.255.254',
  '169.254.169.254',
  '172.16.0.1',
  '172.31.255.255',
  '192.0.2.1',
  '192.168.1.1',
  '198.19.255.255',
  '224.0.0.1',
  '255.255.255.255',
  '::',
  '::1',
  '::7f00:1',
  '::ffff:127.0.0.1',
  '::ffff:8.8.8.8',
  '64:ff9b::7f00:1',
  '2001::1',
  '2001:db8::1',
  '2002:7f00:1::',
  'fc00::1',
  'fd00:ec2::254',
  'fe80::1',
  'ff02::1',
]

describe('hostFetch without private addresses', () => {
  it.each(PRIVATE)('does not call %s, as a literal or behind a name', async address => {
    const fetch = hostFetch({ allowPrivate: false, lookup: names(address) })
    const literal = address.includes(':') ? `[${address}]` : address
    await expect(fetch(`https://${literal}/`)).rejects.toThrow('has no public address')
    await expect(fetch('https://peer.example/')).rejects.toThrow('peer.example has no public address')
  })

  it('does not call a name with a private address among its addresses', async () => {
    const fetch = hostFetch({ allowPrivate: false, lookup: names('8.8.8.8', '10.0.0.1') })
    await expect(fetch('https://peer.example/')).rejects.toThrow('peer.example has no public address')
  })

  it.each([
    ...['1.1.1.1', '100.128.0.1', '172.32.0.1', '192.169.0.1', '223.255.255.255'],
    ...['2001:4860:4860::8888', '2606:4700:4700::1111', '2a00::1'],
  ])('treats %s as public', address => {
    expect(isPublicAddress(address)).toBe(true)
  })

  it('fails if the name cannot be resolved', async () => {
    const lookup: LookupFunction = (_, __, callback) => callback(new Error('ENOTFOUND'), '', 0)
    await expect(hostFetch({ allowPrivate: false, lookup })('https://peer.example/')).rejects.toThrow(
      'ENOTFOUND',
    )
  })
})

describe('hostFetch', () => {
  const fetch = hostFetch({ allowPrivate: true, lookup: names('127.0.0.1') })

  it('connects to the address of the name, by TLS', async () => {
    let first: number | undefined
    let hello = ''
    const port = await listen(
      createServer(socket =>
        socket.once('data', data => {
          first = data[0]
          hello = data.toString('latin1')
          socket.destroy()
        }),
      ),
    )
    await expect(fetch(`https://peer.example:${port}/`)).rejects.toThrow()
    expect(first, 'a TLS handshake').toBe(0x16)
    expect(hello).toContain('peer.example')
  })

  it('sends the headers, and returns the response', async () => {
    const url = await serve((request, response) => {
      response.writeHead(201, { 'content-type': 'text/plain' })
      response.end(`${request.method} ${request.url} ${request.headers.accept}`)
    })
    const response = await fetch(`${url}/path?query`, { headers: { accept: 'text/plain' } })
    expect([response.status, response.headers.get('content-type')]).toEqual([201, 'text/plain'])
    expect(await response.text()).toBe('GET /path?query text/plain')
  })

  it('sends POST requests with their body, and follows no redirect', async () => {
    const asked: string[] = []
    const url = await serve(async (request, response) => {
      asked.push(`${request.method} ${request.url} ${await new Response(request as never).text()}`)
      response.writeHead(307, { location: '/other' }).end()
    })
    const body = new TextEncoder().encode('bytes')
    const response = await fetch(`${url}/path`, { method: 'POST', body })
    expect(response.status).toBe(307)
    await response.body?.cancel()
    expect(asked).toEqual(['POST /path bytes'])
  })

  it('sends HEAD requests, whose responses have no body, and refuses other methods', async () => {
    const url = await serve((request, response) => {
      response.writeHead(200, { 'content-length': '5', 'x-method': request.method })
      response.end('bytes')
    })
    const response = await fetch(url, { method: 'HEAD' })
    expect([response.headers.get('x-method'), response.headers.get('content-length')]).toEqual(['HEAD', '5'])
    expect(response.body).toBeNull()
    await expect(fetch(url, { method: 'PUT' })).rejects.toThrow('PUT is not one of GET, HEAD, POST')
  })

  it('opens a new connection for each request, so that each address is checked', async () => {
    const ports = new Set<number>()
    const url = await serve(({ socket }, response) => {
      ports.add(socket.remotePort as number)
      response.end('answer')
    })
    for (let n = 0; n < 3; n++) await (await fetch(url)).text()
    expect(ports.size).toBe(3)
  })

  it.each([204, 304, 302, 404, 500])('returns a response with status %i', async status => {
    const url = await serve((_, response) => response.writeHead(status, { location: '/other' }).end())
    const response = await fetch(url)
    expect([response.status, response.headers.get('location')]).toEqual([status, '/other'])
    await response.body?.cancel()
  })

  it('fails if the response has an invalid status', async () => {
    const port = await listen(createServer(socket => socket.resume().end('HTTP/1.1 999 What\r\n\r\n')))
    await expect(fetch(`http://127.0.0.1:${port}/`)).rejects.toThrow(RangeError)
  })

  it('stops at the time limit, before and during the response', async () => {
    const silent = await serve(() => {})
    await expect(fetch(silent, { signal: AbortSignal.timeout(50) })).rejects.toThrow('aborted')
    const endless = await serve((_, response) => response.write('more'))
    const response = await fetch(endless, { signal: AbortSignal.timeout(200) })
    await expect(response.text()).rejects.toThrow()
  })
})
