import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { delegatedAddress } from '@w3filecoin/dealer/curio-auth'
import { createHasher, type Piece, type PieceLink, parsePiece, payloadSizeOf } from '@w3filecoin/piece'
import { bytesToHex, type Hex, keccak256, recoverAddress } from 'viem'
import * as z from 'zod'
import { listen } from '../listen.ts'

const ROUTE = /^\/market\/mk20\/(\w+)(?:\/(\w+))?$/
const MAX_BODY_BYTES = 2 ** 20
const MAX_URL_LENGTH = 4_096
const MAX_URLS = 10
/** Requests of one download from the URL to the bytes: Go counts the first one too. */
const MAX_HOPS = 3
/** Attempts to continue a download. Curio has 15. */
const MAX_ATTEMPTS = 4
const MIN_DURATION_EPOCHS = 518_400
const MAX_DEALS = 10_000
/** A server that sends nothing for this long has failed. */
const MAX_PAUSE_MS = 30_000
const MINUTE_MS = 60_000

/** The state of a deal, as its status says. */
export type CurioState = 'accepted' | 'processing' | 'sealing' | 'complete'

export interface CurioDeal {
  /** A ULID. */
  id: string
  /** Address of the account that asked, e.g. `f410f…`. */
  client: string
  miner: string
  piece: PieceLink
  urls: readonly string[]
  state: CurioState
  /** Why the deal does not go on. Curio shows this to the provider alone. */
  trouble?: string
}

export interface CurioFaults {
  /** Requests get this status, or none at all: then the connection breaks. */
  answer?: {
    status: number | 'none'
    /** Whether the request is carried out nevertheless. */
    isLate?: boolean
    retryAfterSeconds?: number
    /** Only requests that begin so, e.g. `POST` or `GET /market/mk20/status`. */
    only?: string
  }
  /** The provider has too many deals to take another one now. */
  isOverloaded?: boolean
  /** No deal is processed. */
  isStuck?: boolean
}

export interface CurioOptions {
  miners?: readonly string[]
  /** Padded bytes of a sector. */
  sectorBytes?: number
  /** First letter of addresses. */
  network?: 'f' | 't'
  /** Whether accounts are refused that {@link CurioProvider.clients} does not have. */
  deniesUnknown?: boolean
  now?: () => number
  /** Called when a deal is in a sector, before its status says so. */
  onSealed?: (sealed: { miner: string; piece: PieceLink; dealId: string }) => void | Promise<void>
  /** Called with each request and its answer, e.g. `POST /market/mk20/deal 200`. */
  onRequest?: (line: string) => void
}

/** The parts of a deal that the market reads. Go takes values of other types as invalid, and a missing one as empty. */
const dealSchema = z.object({
  identifier: z.string().regex(/^[0-7][0-9A-HJKMNP-TV-Z]{25}$/i),
  client: z.string().default(''),
  data: z
    .object({
      piece_cid: z.object({ '/': z.string() }),
      format: z
        .object({ raw: z.object({}), car: z.object({}), aggregate: z.object({}) })
        .partial()
        .default({}),
      source_http: z
        .object({
          urls: z.array(
            z.object({
              url: z.string().default(''),
              headers: z.record(z.string(), z.array(z.string())).nullable().default({}),
            }),
          ),
        })
        .optional(),
      source_aggregate: z.object({}).optional(),
      source_offline: z.object({}).optional(),
      source_http_put: z.object({}).optional(),
    })
    .optional(),
  products: z
    .object({
      ddo_v1: z.object({
        provider: z.string().default(''),
        start_epoch: z.number().nullable().default(null),
        duration: z.number().default(0),
        market_address: z.string().default(''),
      }),
      retrieval_v1: z.object({
        indexing: z.boolean().default(false),
        announce_payload: z.boolean().default(false),
        announce_piece: z.boolean().default(false),
      }),
      pdp_v1: z.object({}),
    })
    .partial()
    .default({}),
})
type Proposal = z.infer<typeof dealSchema>
type Data = NonNullable<Proposal['data']>

