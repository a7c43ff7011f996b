import { decodeCar, readReceipt } from '@w3filecoin/runtime'
import { expect, test, vi } from 'vitest'
import { randomContent, upload } from './content.ts'
import { startTwoWorkflows } from './follow.ts'
import { offer } from './invoke.ts'
import { awaitReceipt, effectOf, PATIENCE } from './receipts.ts'
import { sealsSmallAggregates, useSystem } from './system.ts'

const system = useSystem({ configure: sealsSmallAggregates })
const { at } = system

const CAR = 'application/vnd.ipld.car'

const askMany = (role: string, body: unknown, headers: Record<string, string> = {}) =>
  fetch(`${at(role).url}/receipts`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  })

interface Answer {
  receipts: Record<string, unknown>[]
  retryAfterSeconds?: number
}

test('R1: one request returns the receipts of many tasks, and the progress of those without one, in their order', async () => {
  const { offered, accept, promised, waiting } = await startTwoWorkflows(system)
  const tasks = [promised, `${offered.ran.link()}`, 'nothing', accept, `${waiting.piece}`, promised]

  const response = await askMany('storefront', { tasks })
  expect(response.status).toBe(200)
  expect(response.headers.get('content-type')).toBe('application/json')
  expect(response.headers.get('cache-control')).toBe('no-store')
  expect(response.headers.get('access-control-allow-origin')).toBe('*')
  const { receipts, retryAfterSeconds } = (await response.json()) as Answer
  expect(receipts.map(({ task }) => task)).toEqual(tasks)
  const one = async (task: string) =>
    (
      await fetch(`${at('storefront').url}/receipt/${task}`, { headers: { accept: 'application/json' } })
    ).json()
  expect(receipts[1]).toEqual(await one(tasks[1]!))
  expect(receipts[3]).toEqual(await one(accept))
  expect(receipts[0]).toMatchObject({
    name: 'ReceiptNotFound',
    promised: true,
    can: 'filecoin/accept',
    stage: 'offered',
  })
  expect(receipts[5]).toEqual(receipts[0])
  expect([receipts[2]!.name, receipts[4]!.name]).toEqual(['InvalidCID', 'InvalidTask'])
  expect(retryAfterSeconds).toBe(receipts[0]!.retryAfterSeconds)

  const car = await askMany('storefront', { tasks }, { accept: CAR })
  expect(car.headers.get('content-type')).toBe(CAR)
  expect(car.headers.get('retry-after')).toBeNull()
  const bytes = new Uint8Array(await car.arrayBuffer())
  for (const task of [tasks[1]!, accept])
    expect(`${readReceipt(task, bytes)?.root.cid}`).toBe(receipts[tasks.indexOf(task)]!.receipt)
  expect(readReceipt(promised, bytes)).toBeUndefined()

  const none = await askMany('storefront', { tasks: [promised] }, { accept: CAR })
  expect(decodeCar(new Uint8Array(await none.arrayBuffer())).roots).toHaveLength(1)
})

test('R1: a request for too many tasks, or without any, is refused', async () => {
  for (const [body, status, name] of [
    [{ tasks: [] }, 400, 'InvalidRequest'],
    [{ tasks: Array(1_001).fill('bafyrei') }, 400, 'InvalidRequest'],
    [{ tasks: 'bafyrei' }, 400, 'InvalidRequest'],
    [{ tasks: [1] }, 400, 'InvalidRequest'],
    ['not JSON', 400, 'InvalidRequest'],
    [{ tasks: ['b'.repeat(400_000)] }, 413, 'RequestTooLarge'],
  ] as const) {
    const response = await askMany('dealer', body)
    expect(response.status).toBe(status)
    expect(await response.json()).toMatchObject({ name })
  }
})

test('R1: the aggregator returns many receipts that the storefront waits for', async () => {
  const content = await randomContent(10_000)
  await upload(system.local, content)
  const offered = await offer(at('storefront'), content)
  const submitted = await awaitReceipt(at('storefront'), `${effectOf(offered.fx.fork[0]).cid}`)
  const pieceOffer = `${effectOf(submitted.fx.join).cid}`
  await vi.waitFor(async () => {
    const { receipts } = (await (await askMany('aggregator', { tasks: [pieceOffer] })).json()) as Answer
    expect(receipts[0]).toMatchObject({ can: 'piece/offer', service: at('aggregator').did })
  }, PATIENCE)
})
