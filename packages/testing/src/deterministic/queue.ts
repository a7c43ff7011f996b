import type { MessageOrder, Queue } from '@w3filecoin/runtime'
import { type QueueSpec, visibilityTimeout } from '@w3filecoin/runtime/resources'
import type { SQSBatchResponse, SQSEvent, SQSRecord } from 'aws-lambda'
import type { Choices } from './random.ts'
import type { DeterministicWorld } from './world.ts'

/** A message as the queue holds it. */
interface Held {
  id: string
  body: string
  group?: string
  /** From when on it can be received, in milliseconds since 1970. */
  visibleAt: number
  received: number
}

interface Options<M> {
  name: string
  spec: QueueSpec
  world: DeterministicWorld
  order?: MessageOrder<M> | undefined
  /** How often a message is delivered a second time. */
  duplicates?: number
}

/** Milliseconds for which a FIFO queue knows the ids of what it was sent. */
const DEDUPLICATION = 5 * 60_000
const MAX_BYTES = 1_048_576

/**
 * A queue of the deterministic world, as SQS behaves: messages come late, twice, out of order; what is not deleted
 * comes again when its visibility runs out, and goes to the dead letters after so many attempts. Of a FIFO queue, a group's
 * messages come in order, one batch at a time.
 */
export class DeterministicQueue<M> implements Queue<M> {
  readonly dead: Held[] = []
  readonly #options: Options<M>
  #messages: Held[] = []
  #runs = 0
  #count = 0
  readonly #known = new Map<string, number>()
  #consume: ((event: SQSEvent) => Promise<SQSBatchResponse>) | undefined

  constructor(options: Options<M>) {
    this.#options = options
  }

  /** Messages that are not done with. */
  get size(): number {
    return this.#messages.length
  }

  send(messages: readonly M[], { delaySeconds = 0 }: { delaySeconds?: number } = {}): Promise<void> {
    const { world, name, order } = this.#options
    const bodies = messages.map(message => ({ message, body: JSON.stringify(message) }))
    if (bodies.length === 0) return Promise.resolve()
    const add = ({ message, body }: { message: M; body: string }) => {
      if (Buffer.byteLength(body) > MAX_BYTES) throw new Error(`A message to ${name} is too large`)
      const id = order?.id(message)
      if (id !== undefined) {
        if ((this.#known.get(id) ?? -Infinity) > world.now() - DEDUPLICATION) return
        this.#known.set(id, world.now())
      }
      this.#add(body, order?.group(message), delaySeconds * 1000)
    }
    return world.call(
      { port: 'queue', name, method: 'send' },
      {
        run: () => {
          for (const each of bodies) add(each)
        },
        part: (choices: Choices) => {
          for (const each of choices.shuffled(bodies).slice(0, choices.between(0, bodies.length - 1)))
            add(each)
        },
      },
    )
  }

  /** Puts a message in from outside: nothing goes wrong with that. */
  deliver(message: M): void {
    this.#add(JSON.stringify(message), this.#options.order?.group(message), 0)
  }

  #add(body: string, group: string | undefined, delay: number): void {
    const { world, name } = this.#options
    const visibleAt = world.now() + delay
    this.#messages.push({
      id: `${name}-${this.#count++}`,
      body,
      ...(group === undefined ? {} : { group }),
      visibleAt,
      received: 0,
    })
    this.#wake(visibleAt)
  }

  /** Has a consumer take messages from here on. */
  consume(run: (event: SQSEvent) => Promise<SQSBatchResponse>): void {
    this.#consume = run
  }

  /** What is there and visible, taken out. */
  take(): M[] {
    const { world } = this.#options
    const taken = this.#messages.filter(({ visibleAt }) => visibleAt <= world.now())
    this.#messages = this.#messages.filter(message => !taken.includes(message))
    return taken.map(({ body }) => JSON.parse(body) as M)
  }

  /** All messages are gone, also those that somebody works on. */
  lose(): void {
    this.#messages = []
  }

  /** Looks for messages at that time, or a little later. */
  #wake(at: number): void {
    const { world } = this.#options
    world.timeline.at(at + world.choices.between(0, 1500), () => this.#poll())
  }

  #poll(): void {
    const { spec, world, name } = this.#options
    if (this.#consume === undefined || this.#runs >= spec.concurrency) return
    const batch = this.#receive()
    if (batch.length === 0) return
    this.#runs += 1
    const seconds = spec.run.timeout
    // A message that is at its last attempt is for people if it fails once more: no misfortune then.
    const spared = batch.some(({ received }) => received >= spec.attempts - 1)
    const records = batch.map(message => recordOf(name, message))
    void world
      .execute({ name, seconds, spared, mayBeSlow: true }, () => this.#consume!({ Records: records }))
      .then(ended => {
        this.#runs -= 1
        if ('ok' in ended) {
          const failed = new Set(ended.ok.batchItemFailures.map(({ itemIdentifier }) => itemIdentifier))
          const done = new Set(batch.filter(({ id }) => !failed.has(id)))
          this.#messages = this.#messages.filter(message => !done.has(message))
        }
        this.#wake(world.now())
      })
  }

  #receive(): Held[] {
    const { spec, world, duplicates = 0 } = this.#options
    const now = world.now()
    const busy = new Set(
      this.#messages
        .filter(({ visibleAt, received }) => visibleAt > now && received > 0)
        .map(({ group }) => group),
    )
    const visible = this.#messages.filter(
      ({ visibleAt, group }) => visibleAt <= now && (group === undefined || !busy.has(group)),
    )
    const ready = spec.fifo ? visible : world.choices.shuffled(visible)
    const batch: Held[] = []
    for (const message of ready) {
      if (batch.length === spec.batch) break
      if (message.received >= spec.attempts) {
        this.dead.push(message)
        this.#messages = this.#messages.filter(other => other !== message)
        continue
      }
      message.received += 1
      // Delivered once more while somebody works on it.
      const twice = !spec.fifo && message.received < spec.attempts - 1 && world.choices.chance(duplicates)
      if (twice) world.count('duplicate')
      message.visibleAt = now + (twice ? world.choices.between(0, 5000) : visibilityTimeout(spec) * 1000)
      this.#wake(message.visibleAt)
      batch.push(message)
    }
    return batch
  }
}

const recordOf = (queue: string, { id, body, group, received }: Held): SQSRecord =>
  ({
    messageId: id,
    receiptHandle: id,
    body,
    attributes: {
      ApproximateReceiveCount: `${received}`,
      ...(group === undefined ? {} : { MessageGroupId: group }),
    },
    messageAttributes: {},
    eventSourceARN: `arn:aws:sqs:here:0:${queue}`,
  }) as unknown as SQSRecord
