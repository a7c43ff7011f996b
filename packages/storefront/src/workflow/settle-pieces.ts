import { decode } from '@ipld/dag-cbor'
import {
  type DealMetadata,
  type FilecoinAcceptSuccess,
  failure,
  parsePieceLink,
} from '@w3filecoin/capabilities'
import { getValue, type Stored, update } from '@w3filecoin/runtime'
import { parse as parseLink } from 'multiformats/link'
import pMap from 'p-map'
import type { Dependencies } from '../dependencies.ts'
import type { AggregateRecord, Verdict } from '../domain/aggregate.ts'
import type { Membership } from '../domain/inclusion.ts'
import { shardOf } from '../domain/member-shards.ts'
import { markRetried, type PieceRecord } from '../domain/piece.ts'
import { endPiece, endPieces } from './end-piece.ts'
import { readMemberships } from './memberships.ts'

/** Applies the outcome of an aggregate to some of its pieces. */
export const settlePieces = async (
  dependencies: Pick<Dependencies, 'id' | 'stores' | 'queues' | 'timing' | 'now'>,
  records: readonly Stored<PieceRecord>[],
  aggregate: AggregateRecord,
): Promise<void> => {
  switch (aggregate.stage) {
    case 'offered':
      return
    case 'accepted':
      await settleAccepted(dependencies, records, aggregate)
      return
    case 'failed':
      await settleFailed(dependencies, records, aggregate)
      return
    default:
      aggregate.stage satisfies never
  }
}

/** Ends the workflows of pieces whose aggregate is in a deal. */
const settleAccepted = async (
  dependencies: Pick<Dependencies, 'id' | 'stores' | 'queues' | 'now'>,
  records: readonly Stored<PieceRecord>[],
  { metadata }: AggregateRecord,
): Promise<void> => {
  const aggregated = records.filter(({ stage }) => stage === 'aggregated')
  const memberships = await readMemberships(dependencies.stores, aggregated)
  const ends = aggregated.map((record, n) => {
    const [{ aggregate, inclusion }] = memberships[n] as [Membership]
    const success: FilecoinAcceptSuccess = {
      piece: parsePieceLink(record.piece),
      aggregate: parsePieceLink(aggregate),
      inclusion: decode(inclusion),
      aux: metadata as DealMetadata,
    }
    return { record, out: { ok: success } }
  })
  await endPieces(dependencies, ends)
}

/** Marks the pieces of a failed aggregate that the dealer retries, and ends the workflows of the other pieces. */
const settleFailed = async (
  dependencies: Pick<Dependencies, 'id' | 'stores' | 'queues' | 'timing' | 'now'>,
  records: readonly Stored<PieceRecord>[],
  { id: aggregateId, aggregate, verdictsCid }: AggregateRecord,
): Promise<void> => {
  const { stores, queues, timing, now } = dependencies
  const links = await getValue<string[]>(stores.blocks, verdictsCid as string)
  const neededShards = [...new Set(records.map(({ piece }) => shardOf(piece)))]
  const verdicts = await pMap(
    neededShards,
    shard => getValue<Verdict[]>(stores.blocks, links[shard] as string),
    { concurrency: 4 },
  )
  const verdictOf = new Map(verdicts.flat().map(verdict => [verdict.piece, verdict]))
  await pMap(
    records.filter(({ stage }) => stage === 'aggregated'),
    async record => {
      const { retry, fault } = verdictOf.get(record.piece) ?? {}
      if (retry !== undefined)
        await update(
          stores.piece,
          { id: record.id },
          current => markRetried(current, { aggregateId, retry }, now(), timing),
          { known: record },
        )
      else if (fault !== undefined)
        await endPiece(dependencies, record, {
          error: failure('InvalidContentPiece', fault, { content: parseLink(record.content) }),
        })
      else
        await endPiece(dependencies, record, {
          error: failure(
            'ProofNotFound',
            `${aggregate} was not stored, and its dealer does not retry the piece`,
          ),
        })
    },
    { concurrency: 10 },
  )
  await queues.aggregation.send(
    records.filter(({ piece }) => verdictOf.get(piece)?.retry !== undefined).map(({ id }) => ({ id })),
  )
}
