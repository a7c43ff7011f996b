import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import { EXIT_CODES } from '../../src/outcome.ts'

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url))

/** The envelope, as docs/w3fil.md describes it. */
const Envelope = z.union([
  z.strictObject({ ok: z.literal(true), command: z.string(), result: z.unknown() }),
  z.strictObject({
    ok: z.literal(false),
    command: z.string(),
    error: z.strictObject({
      code: z.string().min(1),
      message: z.string().min(1),
      hint: z.string().min(1).nullable(),
      retryable: z.boolean(),
    }),
    result: z.unknown().optional(),
  }),
])

export interface Ended {
  code: number | null
  out: string
  err: string
}

/** A user: a working directory, a key, and processes of w3fil without a terminal. */
export const createUser = () => {
  const home = mkdtempSync(join(tmpdir(), 'w3fil-'))

  const start = (args: readonly string[], { cwd = home, env = {} }: { cwd?: string; env?: object } = {}) => {
    const child = spawn(process.execPath, [MAIN, ...args], {
      cwd,
      env: {
        ...process.env,
        XDG_CONFIG_HOME: join(home, 'config'),
        W3FIL_KEY: '',
        W3FIL_STOREFRONT: '',
        ...env,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    const run = { child, out: '', err: '' }
    child.stdout.on('data', text => {
      run.out += text
    })
    child.stderr.on('data', text => {
      run.err += text
    })
    const ended = new Promise<Ended>(resolve =>
      child.on('close', code => resolve({ code, out: run.out, err: run.err })),
    )
    return Object.assign(run, { ended })
  }

  return {
    home,
    start,
    w3fil: (...args: string[]): Promise<Ended> => start(args).ended,
    /** Runs a command with `--json`. Checks that stdout is one envelope and that `ok` is true if and only if the exit code is 0. */
    json: async (...args: string[]) => {
      const { code, out, err } = await start([...args, '--json']).ended
      const lines = out.split('\n')
      if (lines.length !== 2 || lines[1] !== '') throw new Error(`stdout is not one line: ${out}`)
      const envelope = Envelope.parse(JSON.parse(lines[0]!))
      if (envelope.ok !== (code === EXIT_CODES.done)) throw new Error(`${code} does not fit ${out}`)
      // biome-ignore lint/suspicious/noExplicitAny: the result depends on the command
      return { code, err, ...(envelope as { ok: boolean; command: string; error?: any; result?: any }) }
    },
    remove: () => rmSync(home, { recursive: true, force: true }),
  }
}
