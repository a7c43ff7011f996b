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
import { ACCOUNT } from './engines.ts'
import { arnOf } from './events.ts'

export interface Clients {
  sqs: SQSClient
  s3: S3Client
}

/** Creates tables in an engine. */
export interface TableMaker {
  /** Creates a table if it is missing, and its missing indexes. Throws a `UserError` if it exists with other keys. */
  create(name: string, spec: TableSpec): void | Promise<void>
  close(): void
}

interface ProvisionOptions {
  resources: Resources
  /** Name of the service, and prefix of its resources' names. */
  service: string
  clients: Clients
  tables: TableMaker
  /** URL of the SQS engine. */
  sqs: string
}

/** Dead letters are kept for 14 days, the maximum of SQS. */
const RETENTION_SECONDS = 14 * 24 * 3600

/** Creates a service's missing resources. Returns the environment variables that name its resources. */
export const provision = async ({ resources, service, clients, tables, sqs }: ProvisionOptions) => {
  const { queues, buckets } = resources
  await Promise.all([
    ...Object.entries(resources.tables).map(([name, spec]) =>
      tables.create(resourceName(service, name), spec),
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
export const placesOf = ({ resources, service, sqs }: Omit<ProvisionOptions, 'clients' | 'tables'>) => {
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