/** Refuses a request with a status and a reason. */
class Refusal extends Error {
  readonly status: number

  constructor(status: number, reason: string) {
    super(reason)
    this.status = status
  }
}

/**
 * A stand-in for a storage provider with Curio: its market "mk20" over HTTP, for whole aggregates by URL. It checks requests as Curio
 * does, fetches the bytes, and computes their piece. Deals move only by {@link CurioProvider.step}.
 *
 * As in Curio, a deal whose bytes cannot be fetched, or are not the piece, stays in the state `processing`, and a deal that the provider
 * removes is `complete`.
 *
 * @see https://github.com/filecoin-project/curio/tree/e0294b0f948132d41e8f42f59fa949495d5fd3af/market/mk20
 */
export class CurioProvider {
  readonly deals = new Map<string, CurioDeal>()
  faults: CurioFaults = {}
  /** Whether each product and each source of data is enabled. One that is missing is not supported. */
  readonly products: Record<string, boolean> = { ddo_v1: true, retrieval_v1: true }
  readonly sources: Record<string, boolean> = { http: true, offline: true }
  /** Whether accounts may make deals, by address. */
  readonly clients: Record<string, boolean> = {}
  readonly #options: Required<CurioOptions>
  readonly #stopping = new AbortController()

  constructor({
    miners = ['f01000'],
    sectorBytes = 2 ** 35,
    network = 'f',
    deniesUnknown = false,
    now = Date.now,
    onSealed = () => {},
    onRequest = () => {},
  }: CurioOptions = {}) {
    this.#options = { miners, sectorBytes, network, deniesUnknown, now, onSealed, onRequest }
  }

  /** Answers requests at 127.0.0.1. With port 0, the operating system chooses one. */
  async listen(port = 0): Promise<{ url: string; close: () => Promise<void> }> {
    const server = createServer((request, response) => {
      this.#serve(request, response).catch(() => response.destroy())
    })
    const bound = await listen(server, port)
    return {
      url: `http://127.0.0.1:${bound}`,
      close: () =>
        new Promise(resolve => {
          this.#stopping.abort()
          server.closeAllConnections()
          server.close(() => resolve())
        }),
    }
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { onRequest, now } = this.#options
    const line = `${request.method} ${request.url}`
    const { answer } = this.faults
    const fault = answer && line.startsWith(answer.only ?? '') ? answer : undefined
    const body = await readBody(request)
    const result = fault && !fault.isLate ? undefined : await this.#answer(request, body)
    const status = fault?.status ?? result?.status ?? 500
    onRequest(`${line} ${status}`)
    if (status === 'none') {
      response.destroy()
      return
    }
    const { text = '', json } = fault ? {} : (result ?? {})
    response.writeHead(status, {
      date: new Date(now()).toUTCString(),
      'content-type': json ? 'application/json' : 'text/plain; charset=utf-8',
      ...(fault?.retryAfterSeconds !== undefined && { 'retry-after': `${fault.retryAfterSeconds}` }),
    })
    response.end(json ? JSON.stringify(json) : text)
  }

  /**
   * Moves each deal to its next state: `accepted`, `processing`, `sealing`, `complete`. A deal that cannot be processed is tried again at
   * the next step. Await a step before the next one.
   */
  async step(): Promise<void> {
    if (this.faults.isStuck) return
    for (const deal of this.deals.values()) {
      const { id, miner, piece } = deal
      switch (deal.state) {
        case 'accepted':
          deal.state = 'processing'
          break
        case 'processing':
          await this.#process(deal)
          break
        case 'sealing':
          await this.#options.onSealed({ miner, piece, dealId: id })
          deal.state = 'complete'
          break
        case 'complete':
      }
    }
  }

  /** Removes the deals that do not go on, as the provider can on a page of Curio. Their status then is `complete`. */
  removeFailed(): void {
    for (const deal of this.deals.values()) if (deal.trouble !== undefined) deal.state = 'complete'
  }

