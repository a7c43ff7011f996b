import type { Failure } from '@w3filecoin/capabilities'
import {
  batchesOf,
  type Consumer,
  DONE,
  each,
  getValue,
  reach,
  unpackTask,
  update,
} from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import { closeRange } from '../domain/aggregate.ts'
import { isFinal } from '../domain/retry.ts'
import { type RetryMessage, retryMessage } from '../queues.ts'

/** Offers in one message to the aggregator. */
const BATCH = 50

/**
 * On `retry`, offer a range of the pieces of a failed aggregate to the aggregator again. The range is closed when each has
 * an answer that stays. An aggregator that can not take all of them now is asked for the range again by the record's time.
 */
export const onRetry = ({
  stores,
  aggregators,
  timing,
  now,
  log,
}: Pick<Dependencies, 'stores' | 'aggregators' | 'timing' | 'now' | 'log'>): Consumer<RetryMessage> =>
  each(
    retryMessage,
    async ({ aggregate: id, range }) => {
      const record = await stores.aggregate.get({ id })
      if (!record?.rangesToRetry?.includes(range)) return DONE
      const aggregator = await aggregators.find(record.aggregator)
      if (!aggregator?.reachable)
        return { error: new Error(`The configuration gives no URL for ${record.aggregator}`) }
      const ranges = await getValue<string[]>(stores.blocks, record.retriesCid as string)
      const packed = await getValue<Uint8Array[]>(stores.blocks, ranges[range] as string)
      const passing: Failure[] = []
      for (const batch of batchesOf(packed, BATCH)) {
        const offers = await Promise.all(batch.map(unpackTask))
        const answers = await reach(aggregator, () => aggregator.execute(offers), log)
        if (answers.error) return DONE
        for (const { ok, error } of answers.ok) {
          const refusal = (error ?? ok?.out.error) as Failure | undefined
          if (refusal === undefined) continue
          if (ok && isFinal(refusal)) log('warn', 'retry refused', { aggregate: record.aggregate, refusal })
          // The others are offered all the same: what one is refused for need not be true of them.
          else passing.push(refusal)
        }
      }
      const [refusal] = passing
      if (refusal) {
        log('warn', 'retries are to be offered again', {
          aggregate: record.aggregate,
          range,
          count: passing.length,
          refusal,
        })
        return DONE
      }
      await update(stores.aggregate, { id }, current => closeRange(current, range, now(), timing))
      return DONE
    },
    { concurrency: 1 },
  )
