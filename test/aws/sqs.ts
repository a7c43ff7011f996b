import { randomUUID } from 'node:crypto'
import type { Message } from '@aws-sdk/client-sqs'
import type { QueueSpec } from '@w3filecoin/runtime/resources'
import { visibilityTimeout } from '@w3filecoin/runtime/resources'
import type { Timeline } from '@w3filecoin/testing/deterministic'
import type { Meter } from './meter.ts'

/** The most messages of one call, and the bytes that count as one request. */
const MAX_CALL_MESSAGES = 10
const REQUEST_BYTES = 64 * 1024
/** The most bytes of the messages of one run: a Lambda request has 6 MB. */
const MAX_RUN_BYTES = 5_500_000

interface Sent {
  id: string
  body: string
  group: string | undefined
  sentAt: number
  attempt: number
}

interface Options {
  timeline: Timeline
  meter: Meter
  name: string
  spec: QueueSpec
  latencyMs: number
  /** Runs the function of the queue, and returns the ids of the messages that failed. */
  run: (messages: Message[]) => Promise<readonly string[]>
}

/**
 * A queue in simulated time, with the poller of Lambda before its function: it receives up to ten messages with one call,
 * collects them for the window of the queue, and runs as many functions at once as the queue allows.
 */
export class SimulatedQueue {
  readonly #options: Options
  readonly #visible: Sent[] = []
  /** Messages that wait for the window of their batch. */
  #collected: Sent[] = []
  #windowOpen = false
  #running = 0
  /** Groups of a FIFO queue that a run has messages of, and the deduplication ids of the last five minutes. */
  readonly #busyGroups = new Set<string>()
  readonly #seen = new Map<string, number>()
  /** Messages that are not deleted yet, those that a run has among them. */
  pending = 0
  /** Number of messages that failed at their last attempt. */
  dead = 0

  constructor(options: Options) {
    this.#options = options
  }

  /** Accepts a call of `SendMessageBatch`. */
  send(
    entries: readonly {
      MessageBody: string
      DelaySeconds?: number
      MessageGroupId?: string
      MessageDeduplicationId?: string
    }[],
  ): void {
    const { timeline } = this.#options
    this.#charge(entries.reduce((sum, { MessageBody }) => sum + MessageBody.length, 0))
    for (const { MessageBody: body, DelaySeconds = 0, MessageGroupId: group, ...rest } of entries) {
      const id = rest.MessageDeduplicationId
      if (id !== undefined) {
        if ((this.#seen.get(id) ?? -Infinity) > timeline.now - 300_000) continue
        this.#seen.set(id, timeline.now)
      }
      this.pending += 1
      const message = { id: randomUUID(), body, group, sentAt: timeline.now, attempt: 0 }
      timeline.after(DelaySeconds * 1000, () => this.#show(message))
    }
  }

  #show(message: Sent): void {
    this.#visible.push(message)
    if (this.#visible.length === 1)
      this.#options.timeline.after(this.#options.latencyMs, () => this.#receive())
  }

  /** One poller receives what is visible, call by call. */
  #receive(): void {
    const { spec, timeline } = this.#options
    const most = Math.min(spec.batch, MAX_CALL_MESSAGES)
    while (this.#visible.length > 0) {
      const ready = this.#visible.filter(({ group }) => group === undefined || !this.#busyGroups.has(group))
      const received = ready.slice(0, most)
      if (received.length === 0) return
      // The poller does not receive more than its functions can take soon.
      if (spec.window === undefined && this.#running >= spec.concurrency) return
      this.#visible.splice(
        0,
        this.#visible.length,
        ...this.#visible.filter(message => !received.includes(message)),
      )
      this.#charge(received.reduce((sum, { body }) => sum + body.length, 0))
      if (spec.window === undefined) void this.#run(received)
      else {
        this.#collected.push(...received)
        if (!this.#windowOpen) {
          this.#windowOpen = true
          timeline.after(spec.window * 1000, () => {
            this.#windowOpen = false
            this.#flush(true)
          })
        }
      }
    }
    this.#flush(false)
  }

  /** Starts runs for full batches; at the end of a window, also for the rest. */
  #flush(all: boolean): void {
    const { spec } = this.#options
    while (this.#running < spec.concurrency) {
      const batch: Sent[] = []
      let bytes = 0
      for (const message of this.#collected) {
        bytes += message.body.length
        if (batch.length === spec.batch || bytes > MAX_RUN_BYTES) break
        batch.push(message)
      }
      if (batch.length === 0 || (!all && batch.length < spec.batch)) break
      this.#collected = this.#collected.slice(batch.length)
      void this.#run(batch)
    }
    if (this.#collected.length > 0 && !this.#windowOpen && all) {
      this.#windowOpen = true
      this.#options.timeline.after(1000, () => {
        this.#windowOpen = false
        this.#flush(true)
      })
    }
  }

  async #run(batch: Sent[]): Promise<void> {
    const { spec, timeline, run, latencyMs } = this.#options
    this.#running += 1
    for (const message of batch) {
      message.attempt += 1
      if (message.group !== undefined) this.#busyGroups.add(message.group)
    }
    const failed = new Set(await run(batch.map(messageOf)))
    this.#running -= 1
    for (const { group } of batch) if (group !== undefined) this.#busyGroups.delete(group)
    const done = batch.filter(({ id }) => !failed.has(id))
    for (let n = 0; n < done.length; n += MAX_CALL_MESSAGES) this.#charge(0)
    this.pending -= done.length
    for (const message of batch) {
      if (!failed.has(message.id)) continue
      if (message.attempt >= spec.attempts) {
        this.dead += 1
        this.pending -= 1
      } else timeline.after(visibilityTimeout(spec) * 1000, () => this.#show(message))
    }
    timeline.after(latencyMs, () => this.#receive())
  }

  #charge(bytes: number): void {
    const { meter, spec } = this.#options
    meter.add(
      { [spec.fifo ? 'fifo' : 'sqs']: Math.max(1, Math.ceil(bytes / REQUEST_BYTES)) },
      { name: this.#options.name },
    )
  }
}

const messageOf = ({ id, body, group, sentAt, attempt }: Sent): Message => ({
  MessageId: id,
  ReceiptHandle: id,
  Body: body,
  MD5OfBody: '',
  Attributes: {
    ApproximateReceiveCount: `${attempt}`,
    SentTimestamp: `${sentAt}`,
    ...(group !== undefined && { MessageGroupId: group }),
  } as never,
})
