import { hash } from 'node:crypto'
import { failure, type PieceLink, type Place, toPlaceKey } from '@w3filecoin/capabilities'
import { type Report, type Source, toPieceKey } from '@w3filecoin/deal-tracker'
import type { MakerOrder, OpenTarget, Progress } from '@w3filecoin/dealer'
import { contentSizeOf, decodePiece, type Piece, toV1 } from '@w3filecoin/piece'
import type { Clock, Fetch } from '@w3filecoin/runtime'
import type { DeterministicWorld } from '@w3filecoin/testing/deterministic'
import { type ChainFault, EPOCHS_PER_DAY, epochAt } from './market.ts'
import { type Fate, isWithin, type Ordering, type Provider } from './ordering.ts'
import type { Scenario } from './scenario.ts'

const HOUR = 3_600_000
const DAY = 24 * HOUR

/** The contract in the places of PDP. */
const VERIFIER = `0x${'a1'.repeat(20)}`

/** Longest time of an order in a healed world, in milliseconds: sealing, finality, and the pauses between the looks of the dealer. */
const LONGEST_ORDER = 2 * DAY

/** How often a provider asks for a payload that it does not get, once in an hour. */
const MAX_FETCHES = 72

/** A copy on chain. Times are in milliseconds since 1970. */
export interface Copy {
  order: string
  provider: Provider
  place: Exclude<Place, { type: 'market' }>
  piece: PieceLink
  liveAt: number
  /** The end that the chain names. */
  endsAt?: number
  /** When it was lost, or a reorganization of the chain removed it. */
  endedAt?: number
}

/** An order at its provider. */
interface Job {
  order: MakerOrder
  provider: Provider
  fate: Fate
  requests: number
  isTaken: boolean
  copies: Copy[]
}

interface ProvidersOptions {
  world: DeterministicWorld
  scenario: Pick<Scenario, 'offers' | 'faulty'>
  ordering: Ordering
  /** When the scenario begins, in milliseconds since 1970. */
  start: number
  /** The clock by which the chain counts epochs. */
  now: Clock
  /** Returns the fault of a read of the chain. */
  fault: () => ChainFault | undefined
  chainChanged: () => void
  /** Fetches from the door of the dealer. */
  fetch: Fetch
  /** Called when an order arrives at a provider. */
  onRequest: (order: MakerOrder) => void
  /**
   * Called with the answer of the dealer's door to a provider.
   *
   * @param location the address of the payload; `undefined` if there is none
   */
  onFetched: (order: MakerOrder, status: number, location: string | undefined) => void
}

/** Providers that store copies on order, and the chain on which the copies are. */
export class Providers {
  readonly copies: Copy[] = []
  /** The targets in the settings of the dealer now. */
  readonly targets: OpenTarget[] = []
  readonly #jobs = new Map<string, Job>()
  readonly #options: ProvidersOptions
  /** The live copies in the reports of each source, by epoch. */
  readonly #reports = new Map<string, Set<Copy>>()

  constructor(options: ProvidersOptions) {
    this.#options = options
    const { world, ordering, start } = options
    const { providers, maxInFlight, deadlineMs, targetsFrom, withdrawn } = ordering
    const all = providers.map(
      (provider, n): OpenTarget => ({
        name: `target-${n + 1}`,
        provider: provider.name,
        place: provider.place,
        org: provider.org,
        maxInFlight,
        deadlineMs,
        maker: {
          advance: (order, url) => this.#advance(provider, order, url),
          check: async () => ({ ok: { message: 'It stores copies' } }),
        },
      }),
    )
    const configure = () => {
      const at = world.now() - start
      const present = at < targetsFrom ? [] : all.slice(isWithin(withdrawn, at) ? 1 : 0)
      this.targets.splice(0, this.targets.length, ...present)
    }
    configure()
    for (const at of [targetsFrom, ...withdrawn.flatMap(({ from, to }) => [from, to])])
      world.timeline.at(start + at, configure)
  }

