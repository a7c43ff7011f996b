import { type FSWatcher, mkdirSync, readFileSync, renameSync, watch, writeFileSync } from 'node:fs'
import { createServer, type ServerResponse } from 'node:http'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { zstdCompress } from 'node:zlib'
import { GetObjectCommand, ListObjectsV2Command, NoSuchBucket, type S3Client } from '@aws-sdk/client-s3'
import { SendMessageCommand } from '@aws-sdk/client-sqs'
import { parsePiece, toV1 } from '@w3filecoin/piece'
import { jsonLog, type Log } from '@w3filecoin/runtime'
import { UserError } from '@w3filecoin/runtime/user-error'
import type { DealMaking, DealOptions } from './deals/deal-making.ts'
import { type Engines, s3Client, sqsClient } from './engines.ts'
import { listen } from './listen.ts'
import type { LogFile } from './log-file.ts'
import { fetchAll } from './provider.ts'
import { queueUrl } from './provision.ts'
import { bucketDirectory } from './s3.ts'

/**
 * A stand-in for storage providers and the chain. It reads the dealer's offer documents, fetches the pieces, makes a deal for
 * each aggregate after a delay, and publishes all deals over HTTP as the file of active replicas that the deal tracker reads.
 * An aggregate gets no deal if one of its pieces is faulty or cannot be fetched, or if the bytes make another aggregate; the
 * market reports it to the dealer.
 */
export interface Market extends DealMaking {
  /** URL of the published deals, e.g. `http://127.0.0.1:4000/active-replicas.json.zst`. */
  activeReplicas: string
  start(options: MarketOptions): Promise<void>
}

interface MarketOptions extends DealOptions {
  /** The dealer's bucket of offer documents. The default is that of the local system. */
  offers?: string
  /** The dealer's queue for reports of failed deals. The default is that of the local system. */
  reports?: string
}

/** An offer document of the dealer. */
interface OfferDocument {
  /** Piece CID of the aggregate. */
  aggregate: string
  /** Piece CIDs of its pieces. */
  pieces: readonly string[]
  /** DID of the storefront. */
  tenant?: string
  /** URL at which each piece can be fetched. Without it, the market makes the deal unseen. */
  source?: string
}

/** An entry of the market's book: the outcome of an offer document. */
interface Entry {
  /** Key of the document, e.g. `bafkzci…/1.json`. */
  offer: string
}

interface Refusal extends Entry {
  /** The faulty pieces. */
  faults: readonly string[]
  /** Why there is no deal, and of each faulty piece. Absent in the books of version 0.1.0. */
  message?: string
  reasons?: readonly string[]
}

interface Deal extends Entry {
  aggregate: string
  dealID: number
  provider: number
  endEpoch: number
}

const OFFERS = 'dealer-offers'
const REPORTS = 'dealer-report'
const PATH = '/active-replicas.json.zst'
/** Longest pause between two scans of the offer documents: the watcher of a directory may miss a change. */
const MAX_PAUSE_MS = 10_000
/** Pause if the directory cannot be watched, and after a scan that failed. */
const UNWATCHED_PAUSE_MS = 1_000

const PROVIDERS = [1001, 1002, 1003]
const FIRST_DEAL = 100_001

/** The chain's start, in seconds since 1970, and the length of its epochs. */
const GENESIS_SECONDS = 1_598_306_400
const EPOCH_SECONDS = 30
/** Duration of a deal: 540 days. */
const DEAL_EPOCHS = (540 * 24 * 3600) / EPOCH_SECONDS

const epochAt = (time: number): number => Math.floor((time / 1000 - GENESIS_SECONDS) / EPOCH_SECONDS)

