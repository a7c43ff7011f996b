// A step of the set-up: done once, by one process at a time, in one line on the terminal unless it fails.
import { spawn } from 'node:child_process'
import { mkdirSync, readlinkSync, renameSync, rmSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

export const root = fileURLToPath(new URL('..', import.meta.url))

/**
 * Unless `done()` says that there is nothing to do: run `command()` with `before()` and `after()` around it. If the
 * command fails, everything it said is shown and the process ends.
 */
export async function ensure(name, { done, title, before, command, env, after }) {
  if (done()) return
  const failure = await locked(name, async () => {
    if (done()) return
    const started = Date.now()
    process.stderr.write(`${title} `)
    before?.()
    const { code, output } = await quietly(command(), env)
    if (code !== 0) return output
    after?.()
    process.stderr.write(`done in ${Math.ceil((Date.now() - started) / 1000)} s\n`)
  })
  if (failure === undefined) return
  process.stderr.write(`failed. What was said:\n\n${failure}\n`)
  process.exit(1)
}

function quietly([command, ...args], env) {
  return new Promise(resolve => {
    const child = spawn(command, args, {
      cwd: root,
      env: { ...process.env, CI: 'true', ...env }, // with CI set, nothing asks questions or draws
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
 * The lock is a symbolic link to the number of the process that holds it: it is made in one step, so nobody sees it
 * half written, and it tells whether its holder is still alive.
 */
async function locked(name, work) {
  mkdirSync(join(root, '.cache'), { recursive: true })
  const lock = join(root, '.cache', `${name}.lock`)
  for (let told = false; !take(lock); await sleep(100)) {
    const holder = holderOf(lock)
    if (holder === undefined) continue
    if (!isAlive(holder)) {
      bury(lock, holder)
    } else if (!told) {
      told = true
      process.stderr.write(
        `Waiting for process ${holder}, which is doing the same (if it is not: rm ${lock})\n`,
      )
    }
  }
  try {
    return await work()
  } finally {
    rmSync(lock, { force: true })
  }
}

function take(lock) {
  try {
    symlinkSync(String(process.pid), lock)
    return true
  } catch (error) {
    if (error.code === 'EEXIST') return false
    throw error
  }
}

function holderOf(lock) {
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

/** Take away the lock of a dead process, unless another has done so and put its own in that place. */
function bury(lock, dead) {
  const grave = `${lock}.${process.pid}`
  try {
    renameSync(lock, grave)
  } catch {
    return
  }
  const buried = holderOf(grave)
  rmSync(grave)
  if (buried !== dead) symlinkSync(String(buried), lock)
}
