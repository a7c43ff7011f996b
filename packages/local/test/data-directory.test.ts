import { spawn, spawnSync } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { generateKey, parseSigner } from '@w3filecoin/runtime'
import { UserError } from '@w3filecoin/runtime/user-error'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { startLocal } from '../src/index.ts'
import { LogFile } from '../src/log-file.ts'
import type { TableEngine } from '../src/table-engine.ts'
import { echo, temporaryDirectory } from './echo/index.ts'

/**
 * Returns the first of three free ports in a row. They are below the range from which the operating system takes ports: tests
 * that run beside this one take those.
 */
const findFreeBase = async (): Promise<number> => {
  for (;;) {
    const base = randomInt(20_000, 30_000)
    const servers = [base, base + 1, base + 2].map(port => createServer().listen(port, '127.0.0.1'))
    const listening = await Promise.allSettled(servers.map(server => once(server, 'listening')))
    for (const server of servers) server.close()
    if (listening.every(({ status }) => status === 'fulfilled')) return base
  }
}

const START = fileURLToPath(new URL('./echo/start.ts', import.meta.url))

describe('the data directory', () => {
  let directory: ReturnType<typeof temporaryDirectory>
  beforeEach(() => {
    directory = temporaryDirectory()
  })
  afterEach(() => directory[Symbol.dispose]())

  const data = () => join(directory.path, 'data')
  const start = (engine: TableEngine = 'sqlite') =>
    startLocal({ data: data(), engine, services: [echo(join(directory.path, 'seen'))] })
  const startAndStop = async (engine?: TableEngine) => {
    const local = await start(engine)
    await local.stop()
    return local
  }
  const readJson = (name: string) => JSON.parse(readFileSync(join(data(), name), 'utf8'))
  const refusal = async (engine?: TableEngine) => {
    const error = await start(engine).then(
      local => local.stop(),
      (cause: unknown) => cause,
    )
    expect(error).toBeInstanceOf(UserError)
    return (error as UserError).message
  }

  it('keeps its keys, and is refused without them', async () => {
    const first = await startAndStop()
    const second = await startAndStop()
    expect(second.services.echo!.did).toBe(first.services.echo!.did)
    const file = join(data(), 'keys.json')
    rmSync(file)
    expect(await refusal()).toBe(
      `${file}, which holds the keys of this system, is missing, but its data is in ${data()}. Services with new keys cannot continue it. Restore the file, or remove ${data()} to start from scratch.`,
    )
    expect(existsSync(file), 'no new keys are written').toBe(false)
  })

  it('has its keys before an engine stores data in it', async () => {
    mkdirSync(join(data(), 'fauxqs.db'), { recursive: true })
    await expect(start()).rejects.toThrow()
    const kept = JSON.parse(readFileSync(join(data(), 'keys.json'), 'utf8'))
    rmSync(join(data(), 'fauxqs.db'), { recursive: true })
    expect((await startAndStop()).services.echo!.key).toBe(kept.echo)
  })

  it('has the keys in a private file, and the facts for clients in a file without them', async () => {
    const local = await startAndStop()
    const { url, did, key } = local.services.echo!
    expect(statSync(join(data(), 'keys.json')).mode & 0o777).toBe(0o600)
    expect(readJson('keys.json')).toEqual({ echo: key, agent: local.agent.key })
    expect(statSync(join(data(), 'local.json')).mode & 0o777).toBe(0o644)
    expect(readJson('local.json')).toMatchObject({
      echo: { url, did },
      agent: { did: local.agent.did },
      content: { url: `${local.engines.s3}/storefront-content/{cid}` },
      engines: local.engines.env,
    })
    const facts = readFileSync(join(data(), 'local.json'), 'utf8')
    for (const secret of [key, local.agent.key]) expect(facts).not.toContain(secret)
  })

  it('of an earlier version, with the keys in local.json, is continued with the same keys, which leave that file', async () => {
    const [echoKey, agentKey] = [await generateKey(), await generateKey()]
    const didOf = (key: string) => parseSigner(key).did()
    mkdirSync(data())
    writeFileSync(
      join(data(), 'local.json'),
      JSON.stringify({
        echo: { url: 'http://127.0.0.1:4001', did: didOf(echoKey), key: echoKey },
        agent: { did: didOf(agentKey), key: agentKey },
        content: { url: 'http://127.0.0.1:40124/storefront-content/{cid}' },
        engines: { AWS_REGION: 'us-east-1' },
        resources: { echo: { TABLE_NOTE: 'echo-note' } },
      }),
      { mode: 0o600 },
    )
    writeFileSync(join(data(), 'tables.sqlite'), '')
    for (const start of ['the first', 'the second']) {
      const { services, agent } = await startAndStop()
      expect([services.echo!.key, agent.key], start).toEqual([echoKey, agentKey])
    }
    expect(readJson('keys.json')).toEqual({ echo: echoKey, agent: agentKey })
    const facts = readFileSync(join(data(), 'local.json'), 'utf8')
    for (const secret of [echoKey, agentKey]) expect(facts).not.toContain(secret)
  })

  it('in or below a directory that takes no others is refused at once', async () => {
    for (const path of ['/proc/w3filecoin', '/proc/self/deep/er', '/proc']) {
      const started = startLocal({ data: path, services: [echo(join(directory.path, 'seen'))] })
      await expect(started).rejects.toThrow(
        new RegExp(
          `^Cannot write to the data directory ${path}: (ENOENT|EACCES): .*Pass another one with --data\\.$`,
        ),
      )
    }
  })

  it('has its content on the port after the services, and a conflict names that port', async () => {
    const base = await findFreeBase()
    const services = [echo(join(directory.path, 'seen'))]
    const local = await startLocal({ data: data(), port: base, services })
    await local.stop()
    expect(local.services.echo!.url).toBe(`http://127.0.0.1:${base + 1}`)
    expect(readJson('local.json').content.url).toBe(`http://127.0.0.1:${base + 2}/storefront-content/{cid}`)
    const taken = createServer().listen(base + 2, '127.0.0.1')
    await once(taken, 'listening')
    await expect(startLocal({ data: data(), port: base, services })).rejects.toThrow(
      `Port ${base + 2} is in use. Stop the other process or pass --port.`,
    )
    taken.close()
  })

  it.skipIf(`${process.platform}-${process.arch}` !== 'linux-x64')(
    'of an earlier version, whose tables are in the engine for DynamoDB, is refused by SQLite, and still read by dynamodb',
    async () => {
      const first = await startAndStop('dynamodb')
      const before = readdirSync(data()).sort()
      const line = (has: TableEngine, file: string, wanted: TableEngine) =>
        `The data directory ${data()} has the tables of the engine ${has} (${file}), which the engine ${wanted} does not read. Pass --engine ${has} to continue it, or another --data to start from scratch.`
      expect(await refusal()).toBe(line('dynamodb', 'dynamodb.sqlite', 'sqlite'))
      expect(readdirSync(data()).sort(), 'the refusal changes nothing').toEqual(before)
      const second = await startAndStop('dynamodb')
      expect(second.services.echo!.did).toBe(first.services.echo!.did)

      rmSync(data(), { recursive: true })
      await startAndStop('sqlite')
      expect(await refusal('dynamodb')).toBe(line('sqlite', 'tables.sqlite', 'dynamodb'))
    },
  )

  it('with a damaged lock is refused, and the message names the file', async () => {
    await startAndStop()
    writeFileSync(join(data(), 'lock'), 'not a database'.repeat(1_000))
    expect(await refusal()).toBe(
      `Cannot lock the data directory by its file ${join(data(), 'lock')}: file is not a database. Stop the system that uses the directory, if one does, then remove the file.`,
    )
    rmSync(join(data(), 'lock'))
    await startAndStop()
  })

  it('is accessible to its owner only, whatever the umask and the earlier permissions are', async () => {
    mkdirSync(join(data(), 'logs'), { recursive: true })
    writeFileSync(join(data(), 'market.json'), '[]')
    for (const path of [data(), join(data(), 'logs')]) chmodSync(path, 0o755)
    chmodSync(join(data(), 'market.json'), 0o644)
    const child = spawn(
      '/bin/sh',
      [
        '-c',
        'umask 0; exec "$@"',
        'sh',
        process.execPath,
        START,
        data(),
        join(directory.path, 'seen'),
        'sqlite',
      ],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    )
    const [line] = await once(child.stdout, 'data')
    const { s3 } = JSON.parse(`${line}`)
    const stored = await fetch(`${s3}/echo-note-files/content`, { method: 'PUT', body: 'secret' })
    expect(stored.status).toBe(200)
    child.kill('SIGKILL')
    await once(child, 'exit')

    const paths = [data(), ...readdirSync(data(), { recursive: true }).map(name => join(data(), `${name}`))]
    expect(paths.length).toBeGreaterThan(8)
    const open = paths.filter(path => (statSync(path).mode & 0o077) !== 0)
    expect(open).toEqual([join(data(), 'local.json')])
  })

  it('that has files of others keeps its own permissions; what the system stores is private', async () => {
    mkdirSync(data())
    writeFileSync(join(data(), 'thesis.txt'), '')
    chmodSync(data(), 0o755)
    await startAndStop()
    expect(statSync(data()).mode & 0o777).toBe(0o755)
    expect(statSync(join(data(), 'tables.sqlite')).mode & 0o077).toBe(0)
  })
})

