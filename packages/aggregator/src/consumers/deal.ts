import {
  type Consumer,
  DONE,
  each,
  hasEffectBlocks,
  isTask,
  reach,
  type Stored,
  unpackTask,
  update,
  withTask,
} from '@w3filecoin/runtime'
import type { Link } from 'multiformats'
import { parse as parseLink } from 'multiformats/link'
import type { Dependencies } from '../dependencies.ts'
import { type AggregateRecord, recordProblem } from '../domain/aggregate.ts'
import { type DealMessage, dealMessage } from '../queues.ts'
import { receiveAggregateAccept } from '../settlement/receive-aggregate-accept.ts'
import { receiveAnswer } from '../settlement/receive-answer.ts'

type DealDependencies = Pick<Dependencies, 'id' | 'stores' | 'queues' | 'dealer' | 'timing' | 'now' | 'log'>

/**
 * On `deal`, offer a sealed aggregate to the dealer. If it was already offered, fetch the outcome in case its delivery
 * was lost.
 */
export const onDeal = (dependencies: DealDependencies): Consumer<DealMessage> =>
  each(
    dealMessage,
    async ({ aggregate: id }) => {
      const record = await dependencies.stores.aggregate.get({ id })
      if (record !== undefined) await advance(dependencies, record)
      return DONE
    },
    { concurrency: 1 },
  )

const advance = (dependencies: DealDependencies, record: Stored<AggregateRecord>): Promise<void> => {
  switch (record.stage) {
    case 'sealed':
      return offerAggregate(dependencies, record)
    case 'offered':
      return fetchOutcome(dependencies, record)
    case 'accepted':
    case 'failed':
      return Promise.resolve()
  }
}

/** Offers an aggregate with the list of its pieces, and records the answer of the dealer. */
const offerAggregate = async (
  dependencies: DealDependencies,
  record: Stored<AggregateRecord>,
): Promise<void> => {
  const { stores, dealer, log } = dependencies
  const cid = parseLink(record.pieces) as Link
  const bytes = await stores.blocks.get(cid)
  if (bytes === undefined)
    throw new Error(`The block ${cid} with the list of pieces of ${record.aggregate} is missing`)
  const offer = await unpackTask(record.offerTask)
  offer.attach({ cid, bytes })
  const answers = await reach(dealer, () => dealer.execute([offer]), log)
  if (answers.error) return retryLater(dependencies, record, answers.error.message)
  const [answer] = answers.ok
  if (!answer?.ok) {
    log('error', 'aggregate refused', {
      ...dealer.address,
      aggregate: record.aggregate,
      refusal: answer?.error,
    })
    return retryLater(dependencies, record, answer?.error.message ?? 'The dealer gives no answer')
  }
  const { ok: receipt, error } = hasEffectBlocks(answer.ok)
    ? { ok: answer.ok }
    : await reach(dealer, () => dealer.receipt(`${offer.cid}`), log)
  if (receipt === undefined)
    return retryLater(dependencies, record, error?.message ?? 'The dealer does not have its receipt')
  // Leave out the list of pieces: it may have 4 MB, and the storefront does not need it.
  const slim = withTask(receipt, await unpackTask(record.offerTask), { omit: record.pieces })
  await receiveAnswer(dependencies, record, slim)
}

const fetchOutcome = async (
  dependencies: DealDependencies,
  record: Stored<AggregateRecord>,
): Promise<void> => {
  const { dealer, log } = dependencies
  const { ok: receipt, error } = await reach(dealer, () => dealer.receipt(record.acceptCid as string), log)
  if (error || record.trouble) await retryLater(dependencies, record, error?.message)
  if (receipt && isTask(receipt.ran)) await receiveAggregateAccept(dependencies, receipt, receipt.ran)
}

/** Records why the dealer did not advance an aggregate, or that there is no problem any more. */
const retryLater = async (
  { stores, timing, now }: Pick<DealDependencies, 'stores' | 'timing' | 'now'>,
  record: Stored<AggregateRecord>,
  problem: string | undefined,
): Promise<void> => {
  const { id, stage } = record
  const change = (current: Stored<AggregateRecord>) => recordProblem(current, stage, problem, now(), timing)
  await update(stores.aggregate, { id }, change, { known: record })
}
