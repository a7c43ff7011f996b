import type { Failure } from '@w3filecoin/capabilities'
import { batchesOf, type Consumer, DONE, each, getValue, unpackTask, update } from '@w3filecoin/service'
import type { Dependencies } from '../dependencies.ts'
import { rangeSent } from '../domain/aggregate.ts'
import { type RetryMessage, retryMessage } from '../queues.ts'

/** Offers in one message to the aggregator. */
const BATCH = 50

/** On `retry`, offer a range of the pieces of a failed aggregate to the aggregator again. */
export const onRetry = ({
  stores,
  aggregators,
  timing,
  now,
  log,
}: Pick<Dependencies, 'stores' | 'aggregators' | 'timing' | 'now' | 'log'>): Consumer<RetryMessage> =>
  each(
    body => retryMessage.parse(body),
    async ({ aggregate: id, range }) => {
      const record = await stores.aggregates.get({ id })
      if (!record?.openRanges?.includes(range)) return DONE
      const aggregator = aggregators.get(record.aggregator)
      if (!aggregator?.reachable)
        return { error: new Error(`The configuration gives no URL for ${record.aggregator}`) }
      const ranges = await getValue<string[]>(stores.blocks, record.retries as string)
      const packed = await getValue<Uint8Array[]>(stores.blocks, ranges[range] as string)
      for (const batch of batchesOf(packed, BATCH)) {
        const offers = await Promise.all(batch.map(unpackTask))
        for (const answer of await aggregator.execute(offers)) {
          if (answer.error) return { error: answer.error }
          const refusal = answer.ok.out.error as Failure | undefined
          if (refusal?.name === 'HandlerExecutionError') return { error: refusal }
          // It will not change its mind about this piece, and whoever waits for it reads why in its receipt.
          if (refusal) log('warn', 'retry refused', { aggregate: record.aggregate, refusal })
        }
      }
      await update(stores.aggregates, { id }, current => rangeSent(current, range, now(), timing))
      return DONE
    },
    { concurrency: 1 },
  )
