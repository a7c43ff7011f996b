import { CID } from 'multiformats/cid'
import * as z from 'zod'
import { type ChainDeal, type DealIdentity, identify, isSameDeal, parsePiece } from '../domain/deal.ts'
import { epochSchema } from '../domain/epoch.ts'
import { MAX_DEALS, type Report } from '../domain/report.ts'
import type { Snapshot } from '../domain/snapshot.ts'

/** The greatest length of a label, a client or a CID. The name of an offer document has about 115 characters. */
const MAX_TEXT_LENGTH = 200

const id = z.int().nonnegative()
/** Text that is equal after it was stored: lone surrogates would be replaced. */
export const textSchema = z
  .string()
  .min(1)
  .max(MAX_TEXT_LENGTH)
  .refine(value => value.isWellFormed())
/** A CID in its usual text form: base 32 or 36 if its version is 1. */
const cid = textSchema.transform((value, { issues }) => {
  try {
    // Create it anew: a parsed CID keeps its text, e.g. with padding.
    const { version, code, multihash } = CID.parse(value)
    return `${CID.create(version, code, multihash)}`
  } catch {
    issues.push({ code: 'custom', message: 'expected a CID', input: value })
    return z.NEVER
  }
})
const replicaSchema = z.object({
  /** Piece CID v1 of the aggregate, e.g. `baga…`. */
  piece_cid: z.string().max(200),
  /** Base-2 logarithm of its padded size in bytes, e.g. 35 for 32 GiB. */
  piece_log2_size: z.int(),
  /** CID of the data in the piece. Informative only, so a value that is not a CID is dropped, and the deals are kept. */
  optional_dag_root: cid.optional().catch(undefined),
  /** Its deals. */
  contracts: z.array(z.unknown()),
})
/** Id of the deal in the built-in market. 0, null or absent if the piece is on chain without such a deal. */
const marketId = id.nullish().transform(value => value ?? 0)
/**
 * A contract of any kind. A label, a client or an activation that is not acceptable is dropped, because it is informative
 * only.
 */
const contractSchema = z.object({
  /** Actor id of the storage provider, e.g. 20378 for `f020378`. */
  provider_id: id,
  legacy_market_id: marketId,
  legacy_market_end_epoch: z.unknown().optional(),
  label: textSchema.optional().catch(undefined),
  /** Actor id of the client, or its address. */
  client_id: z
    .union([id.transform(actor => `f0${actor}`), textSchema])
    .optional()
    .catch(undefined),
  /** Epoch at which the deal became active. Spade's file does not have it. */
  activation_epoch: epochSchema.optional().catch(undefined),
})
/** The deal ids that a malformed record may still have. */
const remainsSchema = z.object({
  contracts: z.array(z.object({ legacy_market_id: id.optional().catch(undefined) }).catch({})),
})

/**
 * Builds a report from the records of a file of active replicas. It counts malformed records and contracts, and skips
 * them.
 *
 * Memory holds at most `maxDeals` deals, whatever the file lists. New deals above that are counted and skipped. Known
 * deals are always kept, so a source that grows above the limit does not lose the deals that it had.
 *
 * @example A record: `{ "piece_cid": "baga…", "piece_log2_size": 35, "optional_dag_root": "bafybei…", "contracts": [{
 * "provider_id": 20378, "legacy_market_id": 81234567, "legacy_market_end_epoch": 6012345, "activation_epoch": 4499000,
 * "label": "bafkzci…/kD3wbPzc….json", "client_id": 1131298 }] }`
 */
export class ReplicaParser {
  readonly #known: Pick<Snapshot['deals'], 'has' | 'size'>
  readonly #maxNewDeals: number
  readonly #deals = new Map<DealIdentity, ChainDeal>()
  readonly #unreadable = new Set<DealIdentity>()
  #newDeals = 0
  #malformed = 0
  #refused = 0
  #stateEpoch: unknown

