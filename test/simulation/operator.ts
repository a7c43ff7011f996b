import type { OrderRecord, Queues, Stores, TargetRecord } from '@w3filecoin/dealer'
import { documentName } from '@w3filecoin/dealer'
import type { DeterministicWorld } from '@w3filecoin/testing/deterministic'
import { dropOffer, retryOrders } from '../../packages/cli/src/ops/orders.ts'
import { pauseTarget, resumeTarget } from '../../packages/cli/src/ops/targets.ts'
import { CommandError } from '../../packages/cli/src/outcome.ts'
import type { Market } from './market.ts'
import type { Act } from './ordering.ts'
import type { Simulated, System } from './services.ts'

const HOUR = 3_600_000

/** Time from one look at the orders that need an operator to the next, in milliseconds. */
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
   * Schedules some acts. From `healsAt` on, all targets get orders again, orders that need an operator are permitted, and settings that
   * lack are there.
   */
  schedule(start: number, acts: readonly { at: number; act: Act }[], healsAt: number): void {
    const { timeline } = this.#world
    const doNext = (run: () => Promise<void>) => () => {
      this.#busy = this.#busy.then(run)
    }
    for (const { at, act } of acts)
      timeline.at(
        start + at,
        doNext(() => this.#act(act)),
      )
    if (healsAt !== Infinity)
      timeline.at(
        start + healsAt,
        doNext(() => this.#restore()),
      )
  }

  async #act(act: Act): Promise<void> {
    this.#world.count(`operator: ${act}`)
    const offers = [...this.#dealer.tables.aggregate!.items.values()].filter(
      ({ stage }) => stage === 'offered',
    )
    const targets = this.#targets()
    if (act === 'pause' || act === 'resume') {
      if (targets.length === 0) return
      const { name } = this.#world.choices.one(targets)
      return act === 'pause' ? this.#pause(name) : this.#resume(name)
    }
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

  async #pause(name: string): Promise<void> {
    await attempt(() => pauseTarget(this.#tools, name, { reason: 'maintenance' }))
    this.paused.add(name)
  }

  async #resume(name: string): Promise<void> {
    this.paused.delete(name)
    await attempt(() => resumeTarget(this.#tools, name))
  }

  /** Permits further orders of an offer. */
  #retry(offer: string): Promise<void> {
    return attempt(() => retryOrders(this.#tools, offer))
  }

  async #restore(): Promise<void> {
    this.#system.nameSources()
    const { target } = this.#dealer.tables
    for (const { name } of [...target!.items.values()] as unknown as TargetRecord[]) await this.#resume(name)
    for (;;) {
      const orders = [...this.#dealer.tables.order!.items.values()] as unknown as OrderRecord[]
      const stuck = new Set(orders.filter(({ needs }) => needs === 'operator').map(({ offer }) => offer))
      for (const offer of stuck) await this.#retry(offer)
      await new Promise<void>(resolve => this.#world.timeline.after(PATIENCE, resolve))
    }
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
