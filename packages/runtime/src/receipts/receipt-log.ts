import type { Receipt } from '@ucanto/interface'
import { linkText } from '@w3filecoin/capabilities/codec'
import { parse as parseLink } from 'multiformats/link'
import pMap from 'p-map'
import { batchesOf } from '../batches.ts'
import type { Blocks, Clock, Table } from '../ports.ts'
import { pack, unpack } from '../records/packed.ts'
import { CAR, encodeReceipt } from '../ucan/message.ts'
import { decodeCar, receiptIn, viewMessage } from '../ucan/ucanto.ts'

/**
 * The record of a receipt. A small receipt is stored in the record, a large one as a block. Receipts that are issued together
 * share a block, because each of their records is then billed as one kilobyte.
 *
 * @example { task: 'bafyrei…', receipt: 'bafyrei…', car: <bytes>, issuedAt: 1767225600000 }
 * @example { task: 'bafyrei…', receipt: 'bafyrei…', block: 'bafkrei…', size: 5000000, issuedAt: 1767225600000 }
 * @example { task: 'bafyrei…', receipt: 'bafyrei…', part: { block: 'bafkrei…', at: 1300, bytes: 1250 }, issuedAt: 1767225600000 }
 * @example { task: 'bafyrei…', receipt: 'bafyrei…', car: <bytes>, issuedAt: 1767225600000, expiresAt: 1767312000 }
 */
export interface ReceiptRecord {
  /** CID of the task. */
  task: string
  /** CID of the receipt's root block. */
  receipt: string
  /** A small CAR: the agent message with the receipt and the blocks of its effects. */
  car?: Uint8Array
  /** CID of the block with a large CAR. */
  block?: string
  /** Size of a large CAR, in bytes. */
  size?: number
  /** Where the CAR is, packed (see {@link pack}), in a block that many receipts share. `at`: the first byte. */
  part?: { block: string; at: number; bytes: number }
  /** Milliseconds since 1970. */
  issuedAt: number
  /**
   * Seconds since 1970, as the time to live of DynamoDB requires. From then on the record counts as absent: DynamoDB deletes
   * it within days. A record without it stays.
   */
  expiresAt?: number | undefined
}

/** Sizes from which a receipt log treats receipts as large. */
export interface ReceiptLogLimits {
  /** CARs up to this size are stored in the record, larger ones as a block. A DynamoDB item has at most 400 KB. */
  maxInlineBytes: number
  /** CARs up to this size are served by the function. The response of a Lambda function has at most 6 MB, base64 included. */
  maxServedBytes: number
  /** Receipts that are issued together share a block if there are so many: a write to S3 costs as much as 8 kilobytes in a table. */
  minShared: number
}

const LIMITS: ReceiptLogLimits = { maxInlineBytes: 100_000, maxServedBytes: 4_000_000, minShared: 10 }

/**
 * Maximum size of a CAR that expires: it is always stored in the record, because blocks do not expire. The invocations of a
 * message may share proofs, and each receipt has its own copy of them. A usual offer has about 4 KB.
 */
const MAX_EXPIRING_BYTES = 16_384

const RAW = 0x55

type ReadBlock = (link: string) => Promise<Uint8Array | undefined>

/** A receipt as it is served: its CID, when it was issued (milliseconds since 1970), and its CAR or the URL of its CAR. */
export type ServedReceipt = Pick<ReceiptRecord, 'receipt' | 'issuedAt'> &
  ({ car: Uint8Array } | { url: string })

/**
 * One of many receipts that are served together. `isTooLarge`: only {@link ReceiptLog.serve} serves it. `isOmitted`: there was no
 * room for it, or it was not read because there was none.
 */
export type OneOfMany =
  | (Pick<ReceiptRecord, 'receipt' | 'issuedAt'> & ({ car: Uint8Array } | { isTooLarge: true }))
  | { isOmitted: true }

/** Rows that are read at a time for many receipts: at most 100 KB each. */
const ROWS_AT_A_TIME = 100

/** Receipts that share a block at most: all of them are read with one of them. */
const MAX_SHARED = 100

/** Records that are written, and receipts that are read, in parallel. */
const MAX_PARALLEL_WRITES = 10
const MAX_PARALLEL_READS = 8

/** Maximum number of attempts to store a receipt while other runs of the same task change its record. */
const MAX_PUT_ATTEMPTS = 5

/**
 * The signed receipts of the tasks that a service finished, by the CID of the task. Each is written once and never changes.
 * A receipt is issued when it is stored here, before any message is sent about it.
 *
 * The receipt of a repeated offer may expire: see decision 0037. The receipt of a promised task never does.
 */
