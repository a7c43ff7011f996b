import { execFile } from 'node:child_process'
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { fileURLToPath } from 'node:url'
import { afterAll, expect, test, vi } from 'vitest'
import { useSystem } from './system.ts'

/** `w3fil ops doctor` on the whole system: the smoke test after a deploy. */

interface Diagnosis {
  ok: boolean
  service: string
  check: string
  finding: string
  advice?: string
}

const MAIN = fileURLToPath(new URL('../packages/cli/src/main.ts', import.meta.url))

const system = useSystem({
  // As on a stage, the storefront names no address for uploads: the operator stores the canary in its bucket.
  configure: (role, config) => (role === 'storefront' ? { ...config, upload: undefined } : config),
})
const home = await mkdtemp(join(tmpdir(), 'doctor-'))
afterAll(() => rm(home, { recursive: true, force: true }))

const run = (...args: string[]) =>
  new Promise<{ code: number; out: string; err: string }>(resolve => {
    const env = { ...process.env, W3FIL_KEY: join(home, 'agent.key') }
    execFile(process.execPath, [MAIN, 'ops', 'doctor', ...args], { env }, (error, out, err) =>
      resolve({ code: error === null ? 0 : Number(error.code), out, err }),
    )
  })

const examine = async (data: string, ...args: string[]) => {
  const { code, out, err } = await run('--data', data, '--json', ...args)
  expect(err).toBe('')
  const diagnoses = out
    .split('\n')
    .filter(Boolean)
    .map((line): Diagnosis => JSON.parse(line))
  const ill = diagnoses.filter(({ ok }) => !ok)
  return { code, diagnoses, ill }
}

test('ops doctor finds a healthy system well, and takes a canary to its deal', async () => {
  // Services check one another on schedule: at first their results may be missing.
  await vi.waitFor(
    async () => {
      const { code, ill } = await examine(system.data)
      expect(ill).toEqual([])
      expect(code).toBe(0)
    },
    { timeout: 60_000, interval: 1_000 },
  )

  const { code, out, err } = await run('--data', system.data, '--canary', '--wait', '120')
  expect(err).toBe('')
  expect(out).toMatch(
    /^✓ storefront {3}canary {5}the piece is stored after .* \(offered, .*queued, .*accepted\)$/m,
  )
  expect(out).toMatch(/\nAll is well: \d+ checks\n$/)
  expect(out).not.toContain('✗')
  for (const service of ['storefront', 'aggregator', 'dealer', 'deal-tracker'])
    for (const check of ['address', 'name', 'answer', 'identity', 'keys', 'clock', 'queues'])
      expect(out).toMatch(new RegExp(`^✓ ${service} +${check} `, 'm'))
  expect(code).toBe(0)
})

/**
 * Returns a data directory that says something else about the running system. Its lock is held as the real one is, because the
 * command asks for it.
 */
const describeOtherwise = async (change: (facts: Record<string, { url: string; did: string }>) => void) => {
  const data = await mkdtemp(join(home, 'data-'))
  await cp(join(system.data, 'local.json'), join(data, 'local.json'))
  const facts = JSON.parse(await readFile(join(data, 'local.json'), 'utf8'))
  change(facts)
  await writeFile(join(data, 'local.json'), JSON.stringify(facts))
  const lock = new DatabaseSync(join(data, 'lock'))
  lock.exec('PRAGMA locking_mode = EXCLUSIVE; CREATE TABLE lock (id); BEGIN EXCLUSIVE')
  return { data, [Symbol.dispose]: () => lock.close() }
}

test('ops doctor names a service that answers under another DID', async () => {
  const { did } = system.at('aggregator')
  using other = await describeOtherwise(facts => {
    facts.dealer!.did = did
  })
  const { code, ill } = await examine(other.data, '--service', 'dealer')
  expect(code).toBe(3)
  expect(ill.map(({ service, check }) => `${service} ${check}`)).toEqual(['dealer identity', 'dealer keys'])
  expect(ill[0]!.finding).toBe(
    `${system.at('dealer').url} answers as ${system.at('dealer').did}, but this system has published ${did}`,
  )
  for (const { advice } of ill) expect(advice).toBeTruthy()
})

test('ops doctor names a service that cannot be reached, and an address that leads to another service', async () => {
  using other = await describeOtherwise(facts => {
    facts.dealTracker!.url = 'http://127.0.0.1:9'
    facts.storefront!.url = system.at('aggregator').url
    facts.aggregator!.url = 'http://aggregator.invalid'
  })
  const { code, ill } = await examine(other.data, '--canary')
  expect(code).toBe(3)
  const found = Object.fromEntries(ill.map(each => [`${each.service} ${each.check}`, each.finding]))
  expect(found['deal-tracker answer']).toMatch(/^http:\/\/127\.0\.0\.1:9 cannot be reached: /)
  expect(found['aggregator name']).toMatch(/^aggregator\.invalid does not resolve: /)
  expect(found['storefront identity']).toContain(
    `is the aggregator ${system.at('aggregator').did}, not the storefront`,
  )
  expect(found['storefront canary']).toMatch(/^no piece was offered/)
  expect(Object.keys(found).filter(name => name.startsWith('dealer'))).toEqual([])

  const text = await run('--data', other.data, '--service', 'deal-tracker')
  expect(text.code).toBe(3)
  expect(text.out).toMatch(
    /^✗ deal-tracker answer {5}http:\/\/127\.0\.0\.1:9 cannot be reached: .*\n {15}→ Check /m,
  )
  expect(text.out).toMatch(/\n1 of \d+ checks found something\n$/)
})

test('ops doctor says how far a canary came in the time that it had', async () => {
  const { code, ill } = await examine(system.data, '--service', 'storefront', '--canary', '--wait', '0.001')
  expect(code).toBe(3)
  expect(ill).toMatchObject([
    {
      service: 'storefront',
      check: 'canary',
      finding: expect.stringContaining('did not accept an offer within'),
    },
  ])
})
