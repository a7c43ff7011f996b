import { open, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { SQSClient } from '@aws-sdk/client-sqs'
import type { Environment } from '@w3filecoin/runtime'
import { UserError } from '@w3filecoin/runtime/user-error'
import type { DeadLetter } from './dead-letter-queue.ts'
import { describeError } from './describe-error.ts'
import { type NamedQueue, openDeadLetters } from './dlq.ts'
import type { Target } from './target.ts'

interface DropOptions {
  target: Target
  client: Pick<SQSClient, 'send'>
  /** The queues to search. */
  queues: readonly NamedQueue[]
  /** Id of the message, as `ops dlq` shows it. */
  message: string
  /** The file for the copy. It must not exist. */
  copy: string
}

/** A message whose dead letters were deleted. */
export interface Dropped {
  service: string
  queue: string
  message: string
  /** Usually one. Two, if its function was interrupted after it had sent the first one. */
  letters: number
  copy: string
}

/** The most letters of a queue that are searched. */
const MAX_LETTERS = 10_000

/**
 * Deletes the dead letters of a message, after a copy of them is on the disk. All letters of the queue are hidden from others
 * during the search.
 *
 * @throws UserError if no letter is found, or if the copy cannot be written: then nothing is deleted
 */
export const dropLetter = async ({
  target,
  client,
  queues,
  message,
  copy,
}: DropOptions): Promise<Dropped> => {
  let left = 0
  const places: Record<string, Environment> = {}
  for (const named of queues) {
    const { service } = named.resources
    places[service] ??= await target.placesOf(service)
    const dead = openDeadLetters(named, places[service], client)
    const before = await dead.count()
    if (before === 0) continue
    const held = new Set<DeadLetter>()
    try {
      for await (const some of dead.receive(MAX_LETTERS)) for (const letter of some) held.add(letter)
      const found = [...held].filter(letter => letter.message === message)
      left += Math.max(0, before - held.size)
      if (found.length === 0) continue
      await writeCopy(copy, copyOf(named, message, found))
      try {
        for (const letter of found) {
          await dead.remove(letter)
          held.delete(letter)
        }
      } catch (cause) {
        throw new UserError(
          `The copy is in ${copy}, but SQS did not delete the dead letter: ${describeError(cause)}. Run the command again with another --copy.`,
        )
      }
      return { service, queue: named.queue, message, letters: found.length, copy }
    } finally {
      await dead.release([...held])
    }
  }
  const unread =
    left > 0
      ? ` About ${left} letters could not be read: another process holds them, or they are behind others of their FIFO group.`
      : ''
  throw new UserError(
    `No dead letter of the message ${message} in ${queues.length === 1 ? 'this queue' : `these ${queues.length} queues`}. Pass an id from the column MESSAGE of ops dlq.${unread}`,
  )
}

/**
 * The contents of a copy: enough to send the message again by hand.
 *
 * @example { "service": "storefront", "queue": "submit", "message": "059f36b4-…", "letters": [{ "id": "…", "body": "{}",
 *   "attributes": { "SentTimestamp": "1733306400000" }, "messageAttributes": {}, "postMortem": { "reason": [ … ] } }] }
 */
const copyOf = (
  { resources: { service }, queue }: NamedQueue,
  message: string,
  found: readonly DeadLetter[],
) => ({
  service,
  queue,
  message,
  letters: found.map(({ received, postMortem }) => ({
    id: received.MessageId,
    body: received.Body,
    attributes: received.Attributes ?? {},
    messageAttributes: received.MessageAttributes ?? {},
    postMortem,
  })),
})

/** Writes a new file, and waits until the file and its name are on the disk. */
const writeCopy = async (path: string, copy: object): Promise<void> => {
  let created = false
  try {
    // Other users of the machine must not read the messages.
    await using file = await open(path, 'wx', 0o600)
    created = true
    await file.writeFile(`${JSON.stringify(copy, null, 2)}\n`)
    await file.sync()
    await using directory = await open(dirname(path))
    await directory.sync()
  } catch (cause) {
    if (created) await rm(path, { force: true })
    throw new UserError(
      (cause as NodeJS.ErrnoException).code === 'EEXIST'
        ? `${path} exists already, so nothing was dropped. Pass another file with --copy.`
        : `The copy cannot be written, so nothing was dropped: ${(cause as Error).message}. Pass another file with --copy.`,
    )
  }
}
