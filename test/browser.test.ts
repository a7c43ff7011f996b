import { connect } from '@ucanto/client'
import { invoke } from '@ucanto/core'
import { ed25519 } from '@ucanto/principal'
import { CAR, HTTP } from '@ucanto/transport'
import { bind, openTables } from '@w3filecoin/aws'
import { Tasks } from '@w3filecoin/capabilities'
import { connect as connectClient } from '@w3filecoin/client'
import { placesOf } from '@w3filecoin/local/provision'
import { COMMON_FORMATS, issueReceipt, openStores, readReceipt } from '@w3filecoin/runtime'
import { resources } from '@w3filecoin/storefront/resources'
import { bytesOf, somePiece } from '@w3filecoin/testing'
import { expect, test } from 'vitest'
import { type Content, randomContent } from './content.ts'
import { awaitReceipt, effectOf } from './receipts.ts'
import { useSystem } from './system.ts'

/**
 * A web page uses the system. Node sends what a browser would send for the page, and applies the rules of the Fetch standard
 * (CORS protocol) to the responses.
 */
const system = useSystem()
const { at } = system

const PAGE = 'https://page.example'
/** Methods and types of requests that a browser sends without asking first. */
const SIMPLE_METHODS = ['GET', 'HEAD', 'POST']
const SIMPLE_TYPES = ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data']

interface PageRequest {
  method?: string
  headers?: Readonly<Record<string, string>>
  body?: Uint8Array | undefined
}

/** The browser keeps the response, or does not send the request. */
class Blocked extends Error {}

const listOf = (value: string | null) => (value ?? '').split(',').map(item => item.trim().toLowerCase())

/** Asks whether the page may send a request, if the browser would ask. */
const preflight = async (url: string, origin: string, { method = 'GET', headers = {} }: PageRequest) => {
  const unsafe = Object.entries(headers)
    .filter(([name, value]) => name.toLowerCase() !== 'content-type' || !SIMPLE_TYPES.includes(value))
    .map(([name]) => name.toLowerCase())
    .filter(name => name !== 'accept')
    .sort()
  if (SIMPLE_METHODS.includes(method) && unsafe.length === 0) return
  const response = await fetch(url, {
    method: 'OPTIONS',
    headers: {
      origin,
      'access-control-request-method': method,
      ...(unsafe.length === 0 ? {} : { 'access-control-request-headers': unsafe.join(',') }),
    },
  })
  const allowed = (name: string) => listOf(response.headers.get(`access-control-allow-${name}`))
  if (!response.ok || response.headers.get('access-control-allow-origin') !== '*')
    throw new Blocked(`preflight of ${method} ${url}: ${response.status}`)
  if (!SIMPLE_METHODS.includes(method) && !allowed('methods').includes(method.toLowerCase()))
    throw new Blocked(`${method} ${url}`)
  for (const name of unsafe) if (!allowed('headers').includes(name)) throw new Blocked(`${name} at ${url}`)
}

/** Sends a request of the page. */
const fromPage = async (url: string, request: PageRequest = {}, origin = PAGE): Promise<Response> => {
  await preflight(url, origin, request)
  const response = await fetch(url, {
    ...request,
    headers: { ...request.headers, origin },
    redirect: 'manual',
  } as RequestInit)
  // Headers of two layers would be joined: `*, *`.
  if (response.headers.get('access-control-allow-origin') !== '*')
    throw new Blocked(`${response.status} of ${url}`)
  const location = response.headers.get('location')
  if (location === null) return response
  const target = new URL(location, url)
  // After a redirect to another origin, the browser does not name the page.
  return fromPage(target.href, request, target.origin === new URL(url).origin ? origin : 'null')
}

const contentUrl = ({ content }: Pick<Content, 'content'>) =>
  `${system.local.engines.s3}/storefront-content/${content}`

test('K10: a web page offers content that it uploads, and reads the receipts', async () => {
  const content = await randomContent(5_000)
  const { url, did } = at('storefront')
  const connection = connect({
    id: ed25519.Verifier.parse(did),
    codec: CAR.outbound,
    channel: HTTP.open<Record<string, never>>({ url: new URL(url), fetch: fromPage as never }),
  })
  const agent = await ed25519.generate()
  const nb = { content: content.content, piece: content.piece }
  const invocation = invoke({
    issuer: agent,
    audience: ed25519.Verifier.parse(did),
    capability: { can: 'filecoin/offer', with: agent.did(), nb },
    expiration: Infinity,
  })
  const [offered] = await connection.execute(invocation as never)
  expect(offered?.out).toEqual({ ok: { piece: content.piece } })

  const submit = `${effectOf(offered?.fx.fork[0]).cid}`
  expect((await fromPage(`${url}/receipt/${submit}`)).status).toBe(404)
  const uploaded = await fromPage(contentUrl(content), {
    method: 'PUT',
    headers: { 'content-type': 'application/octet-stream' },
    body: content.bytes,
  })
  expect(uploaded.status).toBe(200)
  expect(listOf(uploaded.headers.get('access-control-expose-headers'))).toContain('etag')
  await awaitReceipt(at('storefront'), submit)
  const served = await fromPage(`${url}/receipt/${submit}`)
  expect(readReceipt(submit, new Uint8Array(await served.arrayBuffer()))?.out).toEqual({
    ok: { piece: content.piece },
  })
})