export class ReceiptLog {
  readonly #table: Table<ReceiptRecord>
  readonly #blocks: Blocks
  readonly #now: Clock
  readonly #limits: ReceiptLogLimits

  constructor({
    table,
    blocks,
    now,
    limits = LIMITS,
  }: {
    table: Table<ReceiptRecord>
    blocks: Blocks
    now: Clock
    limits?: ReceiptLogLimits
  }) {
    this.#limits = limits
    this.#table = table
    this.#blocks = blocks
    this.#now = now
  }

  /**
   * Stores a receipt. If the task already has one, returns the existing receipt and stores nothing.
   *
   * @param options.lifetimeSeconds the receipt expires after this time; default: never. One above `MAX_EXPIRING_BYTES` is
   * not stored.
   */
  async put(receipt: Receipt, { lifetimeSeconds }: { lifetimeSeconds?: number } = {}): Promise<Receipt> {
    const task = linkText(receipt.ran.link())
    const car = await encodeReceipt(receipt)
    const isExpiring = lifetimeSeconds !== undefined
    if (isExpiring && car.byteLength > MAX_EXPIRING_BYTES) return (await this.get(task)) ?? receipt
    const isLarge = !isExpiring && car.byteLength > this.#limits.maxInlineBytes
    const now = this.#now()
    const record: ReceiptRecord = {
      task,
      receipt: linkText(receipt.root.cid),
      issuedAt: now,
      ...(isLarge ? { block: `${await this.#blocks.put(car, RAW)}`, size: car.byteLength } : { car }),
      ...(isExpiring ? { expiresAt: Math.ceil(now / 1000) + lifetimeSeconds } : {}),
    }
    const stored = await this.#insert(record)
    return stored.receipt === record.receipt ? receipt : this.#decode(task, await this.#read(stored))
  }

