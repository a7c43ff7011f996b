import { fromV1 } from '@w3filecoin/piece'
import { parse as parseLink } from 'multiformats/link'
import { z } from 'zod'
import { type ChainDeal, isSameDeal, toPieceKey } from '../domain/deal.ts'
import { MAX_EPOCH } from '../domain/epoch.ts'
import { MAX_DEALS, type Report } from '../domain/report.ts'

const id = z.int().nonnegative()
const epoch = z.int().nonnegative().max(MAX_EPOCH)
const replicaSchema = z.object({
  /** Piece CID v1 of the aggregate, e.g. `baga…`. */
  piece_cid: z.string().max(200),
  /** Base-2 logarithm of its padded size in bytes, e.g. 35 for 32 GiB. */
  piece_log2_size: z.int(),
  /** Its deals. */
  contracts: z.array(z.unknown()),
})
const contractSchema = z.object({
  /** Actor id of the storage provider, e.g. 20378 for `f020378`. */
  provider_id: id,
  /** Id of the deal in the built-in market. */
  legacy_market_id: id,
  legacy_market_end_epoch: epoch,
})
/** The deal ids that a malformed record may still have. */
const remainsSchema = z.object({
  contracts: z.array(z.object({ legacy_market_id: id.optional().catch(undefined) }).catch({})),
})

/**
 * Builds a report from the records of a file of active replicas. It counts malformed records and contracts, and skips
 * them.
 *
 * @example A record: `{ "piece_cid": "baga…", "piece_log2_size": 35, "contracts": [{ "provider_id": 20378,
 * "legacy_market_id": 81234567, "legacy_market_end_epoch": 6012345 }] }`
 */
export class ReplicaParser {
  readonly #deals = new Map<number, ChainDeal>()
  readonly #unreadable = new Set<number>()
  #malformed = 0
  #stateEpoch: unknown

  /** Sets the value of `state_epoch`. */
  setEpoch(value: unknown): void {
    this.#stateEpoch = value
  }

  /** Adds an element of `active_replicas`. Throws above {@link MAX_DEALS} deals. */
  add(value: unknown): void {
    const replica = replicaSchema.safeParse(value).data
    const piece = replica && parsePieceKey(replica)
    if (piece === undefined) {
      this.#skip(value)
      return
    }
    for (const contract of replica?.contracts ?? []) this.#addContract(piece, contract)
  }

  /** Returns the report, after the whole file was read. Throws if the file has no valid `state_epoch`. */
  finish(): Report {
    const stateEpoch = epoch.safeParse(this.#stateEpoch)
    if (!stateEpoch.success) throw new Error('The file of active replicas has no state_epoch')
    return {
      stateEpoch: stateEpoch.data,
      deals: this.#deals,
      malformed: this.#malformed,
      unreadable: this.#unreadable,
    }
  }

  #addContract(piece: string, value: unknown): void {
    const contract = contractSchema.safeParse(value).data
    if (contract === undefined) {
      this.#skip({ contracts: [value] })
      return
    }
    const { legacy_market_id: id, provider_id: provider, legacy_market_end_epoch: endEpoch } = contract
    const deal: ChainDeal = { id, piece, provider, endEpoch }
    const other = this.#deals.get(id)
    if (other !== undefined && !isSameDeal(other, deal)) {
      // Two records contradict each other, and the file does not show which one is right. Keep the first.
      this.#malformed += 1
      return
    }
    if (this.#deals.size >= MAX_DEALS) throw new Error(`The source has more than ${MAX_DEALS} deals`)
    this.#deals.set(id, other ?? deal)
  }

  #skip(value: unknown): void {
    this.#malformed += 1
    for (const { legacy_market_id } of remainsSchema.safeParse(value).data?.contracts ?? [])
      if (legacy_market_id !== undefined) this.#unreadable.add(legacy_market_id)
  }
}

/** Returns the piece's key, or `undefined` if its CID or size is invalid. */
const parsePieceKey = ({ piece_cid, piece_log2_size }: z.infer<typeof replicaSchema>): string | undefined => {
  try {
    const root = parseLink(piece_cid)
    return fromV1(root, piece_log2_size).ok && toPieceKey({ root, log2Size: piece_log2_size })
  } catch {
    return undefined
  }
}
