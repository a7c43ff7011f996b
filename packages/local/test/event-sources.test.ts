import { get } from 'node:http'
import { join } from 'node:path'
import { ReceiveMessageCommand, SendMessageCommand, SQSClient } from '@aws-sdk/client-sqs'
import type { APIGatewayProxyEventV2 } from 'aws-lambda'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { type Local, startLocal } from '../src/index.ts'
import { queueUrl } from '../src/provision.ts'
import { echo, readSeen, temporaryDirectory } from './echo/index.ts'
import { eventually } from './eventually.ts'

/** With the test service: its functions receive the same events as on Lambda. */
describe('the functions of a service', () => {
  const directory = temporaryDirectory()
  const file = join(directory.path, 'seen')
  const crashes: Error[] = []
  let local: Local
  let sqs: SQSClient

  beforeAll(async () => {
    local = await startLocal({
      data: join(directory.path, 'data'),
      services: [echo(file)],
      everySeconds: 1,
      onCrash: error => crashes.push(error),
    })
    const { AWS_REGION: region, AWS_ENDPOINT_URL_SQS: endpoint } = local.engines.env
    sqs = new SQSClient({
      region: region!,
      endpoint: endpoint!,
      credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
    })
  })

  afterAll(async () => {
    await local?.stop()
    directory[Symbol.dispose]()
  })

  const url = (path: string) => `${local.services.echo!.url}${path}`
  const seen = (queue: string) =>
    readSeen(file)
      .filter(what => 'queue' in what && what.queue === queue)
      .flatMap(what => ('records' in what ? what.records : []))
  const send = (queue: string, body: object, group?: string) =>
    sqs.send(
      new SendMessageCommand({
        QueueUrl: queueUrl(local.engines.sqs, queue),
        MessageBody: JSON.stringify(body),
        ...(group && { MessageGroupId: group, MessageDeduplicationId: JSON.stringify(body) }),
      }),
    )
  const receive = async (queue: string) => {
    const QueueUrl = queueUrl(local.engines.sqs, queue)
    const { Messages } = await sqs.send(new ReceiveMessageCommand({ QueueUrl, MaxNumberOfMessages: 10 }))
    return Messages ?? []
  }

  it('receives an HTTP request in the format of API Gateway', async () => {
    const response = await fetch(url('/a%20path/?one=1&two=2&two=3'), {
      method: 'POST',
      headers: { 'X-Header': 'yes', cookie: 'a=1; b=2' },
      body: new Uint8Array([0, 255, 128]),
    })
    const { event } = (await response.json()) as { event: APIGatewayProxyEventV2 }
    expect(event).toMatchObject({
      version: '2.0',
      routeKey: '$default',
      rawPath: '/a path/',
      rawQueryString: 'one=1&two=2&two=3',
      queryStringParameters: { one: '1', two: '2,3' },
      cookies: ['a=1', 'b=2'],
      headers: { 'x-header': 'yes' },
      requestContext: { http: { method: 'POST', path: '/a path/', sourceIp: '127.0.0.1' } },
      body: 'AP+A',
      isBase64Encoded: true,
    })
    expect(event.headers).not.toHaveProperty('cookie')
  })

  it('answers with status, headers, cookies and bytes', async () => {
    const body = new Uint8Array([0, 255, 128])
    const response = await fetch(url('/bytes'), { method: 'POST', body })
    expect(response.status).toBe(201)
    expect(response.headers.get('x-a')).toBe('1')
    expect(response.headers.getSetCookie()).toEqual(['a=1', 'b=2'])
    expect(new Uint8Array(await response.arrayBuffer())).toEqual(body)
  })

  it('is not called with a body that exceeds the limit of API Gateway', async () => {
    const response = await fetch(url('/'), { method: 'POST', body: new Uint8Array(11 * 1024 * 1024) })
    expect(response.status).toBe(413)
  })

  it.each(['/%E0%A4%A', '//'])('is not called with an invalid path: %s', async path => {
    const { hostname, port } = new URL(url('/'))
    const status = await new Promise((resolve, reject) =>
      get({ hostname, port, path }, response => resolve(response.resume().statusCode)).on('error', reject),
    )
    expect(status).toBe(400)
  })

  it('does not disclose the reason of a failure to the caller', async () => {
    const response = await fetch(url('/fail'))
    expect(response.status).toBe(500)
    expect(await response.json()).toEqual({ message: 'Internal Server Error' })
  })

  it('has its resources and engines in its environment, and no variable of this process', async () => {
    const { env } = (await (await fetch(url('/'))).json()) as { env: Record<string, string> }
    expect(env).toMatchObject({
      TABLE_NOTE: 'echo-note',
      QUEUE_TAKE_NOTE: `${local.engines.sqs}/000000000000/echo-take-note`,
      QUEUE_IN_ORDER: `${local.engines.sqs}/000000000000/echo-in-order.fifo`,
      BUCKET_NOTE_FILES: 'echo-note-files',
      TABLES_FILE: join(directory.path, 'data', 'tables.sqlite'),
      SERVICE_KEY: local.services.echo!.key,
    })
    expect(env).not.toHaveProperty('HOME')
  })

  it('receives messages of its queue in batches; handled ones are deleted', async () => {
    await Promise.all([1, 2, 3].map(n => send('echo-take-note', { n })))
    await eventually('three messages', () => seen('takeNote').length >= 3)
    const [record] = seen('takeNote')
    expect(record).toMatchObject({
      eventSource: 'aws:sqs',
      eventSourceARN: 'arn:aws:sqs:us-east-1:000000000000:echo-take-note',
      attributes: { ApproximateReceiveCount: '1' },
    })
    await vi.waitFor(async () => {
      const attributes = await fetch(`${local.engines.sqs}/_fauxqs/queues/echo-take-note`)
      const { messages } = (await attributes.json()) as { messages: { ready: []; inflight: [] } }
      expect(messages).toMatchObject({ ready: [], inflight: [] })
    }, 10_000)
  })

  it('receives a failed message again; after its attempts it is in the dead-letter queue', async () => {
    await send('echo-take-note', { fail: 'note' })
    const [dead] = await eventually('a dead letter', async () => {
      const messages = await receive('echo-take-note-dlq')
      return messages.length > 0 && messages
    })
    expect(dead?.Body).toBe('{"fail":"note"}')
    const attempts = seen('takeNote').filter(({ body }) => body === '{"fail":"note"}')
    expect(attempts.map(({ attributes }) => attributes.ApproximateReceiveCount)).toEqual(['1', '2'])
  })

  it('receives the messages of a group in order, also when the first one fails', async () => {
    await send('echo-in-order.fifo', { fail: 'first' }, 'a')
    await send('echo-in-order.fifo', { second: true }, 'a')
    await eventually('the message behind the failed one', () =>
      seen('inOrder').some(({ body }) => body === '{"second":true}'),
    )
    expect(seen('inOrder').map(({ body }) => body)).toEqual([
      '{"fail":"first"}',
      '{"fail":"first"}',
      '{"second":true}',
    ])
    await eventually('a dead letter', async () => (await receive('echo-in-order-dlq.fifo')).length === 1)
  })

  it('is called by its schedule, more often than on AWS', async () => {
    const ticks = () => readSeen(file).flatMap(what => ('tick' in what ? [what.tick] : []))
    await eventually('two ticks', () => ticks().length >= 2)
    expect(ticks()[0]).toMatchObject({ source: 'aws.events', 'detail-type': 'Scheduled Event' })
  })

  it('reports a crash', async () => {
    await fetch(url('/crash')).catch(() => {})
    const [error] = await eventually('news of the crash', () => crashes.length > 0 && crashes)
    expect(error?.message).toMatch(/^The services crashed: A bug\. See .*services\.log\.$/)
  })
})
