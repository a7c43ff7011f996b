import {
  CreateTableCommand,
  DescribeTableCommand,
  type DynamoDBClient,
  type GlobalSecondaryIndex,
  ResourceInUseException,
  UpdateTableCommand,
} from '@aws-sdk/client-dynamodb'
import {
  BucketAlreadyExists,
  BucketAlreadyOwnedByYou,
  CreateBucketCommand,
  PutBucketCorsCommand,
  type S3Client,
} from '@aws-sdk/client-s3'
import { CreateQueueCommand, SetQueueAttributesCommand, type SQSClient } from '@aws-sdk/client-sqs'
import {
  type BucketSpec,
  type Kind,
  type QueueSpec,
  type Resources,
  type TableSpec,
  variable,
  visibilityTimeout,
} from '@w3filecoin/runtime/resources'
import { UserError } from '@w3filecoin/runtime/user-error'
import { ACCOUNT } from './engines.ts'
import { arnOf } from './events.ts'

export interface Clients {
  dynamodb: DynamoDBClient
  sqs: SQSClient
  s3: S3Client
}

interface ProvisionOptions {
  resources: Resources
  /** Name of the service, and prefix of its resources' names. */
  service: string
  clients: Clients
  /** URL of the SQS engine. */
  sqs: string
}

/** Dead letters are kept for 14 days, the maximum of SQS. */
const RETENTION_SECONDS = 14 * 24 * 3600

/** Creates a service's missing resources. Returns the environment variables that name its resources. */
export const provision = async ({ resources, service, clients, sqs }: ProvisionOptions) => {
  const { tables, queues, buckets } = resources
  await Promise.all([
    ...Object.entries(tables).map(([name, spec]) =>
      createTable(clients.dynamodb, resourceName(service, name), spec),
    ),
    ...Object.entries(queues).map(([name, spec]) =>
      createQueue(clients.sqs, {
        queue: queueName(service, name, spec),
        deadLetter: deadLetterName(service, name, spec),
        spec,
        sqs,
      }),
    ),
    ...Object.entries(buckets).map(([name, spec]) =>
      createBucket(clients.s3, resourceName(service, name), spec),
    ),
  ])
  return placesOf({ resources, service, sqs })
}

/**
 * Returns the environment variables that name a service's resources.
 *
 * @example { TABLE_PIECE: 'storefront-piece', QUEUE_SUBMIT: 'http://127.0.0.1:40123/000000000000/storefront-submit' }
 */
export const placesOf = ({ resources, service, sqs }: Omit<ProvisionOptions, 'clients'>) => {
  const { tables, queues, buckets } = resources
  const named = <T>(specs: Record<string, T>, kind: Kind, at: (name: string, spec: T) => string) =>
    Object.entries(specs).map(([name, spec]) => [variable(kind, name), at(name, spec)] as const)
  return Object.fromEntries([
    ...named(tables, 'table', name => resourceName(service, name)),
    ...named(queues, 'queue', (name, spec) => queueUrl(sqs, queueName(service, name, spec))),
    ...named(queues, 'deadLetter', (name, spec) => queueUrl(sqs, deadLetterName(service, name, spec))),
    ...named(buckets, 'bucket', name => resourceName(service, name)),
  ])
}

/** Returns the physical name of a resource: `pieceOffer` of the storefront is `storefront-piece-offer`. */
export const resourceName = (service: string, name: string): string =>
  `${service}-${name.replaceAll(/[A-Z]/g, letter => `-${letter.toLowerCase()}`)}`

export const queueName = (service: string, name: string, { fifo }: QueueSpec): string =>
  `${resourceName(service, name)}${fifo ? '.fifo' : ''}`

export const deadLetterName = (service: string, name: string, { fifo }: QueueSpec): string =>
  `${resourceName(service, name)}-dlq${fifo ? '.fifo' : ''}`

export const queueUrl = (sqs: string, queue: string): string => `${sqs}/${ACCOUNT}/${queue}`

const createTable = async (client: DynamoDBClient, name: string, spec: TableSpec): Promise<void> => {
  const wanted = indexesOf(spec)
  try {
    await client.send(
      new CreateTableCommand({
        TableName: name,
        BillingMode: 'PAY_PER_REQUEST',
        AttributeDefinitions: attributesOf(spec),
        KeySchema: keyOf(spec.key),
        ...(wanted.length === 0 ? {} : { GlobalSecondaryIndexes: wanted }),
      }),
    )
  } catch (cause) {
    if (!(cause instanceof ResourceInUseException)) throw cause
    await addIndexes(client, name, spec)
  }
}

