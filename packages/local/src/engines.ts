import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { S3Client } from '@aws-sdk/client-s3'
import { SQSClient } from '@aws-sdk/client-sqs'
import { UserError } from '@w3filecoin/runtime/user-error'
import { CREDENTIALS } from './credentials.ts'
import { startDynamoDB } from './dynamodb.ts'
import type { EnginePorts, EngineQuestion } from './engine-thread.ts'
import type { LogFile } from './log-file.ts'
import { writePrivateFile } from './private-files.ts'
import { refuseOtherEngine, sqliteEnv, type TableEngine } from './table-engine.ts'
import { Thread } from './thread.ts'

export const REGION = 'us-east-1'
/** The AWS account in ARNs and queue URLs. */
export const ACCOUNT = '000000000000'

/** Engines for tables, SQS and S3 on this machine, with their data in one directory. */
export interface Engines {
  sqs: string
  s3: string
  /**
   * Environment variables that name the engine for tables, point the AWS SDK at the engines, and away from the machine's own
   * AWS configuration.
   */
  env: Record<string, string>
  stop(): Promise<void>
}

interface EnginesOptions {
  /** The data directory. */
  data: string
  tables: TableEngine
  /** The port of S3. Default: any free port. */
  s3Port?: number
  log: LogFile
  /** Called when the directory is locked, before an engine stores anything in it. */
  whenLocked?: () => Promise<unknown>
  /** Called when an engine ends before `stop`. */
  onCrash: (error: Error) => void
}

/** Returns a client of the S3 engine, for code outside the services. */
export const s3Client = ({ s3 }: Pick<Engines, 's3'>): S3Client =>
  new S3Client({ region: REGION, endpoint: s3, forcePathStyle: true, credentials: CREDENTIALS })

/** Returns a client of the SQS engine, for code outside the services. */
export const sqsClient = ({ sqs }: Pick<Engines, 'sqs'>): SQSClient =>
  new SQSClient({ region: REGION, endpoint: sqs, credentials: CREDENTIALS })

/** Starts the engines on 127.0.0.1. Only one system may use a data directory at a time. */
export const startEngines = async ({
  data,
  tables,
  s3Port = 0,
  log,
  whenLocked,
  onCrash,
}: EnginesOptions): Promise<Engines> => {
  const thread = new Thread({
    name: 'The SQS and S3 engine',
    entry: new URL('./engine-thread.ts', import.meta.url),
    env: {},
    log,
    onCrash,
  })
  const ask = <T>(question: EngineQuestion) => thread.ask<T>(question)
  try {
    await lock(data, () => ask<boolean>({ lock: data }))
    refuseOtherEngine(data, tables)
    await whenLocked?.()
    const [dynamodb, ports] = await startBoth(
      tables === 'dynamodb' ? startDynamoDB({ data, log, onCrash }) : undefined,
      ask<EnginePorts>({ start: { data, s3Port, region: REGION } }),
      engine => engine?.stop(),
    )
    const sqs = `http://127.0.0.1:${ports.sqs}`
    const s3 = `http://127.0.0.1:${ports.s3}`
    return {
      sqs,
      s3,
      env: {
        AWS_REGION: REGION,
        AWS_ACCESS_KEY_ID: CREDENTIALS.accessKeyId,
        AWS_SECRET_ACCESS_KEY: CREDENTIALS.secretAccessKey,
        ...(dynamodb ? { AWS_ENDPOINT_URL_DYNAMODB: dynamodb.url } : sqliteEnv(data)),
        AWS_ENDPOINT_URL_SQS: sqs,
        AWS_ENDPOINT_URL_S3: s3,
        AWS_CONFIG_FILE: '/dev/null',
        AWS_SHARED_CREDENTIALS_FILE: '/dev/null',
        AWS_EC2_METADATA_DISABLED: 'true',
      },
      stop: async () => {
        await dynamodb?.stop()
        await thread.stop()
      },
    }
  } catch (cause) {
    await thread.stop()
    throw cause
  }
}

const lock = async (data: string, take: () => Promise<boolean>): Promise<void> => {
  const holder = join(data, 'pid')
  if (!(await take()))
    throw new UserError(
      `The data directory ${data} is in use by ${readHolder(holder)}. Stop it or pass another --data.`,
    )
  writePrivateFile(holder, `${process.pid}\n`)
}

const readHolder = (holder: string): string => {
  try {
    return `process ${readFileSync(holder, 'utf8').trim()}`
  } catch {
    return 'another process'
  }
}

/** Waits for two starts. If the second fails, undoes the first. */
const startBoth = async <A, B>(
  first: A | Promise<A>,
  second: Promise<B>,
  undo: (first: A) => Promise<void> | undefined,
): Promise<[A, B]> => {
  const [a, b] = await Promise.allSettled([first, second])
  if (a.status === 'fulfilled' && b.status === 'fulfilled') return [a.value, b.value]
  if (a.status === 'fulfilled') await undo(a.value)
  throw (a.status === 'rejected' ? a : (b as PromiseRejectedResult)).reason
}
