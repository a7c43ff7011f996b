import { type Consumer, DONE, each, type Key, type Stored } from '@w3filecoin/runtime'
import pMap from 'p-map'
import type { Dependencies } from '../dependencies.ts'
import type { PieceRecord } from '../domain/piece.ts'
import { type OutcomeMessage, outcomeMessage } from '../queues.ts'
import { allShards, fetchOutcome, settleAccepted, settleFailed } from '../receipts.ts'

/**
 * On `accept`, see to the pieces of an aggregate whose outcome is known: end the workflows of those in a deal and of those
 * at fault, and follow those that are tried again. Where it is not known, ask: the receipt may have been lost on its
 * way.
 */
export const onOutcome = (
  parts: Pick<
    Dependencies,
    'id' | 'stores' | 'queues' | 'aggregator' | 'dealer' | 'timing' | 'batching' | 'now' | 'log'
  >,
): Consumer<OutcomeMessage> => {
  const { stores, queues, batching } = parts
  return each(
    outcomeMessage,
    async message => {
      const aggregate = await stores.aggregate.get({ id: message.aggregate })
      if (aggregate === undefined) return DONE
      if (!('pieces' in message || 'shard' in message)) {
        if (aggregate.stage === 'offered') await fetchOutcome(parts, aggregate)
        else await queues.outcome.send(allShards(aggregate.id))
        return DONE
      }
      if (aggregate.stage === 'offered') return DONE
      const page =
        'pieces' in message
          ? { items: message.pieces.map(id => ({ id })) }
          : await stores.piece.find('memberOf', `${message.aggregate}#${message.shard}`, {
              limit: batching.pageRecords,
              after: message.after,
            })
      if ('shard' in message && 'next' in page && page.next !== undefined)
        await queues.outcome.send([{ ...message, after: page.next }])
      const records = (await stores.piece.getMany(page.items as Key[])).filter(
        record => record?.aggregateId === aggregate.id,
      ) as Stored<PieceRecord>[]
      if (aggregate.stage === 'failed') await settleFailed(parts, records, aggregate)
      else await pMap(records, record => settleAccepted(parts, record, aggregate), { concurrency: 10 })
      return DONE
    },
    { concurrency: 2 },
  )
}
