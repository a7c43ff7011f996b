import type { SQSClient } from '@aws-sdk/client-sqs'
import { type Resources, variable } from '@w3filecoin/aws/resources'
import { Trouble } from '@w3filecoin/local/trouble'
import pMap from 'p-map'
import { type DeadLetter, DeadLetterQueue } from './dead-letter-queue.ts'
import type { Target } from './target.ts'

/** Queues that are looked at at a time. */
const PARALLEL = 16

interface DlqOptions {
  target: Target
  client: Pick<SQSClient, 'send'>
  queues: readonly { resources: Resources; queue: string }[]
  /** Whether letters are sent back to their queues; else nothing changes. */
  send: boolean
  /** The most letters of one queue. */
  limit: number
}

/** What was found in the dead-letter queue of one queue. */
export interface QueueReport {
  service: string
  queue: string
  letters: DeadLetter[]
  /**
   * About how many letters were not looked at: there are more than the limit, or somebody else has them, or they are
   * behind others of their group.
   */
  left: number
  fifo: boolean
}

/** Looks at the dead letters of queues, and sends them back if that is asked for. */
export const deadLetters = ({ target, client, queues, send, limit }: DlqOptions): Promise<QueueReport[]> =>
  pMap(
    queues,
    async ({ resources: { service, queues }, queue }) => {
      const places = await target.placesOf(service)
      const locate = (kind: 'queue' | 'deadLetter'): string => {
        const url = places[variable(kind, queue)]
        if (url === undefined)
          throw new Trouble(`The system does not say where ${service} ${queue} is: it is of another version`)
        return url
      }
      const dead = new DeadLetterQueue({ client, url: locate('deadLetter'), work: locate('queue') })
      const before = await dead.count()
      const letters: DeadLetter[] = []
      for await (const some of dead.take(limit)) {
        // One by one: those of a FIFO queue in their order.
        if (send) for (const letter of some) await dead.sendBack(letter)
        letters.push(...some)
      }
      if (!send) await dead.release(letters)
      return {
        service,
        queue,
        letters,
        left: Math.max(0, before - letters.length),
        fifo: queues[queue]?.fifo === true,
      }
    },
    { concurrency: PARALLEL },
  )
