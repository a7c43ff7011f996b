import * as Writer from '@ipld/car/buffer-writer'
import { CarBlockIterator } from '@ipld/car/iterator'
import type { CID } from 'multiformats/cid'
import { sha256 } from 'multiformats/hashes/sha2'

/** A block whose bytes hash to its CID. */
export interface Block {
  cid: CID
  bytes: Uint8Array
}

/** The identity multihash: the digest is the content itself. */
const IDENTITY = 0x00

/**
 * Reads a CAR and hashes every block: the published decoder returns blocks whose bytes do not hash to their CIDs. Blocks that
 * follow more than `maxBlocks` others are not read.
 *
 * @throws Error if the bytes are not such a CAR
 */
export const readCar = async (
  bytes: Uint8Array,
  maxBlocks: number,
): Promise<{ roots: CID[]; blocks: Block[] }> => {
  const car = await CarBlockIterator.fromBytes(bytes)
  const blocks: Block[] = []
  for await (const { cid, bytes } of car) {
    if (blocks.length === maxBlocks) throw new Error(`There are more than ${maxBlocks} blocks`)
    if (!(await isHashed(cid as unknown as CID, bytes)))
      throw new Error(`The block ${cid} does not hash to its CID`)
    blocks.push({ cid: cid as unknown as CID, bytes })
  }
  return { roots: (await car.getRoots()) as unknown as CID[], blocks }
}

const isHashed = async ({ multihash: { code, digest } }: CID, bytes: Uint8Array): Promise<boolean> => {
  if (code === IDENTITY) return areEqual(bytes, digest)
  if (code !== sha256.code) return false
  return areEqual((await sha256.digest(bytes)).digest, digest)
}

/** Whether two byte strings are equal. */
export const areEqual = (a: Uint8Array, b: Uint8Array): boolean =>
  a.byteLength === b.byteLength && a.every((byte, n) => byte === b[n])

/** Writes a CAR with one root, the first of the blocks. */
export const writeCar = (blocks: readonly [Block, ...Block[]]): Uint8Array<ArrayBuffer> => {
  // The types of `@ipld/car` are those of another release of multiformats.
  const parts = blocks as never as Parameters<typeof Writer.addBlock>[1][]
  const roots = [parts[0]!.cid]
  const size = parts.reduce((sum, block) => sum + Writer.blockLength(block), Writer.headerLength({ roots }))
  const writer = Writer.createWriter(new ArrayBuffer(size), { roots })
  for (const block of parts) writer.write(block)
  return writer.close() as Uint8Array<ArrayBuffer>
}
