import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { S3Client } from '@aws-sdk/client-s3'
import {
  DeleteMessageCommand,
  type Message,
  ReceiveMessageCommand,
  SendMessageCommand,
  SQSClient,
} from '@aws-sdk/client-sqs'
import { type Bound, bind, openTables, queueFunction } from '@w3filecoin/aws'
import { startEngines } from '@w3filecoin/local/engines'
import { failedOf, sqsEvent } from '@w3filecoin/local/events'
import { LogFile } from '@w3filecoin/local/log-file'
import { provision } from '@w3filecoin/local/provision'
import { openTableMaker } from '@w3filecoin/local/table-engine'
import type { Consumer, Service } from '@w3filecoin/runtime'
import { type Resources, variable } from '@w3filecoin/runtime/resources'
import { Grants } from './grants.ts'
import { tableEngine } from './table-engine.ts'

/** The embedded engines, for the tests of one file. */
export interface World {
  /** Makes the resources of a service, and binds them to the ports. */
  provide<const R extends Resources>(resources: R): Promise<Provided<R>>
  /** The environment variables that name the engines. */
  env: Record<string, string>
  stop(): Promise<void>
}

export interface Provided<R extends Resources> extends Bound<R> {
  /** The service, each of whose functions may touch what its resources say, and nothing else. */
  host<S extends Service>(service: S): S
  /** Takes the messages that are in a queue now out of it. */
  drain(queue: keyof R['queues'] & string): Promise<Message[]>
  /**
   * Hands the messages that are in a queue now to its consumer, in batches as Lambda does. Failed messages are put back.
   * Returns how many messages were handled, and why the others failed.
   */
  deliver(
    queue: keyof R['queues'] & string,
    consumer: Consumer<never>,
  ): Promise<{ taken: number; failed: unknown[] }>
  /** Hands all messages to their consumers until there are none. Throws the first reason of a failure. */
  settle(consumers: Service['consumers']): Promise<void>
}

/**
 * Starts the engines on data of their own. The AWS SDK finds them by the environment of this process. The tables are in
 * DynamoDB, as on AWS, unless `TABLE_ENGINE` names another engine.
 */
export const startWorld = async (): Promise<World> => {
  const data = mkdtempSync(join(tmpdir(), 'w3filecoin-'))
  const log = new LogFile(data, 'engines')
  const engines = await startEngines({
    data,
    tables: tableEngine('dynamodb'),
    log,
    onCrash: error => {
      throw error
    },
  })
  Object.assign(process.env, engines.env)
  const clients = {
    sqs: new SQSClient({}),
    s3: new S3Client({ forcePathStyle: true }),
  }
  const tables = await openTableMaker(engines.env)
  const opened = await openTables(engines.env)
  return {
    env: engines.env,
    provide: async resources => {
      const { service } = resources
      const env = await provision({ resources, service, clients, tables, sqs: engines.sqs })
      const aws = bind(resources, { ...process.env, ...env }, opened)
      const grants = new Grants(resources)
      return {
        ...aws,
        ...grants.engine(aws),
        bucket: name => {
          // Whether an object is read or written shows later, so writing is asked for where it is granted at all.
          grants.touch('buckets', name, 'read')
          return aws.bucket(name)
        },
        host: service => grants.host(service),
        ...queuesOf(resources, clients.sqs, env),
      }
    },
    stop: async () => {
      tables.close()
      await engines.stop()
      log.close()
      rmSync(data, { recursive: true, force: true })
    },
  }
}

/** The most messages that SQS gives in one call. */
const BATCH = 10

const queuesOf = <R extends Resources>(
  { queues }: R,
  sqs: SQSClient,
  env: Record<string, string>,
): Pick<Provided<R>, 'drain' | 'deliver' | 'settle'> => {
  type Name = keyof R['queues'] & string
  const urlOf = (name: string) => env[variable('queue', name)] as string

  const receive = async (name: Name): Promise<Message[]> => {
    const { Messages = [] } = await sqs.send(
      new ReceiveMessageCommand({
        QueueUrl: urlOf(name),
        MaxNumberOfMessages: Math.min(BATCH, queues[name]!.batch),
        MessageSystemAttributeNames: ['All'],
      }),
    )
    return Messages
  }
  const remove = async (name: Name, { ReceiptHandle }: Message) => {
    await sqs.send(new DeleteMessageCommand({ QueueUrl: urlOf(name), ReceiptHandle }))
  }
  /** Sends it once more: the engine loses a message that is to be seen again at once. */
  const putBack = async (name: Name, message: Message) => {
    const group = message.Attributes?.MessageGroupId
    await sqs.send(
      new SendMessageCommand({
        QueueUrl: urlOf(name),
        MessageBody: message.Body,
        ...(group && { MessageGroupId: group, MessageDeduplicationId: randomUUID() }),
      }),
    )
    await remove(name, message)
  }

  const drain = async (name: Name): Promise<Message[]> => {
    const all: Message[] = []
    for (let batch = await receive(name); batch.length > 0; batch = await receive(name)) {
      for (const message of batch) await remove(name, message)
      all.push(...batch)
    }
    return all
  }

  const deliver: Provided<R>['deliver'] = async (name, consumer) => {
    const failed: unknown[] = []
    const back: Message[] = []
    let taken = 0
    const run = queueFunction(consumer, (_, __, fields) =>
      failed.push((fields as { reason: unknown }).reason),
    )
    for (let batch = await receive(name); batch.length > 0; batch = await receive(name)) {
      const answer = await run(sqsEvent(name, batch))
      const again = failedOf(batch, answer)
      for (const message of batch) if (!again.includes(message)) await remove(name, message)
      back.push(...again)
      taken += batch.length - again.length
    }
    for (const message of back) await putBack(name, message)
    return { taken, failed }
  }

  const settle: Provided<R>['settle'] = async consumers => {
    for (let moved = true; moved; ) {
      moved = false
      for (const name of Object.keys(queues) as Name[]) {
        const { taken, failed } = await deliver(name, consumers[name] as Consumer<never>)
        if (failed.length > 0) throw failed[0]
        moved ||= taken > 0
      }
    }
  }
  return { drain, deliver, settle }
}
