import type { Consumer, Log, Service, Taken } from '@w3filecoin/service'
import { settled } from '@w3filecoin/service'
import type { APIGatewayProxyEventV2, Context, SQSBatchResponse, SQSEvent, SQSRecord } from 'aws-lambda'
import { handle } from 'hono/aws-lambda'

/** The Lambda entry of a service's HTTP API. */
export const apiFunction = ({ api }: Service) => {
  const handler = handle(api)
  return (event: APIGatewayProxyEventV2, context?: Context) => handler(event as never, context as never)
}

/**
 * The Lambda entry of a queue. Tells SQS which messages of the batch to bring again: the one place where a
 * failure becomes a retry. Of a FIFO queue, what comes behind a failed message of the same group comes again too.
 */
export const queueFunction =
  <M>(consumer: Consumer<M>, log: Log) =>
  async ({ Records }: SQSEvent): Promise<SQSBatchResponse> => {
    const fifo = Records.some(record => record.attributes.MessageGroupId !== undefined)
    const taken = fifo ? await inOrder(consumer, Records) : await together(consumer, Records)
    const failed = Records.filter((record, n) => {
      const reason = taken[n]?.error
      if (reason)
        log('warn', 'message failed', {
          queue: record.eventSourceARN.split(':').pop(),
          message: record.messageId,
          attempt: Number(record.attributes.ApproximateReceiveCount),
          reason,
        })
      return reason !== undefined
    })
    return { batchItemFailures: failed.map(({ messageId }) => ({ itemIdentifier: messageId })) }
  }

/** The Lambda entries of a service, by the names of its queues and schedules. */
export const lambdaFunctions = ({ service, log }: { service: Service; log: Log }) => ({
  api: apiFunction(service),
  queue: (name: string) => queueFunction(named(service.consumers, name), log),
  schedule: (name: string) => {
    const run = named(service.schedules, name)
    return () => run()
  },
})

const named = <T>(parts: Record<string, T>, name: string): T => {
  const part = parts[name]
  if (part === undefined) throw new TypeError(`The service has no ${name}`)
  return part
}

const together = async <M>(consumer: Consumer<M>, records: SQSRecord[]): Promise<Taken[]> => {
  const taken: Taken[] = []
  const messages: { message: M; at: number }[] = []
  for (const [at, { body }] of records.entries()) {
    try {
      messages.push({ message: consumer.decode(JSON.parse(body)), at })
    } catch (cause) {
      taken[at] = { error: cause as Error }
    }
  }
  if (messages.length === 0) return taken
  const outcomes = await consumer.take(messages.map(({ message }) => message)).catch((cause: Error) => cause)
  for (const [n, { at }] of messages.entries())
    taken[at] = outcomes instanceof Error ? { error: outcomes } : outcomes[n]!
  return taken
}

const inOrder = async <M>(consumer: Consumer<M>, records: SQSRecord[]): Promise<Taken[]> => {
  const stopped = new Set<string | undefined>()
  const taken: Taken[] = []
  for (const record of records) {
    const group = record.attributes.MessageGroupId
    const outcome: Taken = stopped.has(group)
      ? { error: new Error('A message before this one in its group failed') }
      : await settled(async () => (await together(consumer, [record]))[0]!)
    if (outcome.error) stopped.add(group)
    taken.push(outcome)
  }
  return taken
}
