import type { DID, Effect, Receipt } from '@ucanto/interface'
import { readReceipt } from '@w3filecoin/runtime'

/** A task whose receipt a service owes. */
interface Owed {
  did: DID
  /** The receipt as it was served first. */
  car?: Uint8Array
}

/** Receipts that are waited for and kept, outside the system: whatever a receipt promises is waited for too. */
export class Receipts {
  readonly #tasks = new Map<string, Owed>()

  get served(): number {
    return [...this.#tasks.values()].filter(({ car }) => car).length
  }

  /** Waits for the tasks that a receipt has as effects. */
  follow({ fx }: Receipt): void {
    for (const effect of [...fx.fork, ...(fx.join ? [fx.join] : [])]) {
      const task = `${effect.link()}`
      if (!this.#tasks.has(task)) this.#tasks.set(task, { did: audienceOf(effect) })
    }
  }

  get(task: string): Receipt | undefined {
    const car = this.#tasks.get(task)?.car
    return car && readReceipt(task, car)
  }

  /** Asks the services, by DID, for what is not there yet. */
  async look(urls: ReadonlyMap<string, string>): Promise<void> {
    for (const [task, owed] of this.#tasks) {
      if (owed.car) continue
      const car = await fetchReceipt(urls.get(owed.did)!, task)
      if (car === undefined) continue
      owed.car = car
      this.follow(readReceipt(task, car)!)
    }
  }

  /** Asks again for all that were served, and tells of those that are not the same, byte for byte. */
  async changed(urls: ReadonlyMap<string, string>): Promise<string[]> {
    const changed: string[] = []
    for (const [task, { did, car }] of this.#tasks) {
      if (car === undefined) continue
      const now = await fetchReceipt(urls.get(did)!, task)
      if (now === undefined) changed.push(`The receipt of ${task} is gone`)
      else if (Buffer.compare(now, car) !== 0) changed.push(`The receipt of ${task} is another one`)
    }
    return changed
  }
}

/** The blocks of an effect travel with the receipt. */
const audienceOf = (effect: Effect): DID => {
  if (!('audience' in effect)) throw new Error(`The receipt does not hold its effect ${effect.link()}`)
  return (effect as { audience: { did(): DID } }).audience.did()
}

const fetchReceipt = async (url: string, task: string): Promise<Uint8Array | undefined> => {
  const response = await fetch(`${url}/receipt/${task}`, { signal: AbortSignal.timeout(10_000) })
  const body = new Uint8Array(await response.arrayBuffer())
  if (response.status === 404) return undefined
  if (!response.ok) throw new Error(`The question for the receipt of ${task} is answered ${response.status}`)
  return body
}
