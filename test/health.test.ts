import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { openTables } from '@w3filecoin/aws'
import type { FilecoinInfoSuccess } from '@w3filecoin/capabilities'
import { type Config, type Local, startLocal } from '@w3filecoin/local'
import { sqsClient } from '@w3filecoin/local/engines'
import { placesOf } from '@w3filecoin/local/provision'
import { toV1 } from '@w3filecoin/piece'
import { somePiece } from '@w3filecoin/testing'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { findServices } from '../packages/cli/src/ops/services.ts'
import { readStatus } from '../packages/cli/src/ops/status.ts'
import { statusLines } from '../packages/cli/src/ops/status-display.ts'
import { randomContent, upload } from './content.ts'
import { createAgent, invoke, offer } from './invoke.ts'
import { effectOf, PATIENCE } from './receipts.ts'

/** Configurations that go wrong without an error are found by one command: `w3fil ops status`. */

const MAIN = fileURLToPath(new URL('../packages/cli/src/main.ts', import.meta.url))

/** Runs `w3fil ops status` on the system of a data directory. */
const status = (data: string, ...args: string[]) =>
  new Promise<{ code: number; out: string }>(resolve => {
    execFile(process.execPath, [MAIN, 'ops', 'status', '--data', data, ...args], (error, out) =>
      resolve({ code: error === null ? 0 : Number(error.code), out }),
    )
  })

/** Returns the same as the command, without the second that it takes to start. */
const screen = async ({ engines }: Local): Promise<string> => {
  Object.assign(process.env, engines.env)
  const client = sqsClient(engines)
  try {
    const services = findServices(undefined)
    const placesOfService = async (service: string) => {
      const { resources } = services.find(({ resources }) => resources.service === service)!
      return placesOf({ resources, service, sqs: engines.sqs })
    }
    const target = { env: engines.env, placesOf: placesOfService }
    const tables = await openTables(engines.env)
    const status = await readStatus({ target, tables, client, services, limit: 1000, now: Date.now })
    return statusLines(status, Date.now()).join('\n')
  } finally {
    client.destroy()
  }
}

/** Waits until the state has all of these texts. Then returns the output of the command. */
const statusWith = async (data: string, local: Local, ...texts: (string | RegExp)[]) => {
  const deadline = Date.now() + PATIENCE.timeout
  for (;;) {
    const out = await screen(local)
    const missing = texts.filter(text => (typeof text === 'string' ? !out.includes(text) : !text.test(out)))
    if (missing.length === 0) return status(data)
    if (Date.now() > deadline) throw new Error(`${missing.join(', ')} is missing in:\n${out}`)
    await sleep(500)
  }
}

/** Returns the lines of an output that say what needs attention. */
const attentionIn = (out: string): string[] => {
  const [first = '', ...lines] = out.split('\n')
  expect(first).toMatch(/need(s)? attention:$/)
  return lines.slice(0, lines.indexOf('')).map(line => line.trim())
}

const directory = (): string => {
  const data = mkdtempSync(join(tmpdir(), 'w3filecoin-'))
  afterAll(() => rmSync(data, { recursive: true, force: true }))
  return data
}

/** An address of this machine at which no server listens. */
const NOWHERE = 'http://127.0.0.1:9'

describe('a system with a wrong configuration', () => {
  test.each<{ wrong: string; role: string; settings: (config: Config) => Config; found: RegExp[] }>([
    {
      wrong: 'the URL of the deal tracker',
      role: 'dealer',
      settings: config => ({ ...config, dealTracker: { ...config.dealTracker, url: NOWHERE } }),
      found: [
        /^dealer: did:key:\w+ cannot be reached at http:\/\/127\.0\.0\.1:9: .* Check dealTracker\.url in the settings of the dealer/,
      ],
    },
    {
      wrong: 'the clients of the deal tracker',
      role: 'dealTracker',
      settings: config => ({ ...config, clients: [] }),
      found: [
        /^storefront: did:key:\w+ at http:\S+ \(dealTracker\.url in the settings of the storefront\) refuses the storefront: UnknownClient: did:key:\w+ is not in the setting clients of did:key:\w+/,
        /^dealer: did:key:\w+ at http:\S+ \(dealTracker\.url in the settings of the dealer\) refuses the dealer: UnknownClient: /,
      ],
    },
    {
      wrong: 'no source of deals',
      role: 'dealTracker',
      settings: config => ({ ...config, sources: [] }),
      found: [
        /^deal-tracker: sources in the settings of the deal-tracker is empty: no deal can ever be found/,
      ],
    },
  ])(
    '$wrong: it starts, w3fil ops status says so, and the next start with the right one clears it',
    async ({ role, settings, found }) => {
      const data = directory()
      const start = (wrong: boolean) =>
        startLocal({
          data,
          unhurriedSeconds: 2,
          configure: (of, config) => (wrong && of === role ? settings(config) : config),
        })
      {
        const local = await start(true)
        try {
          const { code, out } = await statusWith(
            data,
            local,
            ...found.map(line => new RegExp(line.source.slice(1))),
          )
          expect(code).toBe(3)
          const attention = attentionIn(out)
          expect(attention).toHaveLength(found.length)
          for (const line of found) expect(attention).toContainEqual(expect.stringMatching(line))
        } finally {
          await local.stop()
        }
      }
      const local = await start(false)
      try {
        expect((await statusWith(data, local, 'All is well')).code).toBe(0)
      } finally {
        await local.stop()
      }
    },
    180_000,
  )
})

