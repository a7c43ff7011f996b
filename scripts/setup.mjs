// Runs the steps of the set-up: each step once, in one process at a time, with one line of output unless it fails.
import { spawn } from 'node:child_process'
import { mkdirSync, readlinkSync, renameSync, rmSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

export const root = fileURLToPath(new URL('..', import.meta.url))

/**
 * Runs `before()`, the command and `after()`, unless `done()` returns true. If the command fails, prints its output and
 * exits with code 1.
 *
 * @example await ensure('packages', { done: isInstalled, title: 'Installing packages…', command: () => ['npm', 'ci'] })
 */
export async function ensure(name, { done, title, before, command, env, after }) {
  if (done()) return
  const failure = await withLock(name, async () => {
    if (done()) return
    const started = Date.now()
    process.stderr.write(`${title} `)
    before?.()
    const { code, output } = await runQuietly(command(), env)
    if (code !== 0) return output
    after?.()
    process.stderr.write(`done in ${Math.ceil((Date.now() - started) / 1000)} s\n`)
  })
  if (failure === undefined) return
  process.stderr.write(`failed. The output of the command:\n\n${failure}\n`)
  process.exit(1)
}

function runQuietly([command, ...args], env) {
  return new Promise(resolve => {
    const child = spawn(command, args, {
      cwd: root,
      env: { ...process.env, CI: 'true', ...env }, // with CI set, tools neither prompt nor draw progress bars
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', text => {
        output += text
      })
    }
    child.on('error', error => resolve({ code: 1, output: error.message }))
    child.on('close', code => resolve({ code, output }))
  })
}

/**
 * Runs `work` while it holds a lock. The lock is a symbolic link whose target is the process id of its holder: creating it
 * is atomic, and the id shows whether the holder is still alive.
 */
async function withLock(name, work) {
  mkdirSync(join(root, '.cache'), { recursive: true })
  const lock = join(root, '.cache', `${name}.lock`)
  for (let reported = false; !tryLock(lock); await sleep(100)) {
    const holder = readHolder(lock)
    if (holder === undefined) continue
    if (!isAlive(holder)) {
      removeStale(lock, holder)
    } else if (!reported) {
      reported = true
      process.stderr.write(
        `Waiting for process ${holder}, which does the same step. If that process is another program: rm ${lock}\n`,
      )
    }
  }
  try {
    return await work()
  } finally {
    rmSync(lock, { force: true })
  }
}

function tryLock(lock) {
  try {
    symlinkSync(String(process.pid), lock)
    return true
  } catch (error) {
    if (error.code === 'EEXIST') return false
    throw error
  }
}

function readHolder(lock) {
  try {
    return Number(readlinkSync(lock))
  } catch {
    return undefined // released in the meantime
  }
}

function isAlive(pid) {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error.code === 'EPERM'
  }
}

/** Removes the lock of a dead process, unless another process has replaced it with its own lock meanwhile. */
function removeStale(lock, dead) {
  const moved = `${lock}.${process.pid}`
  try {
    renameSync(lock, moved)
  } catch {
    return
  }
  const holder = readHolder(moved)
  rmSync(moved)
  if (holder !== dead) symlinkSync(String(holder), lock)
}
