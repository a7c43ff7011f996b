import { toPlaceKey } from '@w3filecoin/capabilities'
import type { SourceRecord } from '@w3filecoin/deal-tracker'
import { isInFlight, type MakerOrder, type OrderRecord } from '@w3filecoin/dealer'
import type { Clock } from '@w3filecoin/runtime'
import type { Findings } from './invariants.ts'
import { type Market, timeOfEpoch } from './market.ts'
import type { Operator } from './operator.ts'
import type { Ordering } from './ordering.ts'
import { type Copy, Providers, payloadBytes } from './providers.ts'
import type { Simulated, System } from './services.ts'

const DAY = 24 * 3_600_000

type Item = Record<string, unknown>

/** The fields of an offer of an aggregate that the checks read. */
interface Offer {
  id: string
  aggregate: string
  stage: 'offered' | 'accepted' | 'failed'
  place?: string
  reason?: { name: string }
  offeredAt: number
}

interface WatchOptions {
  findings: Findings
  now: Clock
  system: () => System
  market: Market
  ordering: Ordering
  /** Maximum delay of an index, in milliseconds. */
  lag: number
}

/** Checks the orders of the dealer, and what providers and the chain have of them. */
export class OrderWatch {
  readonly #options: WatchOptions
  providers!: Providers
  operator!: Operator
  readonly #stages = new Map<string, string>()
  /** The latest epoch of a good run of each source. */
  readonly #goodEpochs = new Map<string, number>()
  /** Offers that were accepted, and those that failed. */
  readonly #accepted = new Set<string>()
  readonly #failed = new Set<string>()

  constructor(options: WatchOptions) {
    this.#options = options
  }

  wrote(service: string, table: string, item: Item): void {
    if (service === 'tracker' && table === 'source') this.#noteRun(item as unknown as SourceRecord)
    if (service !== 'dealer') return
    if (table === 'order') this.#checkOrders(item as unknown as OrderRecord)
    if (table === 'target') this.#checkPause(item as { name: string; until?: number })
    if (table === 'aggregate') this.#checkOffer(item as unknown as Offer)
  }

