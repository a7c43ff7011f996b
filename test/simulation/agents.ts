import type { IssuedInvocation, Receipt, Signer } from '@ucanto/interface'
import { type FilecoinInfoSuccess, type PlaceSummary, type Task, Tasks } from '@w3filecoin/capabilities'
import { encodeMessage, readReceipt } from '@w3filecoin/runtime'
import type { DeterministicWorld } from '@w3filecoin/testing/deterministic'
import { distinctionIn, receiptOf } from './receipts.ts'
import {
  type Flood,
  floodInvocations,
  invocationOf,
  namesAddress,
  type Offer,
  otherThan,
  questionOf,
} from './scenario.ts'
import { SETTINGS, type Simulated, type System } from './services.ts'

const MINUTE = 60_000
const HOUR = 60 * MINUTE

/** Time from one look of a persistent agent at the outcome to the next, in milliseconds. */
const PATIENCE = 6 * HOUR

/** How long a persistent agent offers content that is there, in milliseconds. */
const MAX_PERSISTENCE = 72 * HOUR

/** An offer that was answered `ok`. */
export interface Acknowledged {
  offer: Offer
  /** When it was answered first, in milliseconds since 1970. */
  at: number
  /**
   * CIDs of the promised tasks, each once, in the order of the answers. Several, if the agent offered again after
   * `ContentNotFound`.
   */
  promised: readonly string[]
  /** CIDs of the `filecoin/accept` tasks of the same workflow: in the words of the protocol, they are the promised tasks. */
  accepts: readonly string[]
  /** The providers that the space had until its first offer of this content, piece and nonce was answered. */
  groups: ReadonlySet<string>
  /** The receipts that the agents of this offer want delivered to their addresses. */
  addressed: readonly { agent: string; task: string }[]
  /** What went wrong with repeated offers. */
  problems: readonly string[]
}

/** The first offer of a space of one content, piece and nonce: its group stays that of all later ones. */
interface FirstOffer {
  groups: Set<string>
  isAnswered: boolean
}

/** The people who use the storefronts. Their calls have no faults, but those of the functions that they call have. */
export class Agents {
  readonly #world: DeterministicWorld
  readonly #system: System
  readonly #start: number
  readonly #firstOffers = new Map<string, FirstOffer>()

  /** @param start when the scenario begins, in milliseconds since 1970 */
  constructor(world: DeterministicWorld, system: System, start: number) {
    this.#world = world
    this.#system = system
    this.#start = start
  }

