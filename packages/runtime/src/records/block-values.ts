import { code as CBOR, decode, encode } from '@ipld/dag-cbor'
import { parse as parseLink } from 'multiformats/link'
import type { Blocks } from '../ports.ts'

/** Stores a value as a DAG-CBOR block; returns its CID. */
export const putValue = async (blocks: Blocks, value: unknown): Promise<string> =>
  `${await blocks.put(encode(value), CBOR)}`

/** Returns the value of a block. Throws if the block is missing. */
export const getValue = async <T>(blocks: Blocks, cid: string): Promise<T> => {
  const bytes = await blocks.get(parseLink(cid))
  if (bytes === undefined) throw new Error(`The block ${cid} is missing`)
  return decode<T>(bytes)
}