  #noteRun({ name, good }: SourceRecord): void {
    if (good) this.#goodEpochs.set(name, Math.max(good.epoch, this.#goodEpochs.get(name) ?? 0))
  }

  /** An order arrives at a provider. */
  requested({ id, aggregate }: MakerOrder): void {
    const order = this.#orders().find(order => order.id === id)
    this.#options.findings.check(
      'an order is recorded before its provider is asked',
      order !== undefined && order.stage !== 'planned',
      () => `${id} of ${aggregate} is ${order?.stage ?? 'not recorded'}`,
    )
  }

  /** The door of the dealer answered a provider that has an order. */
  fetched({ id, aggregate }: MakerOrder, status: number, location: string | undefined): void {
    const { findings, system, now, lag } = this.#options
    const order = this.#orders().find(order => order.id === id)
    // A permit may be over, by a clock that is ahead, and a function may fail.
    if (order === undefined || !isInFlight(order) || order.place !== undefined) return
    if (status === 403 || status >= 500) return
    // The index that leads from an aggregate to its offers did not contain this one yet, when a copy of another offer was live.
    const isNew = now() < this.#offer(order.offer)!.offeredAt + lag + DAY
    const bytes = system().wholes.objects.get(`${aggregate}`)?.byteLength
    findings.check(
      'a payload is there while an order needs it',
      (location !== undefined && bytes === payloadBytes(aggregate)) || (isNew && this.#hasTwins(order)),
      () =>
        `the door answered ${status} for ${aggregate}, of which ${bytes} bytes are there, and whose order ${id} is ${order.stage}`,
    )
  }

  #checkOrders(written: OrderRecord): void {
    const { findings, ordering } = this.#options
    const { offer, id, stage, place } = written
    const orders = this.#orders().filter(order => order.offer === offer)
    const inFlight = orders.filter(isInFlight)
    findings.check(
      'a copy has at most one order in flight',
      new Set(inFlight.map(({ copy }) => copy)).size === inFlight.length,
      () => inFlight.map(({ order, stage }) => `${offer} ${order} is ${stage}`).join(', '),
    )
    if (stage === 'live')
      findings.check(
        'a place is credited to one order',
        !this.#orders().some(
          order => order.id !== id && order.place === place && order.aggregate === written.aggregate,
        ) && this.#creditOf(place!, written.aggregate)?.orderId === id,
        () =>
          `${id} is live at ${place}, which is credited to ${this.#creditOf(place!, written.aggregate)?.orderId}`,
      )
    const isNew = this.#stages.get(id) !== stage
    this.#stages.set(id, stage)
    if (isNew && stage === 'lost') this.#checkLost(written)
    if (isNew && stage === 'ended') this.#checkRenewal(written, orders)
    if (stage === 'live' && this.#options.ordering.policy.distinct === 'provider') {
      const others = orders.filter(order => order.copy !== written.copy && order.stage === 'live')
      findings.check(
        'copies of an aggregate are at different providers',
        others.every(({ provider }) => provider !== written.provider),
        () => `${offer} has two copies at ${written.provider}, of ${ordering.providers.length} providers`,
      )
    }
  }

  #checkLost({ id, aggregate, place, provider, deadline, reason }: OrderRecord): void {
    const { findings } = this.#options
    // The maker named a place that another offer was accepted with.
    if (reason?.name === 'PlaceTaken') return
    const source = provider.startsWith('pdp:') ? 'pdp' : 'sector'
    const knownUntil = timeOfEpoch(this.#goodEpochs.get(source) ?? 0)
    findings.check(
      'no order is lost while the chain is unknown',
      deadline !== undefined && knownUntil > deadline,
      () => `${id} is lost, and ${source} is known until ${new Date(knownUntil).toISOString()}`,
    )
    // After a reorganization of the chain, the copy of an order is not in the place that its maker named.
    const copy = this.#knownCopies(aggregate).find(
      copy => copy.order === id && (place === undefined || place === toPlaceKey(copy.place)),
    )
    const credit = copy && this.#creditOf(toPlaceKey(copy.place), aggregate)
    // An offer of the same aggregate may have been accepted with the copy.
    const isTaken =
      credit !== undefined &&
      credit.orderId !== id &&
      this.#offer(credit.aggregateId)?.aggregate === aggregate
    findings.check(
      'no order is lost while its copy is known to be live',
      copy === undefined || isTaken,
      () => `${id} is lost, and its copy is live at ${toPlaceKey(copy!.place)}`,
    )
  }

  /** Checks that a copy whose end was known was ordered again before. */
  #checkRenewal({ id, offer, copy, attempt, endsAt, stuck }: OrderRecord, orders: OrderRecord[]): void {
    if (endsAt === undefined || this.#options.now() < endsAt || this.#offer(offer)?.stage === 'failed') return
    this.#options.findings.check(
      'a copy is ordered again before its end',
      stuck !== undefined || orders.some(order => order.copy === copy && order.attempt > attempt),
      () => `${id} has ended, and has no successor`,
    )
  }

  #checkPause({ name, until }: { name: string; until?: number }): void {
    this.#options.findings.check(
      'a pause by an operator stays',
      until === undefined || !this.operator.paused.has(name),
      () => `${name} is paused by the operator, and the dealer holds it until ${until}`,
    )
  }

  #checkOffer(offer: Offer): void {
    const { findings, ordering, market } = this.#options
    const { id, aggregate, stage, reason } = offer
    // Its record changes later too, e.g. when a copy ends.
    if (stage === 'accepted' && !this.#accepted.has(id)) {
      this.#accepted.add(id)
      const { minLive } = ordering.policy
      // Copies that ended lately may still be known as live.
      const copies = this.providers.copies.filter(
        copy =>
          `${copy.piece}` === aggregate &&
          (Providers.isLive(copy, this.#options.now()) ||
            Math.min(copy.endedAt ?? Infinity, copy.endsAt ?? Infinity) > this.#lastGoodRun() - DAY),
      )
      const deals = market.deals.filter(deal => deal.aggregate === aggregate)
      findings.check(
        'an aggregate is accepted with as many copies as its policy wants',
        copies.length + deals.length >= minLive,
        () => `${id} of ${aggregate} has ${copies.length} copies and ${deals.length} deals, not ${minLive}`,
      )
    }
    if (stage !== 'failed' || this.#failed.has(id)) return
    this.#failed.add(id)
    const document = `${aggregate}/${id}.json`
    // Deal making, the operator, or a piece with wrong bytes ended it.
    if (market.reported.has(document)) return
    if (reason?.name !== 'DealNotFound') return
    const live = this.#knownCopies(aggregate).filter(({ place }) => {
      const credit = this.#creditOf(toPlaceKey(place), aggregate)
      return credit === undefined || credit.aggregateId === id
    })
    findings.check(
      'no aggregate fails while a copy is known to be live',
      live.length === 0,
      () => `${document} failed, and is live at ${live.map(({ place }) => toPlaceKey(place))}`,
    )
    const orders = this.#orders().filter(order => order.offer === id)
    findings.check(
      'no aggregate fails without the word of an operator',
      orders.length === 0 || ordering.policy.giveUp === 'automatic',
      () => `${document} failed after ${orders.length} orders`,
    )
  }

  /** Returns the copies that each source reported as live in its last good run, and that have not reached their end. */
  #knownCopies(aggregate: string): Copy[] {
    const now = this.#options.now()
    const { source } = this.#service('tracker').tables
    return [...source!.items.values()].flatMap(({ name, good }) => {
      const { epoch = -1 } = (good ?? {}) as { epoch?: number }
      return [...this.providers.reported(name as string, epoch)].filter(
        ({ piece, endsAt = Infinity }) => `${piece}` === aggregate && now < endsAt,
      )
    })
  }

  /** Returns the time of the oldest last good run of a source, in milliseconds since 1970. */
  #lastGoodRun(): number {
    const { source } = this.#service('tracker').tables
    return Math.min(
      ...[...source!.items.values()].map(({ good }) => (good as { at: number } | undefined)?.at ?? 0),
    )
  }

  /** Checks the orders at the end. */
  checkEnd(): void {
    const { findings, system } = this.#options
    const offers = [...this.#service('dealer').tables.aggregate!.items.values()] as unknown as Offer[]
    const orders = this.#orders()
    for (const { id, aggregate, stage, place } of offers) {
      const own = orders.filter(({ offer }) => offer === id)
      findings.check(
        'an aggregate with a live copy is accepted',
        stage !== 'offered' || !own.some(({ stage }) => stage === 'live'),
        () => `${id} of ${aggregate} is ${stage}`,
      )
      if (place === undefined || this.#creditOf(place, aggregate) === undefined) continue
      findings.check(
        'a place is credited to one order',
        this.#creditOf(place, aggregate)?.aggregateId === id,
        () =>
          `${id} is accepted with ${place}, which is credited to ${this.#creditOf(place, aggregate)?.aggregateId}`,
      )
    }
    for (const { id, stage, place, aggregate } of orders)
      if (place !== undefined)
        findings.check(
          'a place in a receipt is on chain',
          this.providers.find(place, aggregate) !== undefined,
          () => `the order ${id}, which is ${stage}, has the place ${place}`,
        )
    const known = new Map<string, Copy[]>()
    for (const copy of this.providers.copies)
      if (copy.endedAt === undefined) known.set(copy.order, [...(known.get(copy.order) ?? []), copy])
    for (const { order: id } of this.providers.copies)
      findings.check(
        'an order is refused only if its provider makes no copy',
        orders.find(order => order.id === id)?.stage !== 'refused',
        () => `${id} is refused, and its provider made a copy`,
      )
    for (const [order, copies] of known)
      findings.check(
        'an order makes one copy',
        copies.length === 1 && orders.some(({ id }) => id === order),
        () => `${order} has ${copies.length} copies`,
      )
    for (const { id, stage } of this.#service('dealer').tables.whole!.items.values()) {
      const isThere = system().wholes.objects.has(id as string)
      findings.check(
        'a payload that no order needs is removed',
        isThere === (stage === 'ready'),
        () => `the payload of ${id} is ${stage}, and its object is ${isThere ? '' : 'not '}there`,
      )
    }
  }

  /** Describes the orders that keep a run from its end: copies that a policy wants, and payloads that no order needs. */
  *unfinished(): Generator<string> {
    const { ordering } = this.#options
    const { aggregate, whole } = this.#service('dealer').tables
    const orders = Map.groupBy(this.#orders(), ({ offer }) => offer)
    for (const { id, stage } of aggregate!.items.values()) {
      const own = orders.get(id as string) ?? []
      if (stage !== 'accepted' || own.length === 0 || own.some(({ needs }) => needs !== undefined)) continue
      for (let copy = 0; copy < ordering.policy.copies; copy++) {
        const all = own.filter(order => order.copy === copy)
        const isKept = ({ stage, place, aggregate, endsAt }: OrderRecord) =>
          stage === 'live' &&
          endsAt === undefined &&
          this.providers.find(place!, aggregate)?.endedAt === undefined
        if (!all.some(isKept)) yield `copy ${copy} of ${id}, whose last order is ${all.at(-1)?.stage}`
      }
    }
    for (const { id, stage } of whole!.items.values()) {
      const isNeeded = this.#orders().some(
        order => order.aggregate === id && (isInFlight(order) || order.stage === 'planned'),
      )
      if (!isNeeded && stage !== 'gone' && stage !== 'faulty') yield `the payload of ${id}, which is ${stage}`
    }
  }

  /** Whether the aggregate of an order was offered several times. */
  #hasTwins({ aggregate }: OrderRecord): boolean {
    const { items } = this.#service('dealer').tables.aggregate!
    return [...items.values()].filter(item => item.aggregate === aggregate).length > 1
  }

  #offer(id: string): Offer | undefined {
    return this.#service('dealer').tables.aggregate!.items.get(JSON.stringify([id])) as Offer | undefined
  }

  /** Returns the orders, those of an offer in the order of copies and attempts. */
  #orders(): OrderRecord[] {
    const { items } = this.#service('dealer').tables.order!
    return ([...items.values()] as unknown as OrderRecord[]).toSorted((a, b) => (a.order < b.order ? -1 : 1))
  }

  /** Returns the credit of a place for an aggregate. A sector may have several aggregates. */
  #creditOf(place: string, aggregate: string): { aggregateId: string; orderId?: string } | undefined {
    const { items } = this.#service('dealer').tables.credit!
    const key = place.startsWith('sector:') ? `${place} ${aggregate}` : place
    return items.get(JSON.stringify([key])) as { aggregateId: string; orderId?: string } | undefined
  }

  #service(name: string): Simulated {
    return this.#options.system().services.get(name) as Simulated
  }
}
