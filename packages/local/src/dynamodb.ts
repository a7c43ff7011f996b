import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { UserError } from '@w3filecoin/runtime/user-error'
import type { LogFile } from './log-file.ts'
import { TABLE_FILES } from './table-engine.ts'

/** The DynamoDB engine: the `dynoxide` binary, one process on one SQLite file. */
export interface DynamoDB {
  url: string
  stop(): Promise<void>
}

interface DynamoDBOptions {
  /** The data directory. */
  data: string
  log: LogFile
  /** Called when the engine ends before `stop`. */
  onCrash: (error: Error) => void
}

/**
 * Runs the engine until standard input closes. The operating system closes it when the parent ends, even by SIGKILL, so
 * the engine never outlives the system. Writes the engine's process id to a file.
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

/** Wait for the engine to start, or to end. */
const MAX_WAIT_MS = 10_000
/** Another process may take the free port before the engine does. */
const MAX_ATTEMPTS = 3

export const startDynamoDB = async ({ data, log, onCrash }: DynamoDBOptions): Promise<DynamoDB> => {
  const binary = findBinary()
  const file = join(data, TABLE_FILES.dynamodb)
  const pidfile = join(data, 'dynamodb.pid')
  await endOrphan({ pidfile, file })

  for (let attempt = 1; ; attempt++) {
    const port = await findFreePort()
    // A separate process group, because Ctrl-C in the terminal must not stop the engine before the services.
    const child = spawn(
      '/bin/sh',
      ['-c', SUPERVISOR, 'sh', pidfile, binary, 'serve', '--port', `${port}`, '--db-path', file],
      { stdio: ['pipe', 'pipe', 'pipe'], detached: true, env: {} },
    )
    child.on('error', cause => log.write(`${cause.stack}\n`))
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (bytes: Uint8Array) => log.write(bytes))
    const url = `http://127.0.0.1:${port}`
    if (!(await waitUntilUp(url, child))) {
      await end(child)
      if (attempt < MAX_ATTEMPTS) continue
      throw new UserError(`The DynamoDB engine did not start. See ${log.path}.`)
    }
    let stopping = false
    child.on('exit', code => {
      if (!stopping) onCrash(new UserError(`The DynamoDB engine ended with code ${code}. See ${log.path}.`))
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
      `The DynamoDB engine is not installed. Install the package ${name} 1.2.1, if it exists for this platform, or start without --engine dynamodb.`,
    )
  }
}

/**
 * Ends an engine that an earlier system left behind on the same data, which happens only if its supervisor was killed.
 * This is necessary because the engine does not lock its file.
 */
const endOrphan = async ({ pidfile, file }: { pidfile: string; file: string }): Promise<void> => {
  const pid = Number(readIfExists(pidfile))
  if (!Number.isInteger(pid) || pid <= 1) return
  const isOrphan = () => {
    const command = commandOf(pid)
    return command.includes('dynoxide') && command.includes(`--db-path ${file}`)
  }
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    if (!isOrphan()) return
    process.kill(pid, signal)
    await until(() => !isOrphan(), MAX_WAIT_MS / 2)
  }
  if (isOrphan())
    throw new UserError(`Cannot end process ${pid}, a DynamoDB engine on ${file}. End it and start again.`)
}

/** Returns the command line of a process, or an empty string if the process does not exist. */
const commandOf = (pid: number): string => {
  if (process.platform === 'linux') return readIfExists(`/proc/${pid}/cmdline`).replaceAll('\0', ' ')
  try {
    return execFileSync('ps', ['-ww', '-o', 'command=', '-p', `${pid}`], { encoding: 'utf8' })
  } catch {
    return ''
  }
}

const readIfExists = (path: string): string => {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

/** Waits for the engine's first response. Returns false if it ends or does not respond in time. */
const waitUntilUp = async (url: string, child: ChildProcess): Promise<boolean> => {
  let up = false
  await until(async () => {
    up = await fetch(url).then(
      response => response.headers.has('x-dynoxide-version'),
      () => false,
    )
    return up || child.exitCode !== null || child.pid === undefined
  }, MAX_WAIT_MS)
  return up && child.exitCode === null
}

/** Closes the supervisor's input, which makes it end the engine, and waits for both. */
const end = async (child: ChildProcess): Promise<void> => {
  child.stdin?.end()
  const ended = () => child.exitCode !== null || child.signalCode !== null || child.pid === undefined
  await until(ended, MAX_WAIT_MS)
  if (!ended()) process.kill(-(child.pid as number), 'SIGKILL')
}

/** Polls until `done` or until the time is over. */
const until = async (done: () => boolean | Promise<boolean>, maxMs: number): Promise<void> => {
  const deadline = performance.now() + maxMs
  while (!(await done()) && performance.now() < deadline) await sleep(10)
}

const findFreePort = async (): Promise<number> => {
  const server = createServer()
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise(resolve => server.close(resolve))
  return port
}