describe('a system whose surroundings change', () => {
  const data = directory()
  let local: Local
  /** The answer of the address that the storefront has for its aggregator. */
  let front: 'aggregator' | 'dealer' | 'page' | 'nothing' = 'aggregator'
  /** Whether the chain source lists a deal that cannot be parsed. */
  let malformed = false

  const proxy = createServer(async (request, response) => {
    if (front === 'nothing') return void request.destroy()
    if (front === 'page') return void response.setHeader('content-type', 'text/html').end('<h1>Hello</h1>')
    try {
      const chunks: Uint8Array[] = []
      for await (const chunk of request) chunks.push(chunk)
      const answer = await fetch(new URL(request.url as string, local.services[front]!.url), {
        method: request.method as string,
        headers: { 'content-type': request.headers['content-type'] ?? '' },
        ...(chunks.length > 0 && { body: Buffer.concat(chunks) }),
      })
      response.writeHead(answer.status, { 'content-type': answer.headers.get('content-type') ?? '' })
      response.end(Buffer.from(await answer.arrayBuffer()))
    } catch {
      // The system has stopped.
      response.destroy()
    }
  })
  const { root, log2Size } = toV1(somePiece('on chain')).ok!
  const replica = {
    piece_cid: `${root}`,
    piece_log2_size: log2Size,
    contracts: [{ provider_id: 1001, legacy_market_id: 7, legacy_market_end_epoch: 9_000_000 }],
  }
  const source = createServer((_, response) =>
    response.end(
      JSON.stringify({
        state_epoch: Math.floor((Date.now() / 1000 - 1_598_306_400) / 30),
        active_replicas: [replica, ...(malformed ? [{ ...replica, piece_cid: 'no piece' }] : [])],
      }),
    ),
  )
  const urlOf = (server: typeof proxy) => `http://127.0.0.1:${(server.address() as AddressInfo).port}`

  beforeAll(async () => {
    await Promise.all([proxy, source].map(server => once(server.listen(0, '127.0.0.1'), 'listening')))
    local = await startLocal({
      data,
      everySeconds: 1,
      unhurriedSeconds: 1,
      configure: (role, config) => {
        if (role === 'storefront')
          return { ...config, aggregator: { ...config.aggregator, url: urlOf(proxy) } }
        if (role === 'dealTracker')
          return { ...config, sources: [{ name: 'chain', kind: 'active-replicas', url: urlOf(source) }] }
        return config
      },
    })
  }, 60_000)
  afterAll(async () => {
    await local?.stop()
    for (const server of [proxy, source]) {
      server.closeAllConnections()
      server.close()
    }
  })

  test('is well at first, in the words of people and of programs', async () => {
    const { code, out } = await statusWith(data, local, 'All is well', 'SOURCES', 'storefront    hasher')
    expect(code).toBe(0)
    expect(out).toMatch(/^All is well: 0 unfinished records, \d+ checks pass, no dead letters\n/)
    expect(out).toMatch(/\n {2}chain +\d+ +\d+ s ago +ok\n/)
    expect(out).toContain('QUEUES: all 20 are empty')

    const json = await status(data, '--json')
    const { attention, checks, sources, queues } = JSON.parse(json.out)
    expect(attention).toEqual([])
    expect(checks.every(({ ok }: { ok: boolean }) => ok)).toBe(true)
    expect(sources).toEqual([
      { source: 'chain', at: expect.any(Number), epoch: expect.any(Number), problems: [] },
    ])
    expect(queues).toHaveLength(20)
  }, 60_000)

  test('an unreachable peer, a page instead of it, and a peer under another DID have different messages', async () => {
    const where = 'Check aggregator.url in the settings of the storefront'
    front = 'nothing'
    const { code, out } = await statusWith(data, local, `cannot be reached at ${urlOf(proxy)}`)
    expect(code).toBe(3)
    expect(attentionIn(out)).toEqual([
      expect.stringMatching(
        new RegExp(`^storefront: ${local.services.aggregator!.did} cannot be reached at .*${where}`),
      ),
    ])
    front = 'page'
    await statusWith(
      data,
      local,
      `storefront: ${urlOf(proxy)} answers GET / with status 200, but not as a service: the answer has no DID. ${where}`,
    )
    front = 'dealer'
    await statusWith(
      data,
      local,
      `storefront: ${urlOf(proxy)} is ${local.services.dealer!.did}, but aggregator.did in the settings of the storefront is ${local.services.aggregator!.did}`,
    )
    front = 'aggregator'
    expect((await statusWith(data, local, 'All is well')).code).toBe(0)
  }, 180_000)

  test('a source whose report is incomplete is blind until a report is complete', async () => {
    malformed = true
    const { code, out } = await statusWith(data, local, 'The report of the source chain')
    expect(code).toBe(3)
    expect(attentionIn(out)).toEqual([
      expect.stringMatching(
        /^deal-tracker: The report of the source chain in the settings of the deal-tracker is incomplete \(1 malformed records/,
      ),
    ])
    expect(out).toMatch(/\n {2}chain .* SourceIncomplete\n/)
    malformed = false
    expect((await statusWith(data, local, 'All is well')).code).toBe(0)
  }, 180_000)

  test('filecoin/info names the peer for which a workflow waits to its space only, and no URL', async () => {
    front = 'nothing'
    const content = await randomContent(1000)
    await upload(local, content)
    const agent = await createAgent()
    const storefront = local.services.storefront!
    const offered = await offer(storefront, content, { agent })
    const askInfo = async (nb: object, as: object = agent) =>
      (
        await invoke(storefront, {
          ...(as as typeof agent),
          can: 'filecoin/info',
          nb: { piece: content.piece, ...nb },
        })
      ).out.ok as FilecoinInfoSuccess
    const { did } = local.services.aggregator!
    const hindrance = new RegExp(
      `^The aggregator must accept the piece\\. The aggregator ${did} cannot be reached since 20`,
    )
    await expect.poll(async () => (await askInfo({})).workflows![0]?.waitsFor, PATIENCE).toMatch(hindrance)
    expect(JSON.stringify((await askInfo({})).workflows)).not.toContain('127.0.0.1')
    // A stranger may name the task, and sees the step alone.
    const stranger = await createAgent()
    const { task, workflows } = await askInfo({ task: effectOf(offered.fx.join).cid }, stranger)
    expect(workflows).toEqual([])
    expect(task).toMatchObject({ waitsFor: 'The aggregator must accept the piece' })

    const { out } = await statusWith(data, local, 'storefront piece submitted')
    expect(out).toMatch(/storefront piece submitted +1 +\d+ s +aggregator: did:key:/)
    front = 'aggregator'
    await expect
      .poll(async () => (await askInfo({})).workflows![0]?.waitsFor ?? '', PATIENCE)
      .not.toContain('cannot be reached')
  }, 180_000)
})

test('w3fil ops status counts unfinished records by stage, with the reason why they wait', async () => {
  const data = directory()
  const local = await startLocal({
    data,
    configure: (role, config) =>
      role === 'aggregator' ? { ...config, limits: { minPaddedBytes: 2 ** 20, maxWaitSeconds: 1 } } : config,
  })
  try {
    const { storefront } = local.services
    const agent = await createAgent()
    for (const seed of [1, 2, 3]) {
      const { content } = await randomContent(100)
      await offer(storefront!, { content, piece: somePiece(`status ${seed}`) }, { agent })
    }
    const uploaded = await randomContent(1000)
    await upload(local, uploaded)
    await offer(storefront!, uploaded, { agent })
    const { out } = await statusWith(
      data,
      local,
      /storefront piece offered +3 /,
      /storefront piece queued +1 /,
      /aggregator piece pending +1 +(\d+ s|-) +its group must have enough pieces/,
    )
    expect(out).toContain('All is well')
    expect((await status(data, '--service', 'dealer')).out).not.toContain('storefront piece')
  } finally {
    await local.stop()
  }
}, 120_000)
