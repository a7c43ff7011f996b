import { Worker } from 'node:worker_threads'
import { UserError } from '@w3filecoin/service/user-error'
import type { LogFile } from './log-file.ts'

/** What a thread answers: what it was asked for, or in one line why not. */
export type Answer<T> = { ok: T } | { trouble: string }

interface ThreadOptions {
  /** For people, and the name of the log. */
  name: string
  entry: URL
  /** All of its environment; a thread inherits nothing. */
  env: Record<string, string>
  log: LogFile
  /** Told when the thread ends without being asked to. */
  onCrash: (error: Error) => void
}

/** How long a thread may take to finish what it has begun, in milliseconds. */
const GRACE = 8_000

/**
 * A worker thread that does one thing: it is asked for one thing after the other, answers each, and is stopped.
 * What it prints goes to its log. When it crashes, whoever waits for an answer is told, else `onCrash`.
 */
export class Thread {
  readonly #worker: Worker
  readonly #name: string
  #waiting: PromiseWithResolvers<unknown> | undefined
  #stopping = false

  constructor({ name, entry, env, log, onCrash }: ThreadOptions) {
    this.#name = name
    this.#worker = new Worker(entry, { name, env, stdout: true, stderr: true, execArgv: [] })
    for (const stream of [this.#worker.stdout, this.#worker.stderr])
      stream.on('data', (bytes: Uint8Array) => log.write(bytes))
    this.#worker.on('message', (answer: Answer<unknown>) => {
      if ('trouble' in answer) this.#waiting?.reject(new UserError(answer.trouble))
      else this.#waiting?.resolve(answer.ok)
      this.#waiting = undefined
    })
    let ended = false
    const crash = (how: string, cause?: unknown) => {
      if (ended || this.#stopping) return
      ended = true
      log.write(`${(cause as Error | undefined)?.stack ?? how}\n`)
      const error = new UserError(`${name} ${how}; see ${log.path}`, { cause })
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

  /** Asks the thread for something, and waits for its answer. One question at a time. */
  ask<T>(question: object): Promise<T> {
    if (this.#waiting) throw new Error(`${this.#name} has not answered yet`)
    this.#waiting = Promise.withResolvers()
    this.#worker.postMessage(question)
    return this.#waiting.promise as Promise<T>
  }

  /** Lets the thread finish what it has begun, for a while. */
  async stop(): Promise<void> {
    if (this.#worker.threadId === -1) return
    this.#stopping = true
    const ended = Promise.withResolvers<void>()
    this.#worker.once('exit', () => ended.resolve())
    this.#worker.postMessage({ stop: true })
    const timer = setTimeout(() => void this.#worker.terminate(), GRACE)
    await ended.promise
    clearTimeout(timer)
  }
}
