import type { DID, Receipt } from '@ucanto/interface'
import {
  type AggregateRecord,
  aggregateId,
  type PieceRecord as OfferedPiece,
  pieceId as offerKey,
  readMembers,
} from '@w3filecoin/aggregator'
import type { Segment } from '@w3filecoin/aws'
import type { AggregateRecord as DealerAggregate } from '@w3filecoin/dealer'
import { FIL_COMMITMENT_UNSEALED, fromV1, parsePiece } from '@w3filecoin/piece'
import {
  DUE,
  DUE_SHARDS,
  type RecordFormat,
  type Row,
  type Stored,
  type Table,
  unpackTask,
} from '@w3filecoin/runtime'
import { findByPiece, type PieceQuery, type PieceRecord, pieceId } from '@w3filecoin/storefront'
import { CID } from 'multiformats/cid'
import pMap from 'p-map'
import { scanInSegments } from '../scan.ts'
import { argumentsOf, findReceipt, issuerOf, type ReceiptStep } from './receipts.ts'
import type { Services } from './services.ts'
import { readOffers } from './story.ts'

/** The records that a CID leads to. */
export interface Found {
  workflows: Map<string, Stored<PieceRecord>>
  /** Pieces at the aggregator. The storefront may have their workflows. */
  offered: Map<string, Stored<OfferedPiece>>
  aggregates: Map<string, { sealed?: Stored<AggregateRecord>; offered?: Stored<DealerAggregate> }>
  /** The receipt of the task, if the CID is one. */
  receipt: ReceiptStep | undefined
  /** The places that were searched, for an answer that nothing was found. */
  searched: string[]
  /** Whether a search stopped at its limit. */
  more: boolean
}

interface FindOptions {
  /** Maximum workflows, and pieces of an aggregate. */
  limit: number
  /** Scan whole tables in this many parallel segments, if no key and no index leads to a record. */
  segments?: number | undefined
}

/** Binary logarithms of the padded bytes of the smallest and the largest piece that a sector holds. */
const MIN_LOG2_SIZE = 7
const MAX_LOG2_SIZE = 36
/** Unfinished records of one table that are searched for a task without a receipt. */
const MAX_UNFINISHED = 1_000
const PAGE_RECORDS = 100

/** Finds the records of a piece, a content, a task or an aggregate, by keys and indexes. */
export const find = async (services: Services, subject: string, options: FindOptions): Promise<Found> => {
  const found: Found = {
    workflows: new Map(),
    offered: new Map(),
    aggregates: new Map(),
    receipt: undefined,
    searched: [],
    more: false,
  }
  const search = new Search(services, found, options)
  const link = CID.parse(subject)
  if (parsePiece(subject).ok) await search.piece(subject)
  else if (link.code === FIL_COMMITMENT_UNSEALED) await search.root(link)
  else {
    await search.content(subject)
    if (search.isEmpty) await search.task(subject)
  }
  if (search.isEmpty && options.segments !== undefined) await search.tables(subject, options.segments)
  return found
}

class Search {
  readonly #services: Services
  readonly #found: Found
  readonly #limit: number

  constructor(services: Services, found: Found, { limit }: FindOptions) {
    this.#services = services
    this.#found = found
    this.#limit = limit
  }

  get isEmpty(): boolean {
    const { workflows, offered, aggregates } = this.#found
    return workflows.size + offered.size + aggregates.size === 0
  }

  /** Searches a piece CID v2: it may name an aggregate, too. */
  async piece(cid: string): Promise<void> {
    await this.#byPiece({ piece: cid })
    await this.aggregate(cid)
  }

  /** Searches a piece CID v1, which lacks the size. Aggregates have no padding, so their CIDs v2 can be derived for each size. */
  async root(link: CID): Promise<void> {
    await this.#byPiece({ root: `${link}` })
    const sizes = Array.from({ length: MAX_LOG2_SIZE - MIN_LOG2_SIZE + 1 }, (_, n) => MIN_LOG2_SIZE + n)
    await pMap(
      sizes,
      async size => {
        const { ok } = fromV1(link, size)
        if (ok) await this.aggregate(`${ok}`)
      },
      { concurrency: 4 },
    )
  }

  async content(cid: string): Promise<void> {
    this.#looked('storefront piece, by its index content')
    const { piece } = this.#services.storefront
    const { items, next } = await piece.find('content', cid, { limit: this.#limit })
    const records = (await piece.getMany(items)).filter(record => record !== undefined)
    this.#addWorkflows({ records, more: next !== undefined })
  }

  async #byPiece(query: PieceQuery): Promise<void> {
    this.#looked('storefront piece, by its index root')
    this.#addWorkflows(await findByPiece(this.#services.storefront, query, this.#limit))
  }

  #addWorkflows({ records, more }: Awaited<ReturnType<typeof findByPiece>>): void {
    this.#found.more ||= more
    for (const record of records) this.#addWorkflow(record)
  }

