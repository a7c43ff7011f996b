import {
  type AggregateAcceptSuccess,
  type Failure,
  type Place,
  placeIn,
  toPlaceKey,
} from '@w3filecoin/capabilities'
import {
  issueReceipt,
  type Outcome,
  type Stored,
  translationsOf,
  unpackTask,
  update,
} from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import { type AggregateRecord, markAccepted, markFailed } from '../domain/aggregate.ts'
import { sendRetries, storeRetries } from './retries.ts'

/**
 * Issues and stores the final receipt of an aggregate, and sends it to the aggregator. If an interrupted run stored
 * another receipt, that one decides how the aggregate ended. The valid pieces of a failed aggregate are then retried.
 */
export const settleAggregate = async (
  dependencies: Pick<
    Dependencies,
    'id' | 'stores' | 'queues' | 'aggregators' | 'timing' | 'batching' | 'now'
  >,
  record: Stored<AggregateRecord>,
  outcome: Outcome,
): Promise<void> => {
  const { id, stores, queues, timing, now } = dependencies
  const accept = await unpackTask(record.acceptTask as Uint8Array)
  const receipt = await stores.receipts.put(await issueReceipt(id, accept, outcome))
  const success = receipt.out.ok as AggregateAcceptSuccess | undefined
  const retries = success ? undefined : await storeRetries(dependencies, record.aggregator, receipt)
  const { record: ended } = await update(stores.aggregate, { id: record.id }, current =>
    retries
      ? markFailed(current, { ...retries, reason: receipt.out.error as Failure }, now(), timing)
      : markAccepted(current, toPlaceKey(placeIn(success) as Place), now()),
  )
  if (retries) await sendRetries(dependencies, record.id, retries)
  await queues.translate.send(translationsOf(ended))
  await queues.conclude.send([{ to: record.aggregator, tasks: [`${receipt.ran.link()}`] }])
}
