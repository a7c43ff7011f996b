import { encode } from '@ipld/dag-cbor'
import type { Signer } from '@ucanto/interface'
import { tables as aggregatorTables } from '@w3filecoin/aggregator'
import { type PieceLink, parsePieceLink, Tasks } from '@w3filecoin/capabilities'
import { buildAggregate } from '@w3filecoin/piece'
import {
  Authority,
  type Blocks,
  type Engine,
  openStores,
  Peer,
  packTask,
  putValue,
  type Row,
  type Stored,
  type Table,
  unpackTask,
} from '@w3filecoin/runtime'
import { tables as storefrontTables } from '@w3filecoin/storefront'
import { bytesOf, linkOf, signerOf, somePiece } from '@w3filecoin/testing'
import { groupId } from '../../packages/aggregator/src/domain/piece.ts'
import { completeSeal } from '../../packages/aggregator/src/sealing/complete-seal.ts'
import { putMembers } from '../../packages/aggregator/src/sealing/members.ts'
import { aggregateId, newAggregate } from '../../packages/storefront/src/domain/aggregate.ts'
import { newInclusion } from '../../packages/storefront/src/domain/inclusion.ts'
import {
  markAggregated,
  markQueued,
  markSubmitted,
  newPiece,
  type PieceRecord,
} from '../../packages/storefront/src/domain/piece.ts'
import { rootOf } from '../../packages/storefront/src/domain/piece-link.ts'
import type { Cloud } from '../aws/cloud.ts'

/** The intervals of `packages/runtime/src/config.ts`. */
const TIMING = {
  retryMs: 60_000,
  pollMs: 900_000,
  contentWaitMs: 86_400_000,
}
/** Padded bytes of an aggregate, as aggregators make them. Its index has 262,144 entries. */
export const AGGREGATE_BYTES = 2 ** 35
/** Members of a shard, as `packages/aggregator/src/domain/batching.ts` has it. */
const MEMBERS_PER_SHARD = 400

/** The tables, queues and blocks of a deployed service, which are written without a cost, a limit or a wait. */
export const handMade = (cloud: Cloud, service: string): Engine => {
  const bucket = `${service}-blocks`
  const blocks: Blocks = {
    put: async (bytes, codec) => {
      const link = linkOf(bytes, codec)
      cloud.store(bucket, `${link}`, bytes)
      return link
    },
    get: async link => cloud.objects.get(`${bucket}/${link}`)?.bytes,
    locate: async link => `${link}`,
  }
  const table = (name: string) => {
    const seed = (row: object) => cloud.dynamodb.seed(`${service}-${name}`, row as Row)
    const written: Partial<Table<Row>> = {
      insert: async row => {
        seed(row)
        return { ok: { ...row, revision: 1 } as Stored<Row> }
      },
      putMany: async rows => rows.forEach(seed),
    }
    return written as Table<Row>
  }
  return {
    table: table as Engine['table'],
    blocks: () => blocks,
    queue: name => ({
      send: async messages =>
        cloud.queues
          .get(`${service}-${name}`)!
          .send(messages.map(message => ({ MessageBody: JSON.stringify(message) }))),
    }),
  }
}

/** An aggregate at the aggregator, which is about to offer it to the dealer. */
interface Sealed {
  aggregate: ReturnType<typeof buildAggregate>['ok'] & object
  /** CID of the promised `aggregate/offer`. */
  offerCid: string
}

/**
 * Creates an aggregate of pieces at the aggregator, whose pieces all have their receipts of `piece/accept`, and sends the message
 * that offers it to the dealer. The records of the pieces are left out: a deal does not read them.
 */
const createAggregate = async (cloud: Cloud, pieces: readonly PieceLink[]): Promise<Sealed> => {
  const [id, dealer, storefront] = (await Promise.all(
    ['aggregator', 'dealer', 'storefront'].map(name => signerOf(name)),
  )) as [Signer, Signer, Signer]
  const engine = handMade(cloud, 'aggregator')
  const now = () => cloud.timeline.now
  const stores = openStores(engine, aggregatorTables, { now })
  const { ok: aggregate, error } = buildAggregate({ pieces, size: AGGREGATE_BYTES })
  if (error) throw new Error(error.message)
  const owner = { storefront: storefront.did(), group: 'free' }
  const group = { ...owner, id: groupId(owner), sequence: 0, openSeals: [] }
  const members = pieces.map(piece => ({ piece: `${piece}`, id: `${piece}` }))
  const record = await completeSeal(
    {
      id,
      stores,
      queues: { deal: engine.queue('deal'), include: engine.queue('include') } as never,
      dealer: new Peer({ did: dealer.did() }, { authority: new Authority(), fetch }),
      delegationOf: async () => undefined,
      timing: TIMING,
      now,
    },
    group,
    {
      sequence: 1,
      aggregate: `${aggregate.link}`,
      pieces: await putValue(stores.blocks, aggregate.pieces),
      memberShards: await putMembers(stores, members, MEMBERS_PER_SHARD),
      ranges: await putValue(stores.blocks, []),
      sealedAt: now(),
    },
  )
  return { aggregate, offerCid: `${(await unpackTask(record.offerTask)).cid}` }
}

/**
 * Creates pieces that wait for the deal of their aggregate: the storefront has their records, promised tasks and proofs, and the
 * aggregator has the aggregate, which it is about to offer to the dealer. The services' own functions create all records.
 *
 * @returns the CIDs of the promised `filecoin/accept`
 */
export const createAggregated = async (cloud: Cloud, count: number): Promise<string[]> => {
  const id = await signerOf('storefront')
  const links = Array.from({ length: count }, (_, n) => somePiece(n))
  const { aggregate, offerCid } = await createAggregate(cloud, links)
  const now = cloud.timeline.now
  const stores = openStores(handMade(cloud, 'storefront'), storefrontTables, { now: () => now })
  const cid = `${aggregate.link}`
  await stores.aggregate.insert(newAggregate({ aggregate: cid, aggregateOfferCid: offerCid }, now, TIMING))
  const membership = { aggregate: cid, aggregateId: aggregateId({ aggregate: cid }), aggregateSince: now }

  const accepts: string[] = []
  for (const [n, link] of aggregate.pieces.entries()) {
    const piece = `${link}`
    const content = linkOf(bytesOf(piece, 32))
    const accept = await Tasks.filecoinAccept(id, { content, piece: parsePieceLink(piece) })
    const acceptCid = `${accept.cid}`
    const offered = newPiece(
      {
        content: `${content}`,
        piece,
        root: rootOf(piece),
        // Nothing reads the promised `filecoin/submit` any more.
        submitCid: acceptCid,
        acceptCid,
        space: id.did(),
        group: 'free',
      },
      now,
      TIMING,
    )
    const record = waitForDeal(offered, membership, now)
    await stores.piece.insert(record)
    await stores.task.putMany([{ task: acceptCid, id: record.id, promise: await packTask(accept) }])
    await stores.inclusion.putMany([
      newInclusion(piece, { aggregate: cid, inclusion: encode(aggregate.proof(n)) }, now),
    ])
    accepts.push(acceptCid)
  }
  return accepts
}

/** Takes a piece from its offer to its aggregate. */
const waitForDeal = (
  offered: PieceRecord,
  membership: Parameters<typeof markAggregated>[1],
  now: number,
): PieceRecord => {
  const submitted = markSubmitted({ ...offered, revision: 1 }, now, TIMING)!
  const queued = markQueued(submitted, { waitsFor: offered.acceptCid!, nonce: undefined }, now, TIMING)!
  const { revision: _, ...record } = markAggregated(queued, membership, now, TIMING)!
  return record
}
