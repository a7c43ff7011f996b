import type { Consumer, Handled, Log, MessageFormats, Service } from '@w3filecoin/runtime'
import { catchErrors } from '@w3filecoin/runtime'
import type { FunctionName, Resources } from '@w3filecoin/runtime/resources'
import type { APIGatewayProxyEventV2, Context, SQSBatchResponse, SQSEvent, SQSRecord } from 'aws-lambda'
import { handle } from 'hono/aws-lambda'
import type { DeadLetters } from './dead-letter.ts'

/** The Lambda entry of a service's HTTP API. */
export const apiFunction = ({ api }: Service) => {
  const handler = handle(api)
  return (event: APIGatewayProxyEventV2, context?: Context) => handler(event as never, context as never)
}

/**
 * The Lambda entry of a queue. Tells SQS which messages of the batch to bring again: the one place where a
 * failure becomes a retry, and after the last attempt a dead letter. Of a FIFO queue, what comes behind a failed
 * message of the same group comes again too.
 */
export const queueFunction =
  <M>(consumer: Consumer<M>, log: Log, deadLetters?: DeadLetters) =>
  async ({ Records }: SQSEvent): Promise<SQSBatchResponse> => {
    const fifo = Records.some(record => record.attributes.MessageGroupId !== undefined)
    const taken = fifo ? await inOrder(consumer, Records) : await together(consumer, Records)
    const again: SQSRecord[] = []
    for (const [n, record] of Records.entries()) {
      const reason = taken[n]?.error
      if (reason === undefined) continue
      const fields = {
        queue: record.eventSourceARN.split(':').pop(),
        message: record.messageId,
        attempt: Number(record.attributes.ApproximateReceiveCount),
      }
      log('warn', 'message failed', { ...fields, reason })
      if (deadLetters === undefined || fields.attempt < deadLetters.attempts) {
        again.push(record)
        continue
      }
      try {
        await deadLetters.put(record, reason)
        log('error', 'message given up', fields)
      } catch (cause) {
        // Brought again it goes to the dead-letter queue too, by SQS itself, but without its reason.
        log('error', 'dead letter not sent', { ...fields, cause })
        again.push(record)
      }
    }
    return { batchItemFailures: again.map(({ messageId }) => ({ itemIdentifier: messageId })) }
  }

/** A service on AWS: what its functions run, and where they report to. */
export interface LambdaContext<R extends Resources, M extends MessageFormats<R>> {
  service: Service<R, M>
  log: Log
  deadLetters: (queue: keyof R['queues'] & string) => DeadLetters
}

/** The functions that a service's module must export. */
export type LambdaFunctions<R extends Resources> = {
  [F in FunctionName<R>]: F extends 'api'
    ? ReturnType<typeof apiFunction>
    : F extends keyof R['queues']
      ? ReturnType<typeof queueFunction>
      : () => Promise<void>
}

/** The Lambda entries of a service, by the names of its functions. A module must export each under its name. */
export const lambdaFunctions = <R extends Resources, M extends MessageFormats<R>>({
  service,
  log,
  deadLetters,
}: LambdaContext<R, M>): LambdaFunctions<R> => {
  const queues = Object.entries(service.consumers).map(([name, consumer]) => [
    name,
    queueFunction(consumer as Consumer<unknown>, log, deadLetters(name)),
  ])
  const schedules = Object.entries<() => Promise<void>>(service.schedules).map(([name, run]) => [
    name,
    () => run(),
  ])
  return { api: apiFunction(service), ...Object.fromEntries([...queues, ...schedules]) }
}

const together = async <M>(consumer: Consumer<M>, records: SQSRecord[]): Promise<Handled[]> => {
  const taken: Handled[] = []
  const messages: { message: M; at: number }[] = []
  for (const [at, { body }] of records.entries()) {
    try {
      messages.push({ message: consumer.decode(JSON.parse(body)), at })
    } catch (cause) {
      taken[at] = { error: cause as Error }
    }
  }
  if (messages.length === 0) return taken
  const outcomes = await consumer
    .handle(messages.map(({ message }) => message))
    .catch((cause: Error) => cause)
  for (const [n, { at }] of messages.entries())
    taken[at] = outcomes instanceof Error ? { error: outcomes } : outcomes[n]!
  return taken
}

const inOrder = async <M>(consumer: Consumer<M>, records: SQSRecord[]): Promise<Handled[]> => {
  const stopped = new Set<string | undefined>()
  const taken: Handled[] = []
  for (const record of records) {
    const group = record.attributes.MessageGroupId
    const outcome: Handled = stopped.has(group)
      ? { error: new Error('A message before this one in its group failed') }
      : await catchErrors(async () => (await together(consumer, [record]))[0]!)
    if (outcome.error) stopped.add(group)
    taken.push(outcome)
  }
  return taken
}
