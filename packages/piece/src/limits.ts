import { MAX_HEIGHT, MIN_HEIGHT, sizeOf } from './link.ts'

/** Bytes of an entry of the data segment index, which says where in an aggregate a piece is. */
export const INDEX_ENTRY_SIZE = 64

/** Padded bytes of the smallest aggregate with room for a piece beside its index. */
export const MIN_AGGREGATE_SIZE = 512

/**
 * How many pieces an aggregate of `size` padded bytes has index entries for: one for each 128 KiB, at least 4.
 * An aggregate of 32 GiB has 262,144.
 *
 * FRC-0058: max(4, 2^floor(log2(size / 2048 / 64))). Published implementations round up, which for a power of
 * two is the same.
 *
 * @throws RangeError if no aggregate has this size: it must be a power of two, from 512 up
 * @see https://github.com/filecoin-project/FIPs/blob/master/FRCs/frc-0058.md#data-segment-index
 */
export const indexEntries = (size: number): number => {
  if (!Number.isInteger(Math.log2(size)) || size < MIN_AGGREGATE_SIZE || size > sizeOf(MAX_HEIGHT)) {
    throw new RangeError(
      `An aggregate has a power of two of padded bytes, ${MIN_AGGREGATE_SIZE} or more, not ${size}`,
    )
  }
  return Math.max(4, size / (2048 * INDEX_ENTRY_SIZE))
}

/**
 * Padded bytes that an aggregate of `size` padded bytes has for pieces: all but its index, which is at its end.
 *
 * @throws RangeError as {@link indexEntries}
 */
export const capacityOf = (size: number): number => size - indexEntries(size) * INDEX_ENTRY_SIZE

/** Padded bytes of the smallest piece: with less than this free, an aggregate is full. */
export const MIN_PIECE_SIZE = sizeOf(MIN_HEIGHT)
