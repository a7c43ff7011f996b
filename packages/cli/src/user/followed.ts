import type { AddEvent, Offered, Proof, Storefront } from '@w3filecoin/client'

type Report = (event: AddEvent) => void

/** A task that is followed, for each file with its content. */
interface Entry {
  /** Empty after the end: the lines of files that have ended do not change. */
  reports: Report[]
  hasEnded: boolean
  ended: PromiseWithResolvers<Proof>
}

/** Follows offers to their ends while others are added, with one question about all of them. */
export class Followed {
  readonly #w3: Storefront
  readonly #signal: AbortSignal
  /** Why no further offer can be followed. */
  #failure: unknown
  readonly #entries = new Map<string, Entry>()
  readonly #offers: ReadableStream<Offered>
  #arrivals: ReadableStreamDefaultController<Offered> | undefined

  constructor(w3: Storefront, signal: AbortSignal) {
    this.#w3 = w3
    this.#signal = signal
    this.#offers = new ReadableStream<Offered>({
      start: controller => {
        this.#arrivals = controller
      },
    })
    void this.#run()
  }

  /** Follows a promised task to its end, and returns the proof. Files with the same content have the same task. */
  follow(offered: Offered, report: Report): Promise<Proof> {
    const known = this.#entries.get(offered.accept)
    const entry = known ?? { reports: [], hasEnded: false, ended: Promise.withResolvers<Proof>() }
    if (!entry.hasEnded) entry.reports.push(report)
    if (known === undefined) {
      this.#entries.set(offered.accept, entry)
      if (this.#arrivals) this.#arrivals.enqueue(offered)
      else entry.ended.reject(this.#failure)
    }
    return entry.ended.promise
  }

  /** Ends when the offers so far have ended. */
  close(): void {
    this.#arrivals?.close()
    this.#arrivals = undefined
  }

  async #run(): Promise<void> {
    const onRetry = (event: AddEvent) => {
      for (const { reports } of this.#entries.values()) for (const report of reports) report(event)
    }
    try {
      for await (const event of this.#w3.watchAll(this.#offers, { signal: this.#signal, onRetry })) {
        const entry = this.#entries.get(event.workflow.accept)!
        if (event.type === 'accepted') entry.ended.resolve(event.proof)
        else if (event.type === 'failed') entry.ended.reject(event.error)
        else {
          for (const report of entry.reports) report(event)
          continue
        }
        entry.reports = []
        entry.hasEnded = true
      }
    } catch (cause) {
      this.#arrivals = undefined
      this.#failure = cause
      for (const { ended } of this.#entries.values()) ended.reject(cause)
    }
  }
}
