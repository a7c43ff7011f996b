import { linkOf, signerOf } from '@w3filecoin/testing'
import { expect, it } from 'vitest'
import { createHttpApp, type HttpOptions, type ReceiptLog, type Server } from '../src/index.ts'

const id = await signerOf('service')
const task = linkOf(new Uint8Array(), 0x71)

const stored = { receipt: `${task}`, issuedAt: 0 }

const appWith = (serve: ReceiptLog['serve'], options: Partial<HttpOptions> = {}) =>
  createHttpApp({
    server: { id, keys: [] } as unknown as Server,
    receipts: { serve } as ReceiptLog,
    name: 'service',
    log: () => {},
    ...options,
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
    'access-control-expose-headers': 'Retry-After',
    'access-control-max-age': '86400',
    vary: 'Access-Control-Request-Headers',
  })
})

it.each<[number, ReceiptLog['serve']]>([
  [200, async () => ({ ...stored, car: new Uint8Array(10) })],
  [302, async () => ({ ...stored, url: 'https://bucket.example/key' })],
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
    expect(response.headers.get('vary')).toBe('Accept')
    expect(response.headers.get('access-control-expose-headers')).toBe('Retry-After')
  }
})

const CAR = 'application/vnd.ipld.car'
const JSON_TYPE = 'application/json'
const HTML = 'text/html'

it.each<[accept: string | undefined, type: string]>([
  [undefined, 'text/plain'],
  ['*/*', 'text/plain'],
  [CAR, 'text/plain'],
  ['application/*', 'text/plain'],
  ['image/png', 'text/plain'],
  [`${JSON_TYPE};q=0, */*`, 'text/plain'],
  [JSON_TYPE, JSON_TYPE],
  [`${JSON_TYPE}, text/plain, */*`, JSON_TYPE],
  [`${CAR};q=0.5, ${JSON_TYPE}`, JSON_TYPE],
  ['text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8', HTML],
])('selects the form of an answer about a receipt by Accept: %s', async (accept, type) => {
  const app = appWith(async () => undefined, { page: { read: async () => new TextEncoder().encode('<p>') } })
  const response = await app.request(`/receipt/${task}`, { headers: accept ? { accept } : {} })
  expect(response.headers.get('content-type')?.split(';')[0]).toBe(type)
  expect(response.headers.get('vary')).toBe('Accept')
})

it('serves no page unless it has one', async () => {
  const app = appWith(async () => undefined)
  const response = await app.request(`/receipt/${task}`, { headers: { accept: HTML } })
  expect(response.headers.get('content-type')).toContain('text/plain')
})

const asJson = { headers: { accept: JSON_TYPE } }

it('answers 406 if a receipt is too large for JSON, with the CID of the receipt', async () => {
  const app = appWith(async () => ({ ...stored, url: 'https://bucket.example/key' }))
  const response = await app.request(`/receipt/${task}`, asJson)
  expect(response.status).toBe(406)
  expect(await response.json()).toMatchObject({
    name: 'ReceiptTooLarge',
    task: `${task}`,
    receipt: stored.receipt,
    issued: '1970-01-01T00:00:00.000Z',
  })
})

it('says of a task without a receipt whether it was promised, and until when the answer holds', async () => {
  const progress = { stage: 'queued', since: '2026-11-26T17:40:00.000Z', retryAfterSeconds: 90 }
  for (const [found, expected, seconds] of [
    [progress, { promised: true, ...progress }, 90],
    ['unknown', { promised: 'unknown', retryAfterSeconds: 5 }, 5],
    [undefined, { promised: false, retryAfterSeconds: 5 }, 5],
  ] as const) {
    const app = appWith(async () => undefined, { progress: async tasks => tasks.map(() => found) })
    for (const options of [asJson, {}]) {
      const response = await app.request(`/receipt/${task}`, options)
      expect(response.status).toBe(404)
      expect(response.headers.get('retry-after')).toBe(`${seconds}`)
      expect(response.headers.get('cache-control')).toBe(`public, max-age=${seconds}`)
      const message = `Task ${task} has no receipt yet`
      if (options === asJson)
        expect(await response.json()).toEqual({
          name: 'ReceiptNotFound',
          message,
          task: `${task}`,
          ...expected,
        })
      else expect(await response.text()).toBe(message)
    }
  }
})

it('names what is wrong with a CID in JSON', async () => {
  const app = appWith(async () => undefined)
  const answers = ['nothing', linkOf(new Uint8Array(), 0x70)].map(async text => {
    const response = await app.request(`/receipt/${text}`, asJson)
    return [response.status, ((await response.json()) as { name: string }).name]
  })
  expect(await Promise.all(answers)).toEqual([
    [400, 'InvalidCID'],
    [404, 'InvalidTask'],
  ])
})
