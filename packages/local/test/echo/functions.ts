import { appendFileSync } from 'node:fs'
import { ChangeMessageVisibilityCommand, SQSClient } from '@aws-sdk/client-sqs'
import type { APIGatewayProxyEventV2, SQSBatchResponse, SQSEvent } from 'aws-lambda'

/** Appends a JSON line to the file that the tests read. */
const { file } = JSON.parse(process.env.CONFIG as string)
const record = (entry: object) => appendFileSync(file, `${JSON.stringify(entry)}\n`)

/** Answers with the event and the environment of the function. */
export const api = async (event: APIGatewayProxyEventV2) => {
  if (event.rawPath === '/fail') throw new Error('The path is /fail')
  if (event.rawPath === '/crash') setTimeout(() => Promise.reject(new Error('A bug')))
  if (event.rawPath === '/bytes')
    return {
      statusCode: 201,
      headers: { 'x-a': '1' },
      body: event.body,
      isBase64Encoded: true,
      cookies: ['a=1', 'b=2'],
    }
  return { event, env: { ...process.env } }
}

const sqs = new SQSClient({})
const URLS: Record<string, string | undefined> = {
  takeNote: process.env.QUEUE_TAKE_NOTE,
  inOrder: process.env.QUEUE_IN_ORDER,
}

/**
 * Fails messages with `fail`, and has SQS deliver them again after a second. Never finishes a message with `never`, and handles
 * the others.
 */
const take =
  (queue: string) =>
  async ({ Records }: SQSEvent): Promise<SQSBatchResponse> => {
    record({ queue, records: Records })
    if (Records.some(({ body }) => JSON.parse(body).never)) await new Promise(() => {})
    const failed = Records.filter(({ body }) => JSON.parse(body).fail)
    for (const { receiptHandle: ReceiptHandle } of failed)
      await sqs.send(
        new ChangeMessageVisibilityCommand({ QueueUrl: URLS[queue], ReceiptHandle, VisibilityTimeout: 1 }),
      )
    return { batchItemFailures: failed.map(({ messageId }) => ({ itemIdentifier: messageId })) }
  }

export const takeNote = take('takeNote')
export const inOrder = take('inOrder')

export const tick = async (event: object) => record({ tick: event })
