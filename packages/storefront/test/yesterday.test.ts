import { readFileSync } from 'node:fs'
import { type FilecoinInfoSuccess, filecoinInfo, type Stage } from '@w3filecoin/capabilities'
import { type Row, unpackTask } from '@w3filecoin/runtime'
import { ask, effectsOf } from '@w3filecoin/testing'
import { CID } from 'multiformats/cid'
import { beforeEach, describe, expect, it } from 'vitest'
import { offerOwner } from '../src/domain/offer.ts'
import {
  agent,
  aws,
  clock,
  contents,
  delegate,
  dependencies,
  offer,
  service,
  settle,
  space,
  state,
  storefront,
  stranger,
  timing,
} from './setup.ts'

/** Records that version 0.1.0 wrote, at every stage: they have no space, no rows of offers and tasks, and no `acceptCid`. */
const fixture = new URL('../../../test/fixtures/yesterday/0.1.0.json', import.meta.url)
const { snapshots } = JSON.parse(readFileSync(fixture, 'utf8'), (_, value) =>
  typeof value?.$bytes === 'string' ? new Uint8Array(Buffer.from(value.$bytes, 'base64')) : value,
) as { snapshots: { at: number; services: { storefront: { tables: { piece: Row[] } } } }[] }
const rows = snapshots.flatMap(({ at, services }) =>
  services.storefront.tables.piece.map(row => ({ at, row, stage: row.stage as Stage })),
)
const STAGES: Stage[] = ['offered', 'submitted', 'queued', 'aggregated', 'retried', 'accepted', 'failed']
const earliest = STAGES.map(stage => [stage, rows.find(row => row.stage === stage)!] as const)

interface Earlier {
  content: CID
  piece: never
  group: string
  promises: { fork: string[]; join: string }
}

describe('a piece that version 0.1.0 recorded', () => {
  let earlier: Earlier
  const prepare = async ({ at, row }: { at: number; row: Row }) => {
    clock.now = Math.max(clock.now, at) + 1
    await aws.table('piece').removeMany([{ id: row.id as string }])
    await aws.table('piece').putMany([row])
    earlier = {
      content: CID.parse(row.content as string),
      piece: CID.parse(row.piece as string) as never,
      group: row.group as string,
      promises: {
        fork: [`${(await unpackTask(row.submit as Uint8Array)).cid}`],
        join: `${(await unpackTask(row.accept as Uint8Array)).cid}`,
      },
    }
    const { stores } = dependencies
    await stores.space.putMany([{ space: space.did(), provider: earlier.group }])
    // Earlier tests offered the same piece.
    await stores.offer.removeMany([
      { owner: offerOwner(space.did(), `${earlier.piece}`), workflow: row.id as string },
    ])
    await stores.task.removeMany([...earlier.promises.fork, earlier.promises.join].map(task => ({ task })))
    const { items } = await stores.inclusion.list(`${earlier.piece}`, { limit: 10 })
    await stores.inclusion.removeMany(items.map(({ piece, order }) => ({ piece, order })))
  }
  const read = (id: unknown) => dependencies.stores.piece.get({ id: id as string })
  const offerAgain = (issuer = agent) =>
    offer(earlier as never, { issuer }).then(task => ask(service.api, task))
  const info = async (more: object = {}) => {
    const question = filecoinInfo.invoke({
      issuer: agent,
      audience: storefront,
      with: space.did(),
      nb: { piece: earlier.piece, ...more },
      proofs: [await delegate(space, agent)],
      nonce: crypto.randomUUID(),
    })
    const { out } = await ask(service.api, question)
    expect(out.error).toBeUndefined()
    return out.ok as FilecoinInfoSuccess
  }
  beforeEach(() => void Object.assign(state, { deals: {} }))

  it.each(earliest)('as %s answers filecoin/info and a repeated offer', async (stage, found) => {
    await prepare(found)
    const nb = { task: CID.parse(earlier.promises.join) }
    expect((await info(nb)).task).toMatchObject({ stage })
    expect((await info()).workflows, 'its space is not known').toEqual([])
    const isIncluded = found.row.aggregate !== undefined || found.row.former !== undefined
    expect((await info()).aggregates.length > 0).toBe(isIncluded)

    expect(effectsOf(await offerAgain())).toEqual(earlier.promises)
    expect(await read(found.row.id)).toMatchObject({ stage })
    expect((await info()).workflows).toMatchObject([{ stage, group: earlier.group }])
    expect((await info()).aggregates.length > 0).toBe(isIncluded)
    expect((await info(nb)).task).toMatchObject({ stage })
    await aws.drain('submit')
  })

  it('waits for its content again, and starts another attempt in the end', async () => {
    const found = rows.find(({ stage }) => stage === 'offered')!
    await prepare(found)
    const { id } = found.row
    contents.delete(`${earlier.content}`)
    clock.now += timing.contentWaitMs
    await offerAgain()
    await settle()
    expect(await read(id), 'the offer renewed the wait').toMatchObject({ stage: 'offered' })
    clock.now += timing.contentWaitMs
    await dependencies.queues.submit.send([{ id: id as string }])
    await settle()
    expect(await read(id)).toMatchObject({ stage: 'failed', reason: { name: 'ContentNotFound' } })
    contents.set(`${earlier.content}`, async function* () {
      yield new Uint8Array(10)
    })
    const again = await offerAgain(stranger)
    expect(effectsOf(again).join).not.toBe(earlier.promises.join)
    expect(await read(id)).toMatchObject({ stage: 'offered', attempt: 2 })
    await aws.drain('submit')
  })
})

it('an agent names an address for the receipt of a piece that version 0.1.0 recorded as accepted', async () => {
  const { at, row } = rows.find(({ stage }) => stage === 'accepted')!
  clock.now = Math.max(clock.now, at) + 1
  await aws.table('piece').removeMany([{ id: row.id as string }])
  await aws.table('piece').putMany([row])
  await dependencies.stores.space.putMany([{ space: space.did(), provider: row.group as string }])
  const receiptsTo = 'https://agent.example/receipts'
  const invocation = await offer(
    { content: CID.parse(row.content as string), piece: CID.parse(row.piece as string) as never },
    { nonce: row.nonce as string, facts: [{ receiptsTo }] },
  )
  const { out, fx } = await ask(service.api, invocation)
  expect(out.error).toBeUndefined()
  const { listeners = [] } = (await dependencies.stores.piece.get({ id: row.id as string }))!
  const [listener] = await dependencies.stores.listener.getMany(listeners.map(id => ({ id })))
  expect(listener).toMatchObject({ task: `${fx.join!.link()}`, audience: agent.did(), url: receiptsTo })
})
