import {
  ProvisionedThroughputExceededException,
  RequestLimitExceeded,
  ThrottlingException,
} from '@aws-sdk/client-dynamodb'
import type { DynamoDBDocumentClient } from '@aws-sdk/lib-dynamodb'
import { type Consumer, DONE } from '@w3filecoin/runtime'
import { describe, expect, it } from 'vitest'
import { DynamoTable, queueFunction } from '../src/index.ts'

const given = { message: 'slow down', $metadata: {} }
const throttled = {
  ProvisionedThroughputExceededException: new ProvisionedThroughputExceededException(given),
  ThrottlingException: new ThrottlingException(given),
  RequestLimitExceeded: new RequestLimitExceeded(given),
}

/** A table whose client answers each call with the next answer, and then processes everything. */
const tableOf = (answers: (Error | 'half' | 'all')[]) => {
  const calls: number[] = []
  const client = {
    send: async ({ input }: { input: { RequestItems: { t: unknown[] | { Keys: unknown[] } } } }) => {
      const { t } = input.RequestItems
      const items = Array.isArray(t) ? t : t.Keys
      calls.push(items.length)
      const answer = answers.shift() ?? 'all'
      if (answer instanceof Error) throw answer
      const half = items.slice(0, answer === 'half' ? Math.ceil(items.length / 2) : 0)
      return Array.isArray(t)
        ? { UnprocessedItems: half.length > 0 ? { t: half } : {} }
        : {
            Responses: { t: items.slice(half.length) },
            UnprocessedKeys: half.length > 0 ? { t: { Keys: half } } : {},
          }
    },
  }
  const table = new DynamoTable<{ id: string }>({
    client: client as unknown as DynamoDBDocumentClient,
    name: () => 't',
    spec: { fields: { id: 'string' }, key: { hash: 'id' } },
  })
  return { table, calls }
}
const rows = (n: number) => Array.from({ length: n }, (_, n) => ({ id: `${n}` }))

/** Runs a call as a consumer does, in a Lambda run that has this many milliseconds. */
const within = async (milliseconds: number, run: () => Promise<unknown>) => {
  const end = performance.now() + milliseconds
  const consumer: Consumer<unknown> = {
    decode: body => body,
    handle: async () => {
      await run()
      return [DONE]
    },
  }
  const reasons: Error[] = []
  const record = { messageId: 'm', body: '{}', attributes: {}, eventSourceARN: 'a:queue' }
  const answer = await queueFunction(consumer, (_, __, fields) =>
    reasons.push((fields as { reason: Error }).reason),
  )(
    { Records: [record as never] },
    { awsRequestId: 'r', getRemainingTimeInMillis: () => end - performance.now() },
  )
  return { answer, reasons }
}

describe('a batch of records', () => {
  it.each(Object.entries(throttled))('is written although a call ends with %s', async (_, error) => {
    const { table, calls } = tableOf([error, 'half', error, 'half'])
    await table.putMany(rows(8))
    expect(calls).toEqual([8, 8, 4, 4, 2])
  })

  it('is read although DynamoDB throttles a call', async () => {
    const { table, calls } = tableOf([throttled.ThrottlingException, 'half'])
    const found = await table.getMany(rows(8))
    expect(found.map(record => record?.id)).toEqual(rows(8).map(({ id }) => id))
    expect(calls).toEqual([8, 8, 4])
  })

  it('is tried until the time of the function is nearly over, and then fails with the reason', async () => {
    const { table, calls } = tableOf(Array(1000).fill(throttled.ProvisionedThroughputExceededException))
    const started = performance.now()
    const { answer, reasons } = await within(7_000, () => table.removeMany(rows(3)))
    // A run needs its last 5 s to report the failure.
    expect(performance.now() - started).toBeLessThan(4_000)
    expect(calls.length).toBeGreaterThan(2)
    expect(answer).toEqual({ batchItemFailures: [{ itemIdentifier: 'm' }] })
    expect(reasons[0]).toMatchObject({
      message: expect.stringMatching(
        /^3 records of t were not written: DynamoDB limited the calls in each of \d+ attempts/,
      ),
      cause: throttled.ProvisionedThroughputExceededException,
    })
  })

  it('is tried for more than the six seconds of earlier code', async () => {
    const { table, calls } = tableOf(Array(9).fill(throttled.ThrottlingException))
    expect((await within(60_000, () => table.putMany(rows(1)))).reasons).toEqual([])
    expect(calls).toHaveLength(10)
  })

  it('fails at once for another reason', async () => {
    const { table, calls } = tableOf([new TypeError('no such table')])
    await expect(table.putMany(rows(1))).rejects.toThrow('no such table')
    expect(calls).toHaveLength(1)
  })
})
