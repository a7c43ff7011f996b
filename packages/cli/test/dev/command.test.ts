import { mkdtempDisposableSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, vi } from 'vitest'
import { run } from './start.ts'

const temporaryDirectory = () => mkdtempDisposableSync(join(tmpdir(), 'w3filecoin-'))

describe('npm start', () => {
  it('prints its help with --help, in lines of at most 80 columns', async () => {
    const help = run('--help')
    expect(await help.ended).toBe(0)
    for (const option of ['--once', '--data', '--port', '--files', '--no-journey', '--json', '--help'])
      expect(help.stdout).toContain(option)
    for (const line of help.stdout.split('\n')) expect(line.length, line).toBeLessThanOrEqual(80)
    expect(help.stderr).toBe('')
  })

  it('prints its help with -h', async () => {
    const help = run('-h')
    expect(await help.ended).toBe(0)
    expect(help.stdout).toContain('w3fil dev')
  })

  it('refuses to start without the options that npm consumed', async () => {
    vi.stubEnv('npm_lifecycle_event', 'start')
    vi.stubEnv('npm_config_once', 'true')
    // npm has an option of this name: it may be set in npm's configuration.
    vi.stubEnv('npm_config_json', 'true')
    const refused = run('--port', '0')
    vi.unstubAllEnvs()
    expect(await refused.ended).toBe(2)
    expect(refused.stderr).toBe(
      'w3fil: npm consumed --once\nPut options behind --, as in npm run start -- --once\n',
    )
  })

  it.each([
    ['an unknown option', ['--frobnicate'], "Unknown option '--frobnicate'"],
    [
      'an invalid port',
      ['--port', '99999'],
      "Option '--port <base>' argument '99999' is invalid. It must be a whole number from 0 to 65530.",
    ],
    [
      'a port with a dash',
      ['--port', '-1'],
      "Option '--port <base>' argument '-1' is invalid. It must be a whole number from 0 to 65530.",
    ],
    [
      'an invalid timeout',
      ['--timeout', '0'],
      "Option '--timeout <sec>' argument '0' is invalid. It must be a number of seconds above 0.",
    ],
    ['an empty directory', ['--data='], '--data needs a value'],
    [
      'an unknown engine',
      ['--engine', 'x'],
      "Option '--engine <name>' argument 'x' is invalid. Allowed choices are sqlite, dynamodb.",
    ],
    [
      'options that exclude each other',
      ['--once', '--no-journey'],
      "Option '--once' cannot be used with option '--no-journey'",
    ],
  ])('refuses %s', async (_, options, line) => {
    const refused = run(...options)
    expect(await refused.ended).toBe(2)
    expect(refused.stderr).toBe(`w3fil: ${line}\nSee w3fil dev --help\n`)
  })

  it.each([
    [
      'a missing directory',
      ['--files', '/nowhere'],
      'Cannot read the directory /nowhere: it does not exist. Check --files.',
    ],
    [
      'a file instead of a directory',
      ['--files', '/etc/hosts'],
      'Cannot read the directory /etc/hosts: it is not a directory. Check --files.',
    ],
  ])('refuses %s', async (_, options, line) => {
    const refused = run(...options)
    expect(await refused.ended).toBe(1)
    expect(refused.stderr).toBe(`w3fil: ${line}\n`)
  })

  it('refuses a --fault that names no file of the journey', async () => {
    using directory = temporaryDirectory()
    writeFileSync(join(directory.path, 'file'), '')
    const refused = run('--files', directory.path, '--fault', 'other')
    expect(await refused.ended).toBe(1)
    expect(refused.stderr).toBe(
      'w3fil: The journey has no file other. Pass --fault a path relative to the --files directory.\n',
    )
  })

  it('refuses a directory without files', async () => {
    using empty = temporaryDirectory()
    const refused = run('--files', empty.path)
    expect(await refused.ended).toBe(1)
    expect(refused.stderr).toBe(
      `w3fil: The directory ${empty.path} has no files to take. Pass another one with --files.\n`,
    )
  })

  it('refuses a port that is in use', async () => {
    using data = temporaryDirectory()
    const taken = createServer()
    // The aggregator's port is the base port + 2.
    const port = await new Promise<number>(resolve =>
      taken.listen(0, '127.0.0.1', () => resolve((taken.address() as { port: number }).port)),
    )
    const refused = run('--no-journey', '--data', data.path, '--port', `${port - 2}`)
    expect(await refused.ended).toBe(1)
    // Other tests listen too: a port next to this one may be in use as well.
    const [, named] =
      /^w3fil: Port (\d+) is in use\. Stop the other process or pass --port\.\n$/.exec(refused.stderr) ?? []
    expect(Math.abs(Number(named) - port), refused.stderr).toBeLessThan(10)
    taken.close()
  })

  it('refuses a data directory without write permission', async () => {
    using directory = temporaryDirectory()
    const file = join(directory.path, 'file')
    writeFileSync(file, '')
    const refused = run('--no-journey', '--data', file, '--port', '0')
    expect(await refused.ended).toBe(1)
    expect(refused.stderr).toMatch(
      /^w3fil: Cannot write to the data directory .*file: ENOTDIR.* Pass another one with --data\.\n$/,
    )
  })

  it('refuses a data directory that cannot be created, without spinning', async () => {
    const refused = run('--no-journey', '--data', '/proc/w3filecoin', '--port', '0')
    expect(await refused.ended).toBe(1)
    expect(refused.stderr).toMatch(
      /^w3fil: Cannot write to the data directory \/proc\/w3filecoin: ENOENT.* Pass another one with --data\.\n$/,
    )
  })

  it('refuses a local.json that it cannot parse, and keeps the file', async () => {
    using data = temporaryDirectory()
    writeFileSync(join(data.path, 'local.json'), '{ broken')
    const refused = run('--no-journey', '--data', data.path, '--port', '0')
    expect(await refused.ended).toBe(1)
    expect(refused.stderr).toMatch(
      /local\.json, which holds the keys of this system, is not valid\. Restore it or remove/,
    )
    expect(readFileSync(join(data.path, 'local.json'), 'utf8')).toBe('{ broken')
  })
})
