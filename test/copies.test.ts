import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Receipt } from '@ucanto/interface'
import {
  describePlaceKey,
  type FilecoinAcceptSuccess,
  type FilecoinInfoSuccess,
  type PlaceSummary,
} from '@w3filecoin/capabilities'
import type { DealWay } from '@w3filecoin/local'
import { describe, expect, test, vi } from 'vitest'
import { type Content, randomContent, upload } from './content.ts'
import { createAgent, invoke, offer } from './invoke.ts'
import { awaitReceipt, effectOf, PATIENCE } from './receipts.ts'
import { useSystem } from './system.ts'

/** Copies at three providers with a policy of two, of which one provider dies: `npm start -- --deals pdp` and `--deals curio`. */

const MAIN = fileURLToPath(new URL('../packages/cli/src/main.ts', import.meta.url))

interface Order {
  copy: number
  attempt: number
  target: string
  provider: string
  stage: string
  place?: string
  reason?: { name: string; message: string }
  history: { stage: string; at: number }[]
}
interface Orders {
  offers: { stage: string; lack?: object }[]
  orders: Order[]
}

describe.each<[DealWay, ends: string]>([
  ['pdp', 'is not live any more'],
  ['curio', 'The sector was terminated'],
])('copies that are ordered with %s', (deals, ends) => {
  const system = useSystem({
    deals,
    fetchesPieces: true,
    unhurriedSeconds: 2,
    // A day, but for this test.
    configure: (role, config) => (role === 'dealer' ? { ...config, liveCheckSeconds: 1 } : config),
  })
  const { at } = system

  const w3fil = (...args: string[]) =>
    new Promise<string>(resolve => {
      execFile(process.execPath, [MAIN, ...args, '--data', system.data], (_, out) => resolve(out))
    })
  const ops = (...args: string[]) => w3fil('ops', ...args)
  const readJson = async <T>(...args: string[]): Promise<T> => JSON.parse(await ops(...args, '--json')).result
  const readOrders = (aggregate: string) => readJson<Orders>('orders', '--aggregate', aggregate)

  const readPlaces = async ({ piece }: Content): Promise<PlaceSummary[]> => {
    const { out } = await invoke(at('storefront'), { ...agent, can: 'filecoin/info', nb: { piece } })
    return (out.ok as FilecoinInfoSuccess).places
  }

  let agent: Awaited<ReturnType<typeof createAgent>>
  let content: Content
  let accepted: Receipt
  let aggregate: string
  /** The order whose provider dies, and the other one. */
  let dying: Order
  let staying: Order

  test('are two live ones at two providers, before one of these dies', async () => {
    agent = await createAgent()
    content = await randomContent(20_000)
    await upload(system.local, content)
    const offered = await offer(at('storefront'), content, { agent })
    accepted = await awaitReceipt(at('storefront'), `${effectOf(offered.fx.join).cid}`)
    aggregate = `${(accepted.out.ok as FilecoinAcceptSuccess).aggregate}`
    const orders = await vi.waitFor(async () => {
      const { orders } = await readOrders(aggregate)
      expect(orders.map(({ copy, stage }) => `${copy} ${stage}`)).toEqual(['0 live', '1 live'])
      return orders
    }, PATIENCE)
    ;[dying, staying] = orders as [Order, Order]
    expect(dying.target).not.toBe(staying.target)
    system.local.market.die!(dying.target)
  })

  test('are two live ones again: the third target takes the one that died, and ops says so', async () => {
    await vi.waitFor(async () => {
      const { offers, orders } = await readOrders(aggregate)
      expect(orders.map(({ copy, attempt, stage }) => `${copy} ${attempt} ${stage}`)).toEqual([
        '0 0 ended',
        '0 1 live',
        '1 0 live',
      ])
      expect(offers).toEqual([expect.objectContaining({ stage: 'accepted' })])
    }, PATIENCE)
    const { orders } = await readOrders(aggregate)
    const [ended, third, other] = orders as [Order, Order, Order]
    expect(ended).toMatchObject({
      place: dying.place,
      reason: { name: 'CopyEnded', message: expect.stringContaining(ends) },
    })
    expect(new Set(orders.map(({ target }) => target)).size, 'a third target').toBe(3)
    expect(other.place).toBe(staying.place)
    expect(third.history.map(({ stage }) => stage)).toEqual(['planned', 'asked', 'storing', 'live'])

    const text = await ops('orders', '--aggregate', aggregate)
    expect(text).toContain(`CopyEnded: The place ${dying.place} is terminated since`)
    expect(text).toContain(ends)
  })

  test('leave the piece accepted, with the receipt that it had', async () => {
    const task = `${accepted.ran.link()}`
    const { url } = at('storefront')
    const again = await awaitReceipt(at('storefront'), task)
    expect(again.root.cid).toEqual(accepted.root.cid)
    expect((await fetch(`${url}/receipt/${task}`)).status).toBe(200)
    const { out } = await invoke(at('storefront'), {
      ...agent,
      can: 'filecoin/info',
      nb: { piece: content.piece },
    })
    expect((out.ok as FilecoinInfoSuccess).workflows).toMatchObject([{ stage: 'accepted' }])
  })

  test('are in filecoin/info: the dead one with the time and the reason, and the new one', async () => {
    const places = await readPlaces(content)
    const { orders } = await readOrders(aggregate)
    const third = orders[1] as Order
    expect(places).toHaveLength(3)
    const placeOf = ({ place }: Order) => places.find(({ key }) => key === place)
    const dead = placeOf(dying)
    expect(dead).toMatchObject({
      provider: dying.provider,
      status: 'Terminated',
      reason: expect.stringContaining(ends),
    })
    expect(Date.parse(dead!.ended!)).toBeGreaterThan(Date.parse(dead!.seen!.at))
    for (const order of [third, staying]) {
      expect(placeOf(order)).toMatchObject({ provider: order.provider, status: 'Active' })
      expect(placeOf(order)).not.toHaveProperty('ended')
    }
    expect(await w3fil('status', `${content.piece}`)).toContain(
      `${describePlaceKey(dying.place!)} with ${dying.provider}, Terminated since ${dead!.ended}: ${dead!.reason}`,
    )
    // A sector has an end.
    if (deals === 'curio') for (const place of places) expect(place).toHaveProperty('expiration')
  })

  test('are in ops trace: each order with its stages, and the end of the place', async () => {
    const text = (await ops('trace', `${content.piece}`)).replaceAll(/\s+/g, ' ')
    const { orders } = await readOrders(aggregate)
    const third = orders[1] as Order
    for (const step of [
      `copy 0 at ${dying.target} planned`,
      `copy 0 at ${dying.target} live (aggregate 1): ${describePlaceKey(dying.place!)}`,
      `copy 0 at ${dying.target} ended (aggregate 1): CopyEnded: The place`,
      `${describePlaceKey(dying.place!)} of aggregate 1 terminated:`,
      `copy 0 at ${third.target} planned`,
      `copy 0 at ${third.target} live (aggregate 1): ${describePlaceKey(third.place!)}`,
      `copy 1 at ${staying.target} live`,
    ])
      expect(text).toContain(step)
    expect(text).toMatch(/^Workflow 1 of 1: accepted/)
  })

  test('are in ops status: the provider that is gone needs attention, the copies do not', async () => {
    await vi.waitFor(async () => {
      const { attention, stages } = JSON.parse(await ops('status', '--json')) as {
        attention: string[]
        stages: { table: string; stage: string; records: number }[]
      }
      expect(attention).toEqual([
        expect.stringMatching(new RegExp(`^dealer: The target ${dying.target} .* gets no copies`)),
      ])
      expect(stages.filter(({ table }) => table === 'order')).toMatchObject([{ stage: 'live', records: 2 }])
    }, PATIENCE)
  })
})