  /**
   * Stores receipts that are issued together. They never expire. Returns for each the receipt that is stored, as {@link put}
   * does.
   */
  async putMany(receipts: readonly Receipt[]): Promise<Receipt[]> {
    const batches = batchesOf(receipts, MAX_SHARED)
    return (await pMap(batches, batch => this.#putBatch(batch), { concurrency: 1 })).flat()
  }

  async #putBatch(receipts: readonly Receipt[]): Promise<Receipt[]> {
    if (receipts.length < this.#limits.minShared)
      return pMap(receipts, receipt => this.put(receipt), { concurrency: MAX_PARALLEL_WRITES })
    const cars = await Promise.all(receipts.map(async receipt => pack(await encodeReceipt(receipt))))
    const block = `${await this.#blocks.put(Buffer.concat(cars), RAW)}`
    const issuedAt = this.#now()
    let end = 0
    const records = receipts.map((receipt, n): ReceiptRecord => {
      const { byteLength: bytes } = cars[n] as Uint8Array
      const at = end
      end += bytes
      return {
        task: linkText(receipt.ran.link()),
        receipt: linkText(receipt.root.cid),
        issuedAt,
        part: { block, at, bytes },
      }
    })
    const stored = await pMap(records, record => this.#insert(record), { concurrency: MAX_PARALLEL_WRITES })
    return Promise.all(
      stored.map(async (record, n) =>
        record.receipt === records[n]?.receipt
          ? (receipts[n] as Receipt)
          : this.#decode(record.task, await this.#read(record)),
      ),
    )
  }

  /** Writes the record unless the task already has one. Returns the present record. */
  async #insert(record: ReceiptRecord): Promise<ReceiptRecord> {
    for (let attempt = 0; attempt < MAX_PUT_ATTEMPTS; attempt++) {
      const inserted = await this.#table.insert(record)
      if (inserted.ok) return inserted.ok
      const { revision, ...existing } = inserted.error.record
      const { expiresAt, ...permanent } = existing
      const isReplaced = this.#isExpired(existing)
      // A concurrent run of the same task may have stored it as a repeat: this run decides that it stays.
      if (!isReplaced && (expiresAt === undefined || record.expiresAt !== undefined)) return existing
      const replaced = await this.#table.replace({ ...(isReplaced ? record : permanent), revision })
      if (replaced.ok) return replaced.ok
    }
    throw new Error(
      `Other runs changed the receipt of ${record.task} in each of ${MAX_PUT_ATTEMPTS} attempts`,
    )
  }

  /** Returns the receipt of a task, with the blocks of its effects; `undefined` if there is none. */
  async get(task: string): Promise<Receipt | undefined> {
    const record = await this.#find(task)
    return record && this.#decode(task, await this.#read(record))
  }

  /** Returns the receipts of tasks, in their order; `undefined` for a task that has none. Reads a block that they share once. */
  async getMany(tasks: readonly string[]): Promise<(Receipt | undefined)[]> {
    const blocks = this.#sharedBlocks()
    const records = await this.#table.getMany(tasks.map(task => ({ task })))
    return pMap(
      records,
      async record =>
        record && !this.#isExpired(record)
          ? this.#decode(record.task, await this.#read(record, blocks))
          : undefined,
      { concurrency: MAX_PARALLEL_READS },
    )
  }

  /** Returns the CAR with the receipt of a task, or its URL if it is too large to serve; `undefined` if there is none. */
  async serve(task: string): Promise<ServedReceipt | undefined> {
    const record = await this.#find(task)
    if (record === undefined) return undefined
    const { receipt, block, issuedAt } = record
    if (block !== undefined && this.#isTooLarge(record))
      return { receipt, issuedAt, url: await this.#blocks.locate(parseLink(block), CAR) }
    return { receipt, issuedAt, car: await this.#read(record) }
  }

  /**
   * Returns the receipts of tasks in the order of the tasks, as many as have room; `undefined` for a task that has none. It reads
   * no more rows when there is no more room.
   *
   * @param maxBytes the bytes of all CARs together
   */
  async serveMany(tasks: readonly string[], maxBytes: number): Promise<(OneOfMany | undefined)[]> {
    const served: (OneOfMany | undefined)[] = []
    let bytes = 0
    let isFirst = true
    let readBlock = this.#sharedBlocks()
    const serveOne = async (record: ReceiptRecord): Promise<OneOfMany> => {
      const { receipt, issuedAt, car, size = 0, part } = record
      if (this.#isTooLarge(record)) return { receipt, issuedAt, isTooLarge: true }
      const shared = part && (await this.#read(record, readBlock))
      bytes += (car ?? shared)?.byteLength ?? size
      // The first one always has room, so that asking again comes to an end.
      const hasRoom = bytes <= maxBytes || isFirst
      isFirst = false
      return hasRoom ? { receipt, issuedAt, car: shared ?? (await this.#read(record)) } : { isOmitted: true }
    }
    for (let start = 0; start < tasks.length; start += ROWS_AT_A_TIME) {
      const some = tasks.slice(start, start + ROWS_AT_A_TIME)
      if (bytes > maxBytes) {
        served.push(...some.map(() => ({ isOmitted: true as const })))
        continue
      }
      // Blocks are forgotten from time to time, so that memory has a bound.
      readBlock = this.#sharedBlocks()
      for (const record of await this.#table.getMany(some.map(task => ({ task }))))
        served.push(record && !this.#isExpired(record) ? await serveOne(record) : undefined)
    }
    return served
  }

  #isTooLarge({ block, size = 0 }: ReceiptRecord): boolean {
    return block !== undefined && size > this.#limits.maxServedBytes
  }

  async #find(task: string): Promise<ReceiptRecord | undefined> {
    const record = await this.#table.get({ task })
    return record && !this.#isExpired(record) ? record : undefined
  }

  /** Whether the time of a record is over. DynamoDB may return it for days after that. */
  #isExpired({ expiresAt }: ReceiptRecord): boolean {
    return expiresAt !== undefined && expiresAt * 1000 <= this.#now()
  }

  /** @param readBlock reads a block; the default keeps none in memory */
  async #read(
    { task, car, block, part }: ReceiptRecord,
    readBlock: ReadBlock = link => this.#blocks.get(parseLink(link)),
  ): Promise<Uint8Array> {
    if (car !== undefined) return car
    const link = part?.block ?? (block as string)
    const bytes = await readBlock(link)
    if (bytes === undefined) throw new Error(`The block ${link} with the receipt of ${task} is missing`)
    return part === undefined ? bytes : unpack(bytes.subarray(part.at, part.at + part.bytes))
  }

  /** Returns a function that reads each block once. Large receipts, which have blocks of their own, are read once anyway. */
  #sharedBlocks(): ReadBlock {
    const blocks = new Map<string, Promise<Uint8Array | undefined>>()
    return link => {
      const block = blocks.get(link) ?? this.#blocks.get(parseLink(link))
      blocks.set(link, block)
      return block
    }
  }

  #decode(task: string, car: Uint8Array): Receipt {
    return readReceipt(task, car) as Receipt
  }
}

/** Returns the receipt of `task` in the CAR of an agent message; `undefined` if there is none. Throws if the bytes are not a CAR. */
export const readReceipt = (task: string, car: Uint8Array): Receipt | undefined => {
  const { roots, blocks } = decodeCar(car)
  const [root] = roots
  return root && receiptIn(viewMessage(root.cid, blocks), task)
}
