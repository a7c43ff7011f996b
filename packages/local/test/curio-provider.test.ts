import { createServer, type RequestListener } from 'node:http'
import { authorize, delegatedAddress } from '@w3filecoin/dealer/curio-auth'
import { pieceOf } from '@w3filecoin/piece'
import { bytesOf } from '@w3filecoin/testing'
import { privateKeyToAccount } from 'viem/accounts'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type CurioOptions, CurioProvider } from '../src/deals/curio-provider.ts'
import { listen } from '../src/listen.ts'

const ACCOUNT = privateKeyToAccount(`0x${'11'.repeat(32)}`)
const CLIENT = delegatedAddress(ACCOUNT.address, 'f').text
const NOW = Date.parse('2026-11-25T23:30:42Z')
const BASE = '/market/mk20'
const BYTES = Buffer.from(bytesOf('content of a deal', 300_000))

describe('the stand-in for a provider with Curio', () => {
  const open: (() => Promise<unknown>)[] = []
  let piece: Awaited<ReturnType<typeof pieceOf>>['link']
  beforeEach(async () => {
    piece = (await pieceOf([BYTES])).link
  })
  afterEach(() => Promise.all(open.splice(0).map(close => close())))

  const serve = async (listener: RequestListener): Promise<string> => {
    const server = createServer(listener)
    const port = await listen(server, 0)
    open.push(() => {
      server.closeAllConnections()
      return new Promise(resolve => server.close(resolve))
    })
    return `http://127.0.0.1:${port}`
  }

  const start = async (options: CurioOptions = {}) => {
    const provider = new CurioProvider({ now: () => NOW, ...options })
    const { url, close } = await provider.listen()
    open.push(close)
    const ask = async (
      method: string,
      route: string,
      { body, headers, at = NOW }: { body?: string; headers?: object; at?: number } = {},
    ) => {
      const path = `${BASE}${route}`
      const response = await fetch(`${url}${path}`, {
        method,
        headers: {
          authorization: await authorize(ACCOUNT, { method, path, at }),
          ...(body !== undefined && { 'content-type': 'application/json' }),
          ...headers,
        },
        ...(body !== undefined && { body }),
      })
      return `${response.status} ${(await response.text()).trim()}`
    }
    const post = (deal: object, options?: { headers?: object; at?: number }) =>
      ask('POST', '/deal', { body: JSON.stringify(deal), ...options })
    const statusOf = (id: string) => ask('GET', `/status/${id}`)
    return { provider, ask, post, statusOf }
  }

  let count = 0
  const dealOf = ({
    url = 'https://dealer.example/whole',
    data = {},
    ddo = {},
    retrieval = {},
    ...fields
  }: {
    url?: string
    data?: object
    ddo?: object
    retrieval?: object
    [field: string]: unknown
  } = {}) => ({
    identifier: `01M8AGR46G${String(++count).padStart(16, '0')}`,
    client: CLIENT,
    data: {
      piece_cid: { '/': `${piece}` },
      format: { raw: {} },
      source_http: { urls: [{ url, headers: {}, priority: 0, fallback: true }] },
      ...data,
    },
    products: {
      ddo_v1: {
        provider: 'f01000',
        start_epoch: null,
        duration: 518_400,
        market_address: '',
        market_deal_id: null,
        ...ddo,
      },
      retrieval_v1: { indexing: false, announce_payload: false, announce_piece: false, ...retrieval },
    },
    ...fields,
  })

  it('fetches the bytes of a deal, and reports the sector once', async () => {
    const ranges: unknown[] = []
    const source = await serve(({ url, headers }, response) => {
      if (url === '/whole') return response.writeHead(302, { location: '/bytes' }).end()
      ranges.push(headers.range)
      return response.writeHead(206).end(BYTES)
    })
    const sealed: object[] = []
    const { provider, post, statusOf } = await start({ onSealed: fact => void sealed.push(fact) })
    const deal = dealOf({ url: `${source}/whole` })
    expect(await post(deal)).toBe('200 Reason:')
    const states = [await statusOf(deal.identifier)]
    for (let n = 0; n < 4; n++) {
      await provider.step()
      states.push(await statusOf(deal.identifier))
    }
    expect(states.map(text => JSON.parse(text.slice(4)).ddo_v1.status)).toEqual([
      'accepted',
      'processing',
      'sealing',
      'complete',
      'complete',
    ])
    expect(ranges).toEqual(['bytes=0-299999'])
    expect(sealed).toEqual([{ miner: 'f01000', piece, dealId: deal.identifier }])
  })

  it('continues an interrupted download at the next byte', async () => {
    const ranges: unknown[] = []
    const source = await serve(({ headers: { range } }, response) => {
      ranges.push(range)
      const from = Number(/\d+/.exec(`${range}`)?.[0])
      response.writeHead(206, { 'content-length': BYTES.length - from })
      if (from > 0) response.end(BYTES.subarray(from))
      else response.write(BYTES.subarray(0, 1_000), () => setTimeout(() => response.destroy(), 20))
    })
    const { provider, post, statusOf } = await start()
    const deal = dealOf({ url: source })
    await post(deal)
    await provider.step()
    await provider.step()
    expect(await statusOf(deal.identifier)).toContain('sealing')
    expect(ranges).toEqual(['bytes=0-299999', 'bytes=1000-299999'])
  })

  it('keeps a deal whose bytes are wrong or out of reach in processing, and shows it as complete once removed', async () => {
    const source = await serve(({ url }, response) => {
      const hop = Number(/^\/redirect\/(\d)$/.exec(`${url}`)?.[1] ?? 0)
      if (hop > 0) response.writeHead(302, { location: `/redirect/${hop - 1}` }).end()
      else if (url === '/missing') response.writeHead(404).end()
      else if (url === '/short') response.writeHead(206).end(BYTES.subarray(1))
      else if (url === '/long') response.writeHead(200).end(Buffer.concat([BYTES, BYTES]))
      else if (url === '/wrong') response.writeHead(206).end(Buffer.from(BYTES).fill(7, 0, 1))
      else response.writeHead(206).end(BYTES)
    })
    const sealed: string[] = []
    const { provider, post, statusOf } = await start({ onSealed: ({ dealId }) => void sealed.push(dealId) })
    const troubles = async (path: string) => {
      const deal = dealOf({ url: `${source}/${path}` })
      await post(deal)
      for (let n = 0; n < 4; n++) await provider.step()
      return { id: deal.identifier, trouble: provider.deals.get(deal.identifier)?.trouble }
    }
    for (const [path, reason] of [
      ['missing', 'http status: 404'],
      ['short', 'commP mismatch'],
      ['long', 'more than 300000 bytes'],
      ['wrong', 'commP mismatch'],
      ['redirect/3', 'too many redirects'],
    ] as const) {
      const { id, trouble } = await troubles(path)
      expect(trouble, path).toContain(reason)
      expect(await statusOf(id)).toBe('200 {"ddo_v1":{"status":"processing","errorMsg":""}}')
    }
    expect(sealed).toEqual([])
    const { id, trouble } = await troubles('redirect/2')
    expect(trouble).toBeUndefined()
    expect(sealed).toEqual([id])

    provider.removeFailed()
    for (const deal of provider.deals.keys()) expect(await statusOf(deal)).toContain('complete')
    await provider.step()
    expect(sealed).toEqual([id])
  })

  it('leaves deals in their state while it is stuck', async () => {
    const { provider, post, statusOf } = await start()
    const deal = dealOf()
    await post(deal)
    provider.faults.isStuck = true
    await provider.step()
    expect(await statusOf(deal.identifier)).toContain('accepted')
  })

  it('refuses requests that no accepted account signed within a minute', async () => {
    const { provider, ask, post, statusOf } = await start()
    expect(await post(dealOf(), { at: NOW - 120_000 })).toBe('401 Unauthorized')
    expect(await post(dealOf(), { at: NOW + 120_000 })).toBe('401 Unauthorized')
    expect(await post(dealOf(), { at: NOW - 60_000 })).toBe('200 Reason:')
    expect(await post(dealOf(), { headers: { authorization: '' } })).toMatch(/^401/)
    const signed = await authorize(ACCOUNT, { method: 'GET', path: `${BASE}/products`, at: NOW })
    expect(await ask('GET', '/sources', { headers: { authorization: signed } })).toBe('401 Unauthorized')
    expect(await ask('GET', '/products', { headers: { authorization: signed } })).toMatch(/^200/)
    const deal = dealOf()
    await post(deal)
    provider.deals.get(deal.identifier)!.client = 'f410fother'
    expect(await statusOf(deal.identifier), 'the deal of another client').toBe('401 Unauthorized')
    expect(await statusOf('01M8AGR46GZZZZZZZZZZZZZZZZ'), 'an unknown deal').toBe('401 Unauthorized')
    provider.clients[CLIENT] = false
    expect(await ask('GET', '/products')).toBe('401 Unauthorized')
  })

  it('takes no deal twice', async () => {
    const { provider, post } = await start()
    const deal = dealOf()
    expect(await post(deal)).toBe('200 Reason:')
    expect(await post({ ...deal, identifier: deal.identifier.toLowerCase() })).toBe('500 Reason:')
    expect(provider.deals.size).toBe(1)
  })

  it('makes the checks of Curio, with its statuses', async () => {
    const { provider, post, ask } = await start({ sectorBytes: 2 ** 20 })
    const large = 'bafkzcibcaapao7s73y24kcutaosvacpdjgfe5pw76ooefnyqw4ynr3d2y6x2mpq'
    const urls = (url: string, length = 1) => ({ source_http: { urls: Array(length).fill({ url }) } })
    const off = { source_http: undefined }
    const cases: [string, object][] = [
      ['400 Reason: client in deal does not match client in auth header', dealOf({ client: 'f1abc' })],
      ['400 invalid character in the deal', dealOf({ identifier: '01M8AGR46G' })],
      ['400 invalid character in the deal', dealOf({ products: { ddo_v1: 7 } })],
      ['425 Reason: products validation failed: no products defined', dealOf({ products: {} })],
      [
        '425 Reason: products validation failed: provider address is not set',
        dealOf({ ddo: { provider: '' } }),
      ],
      [
        '425 Reason: products validation failed: start epoch cannot be negative',
        dealOf({ ddo: { start_epoch: 0 } }),
      ],
      [
        '441 Reason: products validation failed: duration must be at least 518400',
        dealOf({ ddo: { duration: 1 } }),
      ],
      [
        '425 Reason: products validation failed: announce piece is not supported for ddo v1',
        dealOf({ retrieval: { announce_piece: true } }),
      ],
      [
        '425 Reason: products validation failed: deal cannot be announced to IPNI without indexing',
        dealOf({ retrieval: { announce_payload: true } }),
      ],
      ['400 Reason: Provider not available in Curio cluster', dealOf({ ddo: { provider: 'f02000' } })],
      ['400 Reason: Data Source must be defined for a DDO deal', { ...dealOf(), data: undefined }],
      [
        "400 Reason: Deal size is larger than the miner's sector size",
        dealOf({ data: { piece_cid: { '/': large } } }),
      ],
      ['400 Reason: Raw bytes deal cannot be indexed', dealOf({ retrieval: { indexing: true } })],
      ['400 Reason: invalid piece cid', dealOf({ data: { piece_cid: { '/': 'bafk' } } })],
      ['400 Reason: no source defined for data source', dealOf({ data: off })],
      ['400 Reason: multiple sources defined for data source', dealOf({ data: { source_offline: {} } })],
      ['400 Reason: no format defined', dealOf({ data: { format: {} } })],
      ['400 Reason: multiple formats defined', dealOf({ data: { format: { raw: {}, car: {} } } })],
      ['430 Reason: aggregate type not supported', dealOf({ data: { format: { aggregate: {} } } })],
      [
        '422 Reason: data source aggregate is not supported',
        dealOf({ data: { ...off, source_aggregate: {} } }),
      ],
      ['430 Reason: no urls defined', dealOf({ data: urls('', 0) })],
      [
        '430 Reason: maximum 10 URLs are supported per piece',
        dealOf({ data: urls('https://a.example', 11) }),
      ],
      ['400 Reason: invalid url: url is empty', dealOf({ data: urls('') })],
      ['400 Reason: invalid url: url userinfo is not allowed', dealOf({ data: urls('https://a@b.example') })],
      ['400 Reason: invalid url: unsupported url scheme "ftp"', dealOf({ data: urls('ftp://a.example') })],
      [
        '400 Reason: invalid url: url exceeds 4096',
        dealOf({ data: urls(`https://a.example/${'b'.repeat(4_096)}`) }),
      ],
      ['400 request body too large', dealOf({ padding: 'x'.repeat(2 ** 20) })],
    ]
    for (const [answer, deal] of cases) expect(await post(deal)).toContain(answer)
    expect(await post(dealOf(), { headers: { 'content-type': 'application/json; charset=utf-8' } })).toBe(
      '400 invalid content type',
    )
    provider.faults.isOverloaded = true
    expect(await post(dealOf())).toMatch(/^429 Reason: MK20 ingestion backpressure/)
    provider.products.ddo_v1 = false
    expect(await post(dealOf())).toMatch(/^424 .*product ddo_v1 is not enabled/)
    delete provider.products.ddo_v1
    expect(await post(dealOf())).toMatch(/^423 .*product ddo_v1 is not supported/)
    provider.sources.http = false
    expect(await ask('GET', '/products')).toBe('200 {"products":["retrieval_v1"]}')
    expect(await ask('GET', '/sources')).toBe('200 {"sources":["offline"]}')
    expect(await ask('GET', '/other')).toMatch(/^404/)
    expect(provider.deals.size).toBe(0)
  })
})
