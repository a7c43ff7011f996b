import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { identify } from '@w3filecoin/client'
import type { Command } from 'commander'
import { afterAll, describe, expect, it } from 'vitest'
import { completionScript } from '../../src/completion.ts'
import { createProgram } from '../../src/program.ts'
import { createUser } from './w3fil.ts'

const user = createUser()
const { home, w3fil, json } = user
afterAll(() => user.remove())

const program = createProgram({ run: async () => {}, stream: async () => {} })
const walk = (command: Command): Command[] => [command, ...command.commands.flatMap(walk)]
const CID = 'bafyreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy'

describe('w3fil', () => {
  it.each(walk(program).map(command => ({ name: command.name(), command })))(
    'shows examples in the help of $name',
    ({ command }) => {
      let help = ''
      command
        .configureOutput({
          writeOut: text => {
            help += text
          },
        })
        .outputHelp()
      // A group has its examples at its commands.
      if (command.commands.length === 0) expect(help).toMatch(/Examples:\n {2}.*w3fil /)
      const tooLong = help.split('\n').filter(line => line.length > 80 && !/^ {2}(npx )?w3fil /.test(line))
      expect(tooLong).toEqual([])
      expect(command.description()).toMatch(/^[A-Z]/)
      for (const { description } of command.options) expect(description).not.toBe('')
    },
  )

  it('prints the help with 2 if the command is missing', async () => {
    const { code, out, err } = await w3fil()
    expect([code, out]).toEqual([2, ''])
    expect(err).toContain('Usage: w3fil')
    expect(await w3fil('key')).toMatchObject({
      code: 2,
      err: expect.stringContaining('w3fil: Missing command'),
    })
  })

  it.each([
    ['w3fil', ['frobnicate'], "Unknown command 'frobnicate'"],
    ['add', ['add'], "Missing required argument 'path'"],
    ['add', ['add', 'x', '--frob'], "Unknown option '--frob'"],
    ['cid', ['cid'], "Missing required argument 'path'"],
    ['cid', ['cid', ''], 'An argument is empty'],
    ['status', ['status', 'x'], 'x is not a CID'],
    ['status', ['status', CID, '--storefront', 'did:key:x'], 'did:key:x is a DID, but'],
    ['proof', ['proof', 'x'], 'x is not a CID'],
    ['verify', ['verify', 'x', '--keys', 'did:key:z'], '--keys and --document need the DID'],
    [
      'verify',
      ['verify', 'x', '--keys', 'a', '--document', 'b'],
      "Option '--document <file>' cannot be used",
    ],
    [
      'verify',
      ['verify', 'x', '--storefront', 'did:key:z', '--rpc', 'node'],
      '--rpc node is not an http or https URL',
    ],
    [
      'verify',
      ['verify', 'x', '--storefront', 'did:key:z', '--rpc', 'https://node.example', '--pdp-verifier', '0x12'],
      '--pdp-verifier 0x12 is not an address',
    ],
    [
      'verify',
      ['verify', 'x', '--storefront', 'did:key:z', '--pdp-verifier', '0x12'],
      '--pdp-verifier needs a node of the chain',
    ],
    [
      'verify',
      ['verify', 'x', '--storefront', 'did:key:z', '--network', 'calibrationnet'],
      '--network needs a node of the chain',
    ],
    ['key show', ['key', 'show', '--key='], '--key needs a value'],
    ['delegate', ['delegate', 'did:key:x'], "Required option '--can <ability>' not specified"],
    ['delegate', ['delegate', 'x', '--can', 'a/b'], 'x is not a DID'],
    [
      'delegate',
      ['delegate', 'x', '--can', 'a/b', '--valid', '1y'],
      "Option '--valid <time>' argument '1y' is invalid",
    ],
    ['revoke', ['revoke'], "Missing required argument 'delegation'"],
    ['completion', ['completion', 'csh'], "Command-argument value 'csh' is invalid"],
  ])('%s exits with 2 for the wrong command line %j', async (command, args, message) => {
    const ended = await json(...args)
    expect(ended).toMatchObject({
      code: 2,
      command,
      error: {
        code: 'Usage',
        message: expect.stringContaining(message),
        hint: expect.any(String),
        retryable: false,
      },
    })
    expect(ended.err).toContain('w3fil: ')
  })

  it.each([
    ['add', ['add', fileURLToPath(import.meta.url)]],
    ['status', ['status', CID]],
    ['proof', ['proof', CID]],
    ['verify', ['verify', 'x.w3proof']],
  ])('%s says how to go on without a storefront', async (command, args) => {
    expect(await json(...args)).toMatchObject({
      code: 1,
      command,
      error: { code: 'NoStorefront', hint: expect.stringContaining('--storefront') },
    })
  })

  it('says that a local system is not running', async () => {
    const data = join(home, 'stopped')
    mkdirSync(data)
    const service = { did: 'did:key:z6Mk', url: 'http://127.0.0.1:1' }
    writeFileSync(join(data, 'local.json'), JSON.stringify({ storefront: service, dealTracker: service }))
    expect(await json('status', CID, '--data', 'stopped')).toMatchObject({
      code: 1,
      error: {
        message: 'The local system of stopped is not running',
        hint: expect.stringContaining('w3fil dev'),
      },
    })
  })

  it('exits with 4 if the storefront is unreachable', async () => {
    const closed = createServer()
    const port = await new Promise<number>(resolve =>
      closed.listen(0, '127.0.0.1', () => resolve((closed.address() as { port: number }).port)),
    )
    await new Promise(resolve => closed.close(resolve))
    expect(await json('proof', CID, '--storefront', `http://127.0.0.1:${port}`)).toMatchObject({
      code: 4,
      error: { code: 'Unreachable', retryable: true },
      err: expect.stringContaining('Trying again in'),
    })
  })

  it('computes the CIDs of files, without hidden files and proofs in directories', async () => {
    mkdirSync(join(home, 'files', '.git'), { recursive: true })
    for (const name of ['a.txt', 'b.txt', '.hidden', 'a.txt.w3proof', '.git/config'])
      writeFileSync(join(home, 'files', name), name)
    const { result } = await json('cid', 'files')
    const { content, piece, bytes } = await identify(join(home, 'files', 'a.txt'))
    expect(result[0]).toEqual({ file: 'files/a.txt', bytes, content: `${content}`, piece: `${piece}` })
    expect(result.map(({ file }: { file: string }) => file)).toEqual(['files/a.txt', 'files/b.txt'])
    expect((await json('cid', 'files/.hidden')).result).toHaveLength(1)
    mkdirSync(join(home, 'empty'))
    expect(await json('cid', 'empty')).toMatchObject({ code: 1, error: { code: 'NoFiles' } })
    expect(await json('cid', 'nowhere')).toMatchObject({ code: 1, error: { code: 'InvalidSource' } })
  })

  it('creates a key once, and never prints it', async () => {
    expect(await json('key', 'show', '--key', 'none')).toMatchObject({ code: 1, error: { code: 'NoKey' } })
    const { result } = await json('key', 'new', '--key', 'my.key')
    expect(result).toEqual({ did: expect.stringMatching(/^did:key:z6Mk/), file: join(home, 'my.key') })
    expect(statSync(result.file).mode & 0o777).toBe(0o600)
    expect(await json('key', 'new', '--key', 'my.key')).toMatchObject({
      code: 1,
      error: { code: 'KeyExists' },
    })
    expect(await w3fil('key', 'show', '--key', 'my.key')).toEqual({
      code: 0,
      out: `${result.did}\n`,
      err: '',
    })
  })

  it('delegates to another agent, and does not overwrite another delegation', async () => {
    const { result: other } = await json('key', 'new', '--key', 'other.key')
    const delegation = await json('delegate', other.did, '--can', 'filecoin/*', '--valid', '1d', '-o', 'd')
    expect(delegation.result).toMatchObject({ file: 'd', audience: other.did, abilities: ['filecoin/*'] })
    const before = readFileSync(join(home, 'd'))
    expect(await json('delegate', other.did, '--can', 'deal/info', '-o', 'd')).toMatchObject({
      code: 1,
      error: { code: 'FileExists', hint: expect.stringContaining('-o') },
    })
    expect(readFileSync(join(home, 'd'))).toEqual(before)
    expect(await json('revoke', 'files/a.txt')).toMatchObject({ code: 1, error: { code: 'InvalidSource' } })
  })

  it('refuses files whose proofs would have the same name', async () => {
    mkdirSync(join(home, 'more'))
    writeFileSync(join(home, 'more', 'a.txt'), '')
    expect(await json('add', 'files/a.txt', 'more/a.txt', '--proofs', 'proofs')).toMatchObject({
      code: 2,
      error: {
        message: 'files/a.txt and more/a.txt would have their proofs in the same file proofs/a.txt.w3proof',
      },
    })
  })

  it('completes commands, options and choices in bash', () => {
    const complete = (...words: string[]) =>
      execFileSync('bash', [
        '-c',
        `${completionScript(program, 'bash')}
         COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _w3fil; echo "\${COMPREPLY[@]}"`,
        'bash',
        'w3fil',
        ...words,
      ])
        .toString()
        .trim()
    expect(complete('ver')).toBe('verify')
    expect(complete('key', '')).toBe('new show --help')
    expect(complete('ops', 'reconcile', '--o')).toBe('--overdue')
    expect(complete('add', 'verify', '--pro')).toBe('--proofs')
    expect(complete('completion', 'f')).toBe('fish')
    expect(complete('add', 'photo')).toBe('')
  })

  it('prints the completion of each shell', async () => {
    expect((await json('completion', 'zsh')).result.script).toMatch(/^#compdef w3fil\n/)
    expect((await w3fil('completion', 'fish')).out).toContain(
      "complete -c w3fil -n '__fish_seen_subcommand_from ops; and __fish_seen_subcommand_from seal' -l stage",
    )
  })

  it('runs as a command of the repository, also from another directory', () => {
    const bin = fileURLToPath(new URL('../../bin/w3fil', import.meta.url))
    const out = execFileSync('sh', [bin, 'cid', '--json', 'a.txt'], { cwd: join(home, 'files') }).toString()
    expect(JSON.parse(out)).toMatchObject({ ok: true, result: [{ file: 'a.txt' }] })
  })
})
