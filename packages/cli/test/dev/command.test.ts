import { mkdtempDisposableSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, vi } from 'vitest'
import { run } from './start.ts'

const temporaryDirectory = () => mkdtempDisposableSync(join(tmpdir(), 'w3filecoin-'))

describe('the command', () => {
  it('says what it can do', async () => {
    const help = run('--help')
    expect(await help.ended).toBe(0)
    for (const option of ['--once', '--data', '--port', '--files', '--no-journey', '--json', '--help'])
      expect(help.stdout).toContain(option)
    expect(help.stderr).toBe('')
  })

  it('says so in short, too', async () => {
    const help = run('-h')
    expect(await help.ended).toBe(0)
    expect(help.stdout).toContain('npm start')
  })

  it('does not start without the options that npm took', async () => {
    vi.stubEnv('npm_lifecycle_event', 'start')
    vi.stubEnv('npm_config_once', 'true')
    // What npm has an option of that name for, and nobody typed.
    vi.stubEnv('npm_config_json', 'true')
    const refused = run('--port', '0')
    vi.unstubAllEnvs()
    expect(await refused.ended).toBe(1)
    expect(refused.stderr).toBe(
      'w3filecoin: npm took --once for itself; options go behind --, as in npm run start -- --once\n',
    )
  })

  it.each([
    [
      'an option that it does not have',
      ['--frobnicate'],
      "Unknown option '--frobnicate'; --help says what there is",
    ],
    ['a port that is none', ['--port', '99999'], '--port takes a number from 0 to 65531, not 99999'],
    ['a port that is empty', ['--port='], '--port takes a value, and here it is empty'],
    [
      'a value with a dash',
      ['--port', '-1'],
      "Option '--port' argument is ambiguous; --help says what there is",
    ],
    [
      'two wishes that exclude each other',
      ['--once', '--no-journey'],
      '--once has nothing to do with --no-journey',
    ],
    [
      'a directory that is not there',
      ['--files', '/nowhere'],
      'The directory /nowhere can not be read: there is none',
    ],
    [
      'a directory that is a file',
      ['--files', '/etc/hosts'],
      'The directory /etc/hosts can not be read: it is not one',
    ],
  ])('refuses %s', async (_, options, line) => {
    const refused = run(...options)
    expect(await refused.ended).toBe(1)
    expect(refused.stderr).toBe(`w3filecoin: ${line}\n`)
  })

  it('refuses a directory without files', async () => {
    using empty = temporaryDirectory()
    const refused = run('--files', empty.path)
    expect(await refused.ended).toBe(1)
    expect(refused.stderr).toBe(`w3filecoin: There are no files in ${empty.path}\n`)
  })

  it('refuses a port that is in use', async () => {
    using data = temporaryDirectory()
    const taken = createServer()
    // The one of the aggregator.
    const port = await new Promise<number>(resolve =>
      taken.listen(0, '127.0.0.1', () => resolve((taken.address() as { port: number }).port)),
    )
    const refused = run('--no-journey', '--data', data.path, '--port', `${port - 2}`)
    expect(await refused.ended).toBe(1)
    expect(refused.stderr).toBe(`w3filecoin: Port ${port} is in use; choose others with --port\n`)
    taken.close()
  })

  it('refuses a data directory that it can not write to', async () => {
    using directory = temporaryDirectory()
    const file = join(directory.path, 'file')
    writeFileSync(file, '')
    const refused = run('--no-journey', '--data', file, '--port', '0')
    expect(await refused.ended).toBe(1)
    expect(refused.stderr).toMatch(
      /^w3filecoin: The data directory .*file can not be written to: EEXIST.*\n$/,
    )
  })

  it('does not go on with keys that it can not read', async () => {
    using data = temporaryDirectory()
    writeFileSync(join(data.path, 'local.json'), '{ broken')
    const refused = run('--no-journey', '--data', data.path, '--port', '0')
    expect(await refused.ended).toBe(1)
    expect(refused.stderr).toMatch(/local\.json holds the keys of this system and can not be understood/)
    expect(readFileSync(join(data.path, 'local.json'), 'utf8')).toBe('{ broken')
  })
})
