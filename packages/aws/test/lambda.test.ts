import { type Consumer, DONE, each, messageFormat } from '@w3filecoin/runtime'
import { describeResources } from '@w3filecoin/runtime/resources'
import type { APIGatewayProxyEventV2, APIGatewayProxyStructuredResultV2, SQSEvent } from 'aws-lambda'
import { Hono } from 'hono'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { currentRequest } from '../src/deadline.ts'
import { apiFunction, lambdaFunctions, queueFunction } from '../src/index.ts'

/** Builds a request in payload format 2.0, as in API Gateway's documentation. */
const apiEvent = (event: {
  method?: string
  path?: string
  query?: string
  headers?: Record<string, string>
  body?: Uint8Array
}): APIGatewayProxyEventV2 => ({
  version: '2.0',
  routeKey: '$default',
  rawPath: event.path ?? '/',
  rawQueryString: event.query ?? '',
  headers: {
    accept: '*/*',
    'content-length': `${event.body?.length ?? 0}`,
    host: 'r3pmxmplak.execute-api.us-east-2.amazonaws.com',
    'user-agent': 'curl/7.79.1',
    'x-amzn-trace-id': 'Root=1-5e6722a7-cc56xmpl46db7ae02d4da47e',
    'x-forwarded-for': '205.255.255.176',
    'x-forwarded-port': '443',
    'x-forwarded-proto': 'https',
    ...event.headers,
  },
  requestContext: {
    accountId: '123456789012',
    apiId: 'r3pmxmplak',
    domainName: 'r3pmxmplak.execute-api.us-east-2.amazonaws.com',
    domainPrefix: 'r3pmxmplak',
    http: {
      method: event.method ?? 'GET',
      path: event.path ?? '/',
      protocol: 'HTTP/1.1',
      sourceIp: '205.255.255.176',
      userAgent: 'curl/7.79.1',
    },
    requestId: 'JKJaXmPLvHcESHA=',
    routeKey: '$default',
    stage: '$default',
    time: '10/Mar/2020:05:16:23 +0000',
    timeEpoch: 1583817383220,
  },
  ...(event.body && { body: Buffer.from(event.body).toString('base64') }),
  isBase64Encoded: event.body !== undefined,
})

describe('apiFunction', () => {
  const api = new Hono()
  api.get('/where/:what', context =>
    context.json({ url: context.req.url, what: context.req.param('what'), one: context.req.query('one') }),
  )
  api.post('/', async context => {
    const bytes = new Uint8Array(await context.req.arrayBuffer())
    return context.body(bytes.reverse(), 201, { 'content-type': 'application/vnd.ipld.car' })
  })
  const handler = apiFunction({ api, consumers: {}, schedules: {} })
  const run = async (event: APIGatewayProxyEventV2) =>
    (await handler(event)) as APIGatewayProxyStructuredResultV2

  it('decodes a base64 body, and encodes a binary response as base64', async () => {
    const body = new Uint8Array(256).map((_, n) => n)
    const result = await run(
      apiEvent({ method: 'POST', body, headers: { 'content-type': 'application/vnd.ipld.car' } }),
    )
    expect(result).toMatchObject({ statusCode: 201, isBase64Encoded: true })
    expect(result.headers).toMatchObject({ 'content-type': 'application/vnd.ipld.car' })
    expect(new Uint8Array(Buffer.from(result.body!, 'base64'))).toEqual(body.toReversed())
  })

  it('passes path, query and host on, and returns text as text', async () => {
    const result = await run(apiEvent({ path: '/where/here', query: 'one=1%202' }))
    expect(result).toMatchObject({ statusCode: 200, isBase64Encoded: false })
    expect(JSON.parse(result.body!)).toEqual({
      url: 'https://r3pmxmplak.execute-api.us-east-2.amazonaws.com/where/here?one=1%202',
      what: 'here',
      one: '1 2',
    })
  })

  it('answers 404 for an unknown path', async () => {
    expect(await run(apiEvent({ path: '/nowhere' }))).toMatchObject({ statusCode: 404 })
  })
})

