import { parseArgs } from 'node:util'
import { z } from 'zod'

/** The exit code for a wrong command line. */
const EXIT_CODE_USAGE = 2

/** A command line that cannot be run; the message is one line. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

/** An option without a value, e.g. `--stop`. */
export const FLAG = z.boolean({ error: 'takes no value' }).default(false)

/** An option with a text that is not empty, e.g. `--only nonce`. */
export const TEXT = z.string({ error: 'needs a value' }).min(1, { error: 'needs a value' })

/** The largest seed: the generators take 32 bits, and the sign is one of them. */
export const MAX_SEED = 2 ** 31 - 1

/** An option with a whole number from `min` to `max`, e.g. `--seeds 40`. Forms such as `4e1`, `0x28` and `+40` are refused. */
export const wholeNumber = (min: number, max: number) => {
  const range = `a whole number from ${min} to ${max}`
  return z
    .string({ error: `needs a value: ${range}` })
    .refine(text => /^\d+$/.test(text) && Number(text) >= min && Number(text) <= max, {
      error: ({ input }) => `must be ${range}, not ${JSON.stringify(input)}`,
    })
    .transform(Number)
}

export interface Command<Shape extends z.ZodRawShape> {
  /** The npm script, e.g. `simulate`. */
  script: string
  /** The text that `--help` prints. */
  help: string
  /** The options by name, without `--help`, e.g. `{ seeds: wholeNumber(1, 1000).default(40), stop: FLAG }`. */
  options: Shape
}

type Values<Shape extends z.ZodRawShape> = z.output<z.ZodObject<Shape>>

/**
 * Returns the checked options of this process. Prints the help text and exits with 0 if `--help` is among them; prints one
 * line to stderr and exits with 2 if the command line is wrong. Call it before importing anything heavy.
 *
 * @example
 * const { seeds } = readOptions({ script: 'simulate', help: HELP, options: { seeds: wholeNumber(1, 1000).default(40) } })
 */
export const readOptions = <Shape extends z.ZodRawShape>(command: Command<Shape>): Values<Shape> => {
  const args = process.argv.slice(2)
  if (args.includes('--help')) {
    process.stdout.write(command.help)
    process.exit(0)
  }
  try {
    rejectOptionsOfNpm(command)
    return parseOptions(args, command.options)
  } catch (cause) {
    if (!(cause instanceof UsageError)) throw cause
    return refuseToRun(cause.message)
  }
}

/** Prints why the command line cannot be run, and exits with 2. */
export const refuseToRun = (message: string): never => {
  console.error(`${message} (see --help)`)
  process.exit(EXIT_CODE_USAGE)
}

/** Returns the checked options of a command line; throws a `UsageError` that names the first wrong one. */
export const parseOptions = <Shape extends z.ZodRawShape>(args: string[], options: Shape): Values<Shape> => {
  // `strict` would split errors between Node and zod, and Node's take several lines.
  const { values, positionals } = parseArgs({
    args,
    strict: false,
    options: Object.fromEntries(
      Object.entries(options).map(([name, schema]) => [
        name,
        { type: schema === FLAG ? 'boolean' : 'string' } as const,
      ]),
    ),
  })
  const parsed = z.strictObject(options).safeParse({ ...values })
  if (parsed.success && positionals.length === 0) return parsed.data as Values<Shape>
  if (parsed.success) throw new UsageError(`Unexpected argument ${JSON.stringify(positionals[0])}`)
  const [issue] = parsed.error.issues
  if (issue?.code === 'unrecognized_keys') throw new UsageError(`Unknown option ${dashed(issue.keys[0]!)}`)
  throw new UsageError(`${dashed(String(issue?.path[0]))} ${issue?.message}`)
}

const dashed = (name: string): string => (name.length === 1 ? `-${name}` : `--${name}`)

/** Without the `--` in `npm run simulate -- --stop`, npm reads the option itself and only sets a variable. */
const rejectOptionsOfNpm = <Shape extends z.ZodRawShape>({ script, options }: Command<Shape>): void => {
  if (process.env.npm_lifecycle_event !== script) return
  const name = Object.keys(options).find(name => process.env[`npm_config_${name.replaceAll('-', '_')}`])
  if (name !== undefined)
    throw new UsageError(`npm read --${name} itself. Put options behind --: npm run ${script} -- --${name}`)
}
