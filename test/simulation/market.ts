import { hash } from 'node:crypto'
import type { OfferDocument } from '@w3filecoin/dealer'
import { parsePiece, toV1 } from '@w3filecoin/piece'
import type { Choices, DeterministicWorld } from '@w3filecoin/testing/deterministic'

/** Start of the chain, in seconds since 1970, and length of an epoch, in seconds. */
const GENESIS = 1_598_306_400
const EPOCH = 30
const HOUR = 3_600_000

export interface MarketOptions {
  world: DeterministicWorld
  choices: Choices
  /** Pieces that storage providers reject. */
  faulty: ReadonlySet<string>
  /**
   * Probabilities that storage providers refuse a deal, that they do not answer, and that they make the deal later in spite
   * of that. After `healed` they make every deal.
   */
  moods: {
    refusals: number
    silence: number
    contradictions: number
    /** Minimum and maximum time until they decide, in milliseconds. */
    decision: readonly [least: number, most: number]
  }
  healed: () => boolean
  report: (message: object) => void
  chainChanged: () => void
}

interface Deal {
  aggregate: string
  id: number
}

/** The storage providers, and the chain on which they publish deals. */
export class Market {
  readonly deals: Deal[] = []
  readonly #options: MarketOptions
  readonly #seen = new Set<string>()

  constructor(options: MarketOptions) {
    this.#options = options
  }

  /** The dealer offers an aggregate. */
  offer(name: string, document: Pick<OfferDocument, 'aggregate' | 'pieces'>): void {
    if (this.#seen.has(name)) return
    this.#seen.add(name)
    const { world, choices, moods } = this.#options
    world.timeline.after(choices.between(...moods.decision), () => this.#decide(name, document))
  }

  #decide(name: string, { aggregate, pieces }: Pick<OfferDocument, 'aggregate' | 'pieces'>): void {
    const { world, choices, faulty, moods, healed, report } = this.#options
    const { refusals, silence, contradictions } = moods
    const faults = pieces.filter(piece => faulty.has(piece))
    const mood = healed() ? 1 : choices.fraction()
    if (faults.length === 0 && mood < refusals + silence && choices.chance(contradictions))
      world.timeline.after(choices.between(0, 8 * 24 * HOUR), () => {
        world.count('deal made after all')
        this.#make(aggregate)
      })
    if (faults.length > 0 || mood < refusals) {
      world.count(faults.length > 0 ? 'piece at fault' : 'deal refused')
      report({
        offer: name,
        message: 'No storage provider accepts the aggregate',
        invalid: faults.map(piece => ({ piece, message: 'The piece cannot be sealed' })),
      })
    } else if (mood < refusals + silence) world.count('deal never made')
    else this.#make(aggregate)
  }

  #make(aggregate: string): void {
    // An aggregate has the same deal in every run.
    const id = hash('sha256', aggregate, 'buffer').readUInt32BE(0)
    if (!this.deals.some(deal => deal.id === id)) this.deals.push({ aggregate, id })
    this.#options.chainChanged()
  }

  /** Returns the file of active replicas, or a faulty one. */
  file(wrong?: ChainFault): string {
    const { world, choices } = this.#options
    const epoch = Math.floor((world.now() / 1000 - GENESIS) / EPOCH)
    if (wrong === 'rubbish')
      return choices.one(['', '{', '[]', '{"state_epoch": "x"}', 'no JSON', '\0\0\0\0'])
    const replicas = this.deals.map(({ aggregate, id }) => {
      const { root, log2Size } = toV1(parsePiece(aggregate).ok!.link).ok!
      return {
        contracts: [{ provider_id: 7, legacy_market_id: id, legacy_market_end_epoch: epoch + 1_000_000 }],
        piece_cid: `${root}`,
        piece_log2_size: log2Size,
      }
    })
    return JSON.stringify({
      state_epoch: wrong === 'stale' ? epoch - 20_000 : epoch,
      active_replicas:
        wrong === 'shrunk'
          ? replicas.slice(0, Math.floor(replicas.length / 2))
          : wrong === 'malformed'
            ? [{ contracts: 5 }, ...replicas]
            : replicas,
    })
  }
}

export const CHAIN_FAULTS = ['rubbish', 'stale', 'shrunk', 'malformed'] as const
export type ChainFault = (typeof CHAIN_FAULTS)[number]