  async #process(deal: CurioDeal): Promise<void> {
    delete deal.trouble
    const { height, padding } = parsePiece(`${deal.piece}`).ok as Piece
    const bytes = payloadSizeOf(height) - Number(padding)
    for (const url of deal.urls) {
      try {
        const link = await download(url, bytes, this.#stopping.signal)
        if (`${link}` !== `${deal.piece}`) throw new Error(`commP mismatch: the bytes are the piece ${link}`)
        delete deal.trouble
        deal.state = 'sealing'
        return
      } catch (cause) {
        deal.trouble = (cause as Error).message
      }
    }
  }

  async #answer(
    request: IncomingMessage,
    body: Buffer | undefined,
  ): Promise<{ status: number; text?: string; json?: object }> {
    const { method = '', url = '', headers } = request
    const [path = ''] = url.split('?')
    const [, route, id] = ROUTE.exec(path) ?? []
    if (route === undefined) return { status: 404, text: '404 page not found\n' }
    if (headers.authorization === undefined) return { status: 401, text: 'Missing Authorization header\n' }
    const client = await this.#authenticate(headers.authorization, method, path)
    const deal = id === undefined ? undefined : this.deals.get(id)
    if (client === undefined || (id !== undefined && deal?.client !== client))
      return { status: 401, text: 'Unauthorized\n' }

    const names = (map: Record<string, boolean>) => Object.keys(map).filter(name => map[name])
    switch (`${method} ${route}`) {
      case 'GET status':
        return deal
          ? { status: 200, json: { ddo_v1: { status: deal.state, errorMsg: '' } } }
          : { status: 404, text: '' }
      case 'GET products':
        return { status: 200, json: { products: names(this.products) } }
      case 'GET sources':
        return { status: 200, json: { sources: names(this.sources) } }
      case 'POST deal':
        return this.#propose(client, headers['content-type'], body)
      default:
        return { status: 404, text: '404 page not found\n' }
    }
  }

  /** Returns the address of the account that signed a request; `undefined` if the account is not accepted. */
  async #authenticate(header: string, method: string, path: string): Promise<string | undefined> {
    const { network, now, deniesUnknown } = this.#options
    const [, type, key = '', sealed = ''] = /^CurioAuth ([^:]*):([^:]*):(.*)$/.exec(header) ?? []
    const address = Buffer.from(key, 'base64')
    const signature = Buffer.from(sealed, 'base64')
    if (type !== 'delegated' || signature.length !== 66 || signature[0] !== 3) return undefined
    // Ethereum adds 27 to the recovery bit.
    const [recovery = 0] = signature.subarray(65)
    const ethereum: Hex = `0x${signature.toString('hex', 1, 65)}${(recovery + 27).toString(16)}`
    for (const offset of [0, -MINUTE_MS, MINUTE_MS]) {
      const minute = `${new Date(now() + offset).toISOString().slice(0, 16)}:00Z`
      const digest = createHash('sha256').update(address).update(method).update(path).update(minute).digest()
      const signer = await recoverAddress({
        hash: keccak256(bytesToHex(digest)),
        signature: ethereum,
      }).catch(() => undefined)
      if (signer === undefined) continue
      const { bytes, text } = delegatedAddress(signer, network)
      if (address.equals(bytes)) return (this.clients[text] ?? !deniesUnknown) ? text : undefined
    }
    return undefined
  }

  #propose(
    client: string,
    contentType: string | undefined,
    body: Buffer | undefined,
  ): { status: number; text: string } {
    // The whole value is compared.
    if (contentType !== 'application/json') return { status: 400, text: 'invalid content type\n' }
    if (body === undefined) return { status: 400, text: 'request body too large\n' }
    const proposal = readProposal(body)
    if (proposal === undefined) return { status: 400, text: 'invalid character in the deal\n' }
    try {
      const { piece, urls } = this.#validate(proposal, client)
      const id = proposal.identifier.toUpperCase()
      // The database refuses a second row with an id. Curio answers no more than that.
      if (this.deals.has(id)) throw new Refusal(500, '')
      const miner = proposal.products.ddo_v1?.provider ?? ''
      this.deals.set(id, { id, client, miner, piece: piece.link, urls, state: 'accepted' })
      return { status: 200, text: 'Reason: ' }
    } catch (cause) {
      if (!(cause instanceof Refusal)) throw cause
      return { status: cause.status, text: `Reason: ${cause.message}` }
    }
  }

  /** Makes the checks of Curio, in its order. */
  #validate({ client, data, products }: Proposal, signer: string): { piece: Piece; urls: string[] } {
    const { miners, sectorBytes } = this.#options
    if (client !== signer) throw new Refusal(400, 'client in deal does not match client in auth header')
    this.#validateProducts(products)
    const piece = data && this.#validateData(data)
    if (!miners.includes(products.ddo_v1?.provider ?? ''))
      throw new Refusal(400, 'Provider not available in Curio cluster')
    if (data === undefined || piece === undefined)
      throw new Refusal(400, 'Data Source must be defined for a DDO deal')
    if (piece.size > sectorBytes) throw new Refusal(400, "Deal size is larger than the miner's sector size")
    if (data.format.raw && products.retrieval_v1?.indexing)
      throw new Refusal(400, 'Raw bytes deal cannot be indexed')
    if (this.faults.isOverloaded || this.deals.size >= MAX_DEALS)
      throw new Refusal(429, 'MK20 ingestion backpressure is active. Please try again later.')
    return { piece, urls: data.source_http?.urls.map(({ url }) => url) ?? [] }
  }

  #validateProducts({ ddo_v1: ddo, retrieval_v1: retrieval, pdp_v1: pdp }: Proposal['products']): void {
    const refuse = (status: number, reason: string): never => {
      throw new Refusal(status, `products validation failed: ${reason}`)
    }
    const requireProduct = (name: string): void => {
      if (this.products[name] === undefined) refuse(423, `product ${name} is not supported by the provider`)
      if (!this.products[name]) refuse(424, `product ${name} is not enabled`)
    }
    if (ddo) {
      requireProduct('ddo_v1')
      if (ddo.provider === '') refuse(425, 'provider address is not set')
      if (ddo.start_epoch !== null && ddo.start_epoch <= 0) refuse(425, 'start epoch cannot be negative')
      if (ddo.duration < MIN_DURATION_EPOCHS) refuse(441, `duration must be at least ${MIN_DURATION_EPOCHS}`)
      if (ddo.market_address !== '') refuse(425, 'invalid market address')
      if (!retrieval) refuse(425, 'retrieval v1 is required for ddo v1')
      if (retrieval?.announce_piece) refuse(425, 'announce piece is not supported for ddo v1')
    }
    if (retrieval) {
      requireProduct('retrieval_v1')
      if (!retrieval.indexing && retrieval.announce_payload)
        refuse(425, 'deal cannot be announced to IPNI without indexing')
    }
    if (pdp) requireProduct('pdp_v1')
    if (!ddo) refuse(425, 'no products defined')
    if (pdp) refuse(425, 'ddo_v1 and pdp_v1 are mutually exclusive')
  }

  #validateData({ piece_cid: cid, format, ...data }: Data): Piece {
    const { ok: piece, error } = parsePiece(cid['/'])
    if (error) throw new Refusal(400, `invalid piece cid: ${error.message}`)
    const sources = ['http', 'aggregate', 'offline', 'http_put'].filter(name => `source_${name}` in data)
    const [source] = sources
    if (sources.length > 1) throw new Refusal(400, 'multiple sources defined for data source')
    if (source === undefined) throw new Refusal(400, 'no source defined for data source')
    const formats = Object.keys(format)
    if (formats.includes('aggregate')) throw new Refusal(430, 'aggregate type not supported')
    if (formats.length === 0) throw new Refusal(400, 'no format defined')
    if (formats.length > 1) throw new Refusal(400, 'multiple formats defined')
    if (this.sources[source] === undefined)
      throw new Refusal(422, `data source ${source} is not supported by the provider`)
    if (!this.sources[source]) throw new Refusal(422, `data source ${source} is not enabled`)
    if (source === 'http') {
      const { urls = [] } = data.source_http ?? {}
      if (urls.length === 0) throw new Refusal(430, 'no urls defined')
      if (urls.length > MAX_URLS) throw new Refusal(430, `maximum ${MAX_URLS} URLs are supported per piece`)
      for (const { url } of urls) {
        const fault = faultOf(url)
        if (fault) throw new Refusal(400, `invalid url: ${fault}`)
      }
    }
    return piece
  }
}

