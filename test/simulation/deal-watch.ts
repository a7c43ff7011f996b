import type { Receipt } from '@ucanto/interface'
import { placeIn, toPlaceKey } from '@w3filecoin/capabilities'
import { type Clock, unpackTask } from '@w3filecoin/runtime'
import type { Findings } from './invariants.ts'
import { type Market, type MarketDeal, timeOfEpoch } from './market.ts'
import type { Providers } from './providers.ts'
import { receiptOf, receiptsOf } from './receipts.ts'
import type { Simulated, System } from './services.ts'

const MINUTE = 60_000
const HOUR = 60 * MINUTE

/**
 * Time that a deal may need from the chain to the dealer, in milliseconds: the deal tracker reads the chain every six hours,
 * and the dealer asks it every twelve.
 */
const NEWS = 24 * HOUR

/** Maximum difference between the clocks of two services that do not jump, in milliseconds. */
const CLOCK_DIFFERENCE = 10 * MINUTE

type Item = Record<string, unknown>

interface WatchOptions {
  now: Clock
  market: Market
  providers: Providers | undefined
  /** Time that the dealer waits for a deal, in milliseconds. */
  dealWaitMs: number
}

/** Watches the verdicts of the dealer, and what the deal tracker knew at the time of each. */
export class DealWatch {
  readonly #now: Clock
  readonly #market: Market
  readonly #providers: Providers | undefined
  readonly #dealWaitMs: number
  /** When the dealer's record of each aggregate was written first, and when it failed. */
  readonly #records = new Map<string, { offeredAt: number; failedAt?: number }>()
  /** The good runs of the deal tracker: their reports were accepted, and all changes are written. */
  readonly #runs: { at: number; chainAt: number }[] = []
  /** Names of the offer documents of failed aggregates. */
  readonly #failed = new Set<string>()
  /** When an offer was accepted with each place, by its key. */
  readonly #credited = new Map<string, number>()

  constructor({ now, market, providers, dealWaitMs }: WatchOptions) {
    this.#now = now
    this.#market = market
    this.#providers = providers
    this.#dealWaitMs = dealWaitMs
  }

