import type { OrderRecord, Queues, Stores, TargetRecord } from '@w3filecoin/dealer'
import { documentName } from '@w3filecoin/dealer'
import type { DeterministicWorld } from '@w3filecoin/testing/deterministic'
import { dropOffer, retryOrders } from '../../packages/cli/src/ops/orders.ts'
import { pauseTarget, resumeTarget } from '../../packages/cli/src/ops/targets.ts'
import { CommandError } from '../../packages/cli/src/outcome.ts'
import type { Market } from './market.ts'
import type { Act, Ordering } from './ordering.ts'
import type { Simulated, System } from './services.ts'

const HOUR = 3_600_000
const DAY = 24 * HOUR

/** Pause between two checks of the orders that need an operator, in milliseconds. */
const PATIENCE = 12 * HOUR

/** The operator of the dealer, who uses the commands of `w3fil ops`. They have no faults. */
export class Operator {
  /** Names of the targets that are paused now by an act of the operator. */
  readonly paused = new Set<string>()
  readonly #world: DeterministicWorld
  readonly #system: System
  readonly #market: Market
  readonly #targets: () => readonly { name: string }[]
  /** The operator does one thing after the other. */
  #busy: Promise<void> = Promise.resolve()

  constructor(
    world: DeterministicWorld,
    system: System,
    market: Market,
    targets: () => readonly { name: string }[],
  ) {
    this.#world = world
    this.#system = system
    this.#market = market
    this.#targets = targets
  }

  /**
   * Schedules some acts. From `healsAt` on, all targets get orders again, settings that lack are there, and orders that need an
   * operator are permitted. If the policy lets aggregates fail by themselves, the operator first waits until this one must have failed.
   */
  schedule(start: number, ordering: Ordering, healsAt: number): void {
    const { timeline } = this.#world
    const doNext = (run: () => Promise<void>) => () => {
      this.#busy = this.#busy.then(run)
    }
    for (const { at, act } of ordering.acts)
      timeline.at(
        start + at,
        doNext(() => this.#act(act)),
      )
    if (healsAt !== Infinity)
      timeline.at(
        start + healsAt,
        doNext(() => this.#restore(ordering)),
      )
  }

  async #act(act: Act): Promise<void> {
    this.#world.count(`operator: ${act}`)
    const offers = [...this.#dealer.tables.aggregate!.items.values()].filter(
      ({ stage }) => stage === 'offered',
    )
    if (act === 'pause') return this.#pause()
    if (act === 'resume') return this.#resume(this.#world.choices.one(this.#pausedNow))
    if (offers.length === 0) return
    const { id, aggregate } = this.#world.choices.one(offers) as unknown as { id: string; aggregate: string }
    if (act === 'retry') return this.#retry(id)
    const force = act === 'drop --force'
    const document = documentName({ id, aggregate })
    await attempt(async () => {
      await dropOffer(this.#tools, id, { reason: 'The operator drops it', force })
      this.#market.reported.add(document)
    })
  }

  /** Pauses a target: if possible, one that does not take an order. */
  async #pause(): Promise<void> {
    const { choices } = this.#world
    const orders = [...this.#dealer.tables.order!.items.values()] as unknown as OrderRecord[]
    const slow = orders.filter(({ stage }) => stage === 'asked').map(({ target }) => target)
    const names = slow.length > 0 ? slow : this.#targets().map(({ name }) => name)
    if (names.length === 0) return
    const name = choices.one(names)
    await attempt(() => pauseTarget(this.#tools, name, { reason: 'maintenance' }))
    this.paused.add(name)
  }

  /** Returns the names of the targets that get no orders now. */
  get #pausedNow(): string[] {
    return [...this.#dealer.tables.target!.items.values()].map(({ name }) => name as string)
  }

  async #resume(name: string | undefined): Promise<void> {
    if (name === undefined) return
    this.paused.delete(name)
    await attempt(() => resumeTarget(this.#tools, name))
  }

  /** Permits further orders of an offer. */
  #retry(offer: string): Promise<void> {
    return attempt(() => retryOrders(this.#tools, offer))
  }

  async #restore({ policy, dealWaitMs }: Ordering): Promise<void> {
    this.#system.nameSources()
    for (const name of this.#pausedNow) await this.#resume(name)
    for (;;) {
      const orders = [...this.#dealer.tables.order!.items.values()] as unknown as OrderRecord[]
      const stuck = new Set(orders.filter(({ needs }) => needs === 'operator').map(({ offer }) => offer))
      for (const offer of stuck)
        if (policy.giveUp === 'operator' || this.#mustHaveFailed(offer, dealWaitMs)) await this.#retry(offer)
      await new Promise<void>(resolve => this.#world.timeline.after(PATIENCE, resolve))
    }
  }

  #mustHaveFailed(offer: string, dealWaitMs: number): boolean {
    const record = this.#dealer.tables.aggregate!.items.get(JSON.stringify([offer]))
    const deadline = (record?.offeredAt as number) + dealWaitMs
    return record?.stage === 'accepted' || this.#world.now() > deadline + DAY
  }

  get #dealer(): Simulated {
    return this.#system.services.get('dealer') as Simulated
  }

  get #tools(): {
    stores: Stores
    queues: Queues
    scanTargets: () => Promise<TargetRecord[]>
    now: () => number
  } {
    return { ...this.#system.dealer, scanTargets: async () => [], now: this.#world.now }
  }
}

/** Runs a command. The errors that it reports to the operator are ignored. */
const attempt = async (run: () => Promise<unknown>): Promise<void> => {
  try {
    await run()
  } catch (cause) {
    if (!(cause instanceof CommandError)) throw cause
  }
}
