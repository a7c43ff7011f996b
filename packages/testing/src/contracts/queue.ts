import type { Queue } from '@w3filecoin/runtime'
import { beforeAll, describe, expect, it } from 'vitest'

export interface SampleMessage {
  group: string
  n: number
  text?: string
}

interface Queues {
  standard: Queue<SampleMessage>
  /** Delivers each `group` in order. Two messages with the same `group` and `n` are one message. */
  fifo: Queue<SampleMessage>
  /** Removes and returns the visible messages of a queue. */
  take(queue: 'standard' | 'fifo'): Promise<SampleMessage[]>
}

/** Tests that every implementation of the port `Queue` must pass. */
export const queueContract = (make: () => Promise<Queues> | Queues): void => {
  describe('is a queue', () => {
    let queues: Queues
    beforeAll(async () => {
      queues = await make()
    })

    const messages = (count: number, group = 'a'): SampleMessage[] =>
      Array.from({ length: count }, (_, n) => ({ group, n }))
    const numbers = (taken: SampleMessage[]) => taken.map(({ n }) => n)

    it('accepts an empty list, and more messages than fit into one call', async () => {
      await queues.standard.send([])
      expect(await queues.take('standard')).toEqual([])
      await queues.standard.send(messages(35))
      expect(numbers(await queues.take('standard')).toSorted((a, b) => a - b)).toEqual(numbers(messages(35)))
    })

    it('returns messages unchanged', async () => {
      const message = { group: 'ä "quoted"\n', n: 1.5, text: '<&> €' }
      await queues.standard.send([message])
      expect(await queues.take('standard')).toEqual([message])
    })

    it('delays messages', async () => {
      await queues.standard.send(messages(1), { delaySeconds: 1 })
      expect(await queues.take('standard')).toEqual([])
      await expect.poll(() => queues.take('standard'), { timeout: 10_000 }).toEqual(messages(1))
    })

    it('throws if any message is rejected', async () => {
      const tooLarge = { group: 'a', n: 0, text: 'x'.repeat(1_100_000) }
      await expect(queues.standard.send([{ group: 'a', n: 1 }, tooLarge])).rejects.toThrow()
      await queues.take('standard')
    })

    it('returns the messages of a group in order, and a duplicate once', async () => {
      await queues.fifo.send(messages(8, 'one'))
      await queues.fifo.send([...messages(8, 'one'), ...messages(8, 'two')])
      const taken = await queues.take('fifo')
      for (const group of ['one', 'two'])
        expect(numbers(taken.filter(message => message.group === group))).toEqual([0, 1, 2, 3, 4, 5, 6, 7])
    })
  })
}
