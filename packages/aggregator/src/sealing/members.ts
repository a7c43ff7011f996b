import { hash } from 'node:crypto'
import { batchesOf, getValue, putValue } from '@w3filecoin/runtime'
import pMap from 'p-map'
import type { Dependencies } from '../dependencies.ts'
import type { Seal } from '../domain/group.ts'

/** A piece in an aggregate, and the id of its record. An aggregate contains a piece only once. */
export interface Member {
  piece: string
  id: string
}

/** Blocks that are written, or read, in parallel. */
const MAX_PARALLEL = 8

/** Returns the number of a piece's shard. */
const shardOf = (piece: string, shards: number): number =>
  Number.parseInt(hash('sha256', piece).slice(0, 8), 16) % shards

/**
 * Stores the members of an aggregate, so that the record of one piece is found by reading one block of a bounded size.
 *
 * @param perShard members of a shard on average
 * @returns the CID of the list of shards: see {@link Seal}
 */
export const putMembers = async (
  { blocks }: Pick<Dependencies['stores'], 'blocks'>,
  members: readonly Member[],
  perShard: number,
): Promise<string> => {
  const shards = Array.from(batchesOf(members, perShard), (): [piece: string, id: string][] => [])
  for (const { piece, id } of members) shards[shardOf(piece, shards.length)]?.push([piece, id])
  const links = await pMap(shards, shard => putValue(blocks, shard), { concurrency: MAX_PARALLEL })
  return putValue(blocks, links)
}

const readShard = (blocks: Dependencies['stores']['blocks'], link: string) =>
  getValue<[piece: string, id: string][]>(blocks, link)

/** Returns the record id of a piece in an aggregate; `undefined` if the aggregate does not contain the piece. */
export const findMember = async (
  { blocks, member }: Pick<Dependencies['stores'], 'blocks' | 'member'>,
  { id, memberShards }: Pick<Seal, 'memberShards'> & { id: string },
  piece: string,
): Promise<string | undefined> => {
  if (memberShards === undefined) return (await member.get({ aggregate: id, piece }))?.id
  const links = await getValue<string[]>(blocks, memberShards)
  const shard = await readShard(blocks, links[shardOf(piece, links.length)] as string)
  return shard.find(([link]) => link === piece)?.[1]
}

/** Returns the record ids of all pieces in an aggregate. */
export const readMembers = async (
  { blocks }: Pick<Dependencies['stores'], 'blocks'>,
  { memberShards, members }: Pick<Seal, 'memberShards' | 'members'>,
): Promise<string[]> => {
  if (memberShards === undefined) return getValue(blocks, members as string)
  const links = await getValue<string[]>(blocks, memberShards)
  const shards = await pMap(links, link => readShard(blocks, link), { concurrency: MAX_PARALLEL })
  return shards.flatMap(shard => shard.map(([, id]) => id))
}