  wrote(service: string, table: string, item: Item): void {
    const now = this.#now()
    if (service === 'tracker' && table === 'source' && (item.openRanges as unknown[]).length === 0)
      this.#runs.push({ at: now, chainAt: timeOfEpoch(item.stateEpoch as number) })
    if (service !== 'dealer' || table !== 'aggregate') return
    const { id, aggregate, stage, place } = item as {
      id: string
      aggregate: string
      stage: string
      place?: string
    }
    const record = this.#records.get(id) ?? { offeredAt: now }
    this.#records.set(id, record)
    if (stage === 'failed') {
      record.failedAt ??= now
      this.#failed.add(`${aggregate}/${id}.json`)
    }
    if (place !== undefined && !this.#credited.has(place)) this.#credited.set(place, now)
  }

  /** Checks the verdicts of the dealer at the end. */
  async checkEnd(findings: Findings, { services }: System): Promise<void> {
    const dealer = services.get('dealer') as Simulated
    const accepted = new Map<string, string>()
    const promises = new Map<string, string>()
    const receipts = receiptsOf(dealer)
    /** When the first offer was answered that promises each task. */
    const answeredAt = new Map<string, number>()
    for (const { task: offer, issuedAt } of dealer.tables.receipt!.items.values()) {
      const task = `${receipts.get(offer as string)?.fx.join?.link()}`
      answeredAt.set(task, Math.min(issuedAt as number, answeredAt.get(task) ?? Infinity))
    }
    for (const item of dealer.tables.aggregate!.items.values()) {
      const {
        id,
        accept,
        aggregate,
        endedAt = Infinity,
      } = item as unknown as {
        id: string
        accept?: Uint8Array
        aggregate: string
        endedAt?: number
      }
      if (accept === undefined) continue
      const task = `${(await unpackTask(accept)).cid}`
      const offer = `${aggregate}/${id}.json`
      const receipt = receiptOf(dealer, task)
      // An aggregator repeats an offer without an answer, which then writes the document. The liar may repeat its offer when the
      // aggregate has ended, and needs none.
      const lacksDocument = (answeredAt.get(task) ?? Infinity) < endedAt && !this.#market.offers.has(offer)
      findings.check(
        'every offer of an aggregate has its own document and task',
        !lacksDocument && !promises.has(task),
        () => `${offer} has ${promises.has(task) ? `the task of ${promises.get(task)}` : 'no document'}`,
      )
      promises.set(task, offer)
      if (receipt?.out.ok) this.#checkDeal(findings, offer, receipt, accepted)
      else if (receipt && nameOf(receipt) === 'DealNotFound') this.#checkFailure(findings, id, offer)
    }
    this.#checkDocuments(findings, services)
  }

  /**
   * Whether a deal may prove an offer. A retry may take the deal of the failed offer of the same pieces for the same tenant.
   * Without labels, equal aggregates cannot be told apart.
   */
  #isFor({ offer: made, aggregate }: MarketDeal, offer: string): boolean {
    if (made === offer) return true
    if (!this.#market.labels) return offer.startsWith(`${aggregate}/`)
    const [one, other] = [this.#market.offers.get(made), this.#market.offers.get(offer)]
    return (
      one?.aggregate === other?.aggregate &&
      one?.tenant === other?.tenant &&
      one?.group === other?.group &&
      this.#failed.has(made)
    )
  }

  /** Checks that the deal of an accepted offer was made for it, and proves no other offer. */
  #checkDeal(findings: Findings, offer: string, { out }: Receipt, accepted: Map<string, string>): void {
    const place = placeIn(out.ok)
    const key = place ? toPlaceKey(place) : ''
    if (place && place.type !== 'market') {
      const [aggregate] = offer.split('/') as [string]
      findings.check(
        'a place in a receipt is on chain',
        this.#providers?.find(key, aggregate) !== undefined,
        () => `${offer} has the place ${key}, where it never was`,
      )
      // A sector may have several aggregates.
      const claim = `${key} ${aggregate}`
      findings.check(
        'a deal proves one offer',
        !accepted.has(claim),
        () => `${offer} and ${accepted.get(claim)} have the place ${key}`,
      )
      accepted.set(claim, offer)
      return
    }
    const deal = this.#market.deals.find(({ id }) => `${id}` === key)
    findings.check(
      'a deal proves the offer that it was made for',
      deal !== undefined && this.#isFor(deal, offer),
      () => `${offer} has the deal ${key}, which was made for ${deal?.offer}`,
    )
    findings.check(
      'a deal proves one offer',
      !accepted.has(key),
      () => `${offer} and ${accepted.get(key)} have the deal ${key}`,
    )
    accepted.set(key, offer)
  }

  /** Checks that no aggregate failed for want of a deal, while one was live that the deal tracker could not know. */
  #checkFailure(findings: Findings, id: string, offer: string): void {
    const { offeredAt, failedAt } = this.#records.get(id) ?? {}
    if (offeredAt === undefined || failedAt === undefined || this.#market.reported.has(offer)) return
    const deadline = offeredAt + this.#dealWaitMs
    const isUnknown = ({ id, liveAt, offer: name }: MarketDeal) =>
      name === offer &&
      liveAt < failedAt - NEWS &&
      !((this.#credited.get(`${id}`) ?? Infinity) < failedAt + HOUR) &&
      !this.#runs.some(
        ({ at, chainAt }) => liveAt <= at && at <= failedAt && chainAt >= deadline - CLOCK_DIFFERENCE,
      )
    const unknown = this.#market.deals.find(isUnknown)
    findings.check(
      'no aggregate fails while its deal is unknown',
      unknown === undefined,
      () =>
        `${offer} failed ${Math.round((failedAt - offeredAt) / HOUR)} hours after its offer, ${Math.round((failedAt - unknown!.liveAt) / HOUR)} hours after its deal ${unknown?.id} was live`,
    )
  }

  /** Checks that each aggregate that an aggregator offered has an offer document with its tenant. */
  #checkDocuments(findings: Findings, services: System['services']): void {
    const offered = new Map<string, number>()
    for (const { resources, tables } of services.values())
      if (resources.service === 'aggregator')
        // Without a promise, the dealer refused the aggregate at once.
        for (const { aggregate, storefront, group, accept } of tables.aggregate!.items.values())
          if (accept !== undefined) count(offered, `${aggregate} ${storefront} ${group}`)
    const documents = new Map<string, number>()
    for (const { aggregate, tenant, group } of this.#market.offers.values())
      count(documents, `${aggregate} ${tenant} ${group}`)
    // An offer that ended before it was answered needs no document: the operator dropped it, or a piece had wrong bytes.
    const { tables } = services.get('dealer') as Simulated
    for (const { id, aggregate, storefront, group, stage } of tables.aggregate!.items.values())
      if (stage === 'failed' && !this.#market.offers.has(`${aggregate}/${id}.json`))
        count(documents, `${aggregate} ${storefront} ${group}`)
    for (const [key, times] of offered)
      findings.check(
        'every offer of an aggregate has its own document and task',
        (documents.get(key) ?? 0) >= times,
        () => `${key} was offered ${times} times, and has ${documents.get(key) ?? 0} documents`,
      )
  }
}

const nameOf = ({ out }: Receipt): string | undefined => (out.error as { name?: string } | undefined)?.name

const count = (counts: Map<string, number>, key: string) => counts.set(key, (counts.get(key) ?? 0) + 1)
