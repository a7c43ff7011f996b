import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { LambdaFunction } from '@w3filecoin/local/invoke'
import type { LogFile } from '@w3filecoin/local/log-file'
import type { Context } from 'aws-lambda'
import type { DeployedFunction } from './deployment.ts'
import { unzip } from './unzip.ts'

/** The share of the memory of a function that Lambda lets Node use for its heap. */
const HEAP_SHARE = 0.9

interface FunctionProcessOptions {
  deployed: DeployedFunction
  /** The ZIP archive that SST uploads. */
  code: string
  /** The directory for the code. No module of the repository can be found from it. */
  directory: string
  env: Record<string, string>
  log: LogFile
}

/** The answer of bootstrap.mjs to an event: a result, or the stack of an error. */
interface Answer {
  result?: unknown
  error?: string
  maxRssMB: number
}

/** An error that the function threw. Its message is the stack. */
class FunctionError extends Error {}

/** The duration of a cold start, without that of Node. */
export interface Start {
  initMs: number
  initCpuMs: number
}

/**
 * A deployed function in a separate process, which handles one event at a time, as on Lambda. If the process ends, the next event
 * starts another one.
 */
export class FunctionProcess {
  readonly deployed: DeployedFunction
  readonly directory: string
  runs = 0
  readonly errors: string[] = []
  start: Start | undefined
  maxRssMB = 0
  readonly #options: FunctionProcessOptions
  /** Settles when the last event is handled. */
  #last: Promise<unknown> = Promise.resolve()
  #child: Promise<ChildProcess> | undefined

  constructor(options: FunctionProcessOptions) {
    this.#options = options
    this.deployed = options.deployed
    this.directory = options.directory
    mkdirSync(options.directory, { recursive: true })
    unzip(readFileSync(options.code), options.directory)
    copyFileSync(new URL('./bootstrap.mjs', import.meta.url), join(options.directory, 'bootstrap.mjs'))
  }

  /** Bytes of the code that each start loads, without native modules and without code that is imported when it is needed. */
  get bundleBytes(): number {
    const loaded = new Set<string>()
    const visit = (name: string): number => {
      if (loaded.has(name)) return 0
      loaded.add(name)
      const code = readFileSync(join(this.directory, name), 'utf8')
      const imports = [...code.matchAll(/(?:\bfrom|\bimport)\s*"\.\/([\w.-]+\.mjs)"/g)].map(
        ([, file = '']) => file,
      )
      return imports.reduce((bytes, file) => bytes + visit(file), Buffer.byteLength(code))
    }
    return visit(`${this.deployed.handler.split('.')[0]}.mjs`)
  }

  /** Runs the function, after the events before. Rejects with the error of the function, or if its process ends. */
  readonly run: LambdaFunction = (event, context) => {
    const ran = this.#last.then(() => this.#runNow(event, context as Context))
    this.#last = ran.catch(cause => this.errors.push(cause instanceof Error ? cause.message : String(cause)))
    return ran
  }

  /** Starts the process before its first event. */
  async warm(): Promise<void> {
    this.#child = this.#begin()
    await this.#child
  }

  async stop(): Promise<void> {
    const child = await this.#child?.catch(() => undefined)
    this.#child = undefined
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGKILL')
    await once(child, 'exit')
  }

  async #runNow(event: unknown, context: Context): Promise<unknown> {
    this.runs++
    try {
      this.#child ??= this.#begin()
      const child = await this.#child
      // The message is JSON, so the methods of the context are not in it.
      child.send({ event, context: { ...context, remainingMs: context.getRemainingTimeInMillis() } })
      const { result, error, maxRssMB } = (await nextMessage(child)) as Answer
      this.maxRssMB = Math.max(this.maxRssMB, maxRssMB)
      if (error === undefined) return result
      throw new FunctionError(error)
    } catch (cause) {
      if (!(cause instanceof FunctionError)) this.#child = undefined
      throw cause
    }
  }

  async #begin(): Promise<ChildProcess> {
    const { directory, env, deployed, log } = this.#options
    const child = fork(join(directory, 'bootstrap.mjs'), [], {
      cwd: directory,
      env,
      execArgv: [`--max-old-space-size=${Math.floor(deployed.memoryMB * HEAP_SHARE)}`],
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    })
    for (const stream of [child.stdout!, child.stderr!]) stream.on('data', bytes => log.write(bytes))
    this.start = (await nextMessage(child)) as Start
    return child
  }
}

/** Returns the next message of a process. Rejects if the process ends instead. */
const nextMessage = async (child: ChildProcess): Promise<unknown> => {
  const listening = new AbortController()
  const { signal } = listening
  try {
    return await Promise.race([
      once(child, 'message', { signal }).then(([message]) => message),
      once(child, 'exit', { signal }).then(([code, killedBy]) => {
        throw new Error(`The process of the function ended with ${killedBy ?? code}. Its log has the reason.`)
      }),
    ])
  } finally {
    listening.abort()
  }
}
