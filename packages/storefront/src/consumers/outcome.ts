import { type Consumer, DONE, each, type Key, type Stored } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import { isFinal } from '../domain/aggregate.ts'
import { allShards, memberShard } from '../domain/member-shards.ts'
import type { PieceRecord } from '../domain/piece.ts'
import { type OutcomeMessage, outcomeMessage } from '../queues.ts'
import { fetchAggregateOutcome } from '../workflow/aggregate-outcome.ts'
import { settlePieces } from '../workflow/settle-pieces.ts'

/** A message that names pieces, one by one or as a shard. */
type PiecesMessage = Extract<OutcomeMessage, { pieces: unknown } | { shard: unknown }>

/**
 * On `outcome`, settle the pieces of an aggregate with its outcome. If the outcome is not known, fetch it, because its
 * delivery may have been lost.
 */
export const onOutcome = (
  dependencies: Pick<
    Dependencies,
    | 'id'
    | 'stores'
    | 'queues'
    | 'aggregator'
    | 'dealer'
    | 'dealTracker'
    | 'placeTypes'
    | 'timing'
    | 'batching'
    | 'now'
    | 'random'
    | 'log'
  >,
): Consumer<OutcomeMessage> => {
  const { stores, queues, batching } = dependencies

  /** Reads the pieces of the aggregate that the message names, and sends a message for the next page of a shard. */
  const readPieces = async (message: PiecesMessage): Promise<Stored<PieceRecord>[]> => {
    let keys: Key[]
    if ('pieces' in message) keys = message.pieces.map(id => ({ id }))
    else {
      const partition = memberShard(message.aggregate, message.shard)
      const page = await stores.piece.find('memberOf', partition, {
        limit: batching.pageRecords,
        after: message.after,
      })
      if (page.next !== undefined) await queues.outcome.send([{ ...message, after: page.next }])
      keys = page.items
    }
    return (await stores.piece.getMany(keys))
      .filter(record => record !== undefined)
      .filter(({ aggregateId }) => aggregateId === message.aggregate)
  }

  return each(
    outcomeMessage,
    async message => {
      const aggregate = await stores.aggregate.get({ id: message.aggregate })
      if (aggregate === undefined) return DONE
      const isKnown = isFinal(aggregate)
      if ('pieces' in message || 'shard' in message) {
        if (isKnown) await settlePieces(dependencies, await readPieces(message), aggregate)
      } else if (isKnown) await queues.outcome.send(allShards(aggregate.id))
      else await fetchAggregateOutcome(dependencies, aggregate)
      return DONE
    },
    { concurrency: 2 },
  )
}
