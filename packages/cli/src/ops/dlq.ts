import type { SQSClient } from '@aws-sdk/client-sqs'
import { type Resources, variable } from '@w3filecoin/aws/resources'
import type { Environment } from '@w3filecoin/service'
import { UserError } from '@w3filecoin/service/user-error'
import { pMapIterable } from 'p-map'
import { type DeadLetter, DeadLetterQueue } from './dead-letter-queue.ts'
import { wordsOf } from './failure.ts'
import type { Target } from './target.ts'

/** Queues that are looked at at a time. */
const PARALLEL = 16

interface DlqOptions {
  target: Target
  client: Pick<SQSClient, 'send'>
  queues: readonly NamedQueue[]
  /** Whether letters are sent back to their queues; else nothing changes. */
  send: boolean
  /** The most letters of one queue. */
  limit: number
}

interface NamedQueue {
  resources: Resources
  queue: string
}

/** What was found in the dead-letter queue of one queue. */
export interface QueueReport {
  service: string
  queue: string
  fifo: boolean
  letters: DeadLetter[]
  /** About how many letters were not looked at. */
  left: number
  /** Whether that is because it ended before: at the limit, or at letters that had been sent back. Else they are hidden. */
  ended: boolean
  /** How many of those that were sent back failed again meanwhile, and are here. */
  again: number
  /** Why it could not be done, or not to its end. */
  failed?: unknown
}

/** Looks at the dead letters of queues, and sends them back if that is asked for; tells of each queue as it ends. */
export async function* deadLetters({ target, queues, ...options }: DlqOptions): AsyncGenerator<QueueReport> {
  // Before all else: a system that is not there is the same trouble for all queues.
  const places: Record<string, Environment> = {}
  for (const { resources } of queues) places[resources.service] ??= await target.placesOf(resources.service)
  const failed: QueueReport[] = []
  for await (const report of pMapIterable(
    queues,
    queue => readQueue(queue, places[queue.resources.service]!, options),
    { concurrency: PARALLEL, preserveOrder: false },
  ))
    if (report.failed !== undefined && report.letters.length === 0) failed.push(report)
    else yield report
  // What keeps all of them from being looked at, as nobody being there, is told once.
  const reasons = new Set(failed.map(({ failed }) => wordsOf(failed)))
  if (failed.length > 1 && failed.length === queues.length && reasons.size === 1) throw failed[0]!.failed
  yield* failed
}

const readQueue = async (
  { resources, queue }: NamedQueue,
  places: Environment,
  { client, send, limit }: Omit<DlqOptions, 'target' | 'queues'>,
): Promise<QueueReport> => {
  const { service, queues } = resources
  const fifo = queues[queue]?.fifo === true
  const report: QueueReport = { service, queue, fifo, letters: [], left: 0, ended: false, again: 0 }
  const locate = (kind: 'queue' | 'deadLetter'): string => {
    const url = places[variable(kind, queue)]
    if (url === undefined)
      throw new UserError(`The system does not say where ${service} ${queue} is: it is of another version`)
    return url
  }
  try {
    const dead = new DeadLetterQueue({ client, url: locate('deadLetter'), work: locate('queue') })
    const before = await dead.count()
    /** Messages that letters were sent back as. */
    const sent = new Set<string>()
    /** Letters that others do not see. */
    const held = new Set<DeadLetter>()
    try {
      for await (const some of dead.take(limit)) {
        for (const letter of some) held.add(letter)
        // What fails again comes back here, and is not to be chased.
        const others = some.filter(({ message }) => !sent.has(message))
        report.again += some.length - others.length
        for (const letter of others) {
          if (send) {
            // One by one: those of a FIFO queue in their order.
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
