import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { FilecoinInfoSuccess } from '@w3filecoin/capabilities'
import { type Address, type Local, startLocal } from '@w3filecoin/local'
import type { Resources } from '@w3filecoin/runtime/resources'
import { afterAll, afterEach, expect, test, vi } from 'vitest'
import { type Content, randomContent, upload } from './content.ts'
import { follow } from './follow.ts'
import { createAgent, invoke, offer } from './invoke.ts'
import { awaitReceipt, effectOf, PATIENCE } from './receipts.ts'

/**
 * The tables of services at an earlier time, as an operator restores them (docs/deploy.md): all but their receipts and
 * revocations. Here the tables are in SQLite, and the earlier time is a copy of the file.
 */

const KEPT = ['receipt', 'revocation']

const home = await mkdtemp(join(tmpdir(), 'restore-'))
let running: Local | undefined
afterEach(async () => {
  await running?.stop()
  running = undefined
})
afterAll(() => rm(home, { recursive: true, force: true }))

const start = async (data: string) => {
  const local = await startLocal({
    data,
    everySeconds: 1,
    configure: (role, config) => {
      if (role === 'dealTracker') return config
      const timing = { retrySeconds: 3, pollSeconds: Math.min(3, config.timing.pollSeconds) }
      // Pieces wait for some seconds, so that the copy has a piece at an early stage.
      const limits = role === 'aggregator' && { limits: { minPaddedBytes: 0, maxWaitSeconds: 8 } }
      return { ...config, timing, ...limits }
    },
  })
  running = local
  return { local, at: (role: string) => local.services[role] as Address }
}

/** Opens the tables of a data directory, for as long as `work` takes. */
const withTables = <T>(data: string, work: (database: DatabaseSync) => T): T => {
  const database = new DatabaseSync(join(data, 'tables.sqlite'), { timeout: 10_000 })
  try {
    return work(database)
  } finally {
    database.close()
  }
}

/** Replaces the rows of the services' tables by those of the copy. */
const restore = async (data: string, copy: string, services: readonly string[]): Promise<void> => {
  for (const service of services) {
    const { resources } = (await import(`@w3filecoin/${service}/resources`)) as { resources: Resources }
    const tables = Object.entries(resources.tables).flatMap(([name, { derived }]) =>
      KEPT.includes(name) || derived ? [] : [`${service}-${name}`],
    )
    withTables(data, database => {
      const rows = () =>
        tables.map(table => database.prepare(`SELECT "#record" FROM main."${table}" ORDER BY 1`).all())
      const before = rows()
      database.exec(`ATTACH '${copy}' AS copy`)
      for (const table of tables)
        database.exec(
          `DELETE FROM main."${table}"; INSERT INTO main."${table}" SELECT * FROM copy."${table}"`,
        )
      expect(rows(), service).not.toEqual(before)
    })
  }
}

/** Tables whose records end. One that has not ended has `due`. */
const ENDING = ['storefront-piece', 'aggregator-piece', 'aggregator-aggregate', 'dealer-aggregate']

/** Waits until all records of the services have ended. */
const awaitEnds = (data: string) =>
  vi.waitFor(() => {
    const open = withTables(data, database =>
      ENDING.filter(table => database.prepare(`SELECT count(due) AS n FROM "${table}"`).get()!.n !== 0),
    )
    expect(open).toEqual([])
  }, PATIENCE)

/** Starts a system, and takes pieces to several stages: one to its end, one to the aggregator, and a copy of the tables then. */
const prepare = async (name: string) => {
  const data = join(home, name)
  const copy = join(home, `${name}.sqlite`)
  const agent = await createAgent()
  let system = await start(data)
  const offerOf = (content: Content) => offer(system.at('storefront'), content, { agent })
  const send = async () => {
    const content = await randomContent(2_000)
    await upload(system.local, content)
    return { content, offered: await offerOf(content) }
  }
  const sendToAggregator = async () => {
    const sent = await send()
    const submit = `${effectOf(sent.offered.fx.fork[0]).cid}`
    const submitted = await awaitReceipt(system.at('storefront'), submit)
    await awaitReceipt(system.at('aggregator'), `${effectOf(submitted.fx.join).cid}`)
    return sent
  }

  const ended = await send()
  await follow(system, ended.offered)
  const queued = await sendToAggregator()
  withTables(data, database => database.exec(`VACUUM INTO '${copy}'`))
  const later = await send()
  const pieces = [ended, queued, later]
  type Sent = typeof later

  return {
    data,
    pieces,
    later,
    sendToAggregator,
    /** Returns the receipts of every task of pieces that have ended, by CID. */
    receiptsOf: (pieces: readonly Sent[]) =>
      Promise.all(
        pieces.map(async ({ offered }) => {
          const { accepted, live, included, dealt, queued, submitted } = await follow(system, offered)
          return [accepted, live, included, dealt, queued, submitted].map(({ root, ran }) => [
            `${ran.link()}`,
            `${root.cid}`,
          ])
        }),
      ),
    /** Stops the system, restores the tables of services to the time of the copy, and starts it again. */
    restoreTables: async (services: readonly string[]) => {
      await system.local.stop()
      await restore(data, copy, services)
      system = await start(data)
    },
    offerAgain: async ({ content, offered }: Sent) =>
      expect(`${effectOf((await offerOf(content)).fx.join).cid}`).toBe(`${effectOf(offered.fx.join).cid}`),
    stagesOf: async ({ content: { piece } }: Sent) => {
      const nonce = `${performance.now()}`
      const request = { ...agent, can: 'filecoin/info' as const, nb: { piece }, nonce }
      const { out } = await invoke(system.at('storefront'), request)
      return (out.ok as FilecoinInfoSuccess).workflows.map(({ stage }) => stage)
    },
  }
}

test.each(['storefront', 'aggregator', 'dealer'])(
  'after a restore of the %s no task has another receipt, and every piece that had ended ends again alike',
  async service => {
    const { data, pieces, later, ...system } = await prepare(service)
    const receipts = await system.receiptsOf(pieces)

    await system.restoreTables([service])
    // The storefront has forgotten the last offer. Its agent repeats it, and gets the same tasks.
    await system.offerAgain(later)

    for (const piece of pieces)
      await vi.waitFor(async () => expect(await system.stagesOf(piece)).toEqual(['accepted']), PATIENCE)
    await awaitEnds(data)
    expect(await system.receiptsOf(pieces)).toEqual(receipts)
  },
)

test('after a restore of storefront and aggregator, repeated offers of pieces that waited for an aggregate end', async () => {
  const { data, pieces, later, sendToAggregator, ...system } = await prepare('both')
  const receipts = await system.receiptsOf(pieces)
  const waiting = await sendToAggregator()

  await system.restoreTables(['storefront', 'aggregator'])
  await system.offerAgain(later)
  await system.offerAgain(waiting)

  await system.receiptsOf([waiting])
  await vi.waitFor(async () => expect(await system.stagesOf(waiting)).toEqual(['accepted']), PATIENCE)
  await awaitEnds(data)
  expect(await system.receiptsOf(pieces)).toEqual(receipts)
})