/** Builds an event with messages, as in SQS's documentation. */
const sqsEvent = (...messages: { body: unknown; group?: string }[]): SQSEvent => ({
  Records: messages.map(({ body, group }, n) => ({
    messageId: `059f36b4-87a3-44ab-83d2-${n}`,
    receiptHandle: 'AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a…',
    body: typeof body === 'string' ? body : JSON.stringify(body),
    attributes: {
      ApproximateReceiveCount: '2',
      SentTimestamp: '1545082649183',
      SenderId: 'AIDAIENQZJOLO23YVJ4VO',
      ApproximateFirstReceiveTimestamp: '1545082649185',
      ...(group && {
        SequenceNumber: `18849496460467696${n}`,
        MessageGroupId: group,
        MessageDeduplicationId: `${n}`,
      }),
    },
    messageAttributes: {},
    md5OfBody: 'e4e68fb7bd0e697a0ae8f1bb342846b3',
    eventSource: 'aws:sqs',
    eventSourceARN: 'arn:aws:sqs:us-east-2:123456789012:storefront-submit',
    awsRegion: 'us-east-2',
  })),
})

describe('queueFunction', () => {
  type Message = { do: 'work' | 'fail' | 'throw' | 'reject' }
  const setUp = () => {
    const seen: Message[] = []
    const logged: { level: string; event: string; fields: Record<string, unknown> }[] = []
    const consumer: Consumer<Message> = each(
      { decode: body => z.object({ do: z.enum(['work', 'fail', 'throw', 'reject']) }).parse(body) },
      async message => {
        seen.push(message)
        if (message.do === 'throw') throw new Error('broken')
        if (message.do === 'reject') return Promise.reject('no error at all')
        return message.do === 'fail' ? { error: { name: 'Busy', message: 'not now' } } : DONE
      },
    )
    const run = async (event: SQSEvent, used: Consumer<Message> = consumer) => {
      const { batchItemFailures } = await queueFunction(used, (level, event, fields) =>
        logged.push({ level, event, fields: { ...fields } }),
      )(event)
      return batchItemFailures.map(({ itemIdentifier }) => Number(itemIdentifier.split('-').pop()))
    }
    return { seen, logged, run, consumer }
  }
  const work = { do: 'work' }

  it.each<[string, unknown[], number[]]>([
    ['no message if all succeed', [work, work], []],
    [
      'messages whose consumer fails, throws or rejects',
      [{ do: 'fail' }, work, { do: 'throw' }, { do: 'reject' }],
      [0, 2, 3],
    ],
    ['messages that are not JSON', ['{', work, ''], [0, 2]],
    ['messages of another format', [{ do: 'harm' }, null, 7, [], work], [0, 1, 2, 3]],
    ['all messages if all fail', ['{', { do: 'throw' }], [0, 1]],
  ])('has SQS deliver again %s', async (_, bodies, expected) => {
    const { run } = setUp()
    expect(await run(sqsEvent(...bodies.map(body => ({ body }))))).toEqual(expected)
  })

  it('has SQS deliver all messages again when the consumer itself fails', async () => {
    const { run, consumer } = setUp()
    const broken = { ...consumer, handle: async () => Promise.reject(new Error('no table')) }
    expect(await run(sqsEvent({ body: work }, { body: '{' }, { body: work }), broken)).toEqual([0, 1, 2])
  })

  it('passes a batch to the consumer in one call', async () => {
    const batches: number[] = []
    const consumer: Consumer<unknown> = {
      decode: body => body,
      handle: async messages => {
        batches.push(messages.length)
        return messages.map(() => DONE)
      },
    }
    await queueFunction(consumer, () => {})(sqsEvent({ body: 1 }, { body: 2 }, { body: 3 }))
    expect(batches).toEqual([3])
  })

  it('stops each group of a FIFO queue at its first failure, and continues with the other groups', async () => {
    const { run, seen } = setUp()
    const failed = await run(
      sqsEvent(
        { group: 'a', body: work },
        { group: 'a', body: { do: 'fail' } },
        { group: 'b', body: work },
        { group: 'a', body: work },
        { group: 'c', body: '{' },
        { group: 'b', body: { do: 'throw' } },
        { group: 'c', body: work },
        { group: 'b', body: work },
        { group: 'd', body: work },
      ),
    )
    expect(failed).toEqual([1, 3, 4, 5, 6, 7])
    expect(seen.map(message => message.do)).toEqual(['work', 'fail', 'work', 'throw', 'work'])
  })

  it('logs each failure with its queue, attempt and reason', async () => {
    const { run, logged } = setUp()
    await run(sqsEvent({ body: work }, { body: { do: 'throw' } }))
    expect(logged).toEqual([
      {
        level: 'warn',
        event: 'message failed',
        fields: {
          queue: 'storefront-submit',
          message: '059f36b4-87a3-44ab-83d2-1',
          attempt: 2,
          reason: new Error('broken'),
        },
      },
    ])
  })
})

