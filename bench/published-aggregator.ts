import { handleBufferQueueMessage, handlePiecesInsert } from '@storacha/filecoin-api/aggregator/events'
import { CBOR } from '@ucanto/core'
import type { PieceLink } from '../packages/piece/src/index.ts'

/** A piece in a buffer, as the published package stores it. */
export interface BufferedPiece {
  piece: PieceLink
  insertedAt: string
  policy: number
}

interface Buffer {
  pieces: BufferedPiece[]
  group: string
  aggregate?: unknown
}

/** Messages of the buffer queue that one run takes, as in the deployment of the published package. */
const QUEUE_BATCH = 5

const GROUP = 'g'

/**
 * The buffer reduction of the published aggregator, with its own handlers, and with stores and queues in memory. Blocks are
 * counted by their length in DAG-CBOR, in which its deployment writes them to S3.
 *
 * @param options.minBytes used bytes of an aggregate, the area of its index among them, from which it is built
 * @param options.minUtilizationFactor it is not attempted before the pieces have this fraction of `paddedBytes`
 */
export const publishedAggregator = ({
  paddedBytes,
  minBytes,
  minUtilizationFactor = 4,
}: {
  paddedBytes: number
  minBytes: number
  minUtilizationFactor?: number
}) => {
  const buffers = new Map<string, Buffer>()
  const queue: { pieces: unknown; group: string }[] = []
  const written = { bytes: 0, blocks: 0 }
  let aggregates: BufferedPiece[][] = []
  const context = {
    bufferStore: {
      put: async ({ buffer, block }: { buffer: Buffer; block: unknown }) => {
        written.bytes += CBOR.encode(buffer).byteLength
        written.blocks += 1
        if (buffer.aggregate === undefined) buffers.set(`${block}`, buffer)
        else aggregates.push(buffer.pieces)
        return { ok: {} }
      },
      get: async (block: unknown) => ({ ok: { buffer: buffers.get(`${block}`), block } }),
    },
    bufferQueue: {
      add: async (message: { pieces: unknown; group: string }) => {
        queue.push(message)
        return { ok: {} }
      },
    },
    aggregateOfferQueue: { add: async () => ({ ok: {} }) },
    config: { maxAggregateSize: paddedBytes, minAggregateSize: minBytes, minUtilizationFactor },
  }
  const throwError = ({ error }: { error?: unknown }) => {
    if (error) throw error
  }
  const reduce = async (messages: typeof queue): Promise<void> =>
    throwError(await handleBufferQueueMessage(context as never, messages as never))
  return {
    written,
    /**
     * Adds pieces that arrive together, and reduces buffers until one is left, which waits for another one. Returns the pieces of
     * each aggregate that was built.
     */
    async add(pieces: readonly PieceLink[]): Promise<BufferedPiece[][]> {
      const insertedAt = new Date().toISOString()
      const records = pieces.map(piece => ({ piece, group: GROUP, insertedAt }))
      throwError(await handlePiecesInsert(context as never, records as never))
      aggregates = []
      while (queue.length > 1) {
        const messages = queue.splice(0, QUEUE_BATCH)
        await reduce(messages)
        // A reduction may write one of its buffers again: what an aggregate left.
        const queued = new Set(queue.map(({ pieces }) => `${pieces}`))
        for (const { pieces } of messages) if (!queued.has(`${pieces}`)) buffers.delete(`${pieces}`)
      }
      return aggregates
    },
    /** Reduces the buffer that is left. Returns the pieces of each aggregate that was built. */
    async finish(): Promise<BufferedPiece[][]> {
      aggregates = []
      await reduce(queue.splice(0))
      return aggregates
    },
  }
}
