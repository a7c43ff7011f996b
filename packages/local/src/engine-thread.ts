import { Server } from 'node:http'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { type MessagePort, parentPort } from 'node:worker_threads'
import type { FauxqsServer } from 'fauxqs'
import { lock } from './lock.ts'
import { type S3, S3_DIRECTORY, startS3 } from './s3.ts'
import { answerWith } from './thread.ts'

/**
 * The thread of the SQS and S3 engines. It also holds the lock of the data directory, so that the lock is held exactly
 * as long as the data is open.
 */
const port = parentPort as MessagePort

export interface EnginePorts {
  sqs: number
  s3: number
}

export interface StartEngines {
  data: string
  /** 0: any free port. */
  s3Port: number
  region: string
}

/** Requests to the thread, one at a time. */
export type EngineQuestion = { lock: string } | { start: StartEngines } | { stop: true }

/** Makes every server of this thread listen on 127.0.0.1: `startFauxqs` listens on every interface. */
const listenOnLoopback = () => {
  const listen = Server.prototype.listen as (...given: unknown[]) => Server
  Server.prototype.listen = function (this: Server, options: object, ...rest: unknown[]) {
    return listen.call(this, { ...options, host: '127.0.0.1' }, ...rest)
  } as never
}

/** Makes in-flight messages of the last system visible at once: its consumers ended with it. */
const releaseMessages = (file: string) => {
  const database = new DatabaseSync(file)
  const exists = database.prepare("SELECT name FROM sqlite_master WHERE name = 'sqs_messages'").get()
  if (exists) database.exec('UPDATE sqs_messages SET receipt_handle = NULL, visibility_deadline = NULL')
  database.close()
}

let held: DatabaseSync | undefined
let sqs: FauxqsServer | undefined
let s3: S3 | undefined

const start = async ({ data, s3Port, region }: StartEngines): Promise<EnginePorts> => {
  listenOnLoopback()
  releaseMessages(join(data, 'fauxqs.db'))
  const { startFauxqs } = await import('fauxqs')
  s3 = await startS3(join(data, S3_DIRECTORY), s3Port)
  sqs = await startFauxqs({
    port: 0,
    host: '127.0.0.1',
    logger: false,
    defaultRegion: region,
    dataDir: data,
  })
  const { hostname } = new URL(sqs.address)
  if (hostname !== '127.0.0.1') throw new Error(`The SQS engine listens on ${hostname}`)
  return { sqs: sqs.port, s3: s3.port }
}

port.on('message', async (question: EngineQuestion) => {
  if ('lock' in question)
    await answerWith(port, () => {
      held = lock(question.lock)
      return held !== undefined
    })
  else if ('start' in question) await answerWith(port, () => start(question.start))
  else {
    await Promise.all([sqs?.stop(), s3?.stop()])
    held?.close()
    port.close()
  }
})
