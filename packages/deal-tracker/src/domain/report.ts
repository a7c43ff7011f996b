import { fromV1 } from '@w3filecoin/piece'
import { parse as parseLink } from 'multiformats/link'
import { z } from 'zod'
import { type ChainDeal, pieceKey } from './deal.ts'
import { LAST_EPOCH } from './epoch.ts'

/** What a source says at one time. */
export interface Report {
  /** The epoch of the chain that it looked at. */
  stateEpoch: number
  /** By their ids. */
  deals: ReadonlyMap<number, ChainDeal>
  /** Records, and deals in them, that could not be read. */
  malformed: number
  /** Ids of deals that are there, but could not be read: not known to be gone. */
  unreadable: ReadonlySet<number>
}

/** The most deals of a source; they are held in memory. */
const MAX_DEALS = 1_000_000

const id = z.int().nonnegative()
const epoch = z.int().nonnegative().max(LAST_EPOCH)
const replicaSchema = z.object({
  piece_cid: z.string().max(200),
  piece_log2_size: z.int(),
  contracts: z.array(z.unknown()),
})
const contractSchema = z.object({
  provider_id: id,
  legacy_market_id: id,
  legacy_market_end_epoch: epoch,
})
/** What may be read of a record that is malformed. */
const remainsSchema = z.object({
  contracts: z.array(z.object({ legacy_market_id: id.optional().catch(undefined) }).catch({})),
})

/** Reads a file of active replicas, record by record. Malformed ones are counted, and skipped. */
export class ActiveReplicas {
  readonly #deals = new Map<number, ChainDeal>()
  readonly #unreadable = new Set<number>()
  #malformed = 0
  #stateEpoch: unknown

  /** Takes the value of `state_epoch`. */
  setEpoch(value: unknown): void {
    this.#stateEpoch = value
  }

  /** Takes an element of `active_replicas`. */
  add(value: unknown): void {
    const replica = replicaSchema.safeParse(value).data
    const piece = replica && keyOf(replica)
    if (piece === undefined) {
      this.#skip(value)
      return
    }
    for (const contract of replica?.contracts ?? []) this.#addContract(piece, contract)
  }

  /** All of the file was there. */
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
    if (other !== undefined && !isSame(other, deal)) {
      // One of the two is wrong, and nobody can tell which; the first stands.
      this.#malformed += 1
      return
    }
    if (this.#deals.size >= MAX_DEALS) throw new Error(`A source has at most ${MAX_DEALS} deals`)
    this.#deals.set(id, other ?? deal)
  }

  #skip(value: unknown): void {
    this.#malformed += 1
    for (const { legacy_market_id } of remainsSchema.safeParse(value).data?.contracts ?? [])
      if (legacy_market_id !== undefined) this.#unreadable.add(legacy_market_id)
  }
}

export const isSame = (a: ChainDeal, b: ChainDeal): boolean =>
  a.id === b.id && a.piece === b.piece && a.provider === b.provider && a.endEpoch === b.endEpoch

const keyOf = ({ piece_cid, piece_log2_size }: z.infer<typeof replicaSchema>): string | undefined => {
  try {
    const root = parseLink(piece_cid)
    return fromV1(root, piece_log2_size).ok && pieceKey({ root, log2Size: piece_log2_size })
  } catch {
    return undefined
  }
}
