import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { buffer } from 'node:stream/consumers'
import { DynamoDBClient, GetItemCommand, QueryCommand } from '@aws-sdk/client-dynamodb'
import { GetObjectCommand, HeadObjectCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3'
import { ChangeMessageVisibilityBatchCommand, SendMessageBatchCommand, SQSClient } from '@aws-sdk/client-sqs'
import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import { readDeployment } from './bundles/deployment.ts'
import { type Gate, openGate } from './bundles/gate.ts'

/** The parts of `npm run check:bundles` that decide whether a call is allowed. The check itself builds with SST, for minutes. */

/** An engine for everything: it has no object, and answers every other request with an empty result. */
const engine = createServer(async (request, response) => {
  await buffer(request)
  if (request.headers['x-amz-target'] === undefined)
    response.writeHead(request.method === 'PUT' ? 200 : 404, { 'content-type': 'application/xml' }).end()
  else response.writeHead(200, { 'content-type': 'application/x-amz-json-1.0' }).end('{}')
})
await new Promise<void>(resolve => engine.listen(0, '127.0.0.1', resolve))
const url = `http://127.0.0.1:${(engine.address() as AddressInfo).port}`
afterAll(() => {
  gate?.stop()
  engine.close()
  engine.closeAllConnections()
})

const TABLE = 'arn:aws:dynamodb:us-east-1:123456789012:table/records'
const policies = new Map([
  [
    'Reader',
    [
      { actions: ['dynamodb:GetItem'], resources: [TABLE] },
      { actions: ['dynamodb:Query'], resources: [`${TABLE}/index/due`] },
      { actions: ['sqs:SendMessage'], resources: ['arn:aws:sqs:us-east-1:123456789012:work'] },
      {
        actions: ['sqs:ChangeMessageVisibility'],
        resources: ['arn:aws:sqs:us-east-1:123456789012:consumed'],
      },
      { actions: ['ssm:GetParameter'], resources: ['arn:aws:ssm:us-east-1:123456789012:parameter/keys/own'] },
      { actions: ['s3:GetObject'], resources: ['arn:aws:s3:::blocks/*'] },
      { actions: ['s3:ListBucket'], resources: ['arn:aws:s3:::blocks'] },
    ],
  ],
  ['Careless', [{ actions: ['s3:GetObject'], resources: ['arn:aws:s3:::blocks/*'] }]],
])
let gate: Gate

beforeEach(async () => {
  gate?.stop()
  gate = await openGate({ engines: { dynamodb: url, sqs: url, s3: url, ssm: url }, policies })
})

const as = (accessKeyId: string, endpoint: string) => ({
  region: 'us-east-1',
  endpoint,
  credentials: { accessKeyId, secretAccessKey: 'local' },
  maxAttempts: 1,
})
const dynamodb = (caller: string) => new DynamoDBClient(as(caller, gate.urls.dynamodb))
const s3 = (caller: string) => new S3Client({ ...as(caller, gate.urls.s3), forcePathStyle: true })
const sqs = (caller: string) => new SQSClient(as(caller, gate.urls.sqs))
const get = (TableName: string) => new GetItemCommand({ TableName, Key: { id: { S: 'a' } } })
const query = (index?: string) =>
  new QueryCommand({
    TableName: 'records',
    ...(index && { IndexName: index }),
    KeyConditionExpression: 'a = b',
  })
const send = (queue: string) =>
  new SendMessageBatchCommand({
    QueueUrl: `${gate.urls.sqs}/000000000000/${queue}`,
    Entries: [{ Id: '0', MessageBody: '{}' }],
  })

const hide = (queue: string) =>
  new ChangeMessageVisibilityBatchCommand({
    QueueUrl: `${gate.urls.sqs}/000000000000/${queue}`,
    Entries: [{ Id: '0', ReceiptHandle: 'receipt', VisibilityTimeout: 10 }],
  })
/** Reads a parameter, and returns the status of the answer. */
const readParameter = async (caller: string, Name: string) => {
  const { status } = await fetch(gate.urls.ssm, {
    method: 'POST',
    headers: {
      'x-amz-target': 'AmazonSSM.GetParameter',
      authorization: `AWS4-HMAC-SHA256 Credential=${caller}/20260101/us-east-1/ssm/aws4_request`,
    },
    body: JSON.stringify({ Name, WithDecryption: true }),
  })
  return status
}

describe('the gate before the engines', () => {
  test('lets a function change the visibility of messages in its own queue only', async () => {
    await sqs('Reader').send(hide('consumed'))
    await expect(sqs('Reader').send(hide('work'))).rejects.toThrow(
      'is not authorized to perform sqs:ChangeMessageVisibility on arn:aws:sqs:us-east-1:123456789012:work',
    )
    await expect(sqs('Careless').send(hide('consumed'))).rejects.toThrow('is not authorized')
  })

  test('lets a function read the parameter in its policy only', async () => {
    expect(await readParameter('Reader', '/keys/own')).toBe(200)
    expect(await readParameter('Reader', '/keys/other')).toBe(400)
    expect(await readParameter('Careless', '/keys/own')).toBe(400)
    expect(gate.denied.map(({ caller, action, resource }) => `${caller} ${action} ${resource}`)).toEqual([
      'Reader ssm:GetParameter arn:aws:ssm:us-east-1:123456789012:parameter/keys/other',
      'Careless ssm:GetParameter arn:aws:ssm:us-east-1:123456789012:parameter/keys/own',
    ])
  })

  test('passes on calls that the policy of the caller allows, and counts them by action and resource', async () => {
    await dynamodb('Reader').send(get('records'))
    await dynamodb('Reader').send(get('records'))
    await dynamodb('Reader').send(query('due'))
    await sqs('Reader').send(send('work'))
    await expect(s3('Reader').send(new GetObjectCommand({ Bucket: 'blocks', Key: 'a' }))).rejects.toThrow()
    expect(gate.allowed).toEqual([
      { caller: 'Reader', action: 'dynamodb:GetItem', resource: TABLE, times: 2 },
      { caller: 'Reader', action: 'dynamodb:Query', resource: `${TABLE}/index/due`, times: 1 },
      {
        caller: 'Reader',
        action: 'sqs:SendMessage',
        resource: 'arn:aws:sqs:us-east-1:123456789012:work',
        times: 1,
      },
      { caller: 'Reader', action: 's3:GetObject', resource: 'arn:aws:s3:::blocks/*', times: 1 },
      { caller: 'Reader', action: 's3:ListBucket', resource: 'arn:aws:s3:::blocks', times: 1 },
    ])
    expect(gate.denied).toEqual([])
  })

  test('answers AccessDenied to another action, another resource and another caller, and names them', async () => {
    await expect(dynamodb('Reader').send(get('others'))).rejects.toThrow(
      'Reader is not authorized to perform dynamodb:GetItem on arn:aws:dynamodb:us-east-1:123456789012:table/others',
    )
    // The permission for a table does not include its indexes, nor the reverse.
    await expect(dynamodb('Reader').send(query())).rejects.toThrow('is not authorized')
    await expect(dynamodb('Unknown').send(get('records'))).rejects.toThrow('Unknown is not authorized')
    await expect(sqs('Reader').send(send('other'))).rejects.toThrow(
      'is not authorized to perform sqs:SendMessage',
    )
    const written = s3('Reader').send(new PutObjectCommand({ Bucket: 'blocks', Key: 'a', Body: 'b' }))
    await expect(written).rejects.toMatchObject({ name: 'AccessDenied' })
    expect(gate.allowed).toEqual([])
    expect(gate.denied).toHaveLength(5)
  })

  test('reports a missing object only to callers that may list the bucket, as S3 does', async () => {
    const head = new HeadObjectCommand({ Bucket: 'blocks', Key: 'missing' })
    await expect(s3('Reader').send(head)).rejects.toMatchObject({ $metadata: { httpStatusCode: 404 } })
    await expect(s3('Careless').send(head)).rejects.toMatchObject({ $metadata: { httpStatusCode: 403 } })
    expect(gate.denied).toEqual([
      { caller: 'Careless', action: 's3:ListBucket', resource: 'arn:aws:s3:::blocks', times: 1 },
    ])
  })
})

test('a policy with a condition is refused, because the check would ignore the condition', () => {
  const statement = { Effect: 'Allow', Action: 's3:GetObject', Resource: '*', Condition: { Bool: {} } }
  const inputs = { name: 'role', inlinePolicies: [{ policy: JSON.stringify({ Statement: [statement] }) }] }
  const role = { type: 'aws:iam/role:Role', name: 'Role', inputs, retainOnDelete: false }
  expect(() => readDeployment({ resources: [role] })).toThrow('does not implement this statement')
})
