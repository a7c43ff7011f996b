import type { Signer } from '@ucanto/interface'
import { type Failure, failure, type PieceLink, parsePieceLink } from '@w3filecoin/capabilities'
import type { InvalidPieceCID } from '@w3filecoin/piece'
import type { Outcome } from '@w3filecoin/runtime'
import pMap from 'p-map'
import { createRetries, type FailedAggregate } from './retries.ts'

/**
 * Creates the outcome of an aggregate that gets no deal: `InvalidPiece` if some pieces are invalid, else
 * `DealNotFound`. Its effects are the retries of all other pieces: the dealer will offer them to the aggregator again.
 *
 * @param pieces all pieces of the aggregate
 * @param reason.invalid the invalid ones, each with the reason
 */
export const createFailureOutcome = async (
  id: Signer,
  failed: FailedAggregate,
  pieces: readonly PieceLink[],
  { message, invalid }: { message: string; invalid: readonly InvalidPieceCID[] },
): Promise<Outcome> => {
  const aggregate = parsePieceLink(failed.aggregate)
  const invalidPieces = new Set(invalid.map(({ piece }) => `${piece}`))
  const fork = await pMap(
    pieces.filter(piece => !invalidPieces.has(`${piece}`)),
    createRetries(id, failed),
    { concurrency: 100 },
  )
  const error: Failure =
    invalid.length === 0
      ? failure('DealNotFound', message, { piece: aggregate })
      : failure('InvalidPiece', message, { aggregate, cause: [...invalid] })
  return { out: { error }, fx: { fork } }
}
