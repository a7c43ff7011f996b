import { Aggregate, Inclusion, Index, type PieceSize } from '@web3-storage/data-segment'
import { MAX_HEIGHT, MIN_HEIGHT, sizeOf } from './link.ts'

/** Bytes of an entry of the data segment index: root, offset, size and checksum of a piece. */
export const INDEX_ENTRY_SIZE = Number(Index.EntrySize)

/** Padded bytes of the smallest aggregate that has room for a piece beside its index. */
export const MIN_AGGREGATE_SIZE = 512

/** Padded bytes of the largest aggregate: 2^53, since larger offsets are not exact as JavaScript numbers. */
export const MAX_AGGREGATE_SIZE = sizeOf(MAX_HEIGHT)

/**
 * The size of an aggregate in the form that the published library takes.
 *
 * @param size padded bytes
 * @throws RangeError if no aggregate has this size: it must be a power of two from 512 to 2^53
 */
export const aggregateSize = (size: number): PieceSize => {
  if (!Number.isInteger(Math.log2(size)) || size < MIN_AGGREGATE_SIZE || size > MAX_AGGREGATE_SIZE) {
    throw new RangeError(
      `No aggregate has ${size} padded bytes. Pass a power of two from ${MIN_AGGREGATE_SIZE} to ${MAX_AGGREGATE_SIZE}.`,
    )
  }
  return Aggregate.Size.from(size)
}

/**
 * Number of pieces that the index of an aggregate of `size` padded bytes has entries for: one for each 128 KiB, at
 * least 4.
 *
 * @example indexEntries(2 ** 35) // 262144
 * @throws RangeError if no aggregate has this size: it must be a power of two from 512 to 2^53
 * @see https://github.com/filecoin-project/FIPs/blob/master/FRCs/frc-0058.md#data-segment-index
 */
export const indexEntries = (size: number): number => Index.maxIndexEntriesInDeal(aggregateSize(size))

/**
 * Padded bytes that an aggregate of `size` padded bytes has for pieces: all bytes before its index, which is at the
 * end.
 *
 * @example capacityOf(2 ** 35) // 34342961152, which is 2 ** 35 - 262144 * 64
 * @throws RangeError if no aggregate has this size: it must be a power of two from 512 to 2^53
 */
export const capacityOf = (size: number): number => Number(Inclusion.indexAreaStart(aggregateSize(size)))

/** Padded bytes of the smallest piece: an aggregate with less free space is full. */
export const MIN_PIECE_SIZE = sizeOf(MIN_HEIGHT)