  /** Searches an aggregate: the dealer has an index by its CID. Of the aggregator, the keys follow from the offers. */
  async aggregate(cid: string): Promise<void> {
    const { aggregator, dealer } = this.#services
    this.#looked('dealer aggregate, by its index aggregate')
    this.#looked('aggregator aggregate, by its key')
    const offers = await readOffers(dealer, cid)
    const nonces = new Set([undefined, ...offers.map(({ nonce }) => nonce)])
    const ids = [...nonces].map(nonce => ({ id: aggregateId({ aggregate: cid, nonce }) }))
    const sealed = (await aggregator.aggregate.getMany(ids)).filter(record => record !== undefined)
    for (const record of sealed) await this.#addAggregate(record)
    for (const offered of offers)
      if (!sealed.some(({ nonce, pieces }) => nonce === offered.nonce && pieces === offered.piecesCid))
        this.#found.aggregates.set(offered.id, { offered })
  }

  /** Adds an aggregate, and some of its pieces. */
  async #addAggregate(sealed: Stored<AggregateRecord>): Promise<void> {
    const { aggregator } = this.#services
    this.#found.aggregates.set(sealed.id, { sealed })
    const members = await readMembers(aggregator, sealed)
    this.#found.more ||= members.length > this.#limit
    const some = members.slice(0, this.#limit)
    for (const record of await aggregator.piece.getMany(some.map(id => ({ id }))))
      if (record) this.#found.offered.set(record.id, record)
  }