describe('lambdaFunctions', () => {
  const run = { timeout: 10, memory: 128, uses: {} }
  const resources = describeResources({
    service: 'small',
    api: run,
    tables: {},
    queues: { submit: { batch: 1, concurrency: 1, attempts: 5, run } },
    buckets: {},
    schedules: { sweep: { everySeconds: 60, run } },
  })

  it('has a function for each queue and schedule of the service', async () => {
    let ran = 0
    const messages: unknown[] = []
    const format = messageFormat(z.object({ n: z.number() }))
    const functions = lambdaFunctions<typeof resources, { submit: typeof format }>({
      service: {
        api: new Hono(),
        consumers: {
          submit: each(format, async message => {
            messages.push(message)
            return DONE
          }),
        },
        schedules: { sweep: async () => void ran++ },
      },
      log: () => {},
      deadLetters: () => ({ attempts: 5, put: async () => {}, postpone: async () => {} }),
    })
    expect(Object.keys(functions)).toEqual(['api', 'submit', 'sweep'])
    expect(await functions.submit(sqsEvent({ body: { n: 1 } }))).toEqual({ batchItemFailures: [] })
    expect(messages).toEqual([{ n: 1 }])
    await functions.sweep()
    expect(ran).toBe(1)
    // @ts-expect-error no queue or schedule has this name
    expect(functions.submitt).toBeUndefined()
  })

  it('write their metrics at the end of each run, also of one that fails', async () => {
    const events: string[] = []
    const api = new Hono()
    api.get('/', context => {
      events.push('api')
      return context.text('')
    })
    const format = messageFormat(z.object({}))
    const functions = lambdaFunctions<typeof resources, { submit: typeof format }>({
      service: {
        api,
        consumers: {
          submit: each(format, async () => {
            events.push(`submit ${currentRequest()}`)
            return DONE
          }),
        },
        schedules: {
          sweep: async () => {
            events.push('sweep')
            throw new Error('swept badly')
          },
        },
      },
      log: () => {},
      deadLetters: () => ({ attempts: 5, put: async () => {}, postpone: async () => {} }),
      flushMetrics: () => events.push('flush'),
    })
    await functions.submit(sqsEvent({ body: {} }), {
      awsRequestId: '8f5e',
      getRemainingTimeInMillis: () => 1000,
    })
    await functions.api(apiEvent({}))
    await expect(functions.sweep()).rejects.toThrow('swept badly')
    expect(events).toEqual(['submit 8f5e', 'flush', 'api', 'flush', 'sweep', 'flush'])
    expect(currentRequest()).toBeUndefined()
  })
})