test('K10: a web page sends content to an address of the storefront, with the checksum, and may not read it there', async () => {
  const content = await randomContent(5_000)
  const w3 = await connectClient(at('storefront').url, {
    signer: (await ed25519.generate()) as never,
    fetch: (url, { signal: _, body, headers, method }: RequestInit = {}) =>
      fromPage(url, {
        ...(method && { method }),
        // The browser sets the length itself.
        headers: Object.fromEntries([...new Headers(headers)].filter(([name]) => name !== 'content-length')),
        body: body as Uint8Array,
      }),
  })
  await w3.start(content.bytes as Uint8Array<ArrayBuffer>)
  const stored = `${system.local.engines.s3}/storefront-uploads/${content.content}`
  expect((await fetch(stored)).status).toBe(200)
  await expect(fromPage(stored)).rejects.toThrow(Blocked)
})

test('K10: a web page reads content, also a range of it', async () => {
  const content = await randomContent(1_000)
  await fromPage(contentUrl(content), { method: 'PUT', body: content.bytes })
  const whole = await fromPage(contentUrl(content))
  expect(Buffer.from(await whole.arrayBuffer()).equals(content.bytes)).toBe(true)
  const range = await fromPage(contentUrl(content), { headers: { range: 'bytes=10-19' } })
  expect(Buffer.from(await range.arrayBuffer()).equals(content.bytes.subarray(10, 20))).toBe(true)
  const missing = await fromPage(contentUrl(await randomContent(10)))
  expect(missing.status).toBe(404)
})

test('K10: a web page follows the redirect to a large receipt', async () => {
  Object.assign(process.env, system.local.engines.env)
  const places = placesOf({ resources, service: 'storefront', sqs: system.local.engines.sqs })
  const { receipts } = openStores(bind(resources, places, await openTables(process.env)), COMMON_FORMATS, {
    now: Date.now,
  })
  const service = system.signer('storefront')
  const task = await Tasks.pieceAccept(service, { piece: somePiece('large'), group: 'g' })
  const bytes = bytesOf('large', 5_000_000)
  await receipts.put(await issueReceipt(service, task, { out: { ok: { bytes } } }))

  const url = `${at('storefront').url}/receipt/${task.cid}`
  expect((await fetch(url, { redirect: 'manual' })).status).toBe(302)
  const served = await fromPage(url)
  expect(new URL(served.url).origin).toBe(system.local.engines.s3)
  const receipt = readReceipt(`${task.cid}`, new Uint8Array(await served.arrayBuffer()))
  expect(Buffer.from((receipt!.out.ok as { bytes: Uint8Array }).bytes).equals(bytes)).toBe(true)
})

test.each(['storefront', 'aggregator', 'dealer', 'dealTracker'])(
  'K10: a web page reads answers of every status: %s',
  async role => {
    const { url } = at(role)
    for (const path of ['/', '/.well-known/did.json'])
      expect((await fromPage(`${url}${path}`)).status).toBe(200)
    expect((await fromPage(`${url}/nothing`)).status).toBe(404)
    expect((await fromPage(`${url}/receipt/nothing`)).status).toBe(400)
    const post = (type: string, bytes: number) =>
      fromPage(url, {
        method: 'POST',
        headers: { 'content-type': type },
        body: new Uint8Array(bytes),
      })
    expect((await post('application/vnd.ipld.car', 10)).status).toBe(400)
    expect((await post('application/vnd.ipld.car', 4_500_000)).status).toBe(413)
    expect((await post('text/plain', 10)).status).toBe(415)
  },
)

test('K10: a web page gets no credentials, and no access to other methods and buckets', async () => {
  const { url } = at('storefront')
  const response = await fetch(url, { headers: { origin: PAGE } })
  expect(response.headers.get('access-control-allow-origin')).toBe('*')
  expect(response.headers.has('access-control-allow-credentials')).toBe(false)
  const { s3 } = system.local.engines
  const content = await randomContent(10)
  await fromPage(contentUrl(content), { method: 'PUT', body: content.bytes })
  for (const [path, method] of [
    ['storefront-content', 'GET'],
    ['storefront-content', 'PUT'],
    [`storefront-content/${content.content}`, 'DELETE'],
    ['storefront-blocks/key', 'PUT'],
    ['dealer-offers/key', 'GET'],
    ['deal-tracker-blocks/key', 'GET'],
    ['', 'GET'],
  ])
    await expect(fromPage(`${s3}/${path}`, { method: method! }), `${method} ${path}`).rejects.toThrow(Blocked)
  await expect(fromPage(url, { method: 'DELETE' })).rejects.toThrow(Blocked)
  expect((await fromPage(contentUrl(content))).status).toBe(200)
})
