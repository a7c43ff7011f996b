import { S3Client } from '@aws-sdk/client-s3'
import { SQSClient } from '@aws-sdk/client-sqs'
import type { Blocks, Engine, Environment, MessageOrder, Queue, Row, Table } from '@w3filecoin/runtime'
import { type Kind, type Resources, type TableSpec, variable } from '@w3filecoin/runtime/resources'
import { type DeadLetters, SqsDeadLetters } from './dead-letter.ts'
import { DynamoTables } from './dynamodb.ts'
import { S3Blocks } from './s3.ts'
import { SqsQueue } from './sqs.ts'
import type { Segment, Tables } from './tables.ts'

/** The value of a resource's variable, by the kind of resource. */
const VALUES: Record<Kind, string> = {
  table: 'the name of a table',
  queue: 'the URL of a queue',
  deadLetter: 'the URL of a dead-letter queue',
  bucket: 'the name of a bucket',
}

/** The resources of a service on AWS, behind the ports. */
export interface Bound<R extends Resources> extends Engine {
  /** Opens the dead-letter queue of a queue that the function consumes. */
  deadLetters(queue: keyof R['queues'] & string): DeadLetters
  /** Returns the S3 client and the name of a bucket, for objects that are not blocks. */
  bucket(name: keyof R['buckets'] & string): { client: S3Client; bucket: string }
  /** Yields all rows of a table, or of one part of it, some at a time, for operators. */
  scan(table: keyof R['tables'] & string, part?: Segment): AsyncIterable<Row[]>
}

/**
 * Binds the resources of a service to the AWS resources that the environment names. A variable is read when its resource is
 * used, because the environment of a function names only the resources that this function uses. Without it, the call throws.
 *
 * The AWS SDK reads region, credentials and endpoints from its own variables (`AWS_REGION`, `AWS_ENDPOINT_URL_DYNAMODB`, …).
 *
 * @example The variables of a table, a queue, its dead-letter queue and a bucket:
 *
 *     TABLE_PIECE=w3filecoin-prod-storefront-piece
 *     QUEUE_PIECE_OFFER=https://sqs.us-west-2.amazonaws.com/123456789012/storefront-piece-offer
 *     DEAD_LETTER_PIECE_OFFER=https://sqs.us-west-2.amazonaws.com/123456789012/storefront-piece-offer-dead
 *     BUCKET_BLOCKS=w3filecoin-prod-storefront-blocks
 *
 * @param tables the engine for tables, if it is not DynamoDB
 * @param redeliverySeconds pause before the first redelivery of a message whose consumer failed. If absent, SQS redelivers after
 *   the visibility timeout of the queue.
 */
export const bind = <const R extends Resources>(
  resources: R,
  env: Environment,
  tables: Tables = new DynamoTables(),
  redeliverySeconds?: number,
): Bound<R> => {
  const locate = (kind: Kind, name: string): string => {
    const value = env[variable(kind, name)]
    if (!value)
      throw new Error(
        `The environment variable ${variable(kind, name)} is not set. It must hold ${VALUES[kind]} of ${resources.service}.`,
      )
    return value
  }
  const sqs = new SQSClient({})
  // Bucket names in the host name need DNS entries, which a local endpoint does not have.
  const s3 = new S3Client({ forcePathStyle: env.AWS_ENDPOINT_URL_S3 !== undefined })

  const bucket = (name: string) => ({ client: s3, bucket: locate('bucket', name) })

  return {
    table: <T extends object = Row>(name: string): Table<T> =>
      tables.open<T>(() => locate('table', name), resources.tables[name] as TableSpec),
    scan: (name, part) => tables.scan(locate('table', name), part),
    queue: <M>(name: string, order?: MessageOrder<M>): Queue<M> =>
      new SqsQueue<M>({ client: sqs, url: () => locate('queue', name), order }),
    deadLetters: queue => {
      const { service, queues } = resources
      const spec = queues[queue]
      if (spec === undefined) throw new TypeError(`The ${service} has no queue ${queue}`)
      return new SqsDeadLetters({
        client: sqs,
        service,
        queue,
        attempts: spec.attempts,
        redeliverySeconds,
        url: () => locate('deadLetter', queue),
        workUrl: () => locate('queue', queue),
      })
    },
    blocks: (name: string): Blocks => new S3Blocks(() => bucket(name)),
    bucket,
  }
}
