import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url))

const directory = mkdtempSync(join(tmpdir(), 'w3filecoin-'))

/** A process of `npm start`, without a terminal. */
export interface Run {
  child: ChildProcess
  /** The output so far. */
  stdout: string
  stderr: string
  ended: Promise<number | null>
}

export const run = (...options: string[]): Run => {
  const child = spawn(process.execPath, [MAIN, 'dev', ...options], {
    stdio: ['ignore', 'pipe', 'pipe'],
    // The command creates the key of its user.
    env: { ...process.env, W3FIL_KEY: join(directory, 'agent.key') },
  })
  const run: Run = {
    child,
    stdout: '',
    stderr: '',
    ended: once(child, 'close').then(([code]) => code as number | null),
  }
  child.stdout.on('data', text => {
    run.stdout += text
  })
  child.stderr.on('data', text => {
    run.stderr += text
  })
  return run
}
