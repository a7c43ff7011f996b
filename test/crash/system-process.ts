import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

const MAIN = fileURLToPath(new URL('../../packages/cli/src/dev/main.ts', import.meta.url))

/** How long the system may take to come up, or to end where it should by itself, in milliseconds. */
const PATIENCE = 60_000

/** What is killed with `kill -9`. SQS and S3 are threads of the system's process, DynamoDB is a process of its own. */
export const VICTIMS = ['system', 'engine', 'engine, then system', 'everything at once'] as const
export type Victim = (typeof VICTIMS)[number]

export interface StartOptions {
  data: string
  /** A directory of files that storage providers find fault with, and their names. */
  faulty: { directory: string; names: readonly string[] }
}

/** The system as `npm start` runs it, in a process of its own. */
export class SystemProcess {
  readonly startedAt = performance.now()
  readonly ready: Promise<void>
  readonly #data: string
  readonly #child: ChildProcess
  readonly #ended: Promise<unknown>
  readonly #onExit = () => void this.#child.kill('SIGKILL')
  #isReady = false
  #stderr = ''

  constructor({ data, faulty }: StartOptions) {
    const journey =
      faulty.names.length === 0
        ? ['--no-journey']
        : ['--files', faulty.directory, ...faulty.names.flatMap(name => ['--fault', name])]
    this.#data = data
    this.#child = spawn(process.execPath, [MAIN, '--json', '--port', '0', '--data', data, ...journey], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.#ended = once(this.#child, 'close').then(() => process.off('exit', this.#onExit))
    this.#child.stderr?.on('data', text => {
      this.#stderr += text
    })
    this.ready = this.#waitUntilReady()
    // Whoever kills it before does not wait for it.
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
    const up = await within(Promise.race([ready, this.#ended]), 'the system is not up')
    if (up !== true) throw new Error(`The system does not start: ${this.#stderr}`)
    this.#isReady = true
  }

  /** Kills what there is of it, and comes back when the system has ended. Tells what was killed. */
  async kill(victim: Victim, { pause }: { pause: number }): Promise<string> {
    if (this.#hasEnded()) throw new Error(`The system ended by itself: ${this.#stderr}`)
    const engine = engineOn(this.#data)
    if (victim === 'system' || engine === undefined) {
      await this.end()
      return engine ? 'system' : 'system, its engine not yet up'
    }
    if (victim === 'everything at once') {
      // With the supervisor, which else would end the engine in peace.
      process.kill(-engine.group, 'SIGKILL')
      await this.end()
      return victim
    }
    process.kill(engine.pid, 'SIGKILL')
    // A system that is not up yet may go on with another engine.
    if (victim === 'engine' && this.#isReady) {
      const code = await this.#endsByItself()
      if (code !== 1) throw new Error(`The system ended with ${code} without its engine: ${this.#stderr}`)
      return victim
    }
    await sleep(pause)
    await this.end()
    return 'engine, then system'
  }

  /** Ends it at once, if it is there. */
  async end(): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.#ended
  }

  /** Has it stop as Ctrl-C does. */
  async stop(): Promise<void> {
    this.#child.kill('SIGTERM')
    const code = await this.#endsByItself()
    if (code !== 0) throw new Error(`The system stopped with ${code}: ${this.#stderr}`)
    const left = engineOn(this.#data)
    if (left) throw new Error(`The system left its engine running: process ${left.pid}`)
  }

  async #endsByItself(): Promise<number | null> {
    await within(this.#ended, 'the system goes on')
    return this.#child.exitCode
  }

  #hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null
  }
}

const within = async <T>(promise: Promise<T>, otherwise: string): Promise<T> => {
  const late = sleep(PATIENCE, undefined, { ref: false }).then(() => {
    throw new Error(`After ${PATIENCE / 1000} s ${otherwise}`)
  })
  return Promise.race([promise, late])
}

/** The engine for DynamoDB that runs on this data, and the process group that it shares with its supervisor. */
const engineOn = (data: string): { pid: number; group: number } | undefined => {
  try {
    const pid = Number(readFileSync(join(data, 'dynamodb.pid'), 'utf8'))
    const shown = execFileSync('ps', ['-ww', '-o', 'pgid=,command=', '-p', `${pid}`], { encoding: 'utf8' })
    // A process that has its number by now is none of ours.
    if (!shown.includes(`--db-path ${join(data, 'dynamodb.sqlite')}`)) return undefined
    return { pid, group: Number.parseInt(shown, 10) }
  } catch {
    return undefined
  }
}

/** Deletes the data of the engine for SQS: every queue is gone, with all messages in it. Tells how many there were. */
export const loseQueues = (data: string): number => {
  const files = readdirSync(data).filter(name => name.startsWith('fauxqs.db'))
  if (files.length === 0) return 0
  const database = new DatabaseSync(join(data, 'fauxqs.db'))
  const made = database.prepare("SELECT name FROM sqlite_master WHERE name = 'sqs_messages'").get()
  const messages = made ? Number(database.prepare('SELECT count(*) AS n FROM sqs_messages').get()!.n) : 0
  database.close()
  for (const name of files) rmSync(join(data, name), { force: true })
  return messages
}
