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

/** Events in the format of AWS, and the results of functions as AWS reads them. */

/** Converts an HTTP request to an API Gateway event, payload format 2.0. */
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

/** Converts the result of a function to an HTTP response, as API Gateway does. */
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

/** Converts messages of a queue to a Lambda event. */
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
 * Returns the messages that are retried. Like Lambda: those that `batchItemFailures` names, or all if it names an
 * unknown message. The others are deleted.
 */
export const failedOf = (messages: readonly Message[], result: unknown): Message[] => {
  const failures = (result as SQSBatchResponse | null | undefined)?.batchItemFailures ?? []
  const known = new Map(messages.map(message => [message.MessageId, message]))
  const failed = failures.map(({ itemIdentifier }) => known.get(itemIdentifier))
  return failed.includes(undefined) ? [...messages] : (failed as Message[])
}

/** Returns the event of an EventBridge schedule. */
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

/** Returns the context object of a Lambda run. `memory` in MB, `timeout` in seconds. */
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
