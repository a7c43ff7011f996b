import { expect, test } from 'vitest'
import { batchesOf, inBatches, inBatchesOfMessage } from '../src/index.ts'

test('items are split into batches in their order', () => {
  expect(batchesOf([1, 2, 3, 4, 5], 2)).toEqual([[1, 2], [3, 4], [5]])
  expect(batchesOf([], 2)).toEqual([])
})

/** Handles batches one after the other, each until `finish` is called. */
const slowly = () => {
  const batches: number[][] = []
  const ends: ((error?: Error) => void)[] = []
  const handle = inBatches((items: readonly number[]) => {
    batches.push([...items])
    return new Promise<void>((resolve, reject) => {
      ends.push(error => (error ? reject(error) : resolve()))
    })
  })
  const settle = () => new Promise(resolve => setImmediate(resolve))
  return {
    batches,
    handle,
    settle,
    finish: async (n: number, error?: Error) => {
      ends[n]?.(error)
      await settle()
    },
  }
}

test('items that arrive while a batch is handled are the next batch', async () => {
  const { batches, handle, settle, finish } = slowly()
  const done: number[] = []
  const add = (item: number) => void handle(item).then(() => done.push(item))
  add(1)
  await settle()
  for (const item of [2, 3, 4]) add(item)
  await settle()
  expect([batches, done]).toEqual([[[1]], []])
  await finish(0)
  add(5)
  await settle()
  expect([batches, done]).toEqual([[[1], [2, 3, 4]], [1]])
  await finish(1)
  await finish(2)
  expect([batches, done]).toEqual([
    [[1], [2, 3, 4], [5]],
    [1, 2, 3, 4, 5],
  ])
})

test('a batch that fails fails its own items only', async () => {
  const { batches, handle, settle, finish } = slowly()
  const first = handle(1)
  await settle()
  const [second, third] = [handle(2), handle(3)]
  const failed = Promise.allSettled([first, second, third])
  await finish(0, new Error('refused'))
  await finish(1)
  expect((await failed).map(({ status }) => status)).toEqual(['rejected', 'fulfilled', 'fulfilled'])
  expect(batches).toEqual([[1], [2, 3]])
})

test('items of one message and key are handled together, and get what their batch returns', async () => {
  const batches: number[][] = []
  const add = inBatchesOfMessage(async (items: readonly number[]) => {
    batches.push([...items])
    return items.length
  })
  const [one, other] = [{}, {}]
  const calls = [add(one, 'a', 1), add(one, 'a', 2), add(one, 'b', 3), add(other, 'a', 4), add(one, 'a', 5)]
  expect(await Promise.all(calls)).toEqual([3, 3, 1, 1, 3])
  expect(batches).toEqual([[1, 2, 5], [3], [4]])
})
