import type { Consumer, Handled, Log, MessageFormats, Service } from '@w3filecoin/runtime'
import { catchErrors } from '@w3filecoin/runtime'
import type { FunctionName, Resources } from '@w3filecoin/runtime/resources'
import type { APIGatewayProxyEventV2, Context, SQSBatchResponse, SQSEvent, SQSRecord } from 'aws-lambda'
import { handle } from 'hono/aws-lambda'
import type { DeadLetters } from './dead-letter.ts'
import { type RunContext, withinRun } from './deadline.ts'

/** Creates the Lambda entry of a service's HTTP API, for payload format 2.0 of API Gateway. */
export const apiFunction = ({ api }: Service) => {
  const handler = handle(api)
  // Hono's type requires `authorizer` and `body`, which AWS omits without an authorizer and for an empty body.
  return (event: APIGatewayProxyEventV2, context?: Context) =>
    withinRun(context, () => handler(event as never, context))
}

/**
 * Creates the Lambda entry of a queue. It returns the messages of the batch that SQS must deliver again. Failures become
 * retries only here: a failed message is delivered again after a pause, and after its last attempt it goes to the dead-letter
 * queue. In a FIFO queue, the messages after a failed one in its group are delivered again too.
 *
 * @example The response if the second of two messages failed:
 * `{ batchItemFailures: [{ itemIdentifier: '059f36b4-87a3-44ab-83d2-661975830a7d' }] }`
 */
export const queueFunction =
  <M>(consumer: Consumer<M>, log: Log, deadLetters?: DeadLetters) =>
  (event: SQSEvent, context?: RunContext): Promise<SQSBatchResponse> =>
    withinRun(context, () => handleEvent(consumer, event, log, deadLetters))

const handleEvent = async <M>(
  consumer: Consumer<M>,
  { Records }: SQSEvent,
  log: Log,
  deadLetters?: DeadLetters,
): Promise<SQSBatchResponse> => {
  const fifo = Records.some(record => record.attributes.MessageGroupId !== undefined)
  const handled = await (fifo ? handleInOrder(consumer, Records) : handleBatch(consumer, Records))
  const retries: SQSRecord[] = []
  for (const [n, record] of Records.entries()) {
    const reason = handled[n]?.error
    if (reason === undefined) continue
    const fields = {
      queue: record.eventSourceARN.split(':').pop(),
      message: record.messageId,
      attempt: Number(record.attributes.ApproximateReceiveCount),
    }
    log('warn', 'message failed', { ...fields, reason })
    if (deadLetters === undefined || fields.attempt < deadLetters.attempts) {
      retries.push(record)
      continue
    }
    try {
      await deadLetters.put(record, reason)
      log('error', 'message given up', fields)
    } catch (cause) {
      // If SQS delivers it again, it moves the message to the dead-letter queue itself, without a post-mortem.
      log('error', 'dead letter not sent', { ...fields, cause })
      retries.push(record)
    }
  }
  if (retries.length > 0)
    await deadLetters?.postpone(retries).catch(cause => {
      // SQS delivers them again all the same, after the visibility timeout of the queue.
      const queue = retries[0]!.eventSourceARN.split(':').pop()
      log('warn', 'redelivery not hastened', { queue, messages: retries.length, cause })
    })
  return { batchItemFailures: retries.map(({ messageId }) => ({ itemIdentifier: messageId })) }
}

/** A service with the outputs of its functions. */
export interface LambdaContext<R extends Resources, M extends MessageFormats<R>> {
  service: Service<R, M>
  log: Log
  deadLetters: (queue: keyof R['queues'] & string) => DeadLetters
  /** Writes the metrics of a run. Called at the end of each run, also of one that throws. */
  flushMetrics?: () => void
}

/** The functions that the `functions.ts` of a service must export. */
export type LambdaFunctions<R extends Resources> = {
  [F in FunctionName<R>]: F extends 'api'
    ? ReturnType<typeof apiFunction>
    : F extends keyof R['queues']
      ? ReturnType<typeof queueFunction>
      : (event?: unknown, context?: RunContext) => Promise<void>
}

/**
 * Creates the Lambda entries of a service, by the names of its functions: `api`, and one for each queue and schedule.
 * `functions.ts` must export each under its name.
 *
 * @example export const { api, update, sync } = lambdaFunctions(createContext(process.env))
 */
export const lambdaFunctions = <R extends Resources, M extends MessageFormats<R>>({
  service,
  log,
  deadLetters,
  flushMetrics = () => {},
}: LambdaContext<R, M>): LambdaFunctions<R> => {
  const flushing =
    <E, C, T>(run: (event: E, context?: C) => Promise<T>) =>
    async (event: E, context?: C): Promise<T> => {
      try {
        return await run(event, context)
      } finally {
        flushMetrics()
      }
    }
  const queues = Object.entries(service.consumers).map(([name, consumer]) => [
    name,
    flushing(queueFunction(consumer as Consumer<unknown>, log, deadLetters(name))),
  ])
  const schedules = Object.entries<() => Promise<void>>(service.schedules).map(([name, run]) => [
    name,
    flushing((_event?: unknown, context?: RunContext) => withinRun(context, run)),
  ])
  return { api: flushing(apiFunction(service)), ...Object.fromEntries([...queues, ...schedules]) }
}

/** Handles a batch in one call. A malformed message does not stop the other ones. */
const handleBatch = async <M>(consumer: Consumer<M>, records: SQSRecord[]): Promise<Handled[]> => {
  const handled: Handled[] = []
  const messages: { message: M; at: number }[] = []
  for (const [at, { body }] of records.entries()) {
    try {
      messages.push({ message: consumer.decode(JSON.parse(body)), at })
    } catch (cause) {
      handled[at] = { error: cause as Error }
    }
  }
  if (messages.length === 0) return handled
  const outcomes = await consumer
    .handle(messages.map(({ message }) => message))
    .catch((cause: Error) => cause)
  for (const [n, { at }] of messages.entries())
    handled[at] = outcomes instanceof Error ? { error: outcomes } : outcomes[n]!
  return handled
}

/** Handles the messages one by one. A failure stops the messages after it in the same group. */
const handleInOrder = async <M>(consumer: Consumer<M>, records: SQSRecord[]): Promise<Handled[]> => {
  const stopped = new Set<string | undefined>()
  const handled: Handled[] = []
  for (const record of records) {
    const group = record.attributes.MessageGroupId
    const outcome: Handled = stopped.has(group)
      ? { error: new Error('An earlier message of the group failed') }
      : await catchErrors(async () => (await handleBatch(consumer, [record]))[0]!)
    if (outcome.error) stopped.add(group)
    handled.push(outcome)
  }
  return handled
}
