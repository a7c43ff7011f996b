import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  DescribeTableCommand,
  DynamoDBClient,
  GetItemCommand,
  ListTablesCommand,
  PutItemCommand,
} from '@aws-sdk/client-dynamodb'
import { GetObjectCommand, ListBucketsCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3'
import { GetQueueAttributesCommand, ListQueuesCommand, SQSClient } from '@aws-sdk/client-sqs'
import { describeResources, type Resources } from '@w3filecoin/runtime/resources'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createDynamoTable } from '../src/dynamodb-tables.ts'
import { type Engines, startEngines } from '../src/engines.ts'
import { LogFile } from '../src/log-file.ts'
import { provision, queueUrl, type TableMaker } from '../src/provision.ts'
import { temporaryDirectory } from './echo/index.ts'
import { resources } from './echo/resources.ts'
import { eventually } from './eventually.ts'

/** With the engine for DynamoDB, which has a binary for this platform only. `sqlite-tables.test.ts` tests the other one. */
describe.skipIf(`${process.platform}-${process.arch}` !== 'linux-x64')('the engines', () => {
  let directory: ReturnType<typeof temporaryDirectory>
  let running: Engines[] = []
  const crashes: Error[] = []

  beforeEach(() => {
    directory = temporaryDirectory()
  })
  afterEach(async () => {
    for (const engines of running) await engines.stop()
    running = []
    directory[Symbol.dispose]()
  })

  const start = async () => {
    const data = directory.path
    const log = new LogFile(data, 'engines')
    const engines = await startEngines({
      data,
      tables: 'dynamodb',
      log,
      onCrash: error => crashes.push(error),
    })
    running.push(engines)
    return engines
  }
  const stop = async () => {
    for (const engines of running) await engines.stop()
    running = []
  }
  const dynamodbOf = ({ env }: Engines) => env.AWS_ENDPOINT_URL_DYNAMODB as string
  const clientsOf = (engines: Engines) => {
    const { env, sqs, s3 } = engines
    const common = {
      region: env.AWS_REGION!,
      credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
    }
    return {
      dynamodb: new DynamoDBClient({ ...common, endpoint: dynamodbOf(engines) }),
      sqs: new SQSClient({ ...common, endpoint: sqs }),
      s3: new S3Client({ ...common, endpoint: s3, forcePathStyle: true }),
    }
  }
  const make = (engines: Engines, description: Resources = resources) => {
    const { dynamodb, ...clients } = clientsOf(engines)
    const tables: TableMaker = {
      create: (name, spec) => createDynamoTable(dynamodb, name, spec),
      close: () => {},
    }
    return provision({ resources: description, service: 'echo', clients, tables, sqs: engines.sqs })
  }
  const pid = () => Number(readFileSync(join(directory.path, 'dynamodb.pid'), 'utf8'))
  const isRunning = (process_: number) => {
    try {
      return process.kill(process_, 0)
    } catch {
      return false
    }
  }

  it('listen on 127.0.0.1 only', async () => {
    const engines = await start()
    for (const url of [dynamodbOf(engines), engines.sqs, engines.s3])
      expect(new URL(url).hostname).toBe('127.0.0.1')
    // If they listened on every interface, they would answer here too.
    for (const url of [dynamodbOf(engines), engines.sqs])
      await expect(fetch(url.replace('127.0.0.1', '127.0.0.2'))).rejects.toThrow()
  })

  it('create every resource of a description, and return their names', async () => {
    const engines = await start()
    const { dynamodb, sqs, s3 } = clientsOf(engines)
    expect(await make(engines)).toEqual({
      TABLE_NOTE: 'echo-note',
      QUEUE_TAKE_NOTE: queueUrl(engines.sqs, 'echo-take-note'),
      DEAD_LETTER_TAKE_NOTE: queueUrl(engines.sqs, 'echo-take-note-dlq'),
      DEAD_LETTER_IN_ORDER: queueUrl(engines.sqs, 'echo-in-order-dlq.fifo'),
      QUEUE_IN_ORDER: queueUrl(engines.sqs, 'echo-in-order.fifo'),
      BUCKET_NOTE_FILES: 'echo-note-files',
    })
    const { Table } = await dynamodb.send(new DescribeTableCommand({ TableName: 'echo-note' }))
    expect(Table).toMatchObject({
      KeySchema: [
        { AttributeName: 'id', KeyType: 'HASH' },
        { AttributeName: 'due', KeyType: 'RANGE' },
      ],
      GlobalSecondaryIndexes: [{ IndexName: 'due', Projection: { ProjectionType: 'KEYS_ONLY' } }],
    })
    const { QueueUrls } = await sqs.send(new ListQueuesCommand({}))
    expect(QueueUrls?.map(url => url.split('/').pop()).sort()).toEqual([
      'echo-in-order-dlq.fifo',
      'echo-in-order.fifo',
      'echo-take-note',
      'echo-take-note-dlq',
    ])
    const { Attributes } = await sqs.send(
      new GetQueueAttributesCommand({
        QueueUrl: queueUrl(engines.sqs, 'echo-take-note'),
        AttributeNames: ['All'],
      }),
    )
    expect(Attributes).toMatchObject({
      VisibilityTimeout: '181',
      RedrivePolicy: JSON.stringify({
        deadLetterTargetArn: 'arn:aws:sqs:us-east-1:000000000000:echo-take-note-dlq',
        maxReceiveCount: 2,
      }),
    })
    const { Buckets } = await s3.send(new ListBucketsCommand({}))
    expect(Buckets?.map(({ Name }) => Name)).toEqual(['echo-note-files'])
  })

  it('keep their data after a restart on other ports', async () => {
    const before = await start()
    await make(before)
    const first = clientsOf(before)
    const Item = { id: { S: 'a' }, due: { S: 'b' } }
    await first.dynamodb.send(new PutItemCommand({ TableName: 'echo-note', Item }))
    const object = { Bucket: 'echo-note-files', Key: 'key' }
    await first.s3.send(new PutObjectCommand({ ...object, Body: 'bytes' }))
    await stop()

    const after = await start()
    await make(after)
    const second = clientsOf(after)
    expect(
      await second.dynamodb.send(new GetItemCommand({ TableName: 'echo-note', Key: Item })),
    ).toMatchObject({ Item })
    const { Body } = await second.s3.send(new GetObjectCommand(object))
    expect(await Body?.transformToString()).toBe('bytes')
  })

  it('add resources of a newer description, and refuse other keys of a table', async () => {
    const engines = await start()
    await make(engines)
    const { dynamodb } = clientsOf(engines)
    const { note } = resources.tables
    const other = describeResources({
      ...resources,
      tables: {
        note: { ...note, indexes: { ...note.indexes, other: { hash: 'due', range: 'id' } } },
        more: { fields: { id: 'string' }, key: { hash: 'id' } },
      },
      queues: { takeNote: { ...resources.queues.takeNote, attempts: 7 } },
    })
    await make(engines, other)
    const { TableNames } = await dynamodb.send(new ListTablesCommand({}))
    expect(TableNames).toEqual(['echo-more', 'echo-note'])
    const { Table } = await dynamodb.send(new DescribeTableCommand({ TableName: 'echo-note' }))
    expect(Table?.GlobalSecondaryIndexes?.map(({ IndexName }) => IndexName).sort()).toEqual(['due', 'other'])

    await expect(
      make(engines, { ...resources, tables: { note: { ...note, key: { hash: 'due', range: 'id' } } } }),
    ).rejects.toThrow('The table echo-note exists with other keys. Pass another --data')
  })

  it('refuse a second system on the same data', async () => {
    await start()
    await expect(start()).rejects.toThrow(
      `The data directory ${directory.path} is in use by process ${process.pid}. Stop it or pass another --data.`,
    )
  })

  it('report an engine that crashes', async () => {
    await start()
    process.kill(pid(), 'SIGKILL')
    const error = await eventually('news of the crash', () => crashes.at(-1))
    expect(error.message).toMatch(/^The DynamoDB engine ended with code 137\. See .*engines\.log\.$/)
  })

  it('end an orphaned engine on the same data', async () => {
    const engines = await start()
    await make(engines)
    await stop()
    const binary = new URL('../node_modules/@dynoxide/linux-x64/dynoxide', import.meta.url).pathname
    const file = join(directory.path, 'dynamodb.sqlite')
    const orphan = spawn('/bin/sh', [
      '-c',
      `${binary} serve --port 0 --db-path ${file} & echo $! > ${directory.path}/dynamodb.pid; wait`,
    ])
    const left = await eventually('the orphan', () => {
      try {
        return pid()
      } catch {
        return undefined
      }
    })
    await start()
    expect(isRunning(left)).toBe(false)
    orphan.kill()
  })
})
