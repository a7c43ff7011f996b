import { appendFileSync } from 'node:fs'
import type { APIGatewayProxyEventV2, SQSBatchResponse, SQSEvent } from 'aws-lambda'

/** What the functions saw, for the test to read: a JSON line each. */
const { file } = JSON.parse(process.env.CONFIG as string)
const saw = (what: object) => appendFileSync(file, `${JSON.stringify(what)}\n`)

/** Answers with the event and with the environment that the function has. */
export const api = async (event: APIGatewayProxyEventV2) => {
  if (event.rawPath === '/fail') throw new Error('As it was asked to')
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

/** Fails what is asked to fail, the others are done with; some never. */
const take =
  (queue: string) =>
  async ({ Records }: SQSEvent): Promise<SQSBatchResponse> => {
    saw({ queue, records: Records })
    if (Records.some(({ body }) => JSON.parse(body).never)) await new Promise(() => {})
    return {
      batchItemFailures: Records.filter(({ body }) => JSON.parse(body).fail).map(({ messageId }) => ({
        itemIdentifier: messageId,
      })),
    }
  }

export const takeNote = take('takeNote')
export const inOrder = take('inOrder')

export const tick = async (event: object) => saw({ tick: event })