  /** Returns an offer that was answered before this run. */
  async recall(offer: Offer): Promise<Acknowledged> {
    const { id } = this.#service(offer.storefront)
    const { cid } = await Tasks.filecoinAccept(id, { ...offer, content: offer.content.content })
    const groups = new Set([this.#groupOf(offer)])
    const accepts = [`${cid}`]
    return { offer, at: this.#world.now(), promised: accepts, accepts, groups, addressed: [], problems: [] }
  }

  /**
   * Repeats an offer until it is answered `ok`. Some offers are then made again by another agent. A persistent agent waits
   * for the outcome, and offers again if the content was missing.
   */
  async offer(offer: Offer): Promise<Acknowledged> {
    let task = await this.#offerUntilTaken(offer)
    const at = this.#world.now()
    const tasks = [task]
    const problems: string[] = []
    const addressed: Acknowledged['addressed'][number][] = []
    const record = ({ cid }: Task, { agent } = offer) => {
      if (namesAddress(offer)) addressed.push({ agent: agent.did(), task: `${cid}` })
    }
    record(task)
    if (offer.again) {
      await this.#pause()
      const agent = otherThan(offer.agent)
      const repeated = await this.#offerUntilTaken(offer, agent)
      record(repeated, { ...offer, agent })
      if (`${repeated.cid}` !== `${task.cid}` && !this.#isMissing(offer, task))
        problems.push(`a repeated offer was promised ${repeated.cid}, not ${task.cid}`)
    }
    while (offer.persistent && (await this.#endsMissing(offer, task))) {
      if (this.#world.now() > MAX_PERSISTENCE + Math.max(at, this.#start + (offer.uploadedAt as number))) {
        problems.push(`an offer of content that is there ends in ContentNotFound: ${task.cid}`)
        break
      }
      task = await this.#offerUntilTaken(offer)
      record(task)
      if (`${tasks.at(-1)?.cid}` === `${task.cid}`) await this.#wait(PATIENCE)
      else tasks.push(task)
    }
    const accepts = await Promise.all(tasks.map(task => this.#acceptOf(offer, task)))
    const promised = tasks.map(({ cid }) => `${cid}`)
    return { offer, at, promised, accepts, groups: this.#firstOffer(offer).groups, addressed, problems }
  }

  /** Offers a content with many nonces, in two messages. It does not matter whether they are answered. */
  async flood(flood: Flood): Promise<void> {
    const service = this.#service(flood.storefront)
    const invocations = floodInvocations(flood, service.id)
    const half = Math.ceil(invocations.length / 2)
    for (const part of [invocations.slice(0, half), invocations.slice(half)]) {
      await this.#post(service, part)
      await this.#pause()
    }
  }

  /**
   * Asks about an offer until there is an answer, page by page. Returns the CIDs of the tasks that end the workflows in the
   * answers, and the places of its aggregates.
   */
  async ask(offer: Offer): Promise<{ accepts: string[]; places: PlaceSummary[] }> {
    const service = this.#service(offer.storefront)
    const accepts: string[] = []
    const places: PlaceSummary[] = []
    for (let after: string | undefined; ; ) {
      const [receipt] = await this.#post(service, [await questionOf(offer, service.id, after)])
      const info = receipt?.out.ok as FilecoinInfoSuccess | undefined
      if (info) {
        accepts.push(...info.workflows.map(({ accept }) => `${accept}`))
        places.push(...info.places)
        if (info.next === undefined) return { accepts, places }
        after = info.next
      } else await this.#pause()
    }
  }

  /** Returns the CID of the `filecoin/accept` of the workflow that promises a task. */
  async #acceptOf({ storefront, content, piece, nonce }: Offer, task: Task): Promise<string> {
    const { id } = this.#service(storefront)
    const offered = { content: content.content, piece, nonce }
    return `${(await Tasks.filecoinAccept(id, offered, distinctionIn(task))).cid}`
  }

  /** @returns the promised task */
  async #offerUntilTaken(offer: Offer, by?: Signer): Promise<Task> {
    const service = this.#service(offer.storefront)
    const first = this.#firstOffer(offer)
    const addGroup = () => {
      if (!first.isAnswered) first.groups.add(this.#groupOf(offer))
    }
    for (;;) {
      addGroup()
      const [receipt] = await this.#post(service, [await invocationOf(offer, service.id, by)])
      addGroup()
      if (receipt?.out.ok && receipt.fx.join) {
        first.isAnswered = true
        return receipt.fx.join as Task
      }
      await this.#pause()
    }
  }

  /** Returns the record of the first offer of a space of this content, piece and nonce. */
  #firstOffer({ storefront, content, piece, nonce, space }: Offer): FirstOffer {
    const key = JSON.stringify([storefront, `${content.content}`, `${piece}`, nonce, space.did()])
    const first = this.#firstOffers.get(key) ?? { groups: new Set(), isAnswered: false }
    this.#firstOffers.set(key, first)
    return first
  }

  /** Waits for the end of an offer. Returns true, after its content is uploaded, if it ended in `ContentNotFound`. */
  async #endsMissing(offer: Offer, task: Task): Promise<boolean> {
    while (receiptOf(this.#service(offer.storefront), `${task.cid}`) === undefined) await this.#wait(PATIENCE)
    if (!this.#isMissing(offer, task) || offer.uploadedAt === undefined || offer.hangs) return false
    await this.#wait(this.#start + offer.uploadedAt - this.#world.now())
    return true
  }

  /** Whether a task has ended in `ContentNotFound`. */
  #isMissing({ storefront }: Offer, { cid }: Task): boolean {
    const { error } = receiptOf(this.#service(storefront), `${cid}`)?.out ?? {}
    return (error as { name?: string } | undefined)?.name === 'ContentNotFound'
  }

  async #post(
    { url }: Simulated,
    invocations: readonly IssuedInvocation[],
  ): Promise<(Receipt | undefined)[]> {
    const tasks = await Promise.all(invocations.map(invocation => invocation.buildIPLDView()))
    try {
      const response = await this.#system.fetch(`${url}/`, {
        method: 'POST',
        headers: { 'content-type': 'application/vnd.ipld.car' },
        body: (await encodeMessage({ invocations: tasks as never[] })) as never,
      })
      if (!response.ok) return []
      const bytes = new Uint8Array(await response.arrayBuffer())
      return tasks.map(({ cid }) => readReceipt(`${cid}`, bytes))
    } catch {
      return []
    }
  }

  /** Returns the present group of the pieces of a space. */
  #groupOf({ storefront, space }: Offer): string {
    const row = this.#service(storefront).tables.space!.items.get(JSON.stringify([space.did()]))
    return (row?.provider as string | undefined) ?? SETTINGS.defaultGroup
  }

  #service(name: string): Simulated {
    return this.#system.services.get(name) as Simulated
  }

  #pause(): Promise<void> {
    return this.#wait(this.#world.choices.between(MINUTE, 20 * MINUTE))
  }

  #wait(milliseconds: number): Promise<void> {
    return new Promise(resolve => this.#world.timeline.after(milliseconds, resolve))
  }
}