export const openMarket = async ({ port, log: file }: { port: number; log: LogFile }): Promise<Market> => {
  const log = jsonLog(line => file.write(`${line}\n`), { service: 'market', now: Date.now })
  const entries: Entry[] = []
  const stopping = new AbortController()
  let trading: Promise<void> | undefined
  let changes: Changes | undefined

  const server = createServer((request, response) => {
    if (request.url === PATH) void publish(entries.filter(isDeal), response)
    else response.writeHead(404).end('Not found\n')
  })
  const url = `http://127.0.0.1:${await listen(server, port)}`

  return {
    url,
    activeReplicas: `${url}${PATH}`,
    dealer: {},
    sources: [{ name: 'local', kind: 'active-replicas', url: `${url}${PATH}` }],
    start: async ({
      engines,
      data,
      dealDelayMs,
      faulty,
      storefronts = new Map(),
      onDeal = () => {},
      offers = OFFERS,
      reports = REPORTS,
    }) => {
      const book = join(data, 'market.json')
      entries.push(...readBook(book, data))
      const directory = bucketDirectory(data, offers)
      mkdirSync(directory, { recursive: true })
      changes = new Changes(directory, log)
      trading = trade({
        changes,
        s3: s3Client(engines),
        offers,
        report: createReporter(engines, reports),
        faulty: new Set(faulty),
        storefronts,
        entries,
        book,
        dealDelayMs,
        onDeal,
        log,
        signal: stopping.signal,
      })
    },
    stop: async () => {
      stopping.abort()
      changes?.close()
      await trading
      server.close()
      server.closeAllConnections()
    },
  }
}

/** Wakes the market when a directory changes. A change during a scan is not lost. */
class Changes {
  #next = Promise.withResolvers<void>()
  #watcher: FSWatcher | undefined
  /** The longest wait. */
  #maxMs = MAX_PAUSE_MS

  constructor(directory: string, log: Log) {
    const fail = (cause: unknown) => {
      log('warn', 'the directory of offers is not watched, but scanned each second', { cause })
      this.#maxMs = UNWATCHED_PAUSE_MS
    }
    try {
      this.#watcher = watch(directory, () => this.#next.resolve()).on('error', fail)
    } catch (cause) {
      fail(cause)
    }
  }

