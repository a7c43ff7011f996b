import type { Failure } from '@w3filecoin/capabilities'
import {
  batchesOf,
  type Consumer,
  DONE,
  each,
  getValue,
  type Handled,
  reach,
  unpackTask,
  update,
} from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import { closeRange, recordRetryProblem } from '../domain/aggregate.ts'
import { isFinalRefusal } from '../domain/final-refusal.ts'
import { type RetryMessage, retryMessage } from '../queues.ts'

/** Retries in one HTTP message to the aggregator. */
const MAX_OFFERS = 50

/**
 * On `retry`, offer a range of a failed aggregate's pieces to the aggregator again. The range is closed when every
 * piece has a final answer. Otherwise the sweep sends the range again.
 */
export const onRetry = ({
  stores,
  aggregators,
  timing,
  now,
  log,
}: Pick<Dependencies, 'stores' | 'aggregators' | 'timing' | 'now' | 'log'>): Consumer<RetryMessage> => {
  /** Records why the aggregator did not answer, and schedules the next attempt. */
  const retryLater = async (id: string, problem: string): Promise<Handled> => {
    await update(stores.aggregate, { id }, current => recordRetryProblem(current, problem, now(), timing))
    return DONE
  }

  return each(
    retryMessage,
    async ({ aggregate: id, range }) => {
      const record = await stores.aggregate.get({ id })
      if (!record?.rangesToRetry?.includes(range)) return DONE
      const aggregator = await aggregators.find(record.aggregator)
      if (!aggregator?.reachable)
        return {
          error: new Error(
            `${record.aggregator} has no URL here. Add one to \`aggregators\` in the configuration, or with \`w3fil aggregator add\``,
          ),
        }
      const ranges = await getValue<string[]>(stores.blocks, record.retriesCid as string)
      const packed = await getValue<Uint8Array[]>(stores.blocks, ranges[range] as string)
      const temporary: Failure[] = []
      for (const batch of batchesOf(packed, MAX_OFFERS)) {
        const offers = await Promise.all(batch.map(unpackTask))
        const answers = await reach(aggregator, () => aggregator.execute(offers), log)
        if (answers.error) return retryLater(id, answers.error.message)
        for (const { ok, error } of answers.ok) {
          const refusal = (error ?? ok?.out.error) as Failure | undefined
          if (refusal === undefined) continue
          if (ok && isFinalRefusal(refusal))
            log('warn', 'retry refused', { ...aggregator.address, aggregate: record.aggregate, refusal })
          // Go on with the other pieces: the reason may not apply to them.
          else temporary.push(refusal)
        }
      }
      const [refusal] = temporary
      if (refusal) {
        log('warn', 'retries postponed', {
          ...aggregator.address,
          aggregate: record.aggregate,
          range,
          count: temporary.length,
          refusal,
        })
        return retryLater(id, `The aggregator refuses a retry: ${refusal.name}: ${refusal.message}`)
      }
      await update(stores.aggregate, { id }, current => closeRange(current, range, now(), timing))
      return DONE
    },
    { concurrency: 1 },
  )
}
