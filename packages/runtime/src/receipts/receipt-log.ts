import type { Receipt } from '@ucanto/interface'
import { parse as parseLink } from 'multiformats/link'
import type { Blocks, Clock, Table } from '../ports.ts'
import { encodeMessage } from '../ucan/message.ts'
import { decodeCar, receiptIn, viewMessage } from '../ucan/ucanto.ts'

/** A receipt as the table holds it: small ones in the record, large ones as a block. */
export interface ReceiptRecord {
  /** CID of the task. */
  task: string
  /** CID of the receipt's root. */
  receipt: string
  /** The agent message CAR with the receipt and the blocks of its effects. */
  car?: Uint8Array
  /** Link of the block that holds the CAR, when it is large, and its bytes. */
  block?: string
  size?: number
  issuedAt: number
}

/** What a receipt log does with large receipts. */
export interface ReceiptLogLimits {
  /** CARs up to this size are stored in the record, larger ones as a block: DynamoDB holds items of up to 400 KB. */
  maxInlineBytes: number
  /** CARs up to this size are served by the function: a Lambda function's response has at most 6 MB, base64 included. */
  maxServedBytes: number
}

const LIMITS: ReceiptLogLimits = { maxInlineBytes: 100_000, maxServedBytes: 4_000_000 }

export const CAR_TYPE = 'application/vnd.ipld.car'

const RAW = 0x55

/**
 * The signed receipts of the tasks that a service ended, by task CID. Each is written once: a receipt counts as
 * issued when it is here, before any message says so, and it never changes.
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

  /** Files a receipt. If the task has one already, that one stands, and is returned. */
  async put(receipt: Receipt): Promise<Receipt> {
    const task = `${receipt.ran.link()}`
    const car = await encodeMessage({ receipts: [receipt] })
    const stored = await this.#table.insert({
      task,
      receipt: `${receipt.root.cid}`,
      issuedAt: this.#now(),
      ...(car.byteLength <= this.#limits.maxInlineBytes
        ? { car }
        : { block: `${await this.#blocks.put(car, RAW)}`, size: car.byteLength }),
    })
    if (stored.ok || stored.error.record.receipt === `${receipt.root.cid}`) return receipt
    return this.#decode(task, await this.#read(stored.error.record))
  }

  /** The receipt of a task, with the blocks of its effects. */
  async get(task: string): Promise<Receipt | undefined> {
    const record = await this.#table.get({ task })
    return record && this.#decode(task, await this.#read(record))
  }

  /** The agent message CAR with the receipt of a task; where it is too large to answer with, the address that has it. */
  async serve(task: string): Promise<{ car: Uint8Array } | { at: string } | undefined> {
    const record = await this.#table.get({ task })
    if (record === undefined) return undefined
    const { block, size = 0 } = record
    if (block !== undefined && size > this.#limits.maxServedBytes)
      return { at: await this.#blocks.locate(parseLink(block), CAR_TYPE) }
    return { car: await this.#read(record) }
  }

  async #read({ task, car, block }: ReceiptRecord): Promise<Uint8Array> {
    const bytes = car ?? (await this.#blocks.get(parseLink(block as string)))
    if (bytes === undefined) throw new Error(`The block ${block} with the receipt of ${task} is missing`)
    return bytes
  }

  #decode(task: string, car: Uint8Array): Receipt {
    return readReceipt(task, car) as Receipt
  }
}

/** The receipt of `task` in an agent message CAR; `undefined` if the message has none. Throws if it is no CAR. */
export const readReceipt = (task: string, car: Uint8Array): Receipt | undefined => {
  const { roots, blocks } = decodeCar(car)
  const [root] = roots
  return root && receiptIn(viewMessage(root.cid, blocks), task)
}