it('a Node without node:sqlite is refused in one line', () => {
  const { status, stderr } = spawnSync(
    process.execPath,
    ['--no-experimental-sqlite', START, '/nowhere', '/nowhere', 'sqlite'],
    { encoding: 'utf8' },
  )
  expect(status).toBe(1)
  expect(stderr).toContain(
    `UserError: The system on this machine needs node:sqlite, which Node ${process.version} at ${process.execPath} does not have. Use Node 24 or later from https://nodejs.org, without --no-experimental-sqlite.`,
  )
})

describe.skipIf(!existsSync('/dev/full'))('a log file on a full disk', () => {
  it('is reported in one line, and the system goes on without it', async () => {
    using directory = temporaryDirectory()
    const lines: string[] = []
    mkdirSync(join(directory.path, 'logs'))
    symlinkSync('/dev/full', join(directory.path, 'logs', 'echo.log'))
    const log = new LogFile(directory.path, 'echo', line => lines.push(line))
    for (let n = 0; n < 3; n++) log.write('a line\n')
    log.close()
    expect(lines).toEqual([
      `w3filecoin: cannot write ${log.path}: ENOSPC: no space left on device, write. The system goes on without this log until its next start.`,
    ])
  })

  it('does not end a running service', async () => {
    using directory = temporaryDirectory()
    const data = join(directory.path, 'data')
    mkdirSync(join(data, 'logs'), { recursive: true })
    symlinkSync('/dev/full', join(data, 'logs', 'services.log'))
    const crashes: Error[] = []
    await using stack = new AsyncDisposableStack()
    const local = stack.adopt(
      await startLocal({
        data,
        services: [echo(join(directory.path, 'seen'))],
        onCrash: error => crashes.push(error),
      }),
      local => local.stop(),
    )
    // The failure writes a line to the log.
    expect((await fetch(`${local.services.echo!.url}/fail`)).status).toBe(500)
    expect((await fetch(local.services.echo!.url)).status).toBe(200)
    expect(crashes).toEqual([])
  })
})
