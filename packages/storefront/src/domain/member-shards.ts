import { hash } from 'node:crypto'

/**
 * Number of shards that the pieces of an aggregate, and the queued pieces of a group, are divided into. Consumers work on the shards in parallel. It is part of
 * stored records and blocks, so it cannot change.
 */
export const MEMBER_SHARDS = 16

/** The numbers of all shards. */
export const SHARDS: readonly number[] = Array.from({ length: MEMBER_SHARDS }, (_, shard) => shard)

/**
 * A piece is found by the indexes `memberOf` and `queuedIn` at the latest this long after it was written: usually within a
 * second, but DynamoDB promises no bound.
 */
export const MAX_INDEX_LAG_MS = 24 * 60 * 60 * 1000

/** Returns the shard of a piece within its aggregate: 0 to 15. */
export const shardOf = (piece: string): number => hash('sha256', piece, 'buffer').readUInt8(0) % MEMBER_SHARDS

/**
 * Returns the partition key of one shard in the index `memberOf`.
 *
 * @example memberShard('kD3…', 7) // 'kD3…#7'
 */
export const memberShard = (aggregateId: string, shard: number): string => `${aggregateId}#${shard}`

/**
 * Returns the partition key of one shard in the index `queuedIn`.
 *
 * @example queuedShard('did:web:example.com', 7) // 'did:web:example.com#7'
 */
export const queuedShard = (group: string, shard: number): string => `${group}#${shard}`

/**
 * Returns one message per shard of an aggregate.
 *
 * @example allShards('kD3…') // [{ aggregate: 'kD3…', shard: 0 }, …, { aggregate: 'kD3…', shard: 15 }]
 */
export const allShards = (aggregate: string): { aggregate: string; shard: number }[] =>
  SHARDS.map(shard => ({ aggregate, shard }))
