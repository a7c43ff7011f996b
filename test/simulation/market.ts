import { hash } from 'node:crypto'
import type { OfferDocument } from '@w3filecoin/dealer'
import { parsePiece, toV1 } from '@w3filecoin/piece'
import type { Clock } from '@w3filecoin/runtime'
import type { Choices, DeterministicWorld } from '@w3filecoin/testing/deterministic'

/** Start of the chain, in seconds since 1970, and length of an epoch, in seconds. */
const GENESIS = 1_598_306_400
const EPOCH = 30
export const EPOCHS_PER_DAY = 86_400 / EPOCH

export interface MarketOptions {
  world: DeterministicWorld
  choices: Choices
  /** The clock by which the chain counts epochs. */
  now: Clock
  /** Pieces that storage providers reject. */
  faulty: ReadonlySet<string>
  moods: Moods
  healed: () => boolean
  report: (message: object) => void
  chainChanged: () => void
}

/** How storage providers behave, and how the chain names deals. After `healed` they make every deal. */
export interface Moods {
  /** Whether no storage provider reads the offer documents: then copies are made on order only. */
  isClosed?: boolean
  /** Probabilities that storage providers refuse a deal, and that they do not answer. */
  refusals: number
  silence: number
  /** Probability that they make the deal later in spite of that. */
  contradictions: number
  /** The least and the most time from a refusal to such a deal, in milliseconds. */
  changeOfMind: readonly [number, number]
  /** Minimum and maximum time until they decide, in milliseconds. */
  decision: readonly [least: number, most: number]
  /** Whether the chain names the offer document of a deal. */
  labels: boolean
  /** Minimum and maximum time until a deal on chain has its market id, in milliseconds. Until then the id is 0. */
  numbering: readonly [least: number, most: number]
}

/** A deal on chain. */
export interface MarketDeal {
  aggregate: string
  id: number
  /** The name of the offer document that it was made for. */
  offer: string
  /** When it was on chain, and when it had its id, in milliseconds since 1970. */
  liveAt: number
  numberedAt: number
}

/** What an offer document says about its aggregate. */
type Offered = Pick<OfferDocument, 'aggregate' | 'pieces'> & Partial<Pick<OfferDocument, 'tenant' | 'group'>>

/** The storage providers, and the chain on which they publish deals. */
export class Market {
  readonly deals: MarketDeal[] = []
  /** The offer documents, by name. */
  readonly offers = new Map<string, Offered>()
  /** Names of the offer documents whose offers providers, or the operator, reported to the dealer as failed. */
  readonly reported = new Set<string>()
  readonly #options: MarketOptions

  constructor(options: MarketOptions) {
    this.#options = options
  }

  /** Whether the chain names the offer document of each deal. */
  get labels(): boolean {
    return this.#options.moods.labels
  }

  /** The dealer offers an aggregate. */
  offer(name: string, document: Offered): void {
    if (this.offers.has(name)) return
    this.offers.set(name, document)
    const { world, choices, moods } = this.#options
    if (moods.isClosed) return
    world.timeline.after(choices.between(...moods.decision), () => this.#decide(name, document))
  }

  #decide(name: string, { aggregate, pieces }: Offered): void {
    const { world, choices, faulty, moods, healed, report } = this.#options
    const { refusals, silence, contradictions } = moods
    const faults = pieces.filter(piece => faulty.has(piece))
    const mood = healed() ? 1 : choices.fraction()
    if (faults.length === 0 && mood < refusals + silence && choices.chance(contradictions))
      world.timeline.after(choices.between(...moods.changeOfMind), () => {
        world.count('deal made after all')
        this.#make(name, aggregate)
      })
    if (faults.length > 0 || mood < refusals) {
      world.count(faults.length > 0 ? 'piece at fault' : 'deal refused')
      this.reported.add(name)
      report({
        offer: name,
        message: 'No storage provider accepts the aggregate',
        invalid: faults.map(piece => ({ piece, message: 'The piece cannot be sealed' })),
      })
    } else if (mood < refusals + silence) world.count('deal never made')
    else this.#make(name, aggregate)
  }

  #make(offer: string, aggregate: string): void {
    const { world, choices, moods, chainChanged } = this.#options
    if (this.deals.some(deal => deal.offer === offer)) return
    // An offer has the same deal in every run.
    const id = hash('sha256', offer, 'buffer').readUInt32BE(0)
    const liveAt = world.now()
    const numberedAt = liveAt + choices.between(...moods.numbering)
    this.deals.push({ aggregate, id, offer, liveAt, numberedAt })
    chainChanged()
    if (numberedAt > liveAt) {
      world.count('market id late')
      world.timeline.at(numberedAt, chainChanged)
    }
  }

  /** Answers with the file of active replicas, or with a fault. */
  file(fault?: ChainFault): Response {
    const { choices, now, world } = this.#options
    const epoch = epochAt(now())
    switch (fault?.kind) {
      case undefined:
        return this.#answer(epoch, this.deals)
      case 'dead':
        return new Response(null, { status: 503 })
      case 'rubbish':
        return new Response(choices.one(['', '{', '[]', '{"state_epoch": "x"}', 'no JSON', '\0\0\0\0']))
      case 'stale':
        return this.#answer(epoch - 7 * EPOCHS_PER_DAY, this.deals)
      case 'ahead':
        return this.#answer(epoch + EPOCHS_PER_DAY, this.deals)
      case 'frozen': {
        const { at = world.now() } = fault
        const before = at - EPOCHS_PER_DAY * EPOCH * 1000
        return this.#answer(
          epochAt(before),
          this.deals.filter(({ liveAt }) => liveAt <= before),
        )
      }
      case 'empty':
        return this.#answer(epoch, [])
      case 'shrunk':
        return this.#answer(epoch, this.deals.slice(0, Math.floor(this.deals.length / 2)))
      case 'malformed':
        return this.#answer(epoch, this.deals, [{ contracts: 5 }])
    }
  }

  #answer(epoch: number, deals: readonly MarketDeal[], first: readonly object[] = []): Response {
    const { world, moods } = this.#options
    const replicas = deals.map(({ aggregate, id, offer, liveAt, numberedAt }) => {
      const { root, log2Size } = toV1(parsePiece(aggregate).ok!.link).ok!
      const contract = {
        provider_id: 7,
        legacy_market_id: world.now() < numberedAt ? 0 : id,
        legacy_market_end_epoch: epochAt(liveAt) + 1_000_000,
        ...(moods.labels && { label: offer }),
      }
      return { contracts: [contract], piece_cid: `${root}`, piece_log2_size: log2Size }
    })
    return new Response(JSON.stringify({ state_epoch: epoch, active_replicas: [...first, ...replicas] }))
  }
}

/** Returns the epoch of the chain at a time in milliseconds since 1970. */
export const epochAt = (time: number): number => Math.floor((time / 1000 - GENESIS) / EPOCH)

/** Returns the time of an epoch in milliseconds since 1970. */
export const timeOfEpoch = (epoch: number): number => (GENESIS + epoch * EPOCH) * 1000

/** Faults of single reads of the chain. */
export const CHAIN_FAULTS = ['rubbish', 'stale', 'shrunk', 'malformed'] as const

/** Faults that last for days. `frozen`: the file stays as it was a day before the fault began. */
export const BLINDNESS = ['dead', 'stale', 'ahead', 'frozen', 'empty'] as const

export interface ChainFault {
  kind: (typeof CHAIN_FAULTS)[number] | (typeof BLINDNESS)[number]
  /** When a lasting fault began, in milliseconds since 1970. */
  at?: number
}
