import { type PieceLink, toV1 } from '@w3filecoin/piece'

/** Builds a record of a file of active replicas: a piece, and its deals as `[id, end epoch]`. */
export const replica = (piece: PieceLink, ...deals: [id: number, endEpoch: number][]) => {
  const { root, log2Size } = toV1(piece).ok!
  return {
    contracts: deals.map(([id, endEpoch]) => ({
      provider_id: 1001,
      legacy_market_id: id,
      legacy_market_end_epoch: endEpoch,
    })),
    piece_cid: `${root}`,
    piece_log2_size: log2Size,
  }
}

export type Replica = ReturnType<typeof replica>
