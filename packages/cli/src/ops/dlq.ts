import type { SQSClient } from '@aws-sdk/client-sqs'
import type { Environment } from '@w3filecoin/runtime'
import { type Resources, variable } from '@w3filecoin/runtime/resources'
import { UserError } from '@w3filecoin/runtime/user-error'
import { pMapIterable } from 'p-map'
import { type DeadLetter, DeadLetterQueue } from './dead-letter-queue.ts'
import { describeError } from './describe-error.ts'
import type { Target } from './target.ts'

/** Queues that are read concurrently. */
const MAX_PARALLEL = 16

interface DlqOptions {
  target: Target
  client: Pick<SQSClient, 'send'>
  queues: readonly NamedQueue[]
  /** Whether to send letters back to their queues. */
  send: boolean
  /** Maximum letters of one queue. */
  limit: number
}

export interface NamedQueue {
  resources: Resources
  queue: string
}

/** The dead letters of one queue. */
export interface QueueReport {
  service: string
  queue: string
  fifo: boolean
  letters: DeadLetter[]
  /** Approximate number of letters that were not read. */
  left: number
  /** Whether reading stopped at the limit or at letters that failed again. Otherwise the letters left are hidden. */
  ended: boolean
  /** How many letters that were sent back failed again meanwhile. */
  again: number
  /** The error that ended reading or sending. */
  failed?: unknown
}

/** Reads the dead letters of queues, and sends them back with `send`. Yields the report of each queue as it ends. */
export async function* readDeadLetters({
  target,
  queues,
  ...options
}: DlqOptions): AsyncGenerator<QueueReport> {
  // First, because a missing system is one error, not one for each queue.
  const places: Record<string, Environment> = {}
  for (const { resources } of queues) places[resources.service] ??= await target.placesOf(resources.service)
  const failed: QueueReport[] = []
  for await (const report of pMapIterable(
    queues,
    queue => readQueue(queue, places[queue.resources.service]!, options),
    { concurrency: MAX_PARALLEL, preserveOrder: false },
  ))
    if (report.failed !== undefined && report.letters.length === 0) failed.push(report)
    else yield report
  // An error that all queues have in common, e.g. an unreachable SQS, is reported once.
  const reasons = new Set(failed.map(({ failed }) => describeError(failed)))
  if (failed.length > 1 && failed.length === queues.length && reasons.size === 1) throw failed[0]!.failed
  yield* failed
}

/** Opens the dead-letter queue of a queue. Throws a `UserError` if the system does not have it. */
export const openDeadLetters = (
  { resources: { service }, queue }: NamedQueue,
  places: Environment,
  client: DlqOptions['client'],
): DeadLetterQueue => {
  const locate = (kind: 'queue' | 'deadLetter'): string => {
    const url = places[variable(kind, queue)]
    if (url === undefined)
      throw new UserError(
        `The system does not name the queue ${queue} of ${service}: it runs another version. Use npm run ops of that version.`,
      )
    return url
  }
  return new DeadLetterQueue({ client, url: locate('deadLetter'), work: locate('queue') })
}

const readQueue = async (
  { resources, queue }: NamedQueue,
  places: Environment,
  { client, send, limit }: Omit<DlqOptions, 'target' | 'queues'>,
): Promise<QueueReport> => {
  const { service, queues } = resources
  const fifo = queues[queue]?.fifo === true
  const report: QueueReport = { service, queue, fifo, letters: [], left: 0, ended: false, again: 0 }
  try {
    const dead = openDeadLetters({ resources, queue }, places, client)
    const before = await dead.count()
    /** Ids of the messages that were sent back. */
    const sent = new Set<string>()
    /** Letters that are hidden from other receivers. */
    const held = new Set<DeadLetter>()
    try {
      for await (const some of dead.receive(limit)) {
        for (const letter of some) held.add(letter)
        // Do not send a letter a second time that failed again.
        const others = some.filter(({ message }) => !sent.has(message))
        report.again += some.length - others.length
        for (const letter of others) {
          if (send) {
            // One by one, which keeps the order of a FIFO queue.
            sent.add(await dead.sendBack(letter))
            held.delete(letter)
          }
          report.letters.push(letter)
        }
        if (others.length === 0) break
      }
    } finally {
      await dead.release([...held])
    }
    report.left = Math.max(0, before - report.letters.length)
    report.ended = report.again > 0 || report.letters.length >= limit
  } catch (cause) {
    report.failed = cause
  }
  return report
}