  /** Resolves after the next change, or at once if there was one since the last wait; or after a time. */
  async wait(maxMs: number, signal: AbortSignal): Promise<void> {
    const waiting = new AbortController()
    const pause = sleep(Math.min(maxMs, this.#maxMs), undefined, {
      signal: AbortSignal.any([signal, waiting.signal]),
    })
    await Promise.race([this.#next.promise, pause.catch(() => {})])
    waiting.abort()
    this.#next = Promise.withResolvers()
  }

  close(): void {
    this.#watcher?.close()
  }
}

interface TradeOptions {
  changes: Changes
  s3: S3Client
  offers: string
  report: (refusal: Refusal) => Promise<void>
  faulty: ReadonlySet<string>
  storefronts: ReadonlyMap<string, string>
  entries: Entry[]
  book: string
  dealDelayMs: number
  onDeal: () => void
  log: Log
  signal: AbortSignal
}

/** Returns a function that reports an aggregate's faulty pieces to the dealer. */
const createReporter = ({ sqs }: Pick<Engines, 'sqs'>, queue: string): TradeOptions['report'] => {
  const client = sqsClient({ sqs })
  return async ({ offer, faults, message, reasons }) => {
    const report = {
      offer,
      message: message ?? `Storage providers reject ${faults.length} of its pieces`,
      invalid: faults.map((piece, n) => ({
        piece,
        message: reasons?.[n] ?? 'A storage provider rejects the piece',
      })),
    }
    await client.send(
      new SendMessageCommand({ QueueUrl: queueUrl(sqs, queue), MessageBody: JSON.stringify(report) }),
    )
  }
}

/** Makes a deal for every offer document, until the signal aborts. */
const trade = async ({
  changes,
  s3,
  offers,
  report,
  faulty,
  storefronts,
  entries,
  book,
  dealDelayMs,
  onDeal,
  log,
  signal,
}: TradeOptions): Promise<void> => {
  const done = new Set(entries.map(({ offer }) => offer))
  /** Every start sends all reports again: one may be lost with its queue, and the dealer accepts duplicates. */
  const reported = new Set<string>()
  const enter = (entry: Entry): void => {
    writeBook(book, [...entries, entry])
    entries.push(entry)
  }
  const seen = new Map<string, number>()
  /** Why the pieces of an offer cannot be fetched yet, by key. */
  const waiting = new Map<string, string>()
  while (!signal.aborted) {
    let pauseMs = MAX_PAUSE_MS
    try {
      const due: string[] = []
      for await (const key of listOffers({ s3, offers, signal })) {
        if (done.has(key)) continue
        const since = seen.get(key) ?? Date.now()
        seen.set(key, since)
        const waitMs = since + dealDelayMs - Date.now()
        if (waitMs <= 0) due.push(key)
        else pauseMs = Math.min(pauseMs, waitMs)
      }
      for (const key of due) {
        const offer = await readOffer({ s3, offers }, key)
        const refusal = offer && (await findRefusal(key, relocate(offer, storefronts), faulty, signal))
        if (refusal && 'later' in refusal) {
          if (waiting.get(key) !== refusal.later)
            log('warn', 'pieces not fetched', { key, reason: refusal.later })
          waiting.set(key, refusal.later)
          pauseMs = UNWATCHED_PAUSE_MS
          continue
        }
        waiting.delete(key)
        if (refusal) {
          enter(refusal)
          log('info', 'no deal', refusal)
        }
        done.add(key)
        seen.delete(key)
        if (offer === undefined) log('warn', 'offer document is invalid', { key })
        if (offer === undefined || refusal) continue
        const { aggregate } = offer
        const dealID = (entries.findLast(isDeal)?.dealID ?? FIRST_DEAL - 1) + 1
        const provider = PROVIDERS[(dealID - FIRST_DEAL) % PROVIDERS.length] as number
        const deal: Deal = {
          offer: key,
          aggregate,
          dealID,
          provider,
          endEpoch: epochAt(Date.now()) + DEAL_EPOCHS,
        }
        enter(deal)
        log('info', 'deal', deal)
        onDeal()
      }
      for (const refusal of entries.filter(isRefusal)) {
        if (reported.has(refusal.offer)) continue
        await report(refusal)
        reported.add(refusal.offer)
      }
    } catch (cause) {
      if (signal.aborted) break
      log('error', 'reading offers failed', { cause })
      pauseMs = UNWATCHED_PAUSE_MS
    }
    await changes.wait(pauseMs, signal)
  }
}

/** Returns the document with the present address of its storefront. */
const relocate = (offer: OfferDocument, storefronts: ReadonlyMap<string, string>): OfferDocument => {
  const present = storefronts.get(offer.tenant ?? '')
  if (present === undefined || offer.source === undefined) return offer
  return { ...offer, source: offer.source.replace(/^https?:\/\/[^/]+/, new URL(present).origin) }
}

/** Returns why an offer gets no deal; `later` if a piece cannot be fetched now, `undefined` if it gets one. */
const findRefusal = async (
  key: string,
  { aggregate, pieces, source }: OfferDocument,
  faulty: ReadonlySet<string>,
  signal: AbortSignal,
): Promise<Refusal | { later: string } | undefined> => {
  const faults = pieces.filter(piece => faulty.has(piece))
  if (faults.length > 0) return { offer: key, faults }
  if (source === undefined) return undefined
  const delivery = await fetchAll({ aggregate, pieces, source }, signal)
  if (delivery.is === 'later') return { later: delivery.reason }
  if (delivery.is === 'right') return undefined
  const { message, invalid } = delivery
  return {
    offer: key,
    faults: invalid.map(({ piece }) => piece),
    message,
    reasons: invalid.map(({ message }) => message),
  }
}

/** Lists the keys of all offer documents. */
async function* listOffers({
  s3,
  offers,
  signal,
}: Pick<TradeOptions, 's3' | 'offers' | 'signal'>): AsyncGenerator<string> {
  for (let after: string | undefined; ; ) {
    const { Contents = [], NextContinuationToken } = await s3
      .send(new ListObjectsV2Command({ Bucket: offers, ContinuationToken: after }), { abortSignal: signal })
      .catch(cause => {
        if (cause instanceof NoSuchBucket) return { Contents: [], NextContinuationToken: undefined }
        throw cause
      })
    for (const { Key } of Contents) if (Key?.endsWith('.json')) yield Key
    if (NextContinuationToken === undefined) return
    after = NextContinuationToken
  }
}

/** Reads an offer document; returns `undefined` if it is invalid. */
const readOffer = async (
  { s3, offers }: Pick<TradeOptions, 's3' | 'offers'>,
  key: string,
): Promise<OfferDocument | undefined> => {
  const { Body } = await s3.send(new GetObjectCommand({ Bucket: offers, Key: key }))
  try {
    const offer = JSON.parse((await Body?.transformToString()) ?? '') as OfferDocument
    return parsePiece(offer.aggregate).ok && Array.isArray(offer.pieces) ? offer : undefined
  } catch {
    return undefined
  }
}

const publish = async (deals: readonly Deal[], response: ServerResponse): Promise<void> => {
  const file = Buffer.from(JSON.stringify(activeReplicas(deals, epochAt(Date.now()))))
  const body = await promisify(zstdCompress)(file)
  response.writeHead(200, { 'content-type': 'application/zstd', 'content-length': body.byteLength }).end(body)
}

/** Returns the file of active replicas: every aggregate with a deal, and its deals. */
export const activeReplicas = (deals: readonly Deal[], epoch: number) => ({
  state_epoch: epoch,
  active_replicas: [...Map.groupBy(deals, deal => deal.aggregate)].map(([aggregate, contracts]) => {
    const piece = parsePiece(aggregate)
    const chain = piece.ok && toV1(piece.ok.link)
    if (!chain?.ok) throw new Error(`${aggregate} is not a piece CID`)
    return {
      contracts: contracts.map(({ offer, provider, dealID, endEpoch }) => ({
        provider_id: provider,
        legacy_market_id: dealID,
        legacy_market_end_epoch: endEpoch,
        // The name of the offer document: the deal is for this offer, and for no other offer of the same aggregate.
        label: offer,
      })),
      piece_cid: `${chain.ok.root}`,
      piece_log2_size: chain.ok.log2Size,
    }
  }),
})

const isDeal = (entry: Entry): entry is Deal => 'dealID' in entry

const isRefusal = (entry: Entry): entry is Refusal => 'faults' in entry

const isEntry = (entry: Entry): boolean => {
  if (typeof entry.offer !== 'string') return false
  if (isRefusal(entry)) return Array.isArray(entry.faults)
  const { aggregate, dealID, provider, endEpoch } = entry as Deal
  return [dealID, provider, endEpoch].every(Number.isSafeInteger) && parsePiece(aggregate).ok !== undefined
}

const readBook = (path: string, data: string): Entry[] => {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw new UserError(`Cannot read ${path}: ${(cause as Error).message}. Check its permissions.`)
  }
  try {
    const entries = JSON.parse(text)
    if (entries.every(isEntry)) return entries
  } catch {
    // The message quotes the text, and says no more than the one below.
  }
  throw new UserError(
    `${path}, which holds the deals of this system, is not valid. Restore it, or remove ${data} to start from scratch.`,
  )
}

/** Replaces the file atomically, because a published deal must survive a crash. */
const writeBook = (path: string, entries: readonly Entry[]): void => {
  writeFileSync(`${path}.new`, JSON.stringify(entries), { flush: true })
  renameSync(`${path}.new`, path)
}
