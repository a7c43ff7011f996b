import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { FLAG, parseOptions, TEXT, wholeNumber } from './options.ts'

describe('parseOptions', () => {
  const options = { seeds: wholeNumber(1, 40).default(7), stop: FLAG, only: TEXT.optional() }
  const parse = (...args: string[]) => parseOptions(args, options)

  test('returns typed values, and defaults for missing options', () => {
    expect(parse()).toEqual({ seeds: 7, stop: false })
    expect(parse('--seeds', '40', '--stop', '--only', 'a b')).toEqual({ seeds: 40, stop: true, only: 'a b' })
    expect(parse('--seeds=1')).toEqual({ seeds: 1, stop: false })
  })

  test.each(['abc', '0', '41', '-3', '2.5', '1e1', '0x7', '+7', ' 7', 'NaN', 'Infinity', '', '--stop'])(
    'refuses %j as a whole number',
    value => {
      const message = `--seeds must be a whole number from 1 to 40, not ${JSON.stringify(value)}`
      expect(() => parse('--seeds', value)).toThrow(message)
      expect(() => parse(`--seeds=${value}`)).toThrow(message)
    },
  )

  test.each([
    [['--seeds'], '--seeds needs a value: a whole number from 1 to 40'],
    [['--only'], '--only needs a value'],
    [['--only='], '--only needs a value'],
    [['--stop=yes'], '--stop takes no value'],
    [['--no-stop'], 'Unknown option --no-stop'],
    [['--sedes', '3'], 'Unknown option --sedes'],
    [['--sedes=3'], 'Unknown option --sedes'],
    [['-s'], 'Unknown option -s'],
    [['more'], 'Unexpected argument "more"'],
    [['--', '--stop'], 'Unexpected argument "--stop"'],
  ])('refuses %j', (args, message) => {
    expect(() => parse(...args)).toThrow(message)
  })
})

describe('a command with an invalid command line prints one line and exits with 2', () => {
  const run = (file: string, args: string[], env: NodeJS.ProcessEnv = {}) =>
    new Promise<{ status: unknown; stdout: string; stderr: string }>(resolve => {
      const path = fileURLToPath(new URL(`../${file}`, import.meta.url))
      const options = { env: { ...process.env, ...env } }
      execFile(process.execPath, [path, ...args], options, (error, stdout, stderr) =>
        resolve({ status: error ? error.code : 0, stdout, stderr }),
      )
    })

  test.concurrent.each([
    [
      'test/simulation/main.ts',
      ['--seeds', 'abc'],
      '--seeds must be a whole number from 1 to 1000000, not "abc"',
    ],
    [
      'test/simulation/main.ts',
      ['--seed', '0', '--seeds', '2'],
      '--seed cannot be combined with --seeds or --from',
    ],
    [
      'test/simulation/mutants.ts',
      ['--only', 'no such fault'],
      '--only selects no fault: no description contains "no such fault"',
    ],
    ['test/fuzz/main.ts', ['--count', '0'], '--count must be a whole number from 1 to 10000000, not "0"'],
    ['test/crash/main.ts', ['--rounds', '0'], '--rounds must be a whole number from 1 to 1000, not "0"'],
    [
      'bench/main.ts',
      ['hash', '--pieces', '1.5'],
      '--pieces must be a whole number from 1 to 100000, not "1.5"',
    ],
    ['bench/main.ts', ['hash', '--json'], '--json needs a value'],
    ['scripts/make-samples.ts', ['--force'], 'Unknown option --force'],
    ['scripts/protocol-table.ts', ['docs'], 'Unexpected argument "docs"'],
  ])('%s %j', async (file, args, message) => {
    expect(await run(file, args)).toEqual({ status: 2, stdout: '', stderr: `${message} (see --help)\n` })
  })

  test.concurrent('an option that npm read itself is refused', async () => {
    const env = { npm_lifecycle_event: 'simulate', npm_config_crash_points: 'true' }
    const message =
      'npm read --crash-points itself. Put options behind --: npm run simulate -- --crash-points (see --help)\n'
    expect(await run('test/simulation/main.ts', [], env)).toEqual({ status: 2, stdout: '', stderr: message })
  })

  test.concurrent('--help prints the options and exits with 0', async () => {
    const { status, stdout, stderr } = await run('test/crash/main.ts', ['--seed', 'abc', '--help'])
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    expect(stdout).toMatch(/npm run crash -- \[options\].*--rounds N.*--help/s)
  })
})
