import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { TableEngine } from '@w3filecoin/local/table-engine'

const MAIN = fileURLToPath(new URL('../../packages/cli/src/main.ts', import.meta.url))

/** The longest time until the system is ready, or has ended by itself. */
const MAX_WAIT_MS = 60_000

/**
 * The targets of `kill -9`. SQS, S3 and the tables in SQLite are in threads of the system's process. The engine for DynamoDB is
 * a separate process; without it, every victim is the system.
 */
export const VICTIMS = ['system', 'engine', 'engine, then system', 'everything at once'] as const
export type Victim = (typeof VICTIMS)[number]

export interface StartOptions {
  data: string
  /** The engine for tables. */
  engine: TableEngine
  /** A directory with the files whose pieces storage providers reject, and the names of these files. */
  faulty: { directory: string; names: readonly string[] }
}

/** The system as `npm start` runs it, in a separate process. */
export class SystemProcess {
  readonly startedAt = performance.now()
  readonly ready: Promise<void>
  readonly #data: string
  readonly #engine: TableEngine
  readonly #child: ChildProcess
  readonly #ended: Promise<unknown>
  readonly #onExit = () => void this.#child.kill('SIGKILL')
  #isReady = false
  #stderr = ''

  constructor({ data, engine, faulty }: StartOptions) {
    const journey =
      faulty.names.length === 0
        ? ['--no-journey']
        : ['--files', faulty.directory, ...faulty.names.flatMap(name => ['--fault', name])]
    this.#data = data
    this.#engine = engine
    this.#child = spawn(
      process.execPath,
      [
        MAIN,
        'dev',
        '--deals',
        'offers',
        '--json',
        '--port',
        '0',
        '--data',
        data,
        '--engine',
        engine,
        ...journey,
      ],
      // The key of the user who runs the test is not its concern.
      { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, W3FIL_KEY: `${data}.key` } },
    )
    this.#ended = once(this.#child, 'close').then(() => process.off('exit', this.#onExit))
    this.#child.stderr?.on('data', text => {
      this.#stderr += text
    })
    this.ready = this.#waitUntilReady()
    // A kill before the system is ready must not cause an unhandled rejection.
    this.ready.catch(() => {})
    process.on('exit', this.#onExit)
  }

  async #waitUntilReady(): Promise<void> {
    const lines = createInterface({ input: this.#child.stdout as never })
    const ready = new Promise<true>(resolve =>
      lines.on('line', line => {
        if (line.startsWith('{"event":"ready"')) resolve(true)
      }),
    )
    const isReady = await waitFor(Promise.race([ready, this.#ended]), 'the system is not ready')
    if (isReady !== true) throw new Error(`The system did not start: ${this.#stderr}`)
    this.#isReady = true
  }

  /** Kills the victim, or the part of it that runs already. Resolves to a description of the kill when the system has ended. */
  async kill(victim: Victim, { pauseMs }: { pauseMs: number }): Promise<string> {
    if (this.#hasEnded()) throw new Error(`The system ended by itself: ${this.#stderr}`)
    const engine = findEngine(this.#data)
    if (victim === 'system' || engine === undefined) {
      await this.end()
      return engine || this.#engine === 'sqlite' ? 'system' : 'system, before its engine started'
    }
    if (victim === 'everything at once') {
      // The group includes the supervisor, which would otherwise stop the engine gracefully.
      process.kill(-engine.group, 'SIGKILL')
      await this.end()
      return victim
    }
    process.kill(engine.pid, 'SIGKILL')
    // A system that is not ready yet may start another engine.
    if (victim === 'engine' && this.#isReady) {
      const code = await this.#endsByItself()
      if (code !== 1) throw new Error(`The system ended with ${code} without its engine: ${this.#stderr}`)
      return victim
    }
    await sleep(pauseMs)
    await this.end()
    return 'engine, then system'
  }

  /** Kills the system if it runs. */
  async end(): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.#ended
  }

  /** Stops the system gracefully, like Ctrl-C. */
  async stop(): Promise<void> {
    this.#child.kill('SIGTERM')
    const code = await this.#endsByItself()
    if (code !== 0) throw new Error(`The system stopped with ${code}: ${this.#stderr}`)
    const left = findEngine(this.#data)
    if (left) throw new Error(`The system left its engine running: process ${left.pid}`)
  }

  async #endsByItself(): Promise<number | null> {
    await waitFor(this.#ended, 'the system has not ended')
    return this.#child.exitCode
  }

  #hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null
  }
}

const waitFor = async <T>(promise: Promise<T>, problem: string): Promise<T> => {
  const timeout = sleep(MAX_WAIT_MS, undefined, { ref: false }).then(() => {
    throw new Error(`After ${MAX_WAIT_MS / 1000} s ${problem}`)
  })
  return Promise.race([promise, timeout])
}

/** Returns the process of the DynamoDB engine on this data, and the process group that it shares with its supervisor. */
const findEngine = (data: string): { pid: number; group: number } | undefined => {
  try {
    const pid = Number(readFileSync(join(data, 'dynamodb.pid'), 'utf8'))
    const shown = execFileSync('ps', ['-ww', '-o', 'pgid=,command=', '-p', `${pid}`], { encoding: 'utf8' })
    // Another process may have this process id by now.
    if (!shown.includes(`--db-path ${join(data, 'dynamodb.sqlite')}`)) return undefined
    return { pid, group: Number.parseInt(shown, 10) }
  } catch {
    return undefined
  }
}

/** Deletes the data of the SQS engine, i.e. all queues with their messages. Returns the number of messages. */
export const deleteQueues = (data: string): number => {
  const files = readdirSync(data).filter(name => name.startsWith('fauxqs.db'))
  if (files.length === 0) return 0
  const database = new DatabaseSync(join(data, 'fauxqs.db'))
  const table = database.prepare("SELECT name FROM sqlite_master WHERE name = 'sqs_messages'").get()
  const messages = table ? Number(database.prepare('SELECT count(*) AS n FROM sqs_messages').get()!.n) : 0
  database.close()
  for (const name of files) rmSync(join(data, name), { force: true })
  return messages
}