/** Reads a body; returns `undefined` if it is longer than Curio reads. */
const readBody = async (request: IncomingMessage): Promise<Buffer | undefined> => {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.byteLength
    if (bytes <= MAX_BODY_BYTES) chunks.push(chunk)
  }
  return bytes > MAX_BODY_BYTES ? undefined : Buffer.concat(chunks)
}

const readProposal = (body: Buffer): Proposal | undefined => {
  try {
    return dealSchema.safeParse(JSON.parse(`${body}`)).data
  } catch {
    return undefined
  }
}

/** Returns the reason why Curio fetches nothing from a URL. The stand-in allows addresses of this machine, which Curio refuses. */
const faultOf = (text: string): string | undefined => {
  if (text === '') return 'url is empty'
  if (text.length > MAX_URL_LENGTH) return `url exceeds ${MAX_URL_LENGTH} bytes`
  const url = URL.parse(text)
  if (url === null) return 'parse url'
  if (url.username !== '' || url.password !== '') return 'url userinfo is not allowed'
  return /^https?:$/.test(url.protocol) ? undefined : `unsupported url scheme "${url.protocol.slice(0, -1)}"`
}

/** Fetches so many bytes by ranges: after an interruption, the remaining ones. Returns their piece. */
const download = async (url: string, bytes: number, stopping: AbortSignal): Promise<PieceLink> => {
  const hasher = createHasher()
  for (let attempt = 1; hasher.bytes < bytes; attempt++) {
    const silence = new AbortController()
    const timer = setTimeout(() => silence.abort(), MAX_PAUSE_MS)
    try {
      const signal = AbortSignal.any([stopping, silence.signal])
      const response = await follow(url, { range: `bytes=${hasher.bytes}-${bytes - 1}` }, signal)
      const isWhole = response.status === 200 && hasher.bytes === 0
      if (response.status !== 206 && !isWhole) {
        await response.body?.cancel()
        throw new Error(`http status: ${response.status}`)
      }
      for await (const chunk of response.body ?? []) {
        timer.refresh()
        hasher.write(chunk)
        if (hasher.bytes > bytes) throw new Error(`more than ${bytes} bytes`)
      }
      break
    } catch (cause) {
      if (attempt === MAX_ATTEMPTS || hasher.bytes > bytes) throw cause
      stopping.throwIfAborted()
    } finally {
      clearTimeout(timer)
    }
  }
  return hasher.digest()
}

/** Requests a URL with the same headers at each redirect. */
const follow = async (
  url: string,
  headers: Record<string, string>,
  signal: AbortSignal,
): Promise<Response> => {
  let next = url
  for (let hop = 1; hop <= MAX_HOPS; hop++) {
    const response = await fetch(next, { headers, redirect: 'manual', signal })
    const location = response.headers.get('location')
    if (response.status < 300 || response.status > 399 || location === null) return response
    await response.body?.cancel()
    next = new URL(location, next).href
    const fault = faultOf(next)
    if (fault) throw new Error(`redirected: ${fault}`)
  }
  throw new Error('too many redirects')
}
