import { deflateRawSync, inflateRawSync } from 'node:zlib'
import { DICTIONARY_1 } from './dictionary.ts'

/** The first byte of a packed value: the number of its dictionary. No CAR and no DAG-CBOR list or map begins with it. */
const DICTIONARY = 1

/** Larger values are kept as they are: they belong into blocks, and reading them here must have a bound. */
const MAX_PACKED_BYTES = 1024 * 1024

/**
 * Returns tasks, receipts and proofs in the form in which records hold them: raw deflate (RFC 1951) with a fixed dictionary,
 * after the number of the dictionary. DynamoDB bills each write by the kilobyte, and most of these bytes are the same in
 * every record.
 *
 * @example pack(car) // 01 8d 56 5b 6f …: 480 bytes for a receipt of 1,300
 */
export const pack = (bytes: Uint8Array): Uint8Array => {
  if (bytes.byteLength > MAX_PACKED_BYTES) return bytes
  const deflated = deflateRawSync(bytes, { dictionary: DICTIONARY_1 })
  return Buffer.concat([Uint8Array.of(DICTIONARY), deflated])
}

/**
 * Returns the bytes of a value that {@link pack} packed, or that earlier code stored as it was. Throws if the value is damaged,
 * or if it has more than 1 MiB.
 */
export const unpack = (stored: Uint8Array): Uint8Array => {
  if (stored[0] !== DICTIONARY) return stored
  const dictionary = DICTIONARY_1
  const bytes = inflateRawSync(stored.subarray(1), { dictionary, maxOutputLength: MAX_PACKED_BYTES })
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
