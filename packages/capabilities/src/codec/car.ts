import type { Block } from '@ucanto/interface'
import { encodeCbor } from './cbor.ts'

/**
 * Encodes a CAR of version 1 with one root.
 *
 * @param blocks in their order; each CID must be there once
 */
export const encodeCar = (root: Block['cid'], blocks: Iterable<Block>): Uint8Array<ArrayBuffer> => {
  const header = encodeCbor({ version: 1, roots: [root] })
  const parts = [...blocks].map(({ cid, bytes }) => ({
    cid: (cid as unknown as { bytes: Uint8Array }).bytes,
    bytes,
  }))
  const sizeOf = (length: number) => varintSize(length) + length
  const size = parts.reduce(
    (sum, { cid, bytes }) => sum + sizeOf(cid.byteLength + bytes.byteLength),
    sizeOf(header.byteLength),
  )
  const car = new Uint8Array(size)
  let at = writeVarint(header.byteLength, car, 0)
  car.set(header, at)
  at += header.byteLength
  for (const { cid, bytes } of parts) {
    at = writeVarint(cid.byteLength + bytes.byteLength, car, at)
    car.set(cid, at)
    car.set(bytes, at + cid.byteLength)
    at += cid.byteLength + bytes.byteLength
  }
  return car
}

const varintSize = (value: number): number => (value < 0x80 ? 1 : 1 + varintSize(Math.floor(value / 0x80)))

/** Writes an unsigned LEB128. Returns the position after it. */
const writeVarint = (value: number, into: Uint8Array, at: number): number => {
  if (value < 0x80) {
    into[at] = value
    return at + 1
  }
  into[at] = (value % 0x80) | 0x80
  return writeVarint(Math.floor(value / 0x80), into, at + 1)
}