  /** @param known the deals of the last accepted report */
  constructor(known: Pick<Snapshot['deals'], 'has' | 'size'>, maxDeals: number = MAX_DEALS) {
    this.#known = known
    this.#maxNewDeals = maxDeals - known.size
  }

  /** Sets the value of `state_epoch`. */
  setEpoch(value: unknown): void {
    this.#stateEpoch = value
  }

  /** Adds an element of `active_replicas`. */
  add(value: unknown): void {
    const replica = replicaSchema.safeParse(value).data
    const piece = replica && parsePiece(replica.piece_cid, replica.piece_log2_size)
    if (replica === undefined || piece === undefined) {
      this.#skip(value)
      return
    }
    for (const contract of replica.contracts)
      this.#addContract({ piece, dataCid: replica.optional_dag_root }, contract)
  }

  /** Returns the report, after the whole file was read. Throws if the file has no valid `state_epoch`. */
  finish(): Report {
    const stateEpoch = epochSchema.safeParse(this.#stateEpoch)
    if (!stateEpoch.success) throw new Error('The file of active replicas has no state_epoch')
    return {
      stateEpoch: stateEpoch.data,
      deals: this.#deals,
      malformed: this.#malformed,
      refused: this.#refused,
      unreadable: this.#unreadable,
    }
  }

  #addContract(replica: ParsedReplica, value: unknown): void {
    const deal = parseContract(replica, value)
    if (deal === undefined) {
      this.#skip({ contracts: [value] })
      return
    }
    const identity = identify(deal)
    const other = this.#deals.get(identity)
    if (other === undefined) this.#addDeal(identity, deal)
    // A provider may have a piece in several sectors. The place lasts until the last one ends.
    else if (deal.place.type !== 'market') this.#deals.set(identity, isLonger(deal, other) ? deal : other)
    // Two records contradict each other, and the file does not show which one is right. Keep the first.
    else if (!isSameDeal(other, deal)) this.#malformed += 1
  }

  #addDeal(identity: DealIdentity, deal: ChainDeal): void {
    if (!this.#known.has(identity)) {
      if (this.#newDeals >= this.#maxNewDeals) {
        this.#refused += 1
        return
      }
      this.#newDeals += 1
    }
    this.#deals.set(identity, deal)
  }

  #skip(value: unknown): void {
    this.#malformed += 1
    for (const { legacy_market_id } of remainsSchema.safeParse(value).data?.contracts ?? [])
      if (legacy_market_id !== undefined && this.#known.has(legacy_market_id))
        this.#unreadable.add(legacy_market_id)
  }
}

/** The parts of a record that all of its deals share. */
interface ParsedReplica {
  piece: string
  dataCid: string | undefined
}

/** Returns a deal or a place; `undefined` if the contract is malformed. A place needs only its provider. */
const parseContract = ({ piece, dataCid }: ParsedReplica, value: unknown): ChainDeal | undefined => {
  const contract = contractSchema.safeParse(value).data
  if (contract === undefined) return undefined
  const { provider_id, legacy_market_id: dealID, label, client_id: client } = contract
  const provider = `f0${provider_id}`
  const { activation_epoch: activationEpoch } = contract
  const end = epochSchema.safeParse(contract.legacy_market_end_epoch).data
  if (dealID === 0)
    return {
      place: { type: 'provider', provider },
      piece,
      provider,
      ...(end !== undefined && end > 0 && { endEpoch: end }),
    }
  if (end === undefined) return undefined
  return {
    place: { type: 'market', dealID },
    piece,
    provider,
    endEpoch: end,
    ...(label === undefined ? {} : { label }),
    ...(client === undefined ? {} : { client }),
    ...(dataCid === undefined ? {} : { dataCid }),
    ...(activationEpoch === undefined ? {} : { activationEpoch }),
  }
}

const isLonger = (a: ChainDeal, b: ChainDeal): boolean => (a.endEpoch ?? Infinity) > (b.endEpoch ?? Infinity)
