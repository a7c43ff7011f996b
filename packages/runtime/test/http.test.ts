import { Tasks } from '@w3filecoin/capabilities'
import { linkOf, signerOf, somePiece } from '@w3filecoin/testing'
import { describe, expect, it, vi } from 'vitest'
import {
  createHttpApp,
  encodeMessage,
  type HttpOptions,
  issueReceipt,
  type ReceiptLog,
  type Server,
} from '../src/index.ts'

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

it('serves the HTML of the page only where it has its policy and may not be cached', async () => {
  const app = appWith(async () => undefined, { page: { read: async () => new TextEncoder().encode('<p>') } })
  const index = await app.request('/', { headers: { accept: HTML } })
  expect(index.headers.get('content-security-policy')).toContain("frame-ancestors 'none'")
  expect(index.headers.get('cache-control')).toBe('no-cache')
  expect((await app.request('/page/style-0123456789ab.css')).status).toBe(200)
  expect((await app.request('/page/index.html')).status).toBe(404)
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

it('names the problem of a CID in JSON', async () => {
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

describe('POST /receipts', () => {
  /** Creates tasks with receipts whose result has this many bytes, and a log that serves all of them. */
  const issueMany = async (count: number, bytes: number) => {
    const issued = await Promise.all(
      Array.from({ length: count }, async (_, n) => {
        const ran = await Tasks.pieceAccept(id, { piece: somePiece('many'), group: `${n}` })
        const receipt = await issueReceipt(id, ran, { out: { ok: { said: new Uint8Array(bytes) } } })
        return [`${ran.cid}`, { ...stored, car: await encodeMessage({ receipts: [receipt] }) }] as const
      }),
    )
    const served = new Map(issued)
    const serveMany: ReceiptLog['serveMany'] = async tasks => tasks.map(task => served.get(task))
    return { tasks: [...served.keys()], receipts: { serveMany } as ReceiptLog }
  }
  const askMany = (options: Partial<HttpOptions>, tasks: readonly string[], accept = JSON_TYPE) =>
    appWith(async () => undefined, options).request('/receipts', {
      method: 'POST',
      headers: { 'content-type': JSON_TYPE, accept },
      body: JSON.stringify({ tasks }),
    })

  it('reads a receipt once, however often a question names its task', async () => {
    const { tasks, receipts } = await issueMany(1, 1_000)
    const [one] = (await receipts.serveMany(tasks, 1)) as unknown as [{ car: Uint8Array }]
    const { car } = one
    const read = vi.fn(() => car)
    const serveMany = async () => [Object.defineProperty({ ...one }, 'car', { get: read, enumerable: true })]
    const response = await askMany(
      { receipts: { serveMany } as unknown as ReceiptLog },
      Array(1_000).fill(tasks[0]),
    )
    const answer = (await response.json()) as { receipts: { task: string }[] }
    expect(answer.receipts.map(({ task }) => task)).toEqual(Array(1_000).fill(tasks[0]))
    expect(read).toHaveBeenCalledTimes(1)
  })

  it('omits receipts that have no room in JSON, says so, and stays below 4.6 MB', async () => {
    const { tasks, receipts } = await issueMany(60, 70_000)
    const response = await askMany({ receipts }, tasks)
    const text = await response.text()
    expect(text.length).toBeLessThanOrEqual(4_600_000)
    const answer = JSON.parse(text) as { receipts: { name?: string; task: string }[]; retryAfterSeconds: 0 }
    expect(answer.receipts.map(({ task }) => task)).toEqual(tasks)
    const names = answer.receipts.map(({ name }) => name)
    const served = names.filter(name => name === undefined).length
    expect(served).toBeGreaterThan(40)
    expect(names.slice(served)).toEqual(Array(60 - served).fill('ReceiptOmitted'))
    expect(answer.retryAfterSeconds).toBe(0)
    // The remaining ones have room in the next answer.
    const next = (await (await askMany({ receipts }, tasks.slice(served))).json()) as typeof answer
    expect(next.receipts.every(({ name }) => name === undefined)).toBe(true)
    expect(next).not.toHaveProperty('retryAfterSeconds')
  })

  it('refers to the CAR of a receipt that has no room in any JSON answer', async () => {
    const { tasks, receipts } = await issueMany(2, 2_400_000)
    const answer = (await (await askMany({ receipts }, tasks)).json()) as { receipts: object[] }
    expect(answer.receipts).toMatchObject(tasks.map(task => ({ name: 'ReceiptTooLarge', task })))
  })

  it('says with the earliest Retry-After in JSON when to ask again, and with 0 in a CAR that others had no room', async () => {
    const { tasks } = await issueMany(3, 10)
    const seconds = new Map(tasks.map((task, n) => [task, 10 - n]))
    const progress: HttpOptions['progress'] = async asked =>
      asked.map(task => ({ stage: 'queued', since: '', retryAfterSeconds: seconds.get(task)! }))
    const none = { serveMany: async () => tasks.map(() => undefined) } as unknown as ReceiptLog
    expect(await (await askMany({ receipts: none, progress }, tasks)).json()).toMatchObject({
      retryAfterSeconds: 8,
    })
    const full = { serveMany: async () => tasks.map(() => ({ isOmitted: true })) } as unknown as ReceiptLog
    for (const [log, header] of [
      [none, null],
      [full, '0'],
    ] as const) {
      const response = await askMany({ receipts: log, progress }, tasks, CAR)
      expect(response.status).toBe(200)
      expect(response.headers.get('retry-after')).toBe(header)
    }
  })
})
