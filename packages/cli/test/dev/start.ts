import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

const MAIN = fileURLToPath(new URL('../../src/dev/main.ts', import.meta.url))

/** A process of `npm start`, without a terminal. */
export interface Run {
  child: ChildProcess
  /** The output so far. */
  stdout: string
  stderr: string
  ended: Promise<number | null>
}

export const run = (...options: string[]): Run => {
  const child = spawn(process.execPath, [MAIN, ...options], { stdio: ['ignore', 'pipe', 'pipe'] })
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
