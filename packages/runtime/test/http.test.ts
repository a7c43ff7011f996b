import { linkOf, signerOf } from '@w3filecoin/testing'
import { expect, it } from 'vitest'
import { createHttpApp, type ReceiptLog, type Server } from '../src/index.ts'

const id = await signerOf('service')
const task = linkOf(new Uint8Array(), 0x71)

const appWith = (serve: ReceiptLog['serve']) =>
  createHttpApp({
    server: { id, keys: [] } as unknown as Server,
    receipts: { serve } as ReceiptLog,
    name: 'service',
    log: () => {},
  })

it('answers the preflight requests of web pages, without credentials', async () => {
  const response = await appWith(async () => undefined).request('/', {
    method: 'OPTIONS',
    headers: {
      origin: 'https://page.example',
      'access-control-request-method': 'POST',
      'access-control-request-headers': 'content-type,x-agent-message',
    },
  })
  expect(response.status).toBe(204)
  expect(Object.fromEntries(response.headers)).toEqual({
    'access-control-allow-origin': '*',
    'access-control-allow-methods': 'GET,HEAD,POST',
    'access-control-allow-headers': 'content-type,x-agent-message',
    'access-control-max-age': '86400',
    vary: 'Access-Control-Request-Headers',
  })
})

it.each<[number, ReceiptLog['serve']]>([
  [200, async () => ({ car: new Uint8Array(10) })],
  [302, async () => ({ url: 'https://bucket.example/key' })],
  [404, async () => undefined],
  [
    500,
    () => {
      throw new Error('broken')
    },
  ],
])('lets web pages read an answer of status %i', async (status, serve) => {
  // A cache may return the answer to one page to another one, so the header does not depend on the origin.
  for (const headers of [{}, { origin: 'https://page.example' }]) {
    const response = await appWith(serve).request(`/receipt/${task}`, { headers })
    expect(response.status).toBe(status)
    expect(response.headers.get('access-control-allow-origin')).toBe('*')
    expect(response.headers.get('vary')).toBeNull()
  }
})