/** Adds missing indexes to a table that an earlier version created. */
const addIndexes = async (client: DynamoDBClient, name: string, spec: TableSpec): Promise<void> => {
  const { Table } = await client.send(new DescribeTableCommand({ TableName: name }))
  const same = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b)
  const keys = (schema: { AttributeName?: string | undefined; KeyType?: string | undefined }[] = []) =>
    schema.map(({ AttributeName, KeyType }) => ({ AttributeName, KeyType }))
  const existing = new Map(
    Table?.GlobalSecondaryIndexes?.map(index => [index.IndexName, keys(index.KeySchema)]),
  )
  const changed =
    !same(keys(Table?.KeySchema), keyOf(spec.key)) ||
    indexesOf(spec).some(
      ({ IndexName, KeySchema }) => existing.has(IndexName) && !same(existing.get(IndexName), KeySchema),
    )
  if (changed)
    throw new UserError(
      `The table ${name} exists with other keys. Pass another --data or remove this data directory.`,
    )
  for (const index of indexesOf(spec).filter(({ IndexName }) => !existing.has(IndexName)))
    await client.send(
      new UpdateTableCommand({
        TableName: name,
        AttributeDefinitions: attributesOf(spec),
        GlobalSecondaryIndexUpdates: [{ Create: index }],
      }),
    )
}

const attributesOf = ({ fields }: TableSpec) =>
  Object.entries(fields).map(([AttributeName, type]) => ({
    AttributeName,
    AttributeType: type === 'string' ? ('S' as const) : ('N' as const),
  }))

const keyOf = ({ hash, range }: { hash: string; range?: string }) => [
  { AttributeName: hash, KeyType: 'HASH' as const },
  ...(range === undefined ? [] : [{ AttributeName: range, KeyType: 'RANGE' as const }]),
]

const indexesOf = ({ indexes = {} }: TableSpec): GlobalSecondaryIndex[] =>
  Object.entries(indexes).map(([IndexName, key]) => ({
    IndexName,
    KeySchema: keyOf(key),
    Projection: { ProjectionType: 'KEYS_ONLY' },
  }))

const createQueue = async (
  client: SQSClient,
  { queue, deadLetter, spec, sqs }: { queue: string; deadLetter: string; spec: QueueSpec; sqs: string },
): Promise<void> => {
  await putQueue(client, queueUrl(sqs, deadLetter), { MessageRetentionPeriod: `${RETENTION_SECONDS}` })
  await putQueue(client, queueUrl(sqs, queue), {
    VisibilityTimeout: `${visibilityTimeout(spec)}`,
    RedrivePolicy: JSON.stringify({ deadLetterTargetArn: arnOf(deadLetter), maxReceiveCount: spec.attempts }),
  })
}

/** Creates a queue, or updates the attributes of a queue that an earlier version created. */
const putQueue = async (
  client: SQSClient,
  url: string,
  attributes: Record<string, string>,
): Promise<void> => {
  const name = url.split('/').pop() as string
  const fifo = name.endsWith('.fifo') ? { FifoQueue: 'true' } : {}
  try {
    await client.send(new CreateQueueCommand({ QueueName: name, Attributes: { ...attributes, ...fifo } }))
  } catch (cause) {
    // The engine prefixes the error's name.
    if (!(cause as Error).name.endsWith('QueueNameExists')) throw cause
    await client.send(new SetQueueAttributesCommand({ QueueUrl: url, Attributes: attributes }))
  }
}

const createBucket = async (
  client: S3Client,
  name: string,
  { webMethods = [] }: BucketSpec,
): Promise<void> => {
  try {
    await client.send(new CreateBucketCommand({ Bucket: name }))
  } catch (cause) {
    if (!(cause instanceof BucketAlreadyOwnedByYou || cause instanceof BucketAlreadyExists)) throw cause
  }
  if (webMethods.length === 0) return
  const rule = {
    AllowedOrigins: ['*'],
    AllowedHeaders: ['*'],
    AllowedMethods: [...webMethods],
    ExposeHeaders: ['ETag'],
  }
  await client.send(new PutBucketCorsCommand({ Bucket: name, CORSConfiguration: { CORSRules: [rule] } }))
}
