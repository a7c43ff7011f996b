import type { IncomingMessage } from 'node:http'
import type { Message } from '@aws-sdk/client-sqs'
import type {
  APIGatewayProxyEventV2,
  APIGatewayProxyStructuredResultV2,
  Context,
  EventBridgeEvent,
  SQSBatchResponse,
  SQSEvent,
} from 'aws-lambda'
import { ACCOUNT, REGION } from './engines.ts'

/** The events as AWS makes them, and what AWS reads from the answers. */

/** An HTTP request as API Gateway hands it on (payload format 2.0). */
export const httpEvent = (
  request: IncomingMessage,
  body: Uint8Array,
  { requestId, time }: { requestId: string; time: Date },
): APIGatewayProxyEventV2 => {
  const { pathname, search, searchParams } = new URL(request.url ?? '/', 'http://localhost')
  const { cookie, ...headers } = Object.fromEntries(
    Object.entries(request.headersDistinct).map(([name, values]) => [name, values!.join(',')]),
  )
  const host = headers.host ?? '127.0.0.1'
  return {
    version: '2.0',
    routeKey: '$default',
    rawPath: decodeURIComponent(pathname),
    rawQueryString: search.slice(1),
    ...(cookie === undefined ? {} : { cookies: cookie.split(/; */) }),
    headers,
    ...(search === ''
      ? {}
      : {
          queryStringParameters: Object.fromEntries(
            [...new Set(searchParams.keys())].map(name => [name, searchParams.getAll(name).join(',')]),
          ),
        }),
    requestContext: {
      accountId: ACCOUNT,
      apiId: 'local',
      domainName: host,
      domainPrefix: host.split('.')[0] as string,
      http: {
        method: request.method ?? 'GET',
        path: decodeURIComponent(pathname),
        protocol: `HTTP/${request.httpVersion}`,
        sourceIp: request.socket.remoteAddress ?? '127.0.0.1',
        userAgent: headers['user-agent'] ?? '',
      },
      requestId,
      routeKey: '$default',
      stage: '$default',
      time: time.toISOString(),
      timeEpoch: time.getTime(),
    },
    ...(body.byteLength === 0 ? {} : { body: Buffer.from(body).toString('base64') }),
    isBase64Encoded: body.byteLength > 0,
  }
}

export interface HttpAnswer {
  status: number
  headers: Record<string, string | string[]>
  body: Uint8Array
}

/** What API Gateway makes of what the function returned. */
export const httpAnswer = (result: unknown): HttpAnswer => {
  if (typeof result !== 'object' || result === null || !('statusCode' in result))
    return {
      status: 200,
      headers: { 'content-type': 'application/json' },
      body: Buffer.from(typeof result === 'string' ? result : JSON.stringify(result ?? null)),
    }
  const {
    statusCode = 200,
    headers,
    cookies,
    body,
    isBase64Encoded,
  } = result as APIGatewayProxyStructuredResultV2
  return {
    status: statusCode,
    headers: {
      ...Object.fromEntries(Object.entries(headers ?? {}).map(([name, value]) => [name, `${value}`])),
      ...(cookies?.length ? { 'set-cookie': cookies } : {}),
    },
    body: Buffer.from(body ?? '', isBase64Encoded ? 'base64' : 'utf8'),
  }
}

/** Messages of a queue as Lambda hands them to the function of the queue. */
export const sqsEvent = (queue: string, messages: readonly Message[]): SQSEvent => ({
  Records: messages.map(message => ({
    messageId: message.MessageId as string,
    receiptHandle: message.ReceiptHandle as string,
    body: message.Body as string,
    attributes: message.Attributes as never,
    messageAttributes: {},
    md5OfBody: message.MD5OfBody as string,
    eventSource: 'aws:sqs',
    eventSourceARN: arnOf(queue),
    awsRegion: REGION,
  })),
})

export const arnOf = (queue: string): string => `arn:aws:sqs:${REGION}:${ACCOUNT}:${queue}`

/**
 * Which of the messages are to come again. Lambda deletes what the answer does not name, and lets all come again
 * when it names something that was not among them.
 */
export const failedOf = (messages: readonly Message[], result: unknown): Message[] => {
  const failures = (result as SQSBatchResponse | null | undefined)?.batchItemFailures ?? []
  const known = new Map(messages.map(message => [message.MessageId, message]))
  const failed = failures.map(({ itemIdentifier }) => known.get(itemIdentifier))
  return failed.includes(undefined) ? [...messages] : (failed as Message[])
}

/** What a schedule of EventBridge sends. */
export const scheduleEvent = (
  schedule: string,
  { id, time }: { id: string; time: Date },
): EventBridgeEvent<'Scheduled Event', object> => ({
  version: '0',
  id,
  'detail-type': 'Scheduled Event',
  source: 'aws.events',
  account: ACCOUNT,
  time: time.toISOString(),
  region: REGION,
  resources: [`arn:aws:events:${REGION}:${ACCOUNT}:rule/${schedule}`],
  detail: {},
})

/** What a function may ask about its run. */
export const runContext = (
  name: string,
  { id, memory, timeout }: { id: string; memory: number; timeout: number },
): Context => {
  const end = performance.now() + timeout * 1000
  return {
    awsRequestId: id,
    functionName: name,
    functionVersion: '$LATEST',
    invokedFunctionArn: `arn:aws:lambda:${REGION}:${ACCOUNT}:function:${name}`,
    memoryLimitInMB: `${memory}`,
    callbackWaitsForEmptyEventLoop: false,
    logGroupName: name,
    logStreamName: name,
    getRemainingTimeInMillis: () => Math.max(0, end - performance.now()),
    done: () => {},
    fail: () => {},
    succeed: () => {},
  }
}