  /**
   * Searches a task. The storefront knows the workflow of each task that it promised. Every other task has a receipt, whose task
   * names piece or aggregate, or it waits in an unfinished record.
   */
  async task(cid: string): Promise<void> {
    const { storefront, aggregator, dealer } = this.#services
    this.#looked('storefront task, by its key')
    const row = await storefront.task.get({ task: cid })
    const record = row && (await storefront.piece.get({ id: row.id }))
    if (record) return this.#addWorkflow(record)

    this.#looked('receipt of storefront, aggregator, dealer and deal-tracker, by its key')
    const filed = await findReceipt(this.#services, cid, ['storefront', 'aggregator', 'dealer', 'tracker'])
    this.#found.receipt = filed?.step
    if (filed) return this.#arguments(filed.receipt)

    this.#looked('storefront piece, by its index waitsFor')
    const { items } = await storefront.piece.find('waitsFor', cid, { limit: this.#limit })
    for (const record of await storefront.piece.getMany(items)) if (record) this.#addWorkflow(record)
    if (!this.isEmpty) return

    // A promised task without a receipt belongs to an unfinished record.
    await this.#unfinished('aggregator aggregate', aggregator.aggregate, async record => {
      if (await isTaskOf(record, cid)) await this.#addAggregate(record)
    })
    await this.#unfinished('dealer aggregate', dealer.aggregate, async offered => {
      if (await isTaskOf(offered, cid)) await this.aggregate(offered.aggregate)
    })
    for (const service of [storefront, aggregator, dealer])
      await this.#unfinished(`${service.service} translation`, service.translation, async record => {
        if (record.task === cid) await this.#subject(service.service, record.subject)
      })
    await this.#unfinished('storefront piece', storefront.piece, async record => {
      if (await isTaskOf(record, cid)) this.#addWorkflow(record)
    })
  }

  /** Follows a task to the records that its arguments name. Drafts have other names for some of them. */
  async #arguments(receipt: Receipt | undefined): Promise<void> {
    const { storefront, aggregator } = this.#services
    const { aggregate, content, link, piece, group, provider, nonce, ...others } = argumentsOf(receipt)
    const [source, place] = [content ?? link, group ?? provider]
    if (piece !== undefined && source !== undefined) {
      this.#looked('storefront piece, by its key')
      const record = await storefront.piece.get({ id: pieceId({ content: source, piece, nonce }) })
      if (record) return this.#addWorkflow(record)
    }
    if (aggregate !== undefined) await this.aggregate(aggregate)
    else if (piece !== undefined) await this.piece(piece)
    if (piece === undefined || place === undefined || !this.isEmpty) return
    // The storefront is another one, or the piece was offered without it.
    this.#looked('aggregator piece, by its key')
    const offer = { piece, group: place, nonce }
    const storefronts = [undefined, others.storefront, issuerOf(receipt)].map(did => did as DID | undefined)
    for (const record of await aggregator.piece.getMany(
      storefronts.map(did => ({ id: offerKey(offer, did) })),
    ))
      if (record) this.#found.offered.set(record.id, record)
  }

  /** Adds the record whose workflow promised a task in a dialect. */
  async #subject(service: 'storefront' | 'aggregator' | 'dealer', id: string): Promise<void> {
    const { storefront, aggregator, dealer } = this.#services
    if (service === 'storefront') {
      const record = await storefront.piece.get({ id })
      if (record) this.#addWorkflow(record)
    } else if (service === 'aggregator') {
      const record = await aggregator.piece.get({ id })
      if (record) this.#found.offered.set(id, record)
    } else {
      const record = await dealer.aggregate.get({ id })
      if (record) await this.aggregate(record.aggregate)
    }
  }

  /** Handles the unfinished records of a table, by the index of its sweep, until one leads to a record of the story. */
  async #unfinished<R>(
    name: string,
    table: Table<R>,
    handle: (record: Stored<R>) => Promise<void>,
  ): Promise<void> {
    if (!this.isEmpty) return
    let read = 0
    for (const shard of [...DUE_SHARDS.waiting, ...DUE_SHARDS.own]) {
      let after: string | undefined
      do {
        const page = await table.find(DUE, shard, { limit: PAGE_RECORDS, after })
        for (const record of await table.getMany(page.items)) if (record) await handle(record)
        if (!this.isEmpty) return
        read += page.items.length
        after = page.next
      } while (after !== undefined && read < MAX_UNFINISHED)
      if (read >= MAX_UNFINISHED) break
    }
    this.#looked(
      `${name}, ${read >= MAX_UNFINISHED ? `the first ${read} unfinished` : `all ${read} unfinished`} by its index due`,
    )
  }

  /** Scans whole tables. */
  async tables(cid: string, segments: number): Promise<void> {
    const { storefront, aggregator, dealer } = this.#services
    const scan = async <R extends object>(
      name: string,
      format: RecordFormat<R>,
      read: (part: Segment) => AsyncIterable<Row[]>,
      handle: (record: Stored<R>) => Promise<unknown>,
    ): Promise<void> => {
      let count = 0
      await scanInSegments(segments, read, async rows => {
        count += rows.length
        for (const row of rows) if (!this.#isFull) await handle(format.decode(row) as Stored<R>)
      })
      this.#looked(`${name}, all ${count} records`)
    }
    await scan(
      'storefront piece',
      storefront.formats.piece,
      part => storefront.aws.scan('piece', part),
      async record => {
        if (record.content === cid || record.piece === cid || (await isTaskOf(record, cid)))
          this.#addWorkflow(record)
      },
    )
    await scan(
      'aggregator piece',
      aggregator.formats.piece,
      part => aggregator.aws.scan('piece', part),
      async record => {
        if (record.piece === cid || (await isTaskOf(record, cid))) this.#found.offered.set(record.id, record)
      },
    )
    await scan(
      'aggregator aggregate',
      aggregator.formats.aggregate,
      part => aggregator.aws.scan('aggregate', part),
      async record => {
        if (record.aggregate === cid || (await isTaskOf(record, cid))) await this.#addAggregate(record)
      },
    )
    await scan(
      'dealer aggregate',
      dealer.formats.aggregate,
      part => dealer.aws.scan('aggregate', part),
      async record => {
        if (await isTaskOf(record, cid)) await this.aggregate(record.aggregate)
      },
    )
    for (const { service, formats, aws } of [storefront, aggregator, dealer])
      await scan(
        `${service} translation`,
        formats.translation,
        part => aws.scan('translation', part),
        async record => {
          if (record.task === cid) await this.#subject(service, record.subject)
        },
      )
  }

  get #isFull(): boolean {
    const { workflows, offered, aggregates } = this.#found
    return workflows.size + offered.size + aggregates.size >= this.#limit
  }

  #addWorkflow(record: Stored<PieceRecord>): void {
    this.#found.workflows.set(record.id, record)
  }

  #looked(place: string): void {
    if (!this.#found.searched.includes(place)) this.#found.searched.push(place)
  }
}

/** The fields of records with a promised task, packed, and those with the CID of one. */
const TASKS = ['submitTask', 'acceptTask', 'pieceOfferTask', 'offerTask', 'promisedTask']
const TASK_CIDS = [
  'submitCid',
  'acceptCid',
  'waitsFor',
  'retryOfferCid',
  'aggregateOfferCid',
  'refusedOfferCid',
]

/** Whether a record has a task. */
const isTaskOf = async (record: object, cid: string): Promise<boolean> => {
  const fields = record as Record<string, unknown>
  if (TASK_CIDS.some(name => fields[name] === cid)) return true
  const bytes = Buffer.from(CID.parse(cid).bytes)
  for (const name of TASKS) {
    const packed = fields[name]
    // A task takes a millisecond to unpack, so most are skipped: their bytes do not have the CID.
    if (packed instanceof Uint8Array && Buffer.from(packed).includes(bytes))
      if (`${(await unpackTask(packed)).cid}` === cid) return true
  }
  return false
}
