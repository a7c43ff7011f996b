import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { UserError } from '@w3filecoin/service/user-error'
import type { LogFile } from './log-file.ts'

/** The engine for DynamoDB: the `dynoxide` binary, one process over one SQLite file. */
export interface DynamoDB {
  url: string
  stop(): Promise<void>
}

interface DynamoDBOptions {
  /** Where its data is. */
  data: string
  log: LogFile
  /** Told when the engine ends without being asked to. */
  onCrash: (error: Error) => void
}

/**
 * Runs the engine for as long as the input stays open, and it closes with the process that holds it, however that
 * ends: the engine never outlives the system. Its process id is put down in a file.
 */
const SUPERVISOR = `
  pidfile=$1; shift
  exec 3<&0
  "$@" </dev/null 3<&- &
  engine=$!
  echo $engine > "$pidfile"
  { read -r _ <&3; kill $engine; } 2>/dev/null &
  reader=$!
  wait $engine
  code=$?
  kill $reader 2>/dev/null
  exit $code
`

/** How long the engine may take to answer for the first time, or to end, in milliseconds. */
const PATIENCE = 10_000
/** Somebody else may take the port that was free a moment ago. */
const ATTEMPTS = 3

export const startDynamoDB = async ({ data, log, onCrash }: DynamoDBOptions): Promise<DynamoDB> => {
  const binary = findBinary()
  const file = join(data, 'dynamodb.sqlite')
  const pidfile = join(data, 'dynamodb.pid')
  await endOrphan({ pidfile, file })

  for (let attempt = 1; ; attempt++) {
    const port = await freePort()
    // A process group of its own: Ctrl-C in the terminal is for the system, which stops the engine last.
    const child = spawn(
      '/bin/sh',
      ['-c', SUPERVISOR, 'sh', pidfile, binary, 'serve', '--port', `${port}`, '--db-path', file],
      { stdio: ['pipe', 'pipe', 'pipe'], detached: true, env: {} },
    )
    child.on('error', cause => log.write(`${cause.stack}\n`))
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (bytes: Uint8Array) => log.write(bytes))
    const url = `http://127.0.0.1:${port}`
    if (!(await answers(url, child))) {
      await end(child)
      if (attempt < ATTEMPTS) continue
      throw new UserError(`The engine for DynamoDB does not start; see ${log.path}`)
    }
    let stopping = false
    child.on('exit', code => {
      if (!stopping)
        onCrash(new UserError(`The engine for DynamoDB ended with code ${code}; see ${log.path}`))
    })
    return {
      url,
      stop: async () => {
        stopping = true
        await end(child)
        await endOrphan({ pidfile, file })
        rmSync(pidfile, { force: true })
      },
    }
  }
}

const findBinary = (): string => {
  const name = `@dynoxide/${process.platform}-${process.arch}`
  try {
    return createRequire(import.meta.url).resolve(`${name}/dynoxide`)
  } catch {
    throw new UserError(
      `The engine for DynamoDB is not installed: this machine needs the package ${name} 1.2.1`,
    )
  }
}

/**
 * Ends an engine that was left behind on the same data. The supervisor sees to it that there is none, unless it
 * was killed itself; and the engine does not refuse a second one on its file.
 */
const endOrphan = async ({ pidfile, file }: { pidfile: string; file: string }): Promise<void> => {
  const pid = Number(readIfThere(pidfile))
  if (!Number.isInteger(pid) || pid <= 1) return
  const isOrphan = () => {
    const command = commandOf(pid)
    return command.includes('dynoxide') && command.includes(`--db-path ${file}`)
  }
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    if (!isOrphan()) return
    process.kill(pid, signal)
    await until(() => !isOrphan(), PATIENCE / 2)
  }
  if (isOrphan()) throw new UserError(`An engine for DynamoDB on ${file} can not be ended: process ${pid}`)
}

/** The command line of a process; empty if there is no such process. */
const commandOf = (pid: number): string => {
  if (process.platform === 'linux') return readIfThere(`/proc/${pid}/cmdline`).replaceAll('\0', ' ')
  try {
    return execFileSync('ps', ['-ww', '-o', 'command=', '-p', `${pid}`], { encoding: 'utf8' })
  } catch {
    return ''
  }
}

const readIfThere = (path: string): string => {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

/** Whether the engine answers before it ends or patience does. */
const answers = async (url: string, child: ChildProcess): Promise<boolean> => {
  let up = false
  await until(async () => {
    up = await fetch(url).then(
      response => response.headers.has('x-dynoxide-version'),
      () => false,
    )
    return up || child.exitCode !== null || child.pid === undefined
  }, PATIENCE)
  return up && child.exitCode === null
}

/** Closes the supervisor's input, so that it ends the engine, and waits until both are gone. */
const end = async (child: ChildProcess): Promise<void> => {
  child.stdin?.end()
  const ended = () => child.exitCode !== null || child.signalCode !== null || child.pid === undefined
  await until(ended, PATIENCE)
  if (!ended()) process.kill(-(child.pid as number), 'SIGKILL')
}

const until = async (done: () => boolean | Promise<boolean>, patience: number): Promise<void> => {
  const deadline = performance.now() + patience
  while (!(await done()) && performance.now() < deadline) await sleep(10)
}

const freePort = async (): Promise<number> => {
  const server = createServer()
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise(resolve => server.close(resolve))
  return port
}
