import type { DID, Effect, Receipt } from '@ucanto/interface'
import { readReceipt } from '@w3filecoin/runtime'

/** A task whose receipt a service promised. */
interface Promised {
  did: DID
  /** The receipt, as it was first served. */
  car?: Uint8Array
}

/** Collects receipts outside the system, and the receipts of all tasks that these promise. */
export class Receipts {
  readonly #tasks = new Map<string, Promised>()

  get served(): number {
    return [...this.#tasks.values()].filter(({ car }) => car).length
  }

  /** Adds the tasks that a receipt has as effects. */
  follow({ fx }: Receipt): void {
    for (const effect of [...fx.fork, ...(fx.join ? [fx.join] : [])]) {
      const task = `${effect.link()}`
      if (!this.#tasks.has(task)) this.#tasks.set(task, { did: getAudience(effect) })
    }
  }

  get(task: string): Receipt | undefined {
    const car = this.#tasks.get(task)?.car
    return car && readReceipt(task, car)
  }

  /** Asks the services, by DID, for the receipts that were not served yet. */
  async fetchMissing(urls: ReadonlyMap<string, string>): Promise<void> {
    for (const [task, promised] of this.#tasks) {
      if (promised.car) continue
      const car = await fetchReceipt(urls.get(promised.did)!, task)
      if (car === undefined) continue
      promised.car = car
      this.follow(readReceipt(task, car)!)
    }
  }

  /** Fetches every served receipt again, and returns a sentence for each that is missing or has other bytes. */
  async findChanges(urls: ReadonlyMap<string, string>): Promise<string[]> {
    const changed: string[] = []
    for (const [task, { did, car }] of this.#tasks) {
      if (car === undefined) continue
      const now = await fetchReceipt(urls.get(did)!, task)
      if (now === undefined) changed.push(`The receipt of ${task} is gone`)
      else if (Buffer.compare(now, car) !== 0) changed.push(`The receipt of ${task} has changed`)
    }
    return changed
  }
}

/** Returns the DID of the service that runs the task of an effect. The receipt contains the blocks of its effects. */
const getAudience = (effect: Effect): DID => {
  if (!('audience' in effect)) throw new Error(`The receipt does not contain its effect ${effect.link()}`)
  return (effect as { audience: { did(): DID } }).audience.did()
}

const fetchReceipt = async (url: string, task: string): Promise<Uint8Array | undefined> => {
  const response = await fetch(`${url}/receipt/${task}`, { signal: AbortSignal.timeout(10_000) })
  const body = new Uint8Array(await response.arrayBuffer())
  if (response.status === 404) return undefined
  if (!response.ok) throw new Error(`Fetching the receipt of ${task} failed with status ${response.status}`)
  return body
}
