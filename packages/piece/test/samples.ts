import { createHash } from 'node:crypto'
import { CID } from 'multiformats/cid'
import { encodePiece, type PieceLink } from '../src/index.ts'

/** Pseudorandom bytes, the same in every run. */
export const bytesOf = (seed: string | number, length: number): Uint8Array =>
  new Uint8Array(createHash('shake256', { outputLength: length }).update(`${seed}`).digest())

/** The root of some piece: 254 bits. */
export const rootOf = (seed: string | number): Uint8Array => {
  const root = bytesOf(seed, 32)
  root[31]! &= 0b0011_1111
  return root
}

/** The link of some piece of the given height. */
export const pieceOfHeight = (height: number, seed: string | number, padding = 0n): PieceLink =>
  encodePiece({ root: rootOf(`${height} ${seed}`), height, padding })

/** A piece CID v1 written as text. */
export const v1 = (text: string): CID => CID.parse(text)

/** The value of a result. Fails the test if the result is an error. */
export const ok = <T>(result: { ok?: T; error?: unknown }): NonNullable<T> => {
  if (result.ok == null) throw new Error(`expected ok, got ${JSON.stringify(result.error, String)}`)
  return result.ok
}
