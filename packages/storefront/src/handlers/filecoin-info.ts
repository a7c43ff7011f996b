import {
  type DealInfoSuccess,
  type DealSummary,
  type Failure,
  type FilecoinInfoSuccess,
  failure,
  filecoinInfo,
  type PieceInfoSuccess,
  type PieceLink,
  Tasks,
} from '@w3filecoin/capabilities'
import { type Handler, type Key, provide, reach, type Stored, unpackTask } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import type { PieceRecord } from '../domain/piece.ts'
import { aggregatesOf, workflowOf } from '../domain/workflow.ts'

/** The most workflows of one piece, and aggregates, that an answer tells of. */
const LIMIT = 100

/**
 * `filecoin/info`: where a piece is and what it waits for, the aggregates that it is in, and their deals as the deal tracker
 * knows them now. Pieces are found by an index, which may lag a moment behind an offer.
 */
export const filecoinInfoHandler = ({
  id,
  stores,
  aggregator,
  dealTracker,
  timing,
  random,
  log,
}: Pick<
  Dependencies,
  'id' | 'stores' | 'aggregator' | 'dealTracker' | 'timing' | 'random' | 'log'
>): Handler => {
  const dealsOf = async (aggregates: readonly PieceLink[]): Promise<DealSummary[]> => {
    if (aggregates.length === 0) return []
    const questions = aggregates.map(piece =>
      Tasks.dealInfo(id, dealTracker.principal, { piece, nonce: random() }),
    )
    const answers = await dealTracker.execute(await Promise.all(questions))
    return answers.flatMap((answer, n) => {
      if (answer.error) throw new Error(answer.error.message)
      const refusal = answer.ok.out.error as Failure | undefined
      if (refusal && refusal.name !== 'DealNotFound') throw new Error(refusal.message)
      const { deals } = (answer.ok.out.ok ?? { deals: {} }) as DealInfoSuccess
      return Object.entries(deals).map(([deal, { provider, status, expiration }]) => ({
        aggregate: aggregates[n] as PieceLink,
        provider,
        aux: { dataType: 0, dataSource: { dealID: Number(deal) } },
        status,
        expiration,
      }))
    })
  }

  /** What the aggregator says of pieces that it has, by their records. Without it there is less to tell, not nothing. */
  const askAggregator = async (
    records: readonly Stored<PieceRecord>[],
    piece: PieceLink,
  ): Promise<Map<string, PieceInfoSuccess>> => {
    const there = records.filter(({ stage }) => stage === 'queued' || stage === 'aggregated')
    if (there.length === 0) return new Map()
    const questions = there.map(({ group, offerNonce }) =>
      Tasks.pieceInfo(id, aggregator.principal, { piece, group, nonce: offerNonce }),
    )
    const answers = await reach(aggregator, async () => aggregator.execute(await Promise.all(questions)), log)
    return new Map(
      (answers.ok ?? []).flatMap(({ ok }, n) =>
        ok?.out.ok ? [[(there[n] as PieceRecord).id, ok.out.ok as PieceInfoSuccess] as const] : [],
      ),
    )
  }

  return provide(filecoinInfo, async ({ capability }) => {
    const piece = capability.nb.piece as PieceLink
    const { items } = await stores.piece.find('piece', `${piece}`, { limit: LIMIT })
    const records = (await stores.piece.getMany(items as Key[])).filter(record => record !== undefined)
    if (records.length === 0)
      return { out: { error: failure('PieceNotFound', `Nobody offered ${piece}`, { piece }) } }
    const aggregates = aggregatesOf(records).slice(0, LIMIT)
    const [deals, told] = await Promise.all([
      dealsOf(aggregates.map(({ aggregate }) => aggregate)),
      askAggregator(records, piece),
    ])
    const info: FilecoinInfoSuccess = {
      piece,
      aggregates,
      deals: deals.filter(isLive),
      pastDeals: deals.filter(deal => !isLive(deal)),
      workflows: await Promise.all(
        records.map(async record => {
          const { cid } = await unpackTask(record.acceptTask)
          return workflowOf(record, cid as never, told.get(record.id), timing)
        }),
      ),
    }
    return { out: { ok: info } }
  })
}

const isLive = ({ status }: DealSummary): boolean => status === 'Active'
