import type { Signer } from '@ucanto/interface'
import { tables } from '@w3filecoin/aggregator'
import type { AggregatorSettings } from '@w3filecoin/aggregator/config'
import { resources } from '@w3filecoin/aggregator/resources'
import { Tasks } from '@w3filecoin/capabilities'
import { openStores, packTask } from '@w3filecoin/runtime'
import { keyOf, signerOf, somePiece } from '@w3filecoin/testing'
import { newGroup } from '../../packages/aggregator/src/domain/group.ts'
import { groupId, newPendingRow, newPiece, pieceId } from '../../packages/aggregator/src/domain/piece.ts'
import { Cloud } from '../aws/cloud.ts'
import { AGGREGATE_BYTES, handMade } from './hand-made.ts'
import { measureMemory, type Work, workOf } from './report.ts'

const HOUR = 3_600_000
const GROUP = 'free'

/**
 * Heights of the pieces. 262,144 pieces of 128 KiB would fill the whole aggregate of 32 GiB, and leave no room for the index, which
 * has 16 MiB. With 64 KiB for one in 1,024, the pieces and the index fill it exactly.
 */
const heightOf = (n: number): number => (n % 1024 === 0 ? 11 : 12)

/** An aggregator with the pieces of one group in its list. */
class FullIndex implements Disposable {
  readonly cloud: Cloud
  readonly #pieces: number
  readonly #id: Signer
  readonly #storefront: Signer

  private constructor(cloud: Cloud, pieces: number, id: Signer, storefront: Signer) {
    this.cloud = cloud
    this.#pieces = pieces
    this.#id = id
    this.#storefront = storefront
  }

  static async open(pieces: number, writesPerSecond?: number): Promise<FullIndex> {
    const [id, storefront, dealer] = (await Promise.all(
      ['aggregator', 'storefront', 'dealer'].map(name => signerOf(name)),
    )) as [Signer, Signer, Signer]
    const cloud = new Cloud({ writesPerSecond, processor: true })
    // The dealer cannot be reached. The storefront has no address, so the receipts are not sent to it.
    cloud.hosts.set('https://dealer.test', () => new Response(undefined, { status: 503 }))
    const settings = {
      storefronts: [{ did: storefront.did() }],
      dealer: { did: dealer.did(), url: 'https://dealer.test' },
      limits: { paddedBytes: AGGREGATE_BYTES },
    } satisfies AggregatorSettings
    await cloud.deploy({
      name: 'aggregator',
      url: 'https://aggregator.test',
      resources,
      functions: new URL('full-index-functions.ts', import.meta.url).href,
      env: {
        SERVICE_KEY: await keyOf('aggregator'),
        CONFIG: JSON.stringify(settings),
        MAX_PIECES: `${pieces}`,
      },
    })
    return new FullIndex(cloud, pieces, id, storefront)
  }

  /** Creates the records of the pieces, and of their group. */
  async createRecords(): Promise<void> {
    const { timeline } = this.cloud
    const stores = openStores(handMade(this.cloud, 'aggregator'), tables, { now: () => timeline.now })
    const owner = { storefront: this.#storefront.did(), group: GROUP }
    await stores.group.insert(newGroup(owner, timeline.now + HOUR))
    let bytes = 0
    for (let n = 0; n < this.#pieces; n++) {
      const height = heightOf(n)
      const link = somePiece(n, height)
      const offer = { ...owner, piece: `${link}`, size: 2 ** height * 32 }
      const acceptTask = await packTask(await Tasks.pieceAccept(this.#id, { piece: link, group: GROUP }))
      const record = newPiece({ ...offer, id: pieceId(offer), acceptTask }, timeline.now)
      await stores.piece.insert(record)
      await stores.pending.putMany([newPendingRow(record)])
      bytes += offer.size
    }
    await stores.tally.insert({ id: groupId(owner), pieces: this.#pieces, bytes })
  }

  /** Sends the message with which the handler of `piece/offer` requests a seal, and waits for the run that seals. */
  async seal(): Promise<void> {
    const owner = { storefront: this.#storefront.did(), group: GROUP }
    const group = groupId(owner)
    this.cloud.queues.get('aggregator-seal.fifo')!.send([
      {
        MessageBody: JSON.stringify({ v: 1, group, id: 'full-1' }),
        MessageGroupId: group,
        MessageDeduplicationId: `${group}-full-1`,
      },
    ])
    await this.cloud.until(() => (this.cloud.runs.get('aggregator/seal')?.runs ?? 0) > 0, HOUR)
    if (this.#countOf('aggregator-aggregate') !== 1) throw new Error('The group was not sealed')
  }

  #countOf(table: string): number {
    return [...this.cloud.dynamodb.items(table)].length
  }

  /** Waits for the receipts of all pieces. */
  async include(): Promise<{ receipts: number; included: number }> {
    const isIncluded = () => {
      const [aggregate] = this.cloud.dynamodb.items('aggregator-aggregate')
      return (aggregate?.openRanges as number[] | undefined)?.length === 0
    }
    await this.cloud.until(isIncluded, 3 * HOUR)
    let included = 0
    for (const { stage } of this.cloud.dynamodb.items('aggregator-piece'))
      included += Number(stage === 'included')
    return { receipts: this.#countOf('aggregator-receipt'), included }
  }

  [Symbol.dispose](): void {
    this.cloud[Symbol.dispose]()
  }
}

export interface FullIndexWork extends Work {
  pieces: number
  /** Receipts of `piece/accept`, and pieces that are included. */
  receipts: number
  included: number
  /** Rows that are left in the list of the group. */
  pending: number
}

/** Seals one aggregate of all pieces, and issues their receipts. */
export const fillIndex = async (pieces: number, writesPerSecond: number): Promise<FullIndexWork> => {
  using index = await FullIndex.open(pieces, writesPerSecond)
  const { cloud } = index
  await index.createRecords()
  const startedAt = cloud.timeline.now
  await index.seal()
  const included = await index.include()
  const pending = [...cloud.dynamodb.items('aggregator-pending')].length
  return { ...workOf(cloud, startedAt), pieces, ...included, pending }
}

/** Bytes of memory that sealing an aggregate of all pieces takes: see {@link measureMemory}. */
export const measureSeal = async (pieces: number): Promise<number | undefined> => {
  using index = await FullIndex.open(pieces)
  const { cloud } = index
  // S3 keeps the blocks, not the function. Only lists of links are read again.
  cloud.onObject = (bucket, key, bytes) => {
    if (bytes.byteLength > 100_000) cloud.objects.delete(`${bucket}/${key}`)
  }
  return await measureMemory(
    () => index.createRecords(),
    () => index.seal(),
  )
}
