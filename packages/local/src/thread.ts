import { type MessagePort, Worker } from 'node:worker_threads'
import { UserError } from '@w3filecoin/runtime/user-error'
import type { LogFile } from './log-file.ts'

/** The answer of a thread to a request: the result, or the message of a user error. */
export type Answer<T> = { ok: T } | { userError: string }

/** Answers with the result, or with the message of a user error. Every other error ends the thread. */
export const answerWith = async <T>(port: MessagePort, run: () => T | Promise<T>): Promise<void> => {
  const answer = (value: Answer<T>) => port.postMessage(value)
  try {
    answer({ ok: await run() })
  } catch (cause) {
    if (!(cause instanceof UserError)) throw cause
    answer({ userError: cause.message })
  }
}

interface ThreadOptions {
  /** For messages, e.g. `The SQS and S3 engine`. */
  name: string
  entry: URL
  /** The environment. A thread inherits only `NODE_COMPILE_CACHE`, which makes it start faster. */
  env: Record<string, string>
  log: LogFile
  /** Called when the thread ends before `stop`, unless a request waits for its answer, which is rejected instead. */
  onCrash: (error: Error) => void
}

/**
 * The young generation of a thread's heap. V8 would let it grow to the size for a server, and keep it when the thread is idle:
 * some 100 MB more for each busy thread, for no less processor time.
 */
const MAX_YOUNG_MB = 16

/** After `stop`, a thread may finish its runs for this long; then it is terminated. */
const MAX_STOP_MS = 8_000

/**
 * A worker thread that answers one request at a time until it is stopped. Its output is written to its log.
 */
export class Thread {
  readonly #worker: Worker
  readonly #name: string
  #waiting: PromiseWithResolvers<unknown> | undefined
  #stopping = false

  constructor({ name, entry, env, log, onCrash }: ThreadOptions) {
    this.#name = name
    const { NODE_COMPILE_CACHE } = process.env
    this.#worker = new Worker(entry, {
      name,
      env: { ...(NODE_COMPILE_CACHE && { NODE_COMPILE_CACHE }), ...env },
      stdout: true,
      stderr: true,
      execArgv: [],
      resourceLimits: { maxYoungGenerationSizeMb: MAX_YOUNG_MB },
    })
    for (const stream of [this.#worker.stdout, this.#worker.stderr])
      stream.on('data', (bytes: Uint8Array) => log.write(bytes))
    this.#worker.on('message', (answer: Answer<unknown>) => {
      if ('userError' in answer) this.#waiting?.reject(new UserError(answer.userError))
      else this.#waiting?.resolve(answer.ok)
      this.#waiting = undefined
    })
    let ended = false
    const crash = (how: string, cause?: unknown) => {
      if (ended || this.#stopping) return
      ended = true
      log.write(`${(cause as Error | undefined)?.stack ?? how}\n`)
      const error = new UserError(`${name} ${how}. See ${log.path}.`, { cause })
      if (this.#waiting) this.#waiting.reject(error)
      else onCrash(error)
      this.#waiting = undefined
    }
    this.#worker.on('error', cause => {
      const message = (cause as Error | undefined)?.message ?? `${cause}`
      crash(`crashed: ${message.replaceAll(/\s+/g, ' ').slice(0, 300)}`, cause)
    })
    this.#worker.on('exit', code => crash(`ended with code ${code}`))
  }

  /** Sends a request and waits for its answer. */
  ask<T>(question: object): Promise<T> {
    if (this.#waiting) throw new Error(`${this.#name} has not answered yet`)
    this.#waiting = Promise.withResolvers()
    this.#worker.postMessage(question)
    return this.#waiting.promise as Promise<T>
  }

  /** Sends a message that has no answer. */
  post(message: object): void {
    this.#worker.postMessage(message)
  }

  /** Stops the thread. Its runs in progress may finish within 8 s. */
  async stop(): Promise<void> {
    if (this.#worker.threadId === -1) return
    this.#stopping = true
    const ended = Promise.withResolvers<void>()
    this.#worker.once('exit', () => ended.resolve())
    this.#worker.postMessage({ stop: true })
    const timer = setTimeout(() => void this.#worker.terminate(), MAX_STOP_MS)
    await ended.promise
    clearTimeout(timer)
  }
}
