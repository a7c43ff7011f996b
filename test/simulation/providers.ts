import { failure, type PieceLink } from '@w3filecoin/capabilities'
import { type Report, type Source, toPieceKey } from '@w3filecoin/deal-tracker'
import type { MakerOrder, OpenTarget, Progress } from '@w3filecoin/dealer'
import { toV1 } from '@w3filecoin/piece'
import type { Clock, Fetch } from '@w3filecoin/runtime'
import type { DeterministicWorld } from '@w3filecoin/testing/deterministic'
import { epochAt } from './market.ts'
import type { Scenario } from './scenario.ts'

const HOUR = 3_600_000
const DAY = 24 * HOUR

/** A copy in a sector. */
export interface Copy {
  order: string
  miner: string
  sector: number
  piece: PieceLink
  /** In milliseconds since 1970. */
  liveAt: number
  endedAt?: number
}

interface ProvidersOptions {
  world: DeterministicWorld
  scenario: Pick<Scenario, 'offers' | 'faulty'>
  now: Clock
  /** Time from an order to its copy, in milliseconds. */
  sealing: [number, number]
  chainChanged: () => void
}

/** Three providers that store copies on order, and the chain on which the copies are. They fetch nothing. */
export class Providers {
  readonly copies: Copy[] = []
  readonly targets: OpenTarget[]
  /** Whether the next order is refused for a reason that concerns all orders of its target. */
  refusesNext = false
  /** Whether the doors of storefronts serve contents. */
  isDoorOpen = true
  /** The orders that each provider has. */
  readonly #orders = new Set<string>()
  readonly #options: ProvidersOptions

  constructor(options: ProvidersOptions) {
    this.#options = options
    this.targets = ['f0101', 'f0102', 'f0103'].map((provider, n) => ({
      name: `provider-${n + 1}`,
      provider,
      place: 'sector',
      maxInFlight: 100,
      deadlineMs: 5 * DAY,
      maker: {
        advance: order => this.#advance(provider, order),
        check: async () => ({ ok: { message: 'It stores copies' } }),
      },
    }))
  }

  /** The provider takes an order once. A request that fails may have been carried out. */
  async #advance(miner: string, { id, aggregate }: MakerOrder): Promise<Progress> {
    const { world, now, sealing, chainChanged } = this.#options
    if (this.refusesNext) {
      this.refusesNext = false
      return { state: 'refused', error: failure('KeyExpired', 'The key has expired'), blames: 'target' }
    }
    try {
      await world.call(
        { port: 'http', name: miner, method: 'advance' },
        {
          run: () => {
            if (this.#orders.has(id)) return
            this.#orders.add(id)
            world.timeline.after(world.choices.between(...sealing), () => {
              this.copies.push({
                order: id,
                miner,
                sector: this.copies.length + 1,
                piece: aggregate,
                liveAt: now(),
              })
              chainChanged()
            })
          },
        },
      )
      return { state: 'storing', message: 'accepted' }
    } catch (cause) {
      return { state: 'asked', message: (cause as Error).message }
    }
  }

  /** A provider loses a copy. */
  end(copy: Copy): void {
    copy.endedAt = this.#options.now()
    this.#options.chainChanged()
  }

  /** Reads the copies that are on chain now. */
  readonly source: Source = {
    name: 'sectors',
    types: ['sector'],
    read: () => {
      const { world, now } = this.#options
      return world.call(
        { port: 'chain', name: 'sectors', method: 'read' },
        { run: () => this.#report(now()) },
      )
    },
  }

  #report(now: number): Report {
    const live = this.copies.filter(({ endedAt = Infinity }) => now < endedAt)
    return {
      stateEpoch: epochAt(now),
      deals: new Map(
        live.map(({ miner, sector, piece }) => {
          const key = toPieceKey(toV1(piece).ok!)
          const place = { type: 'sector' as const, miner, sector }
          return [`sector:${miner}/${sector} ${key}`, { place, piece: key, provider: miner }]
        }),
      ),
      malformed: 0,
      refused: 0,
      unreadable: new Set(),
      hasSeenEnds: true,
    }
  }

  /** Serves the contents of pieces, as the doors of storefronts do. The bytes of faulty pieces are wrong. */
  readonly fetchContent: Fetch = (url, init) => {
    const { world, scenario } = this.#options
    return world.call(
      { port: 'content', name: 'door', method: 'get' },
      {
        run: () => {
          const piece = url.split('/').at(-1)
          const offer = scenario.offers.find(offer => `${offer.piece}` === piece)
          const range = new Headers(init?.headers).get('range') ?? ''
          const [, from = '0', to = '0'] = /^bytes=(\d+)-(\d+)$/.exec(range) ?? []
          if (!this.isDoorOpen) return new Response('busy', { status: 429 })
          if (offer === undefined) return new Response('unknown', { status: 404 })
          const bytes = offer.content.bytes.slice(Number(from), Number(to) + 1)
          if (scenario.faulty.has(`${piece}`)) bytes.fill(0)
          return new Response(bytes as Uint8Array<ArrayBuffer>, {
            status: 206,
            headers: { 'content-range': `bytes ${from}-${to}/${offer.content.bytes.byteLength}` },
          })
        },
      },
    )
  }
}
