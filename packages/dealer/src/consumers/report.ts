import { type Consumer, DONE, each } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import { isFinal } from '../domain/aggregate.ts'
import { type ReportMessage, reportMessage } from '../queues.ts'
import { createFailureOutcome } from '../settlement/failure-outcome.ts'
import { findReported, readInvalid } from '../settlement/read-report.ts'
import { settleAggregate } from '../settlement/settle-aggregate.ts'

/**
 * On `report`, fail an aggregate that deal making has abandoned, or that waited too long for a deal. The report names
 * the invalid pieces, if any; the other pieces are retried. A report that names an unknown aggregate, or a piece that
 * is not in the aggregate, goes to the dead-letter queue. Orders that were not sent to a target end with the aggregate.
 */
export const onReport = (
  dependencies: Pick<
    Dependencies,
    'id' | 'stores' | 'queues' | 'aggregators' | 'timing' | 'batching' | 'now'
  >,
): Consumer<ReportMessage> => {
  const { id } = dependencies
  return each(
    reportMessage,
    async ({ offer, message, invalid: reported }) => {
      const { ok: record, error } = await findReported(dependencies, offer)
      if (error) return { error }
      if (isFinal(record)) return DONE
      const read = await readInvalid(dependencies, record, reported)
      if (read.error) return read
      const { pieces, invalid } = read.ok
      const outcome = await createFailureOutcome(id, record, pieces, { message, invalid })
      await settleAggregate(dependencies, record, outcome)
      await dependencies.queues.order.send([{ offer: record.id }])
      return DONE
    },
    { concurrency: 1 },
  )
}
