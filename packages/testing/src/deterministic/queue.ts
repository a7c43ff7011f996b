import type { MessageOrder, Queue } from '@w3filecoin/runtime'
import { type QueueSpec, visibilityTimeout } from '@w3filecoin/runtime/resources'
import type { SQSBatchResponse, SQSEvent, SQSRecord } from 'aws-lambda'
import type { Choices } from './random.ts'
import type { DeterministicWorld } from './world.ts'

/** A message as the queue holds it. */
interface QueuedMessage {
  id: string
  body: string
  group?: string
  /** When it can be received, in milliseconds since 1970. */
  visibleAt: number
  received: number
}

interface Options<M> {
  name: string
  spec: QueueSpec
  world: DeterministicWorld
  order?: MessageOrder<M> | undefined
  /** Probability that a message is delivered twice. */
  duplicates?: number
}

/** A FIFO queue drops a message with the id of one sent in the last five minutes. */
const DEDUPLICATION_MS = 5 * 60_000
const MAX_BYTES = 1_048_576

/**
 * The port `Queue` in the deterministic world. It behaves as SQS does: messages arrive late, twice, and out of order. A
 * message that is not deleted is delivered again after its visibility timeout, and goes to the dead letters after its last
 * attempt. A FIFO queue delivers the messages of a group in order, one batch at a time.
 */
export class DeterministicQueue<M> implements Queue<M> {
  readonly dead: QueuedMessage[] = []
  readonly #options: Options<M>
  #messages: QueuedMessage[] = []
  #runs = 0
  #count = 0
  readonly #known = new Map<string, number>()
  #consume: ((event: SQSEvent) => Promise<SQSBatchResponse>) | undefined

  constructor(options: Options<M>) {
    this.#options = options
  }

  /** Number of messages that are not handled yet. */
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
        if ((this.#known.get(id) ?? -Infinity) > world.now() - DEDUPLICATION_MS) return
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

  /** Adds a message from outside the world, without a fault. */
  deliver(message: M): void {
    this.#add(JSON.stringify(message), this.#options.order?.group(message), 0)
  }

  #add(body: string, group: string | undefined, delayMs: number): void {
    const { world, name } = this.#options
    const visibleAt = world.now() + delayMs
    this.#messages.push({
      id: `${name}-${this.#count++}`,
      body,
      ...(group === undefined ? {} : { group }),
      visibleAt,
      received: 0,
    })
    this.#wake(visibleAt)
  }

  /** Has a consumer handle the messages from now on. */
  consume(run: (event: SQSEvent) => Promise<SQSBatchResponse>): void {
    this.#consume = run
  }

  /** Removes and returns the visible messages. */
  take(): M[] {
    const { world } = this.#options
    const taken = this.#messages.filter(({ visibleAt }) => visibleAt <= world.now())
    this.#messages = this.#messages.filter(message => !taken.includes(message))
    return taken.map(({ body }) => JSON.parse(body) as M)
  }

  /** Loses all messages, also those that a consumer is handling. */
  lose(): void {
    this.#messages = []
  }

  /** Polls at that time, or a little later. */
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
    // Inject no faults at the last attempt of a message: if it failed, it would go to the dead letters.
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

  #receive(): QueuedMessage[] {
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
    const batch: QueuedMessage[] = []
    for (const message of ready) {
      if (batch.length === spec.batch) break
      if (message.received >= spec.attempts) {
        this.dead.push(message)
        this.#messages = this.#messages.filter(other => other !== message)
        continue
      }
      message.received += 1
      // Deliver the message a second time while a consumer handles it.
      const twice = !spec.fifo && message.received < spec.attempts - 1 && world.choices.chance(duplicates)
      if (twice) world.count('duplicate')
      message.visibleAt = now + (twice ? world.choices.between(0, 5000) : visibilityTimeout(spec) * 1000)
      this.#wake(message.visibleAt)
      batch.push(message)
    }
    return batch
  }
}

const recordOf = (queue: string, { id, body, group, received }: QueuedMessage): SQSRecord =>
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
