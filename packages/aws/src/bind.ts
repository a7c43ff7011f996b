import { DynamoDBClient } from '@aws-sdk/client-dynamodb'
import { S3Client } from '@aws-sdk/client-s3'
import { SQSClient } from '@aws-sdk/client-sqs'
import { DynamoDBDocumentClient } from '@aws-sdk/lib-dynamodb'
import type { Blocks, Engine, MessageOrder, Queue, Row, Table } from '@w3filecoin/runtime'
import { type Kind, type Resources, type TableSpec, variable } from '@w3filecoin/runtime/resources'
import { type DeadLetters, SqsDeadLetters } from './dead-letter.ts'
import { DynamoTable } from './dynamodb.ts'
import { S3Blocks } from './s3.ts'
import { SqsQueue } from './sqs.ts'

const KINDS: Record<Kind, string> = {
  table: 'table',
  queue: 'queue',
  deadLetter: 'dead-letter queue',
  bucket: 'bucket',
}

export type Environment = Record<string, string | undefined>

/** The resources of a service on AWS. */
export interface Bound<R extends Resources> extends Engine {
  /** The dead-letter queue of a queue. */
  deadLetters(queue: keyof R['queues'] & string): DeadLetters
  /** The S3 client and the name of a bucket, for objects that are not blocks. */
  bucket(name: keyof R['buckets'] & string): { client: S3Client; bucket: string }
}

/**
 * The resources of a service behind the ports, each looked up in the environment when it is used first: the
 * environment of a function names only what that function may touch. Regions, credentials and endpoints are
 * the AWS SDK's own variables (`AWS_REGION`, `AWS_ENDPOINT_URL_DYNAMODB`, …).
 */
export const bind = <const R extends Resources>(resources: R, env: Environment): Bound<R> => {
  const locate = (kind: Kind, name: string): string => {
    const value = env[variable(kind, name)]
    if (!value)
      throw new Error(
        `The environment must name ${variable(kind, name)}, a ${KINDS[kind]} of ${resources.service}`,
      )
    return value
  }
  const dynamodb = DynamoDBDocumentClient.from(new DynamoDBClient({}), {
    marshallOptions: { removeUndefinedValues: true },
  })
  const sqs = new SQSClient({})
  // Buckets in the host name need DNS; an engine on this machine has none.
  const s3 = new S3Client({ forcePathStyle: env.AWS_ENDPOINT_URL_S3 !== undefined })

  const bucket = (name: string) => ({ client: s3, bucket: locate('bucket', name) })

  return {
    table: <T extends object = Row>(name: string): Table<T> =>
      new DynamoTable<T>({
        client: dynamodb,
        name: () => locate('table', name),
        spec: resources.tables[name] as TableSpec,
      }),
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
        url: () => locate('deadLetter', queue),
      })
    },
    blocks: (name: string): Blocks => new S3Blocks(() => bucket(name)),
    bucket,
  }
}
