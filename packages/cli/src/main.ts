import { type Command, CommanderError } from 'commander'
import type { Context } from './context.ts'
import {
  CommandError,
  EXIT_CODES,
  envelopeOf,
  exitCodeOf,
  hintOf,
  type Outcome,
  toReason,
  usageError,
} from './outcome.ts'
import { createProgram, type Runner } from './program.ts'
import { toTerminal } from './text.ts'

const args = process.argv.slice(2)
/** Whether a command prints lines of JSON instead of an envelope. */
const isStream =
  args[0] === 'dev' || (args[0] === 'ops' && /^(dlq|reconcile|seal|status|doctor)$/.test(args[1] ?? ''))
/** Known before the command line is checked: a wrong one is reported as JSON, too. */
const json = args.includes('--json') && !isStream
/** The npm script that runs this program, if one does. npm changes the working directory: the scripts for dev and ops want that. */
const script = process.env.npm_lifecycle_event ?? ''
if (script === 'w3fil' && process.env.INIT_CWD) process.chdir(process.env.INIT_CWD)

const commandLine = ['w3fil', ...args]
  .map(word => (/^[\w./:@=,+-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`))
  .join(' ')

const stop = new AbortController()
const interrupt = () => {
  if (stop.signal.aborted) process.exit(EXIT_CODES.interrupted)
  const hint = `The same command continues: ${commandLine}`
  stop.abort(new CommandError('Interrupted', 'The command was interrupted', { hint, retryable: true }))
}

const context: Context = {
  env: process.env,
  cwd: process.cwd(),
  fetch,
  now: Date.now,
  stderr: process.stderr,
  signal: stop.signal,
  commandLine,
  note: text => process.stderr.write(`${toTerminal(text, process.stderr.columns)}\n`),
}

const print = (command: string, outcome: Partial<Outcome>): void => {
  const { error, lines = [] } = outcome
  process.exitCode = exitCodeOf(error)
  if (json) process.stdout.write(`${JSON.stringify(envelopeOf(command, outcome))}\n`)
  else for (const line of lines) process.stdout.write(`${toTerminal(line, process.stdout.columns)}\n`)
  if (error === undefined) return
  const hint = hintOf(error)
  const text = `w3fil: ${error.message}\n${hint ? `${hint}\n` : ''}`
  process.stderr.write(toTerminal(text, process.stderr.columns))
}

const runner: Runner = {
  async run(command, work) {
    for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, interrupt)
    try {
      print(command, await work(context))
    } catch (cause) {
      print(command, { error: stop.signal.aborted ? stop.signal.reason : toReason(cause) })
    }
  },
  async stream(work) {
    try {
      process.exitCode = await work(context)
    } catch (cause) {
      const { describeError } = await import('./ops/describe-error.ts')
      process.exitCode = EXIT_CODES.failed
      process.stderr.write(`${toTerminal(`w3fil: ${describeError(cause)}`, process.stderr.columns)}\n`)
    }
    // Whatever is left of the local system must not keep the process.
    process.exit()
  },
}

/** Options that npm has too: their values may come from npm's own configuration. */
const NPM_OPTIONS = new Set(['--json', '--all', '--force', '--key', '--version'])

/** Rejects options that npm consumed. Without `--`, it passes them on in the environment only. */
const rejectOptionsOfNpm = (): void => {
  if (!['start', 'ops', 'w3fil'].includes(script)) return
  const withAll = (command: Command): Command[] => [command, ...command.commands.flatMap(withAll)]
  const all = program.commands.flatMap(withAll)
  for (const { long, required, negate } of all.flatMap(({ options }) => options)) {
    if (NPM_OPTIONS.has(long!)) continue
    const name = long!.replace(negate ? '--no-' : '--', '').replaceAll('-', '_')
    const value = process.env[`npm_config_${name}`]
    if (required ? value !== undefined : value === `${!negate}`)
      throw usageError(`npm consumed ${long}`, `Put options behind --, as in npm run ${script} -- ${long}`)
  }
}

/** Returns the command and the error of a command line that commander refused. */
const refuse = ({ code, message }: CommanderError): [command: string, { error: CommandError }] => {
  const path: string[] = []
  let command = program
  for (const word of args) {
    const named = command.commands.find(sub => sub.name() === word)
    if (named === undefined) break
    path.push(word)
    command = named
  }
  // Commander has printed the help already.
  const reason =
    code === 'commander.help'
      ? 'Missing command'
      : message.replace(/^(error: )?./, start => start.at(-1)!.toUpperCase())
  const help = ['w3fil', ...path, '--help'].join(' ')
  return [path.join(' ') || 'w3fil', { error: usageError(reason.replaceAll(/\s+/g, ' '), `See ${help}`) }]
}

// The reader of the output is gone.
process.stdout.on('error', () => process.exit(EXIT_CODES.failed))
const program = createProgram(runner)
try {
  rejectOptionsOfNpm()
  if (args.length === 0) throw usageError('Missing command', program.helpInformation())
  await program.parseAsync(args, { from: 'user' })
} catch (cause) {
  if (!(cause instanceof CommanderError)) print(args[0] ?? 'w3fil', { error: toReason(cause) })
  // --help and --version end with an error, too.
  else if (cause.exitCode !== 0) print(...refuse(cause))
}