  /** Makes a request. It may be carried out although it fails. */
  async #advance(provider: Provider, order: MakerOrder, url: string | undefined): Promise<Progress> {
    const call = { port: 'http', name: provider.name, method: 'advance' } as const
    try {
      return await this.#options.world.call(call, { run: () => this.#receive(provider, order, url) })
    } catch (cause) {
      return { state: 'asked', message: (cause as Error).message }
    }
  }

  /** The provider takes an order once, however often it arrives. */
  #receive(provider: Provider, order: MakerOrder, url: string | undefined): Progress {
    const { world, ordering, start, onRequest } = this.#options
    if (url === undefined) {
      const { isTaken } = this.#jobs.get(order.id) ?? {}
      return { state: isTaken ? 'storing' : 'asked', message: isTaken ? 'it is stored' : 'unknown' }
    }
    onRequest(order)
    const earlier = [...this.#jobs.values()].filter(
      job => job.provider === provider && `${job.order.aggregate}` === `${order.aggregate}`,
    ).length
    const job = this.#jobs.get(order.id) ?? {
      order,
      provider,
      fate: ordering.fateOf(provider, world.now() - start, earlier),
      requests: 0,
      isTaken: false,
      copies: [],
    }
    this.#jobs.set(order.id, job)
    job.requests += 1
    const { refuses, busy = 0, lostAnswers = 0 } = job.fate
    if (job.requests <= busy) {
      world.count('order postponed')
      return { state: 'asked', message: 'busy', retryAfterMs: HOUR }
    }
    if (refuses !== undefined) {
      world.count(`order refused, blaming the ${refuses}`)
      const error =
        refuses === 'target' ? failure('KeyExpired', 'The key has expired') : failure('NoRoom', 'It is full')
      return { state: 'refused', error, blames: refuses }
    }
    if (!job.isTaken) {
      job.isTaken = true
      void this.#store(job, url)
    }
    if (job.requests <= busy + lostAnswers) {
      world.count('answer to an order lost')
      throw new Error('The answer is lost')
    }
    // A maker of PDP reads the place at a final block. In sectors, only the deal tracker sees the copy.
    const copy = job.copies.findLast(({ liveAt }) => liveAt <= world.now() - ordering.finalityMs)
    const place = provider.place === 'pdp' ? copy?.place : undefined
    return { state: 'storing', message: 'accepted', ...(place && { place }) }
  }

  /** Fetches the payload, and puts a copy on chain. */
  async #store(job: Job, url: string): Promise<void> {
    const { world } = this.#options
    const { sealsAfterMs } = job.fate
    if (sealsAfterMs === undefined) return world.count('copy never made')
    const at = world.now() + sealsAfterMs
    await this.#wait((sealsAfterMs * 3) / 4)
    if (!(await this.#fetchPayload(job, url))) return world.count('payload not fetched')
    world.timeline.at(at, () => this.#land(job))
  }

  /** Fetches the payload from the door of the dealer until there is one. A refusal is final, as for providers with PDP. */
  async #fetchPayload({ order }: Job, url: string): Promise<boolean> {
    const { fetch, onFetched } = this.#options
    for (let n = 0; n < MAX_FETCHES; n++) {
      try {
        const { status, headers } = await fetch(url, { redirect: 'manual' })
        const location = headers.get('location') ?? undefined
        onFetched(order, status, location)
        if (location !== undefined) return true
        if (status === 403 || status === 404) return false
      } catch {
        // The dealer is unreachable.
      }
      await this.#wait(HOUR)
    }
    return false
  }

  #land(job: Job): void {
    const { world } = this.#options
    const { fate, provider, order } = job
    const now = world.now()
    const copy: Copy = {
      order: order.id,
      provider,
      place: this.#placeOf(job),
      piece: order.aggregate,
      liveAt: now,
      ...(fate.lastsMs !== undefined && { endsAt: now + fate.lastsMs }),
    }
    this.copies.push(copy)
    job.copies.push(copy)
    this.#changed()
    if (copy.endsAt !== undefined) world.timeline.at(copy.endsAt, () => this.#changed())
    const isFork = fate.forksAfterMs !== undefined && job.copies.length === 1
    if (isFork)
      world.timeline.after(fate.forksAfterMs!, () => {
        world.count('chain reorganized')
        this.#end(copy)
        world.timeline.after(HOUR, () => this.#land(job))
      })
    else if (fate.losesAfterMs !== undefined)
      world.timeline.after(fate.losesAfterMs, () => {
        world.count('copy lost')
        this.#end(copy)
      })
  }

  /** Returns a place that depends on the order, not on the time. */
  #placeOf({ order, provider, fate, copies }: Job): Copy['place'] {
    const number = hash('sha256', `${order.id} ${copies.length}`, 'buffer').readUInt32BE(0)
    if (provider.place === 'pdp')
      return { type: 'pdp', chain: 314, verifier: VERIFIER, dataSet: 1, piece: number }
    const neighbour = this.copies.findLast(
      copy =>
        copy.provider === provider &&
        `${copy.piece}` !== `${order.aggregate}` &&
        Providers.isLive(copy, this.#options.world.now()),
    )
    if (fate.sharesSector && neighbour) {
      this.#options.world.count('sector shared')
      return neighbour.place
    }
    return { type: 'sector', miner: provider.name, sector: number }
  }

  #end(copy: Copy): void {
    copy.endedAt = this.#options.world.now()
    this.#changed()
  }

  /** Has the deal tracker read the chain now, and when the change is final. */
  #changed(): void {
    const { world, ordering, chainChanged } = this.#options
    chainChanged()
    if (ordering.finalityMs > 0) world.timeline.after(ordering.finalityMs, chainChanged)
  }

  /** Returns the copy of an aggregate in a place, of several in one sector one that is there; `undefined` if there never was one. */
  find(key: string, aggregate: string): Copy | undefined {
    const all = this.copies.filter(
      ({ place, piece }) => toPlaceKey(place) === key && `${piece}` === aggregate,
    )
    return all.findLast(({ endedAt }) => endedAt === undefined) ?? all.at(-1)
  }

  /** Whether a copy is on chain at a time, in milliseconds since 1970. */
  static isLive({ liveAt, endsAt = Infinity, endedAt = Infinity }: Copy, at: number): boolean {
    return liveAt <= at && at < Math.min(endsAt, endedAt)
  }

  /** Returns when the last copy that has an end ends, in milliseconds since 1970. */
  get lastEnd(): number {
    return Math.max(0, ...this.copies.map(({ endsAt = 0, endedAt = 0 }) => Math.max(endsAt, endedAt)))
  }

  /** Returns how long the provider with the most copies needed for them, if all were ordered at once, in milliseconds. */
  get longestQueue(): number {
    const counts = [...Map.groupBy(this.copies, ({ provider }) => provider).values()].map(
      copies => copies.length,
    )
    return (Math.max(0, ...counts) / this.#options.ordering.maxInFlight) * LONGEST_ORDER
  }

  /** Returns the copies that a source reported as live at an epoch. */
  reported(source: string, epoch: number): ReadonlySet<Copy> {
    return this.#reports.get(`${source} ${epoch}`) ?? new Set()
  }

  /** One source for each kind of place. */
  readonly sources: readonly Source[] = (['sector', 'pdp'] as const).map(type => ({
    name: type,
    types: [type],
    read: () => {
      const call = { port: 'chain', name: type, method: 'read' } as const
      return this.#options.world.call(call, { run: () => this.#read(type) })
    },
  }))

  /** Reads the copies that are on chain at the last final epoch, or fails. */
  #read(type: Provider['place']): Report {
    const { world, now, ordering, fault } = this.#options
    const wrong = fault()
    const { finalityMs } = ordering
    switch (wrong?.kind) {
      case undefined:
        return this.#report(type, world.now() - finalityMs, epochAt(now() - finalityMs))
      case 'stale':
        return this.#report(type, world.now(), epochAt(now()) - 7 * EPOCHS_PER_DAY)
      case 'ahead':
        return this.#report(type, world.now(), epochAt(now()) + EPOCHS_PER_DAY)
      case 'frozen': {
        const at = (wrong.at ?? world.now()) - DAY
        return this.#report(type, at, epochAt(at))
      }
      case 'shrunk':
      case 'malformed': {
        const report = this.#report(type, world.now() - finalityMs, epochAt(now() - finalityMs))
        const [unreadable] = report.deals.keys()
        if (unreadable === undefined) return { ...report, malformed: 1 }
        const deals = new Map([...report.deals].filter(([identity]) => identity !== unreadable))
        return { ...report, deals, malformed: 1, unreadable: new Set([unreadable]) }
      }
      default:
        throw new Error(`The node does not answer: ${wrong?.kind}`)
    }
  }

  #report(type: Provider['place'], at: number, stateEpoch: number): Report {
    const live = this.copies.filter(copy => copy.place.type === type && Providers.isLive(copy, at))
    const key = `${type} ${stateEpoch}`
    // Of several reports of one epoch, the tracker may have accepted any.
    const before = this.#reports.get(key)
    this.#reports.set(key, new Set(live.filter(copy => before?.has(copy) ?? true)))
    return {
      stateEpoch,
      deals: new Map(
        live.map(({ place, piece, provider, endsAt }) => {
          const key = toPieceKey(toV1(piece).ok!)
          const deal = { place, piece: key, provider: provider.name }
          const end = endsAt === undefined ? {} : { endEpoch: epochAt(endsAt) }
          return [`${toPlaceKey(place)} ${key}`, { ...deal, ...end }]
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
    const { world, scenario, ordering, start } = this.#options
    return world.call(
      { port: 'content', name: 'door', method: 'get' },
      {
        run: () => {
          if (isWithin(ordering.closed, world.now() - start)) {
            world.count('door closed')
            return new Response('busy', { status: 429 })
          }
          const piece = url.split('/').at(-1)
          const content = scenario.offers.find(({ content }) => `${content.piece}` === piece)?.content
          if (content === undefined) return new Response('unknown', { status: 404 })
          const range = new Headers(init?.headers).get('range') ?? ''
          const [, from = '0', to = '0'] = /^bytes=(\d+)-(\d+)$/.exec(range) ?? []
          const bytes = content.bytes.slice(Number(from), Number(to) + 1)
          if (scenario.faulty.has(`${piece}`)) bytes.fill(0)
          return new Response(bytes as Uint8Array<ArrayBuffer>, {
            status: 206,
            headers: { 'content-range': `bytes ${from}-${to}/${content.bytes.byteLength}` },
          })
        },
      },
    )
  }

  #wait(milliseconds: number): Promise<void> {
    return new Promise(resolve => this.#options.world.timeline.after(milliseconds, resolve))
  }
}

/** Returns the number of bytes of the payload of an aggregate. */
export const payloadBytes = (aggregate: PieceLink): number =>
  contentSizeOf(decodePiece(aggregate).ok as Piece)
