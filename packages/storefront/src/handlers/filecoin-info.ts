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
  type UnknownLink,
} from '@w3filecoin/capabilities'
import { type Handler, provide, reach, type Stored, unpackTask } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import { aggregatesOf, isAtAggregator, workflowOf } from '../domain/info.ts'
import type { PieceRecord } from '../domain/piece.ts'

/** Maximum workflows of a piece, and maximum aggregates, in one answer. */
const MAX_ITEMS = 100

/**
 * `filecoin/info`: returns the workflows of a piece with the next step of each, the aggregates of the piece, and the current
 * deals of these from the deal tracker. An index finds the pieces; it may lag behind an offer for a moment.
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
  const fetchDeals = async (aggregates: readonly PieceLink[]): Promise<DealSummary[]> => {
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

  /** Asks the aggregator about the pieces that it has. Returns its answers by record key: none if it cannot be reached. */
  const askAggregator = async (
    records: readonly Stored<PieceRecord>[],
    piece: PieceLink,
  ): Promise<Map<string, PieceInfoSuccess>> => {
    const asked = records.filter(isAtAggregator)
    if (asked.length === 0) return new Map()
    const questions = asked.map(({ group, offerNonce }) =>
      Tasks.pieceInfo(id, aggregator.principal, { piece, group, nonce: offerNonce }),
    )
    const answers = await reach(aggregator, async () => aggregator.execute(await Promise.all(questions)), log)
    return new Map(
      asked.flatMap((record, n) => {
        const info = answers.ok?.[n]?.ok?.out.ok
        return info ? [[record.id, info as PieceInfoSuccess]] : []
      }),
    )
  }

  return provide(filecoinInfo, async ({ capability }) => {
    const { piece } = capability.nb
    const { items } = await stores.piece.find('piece', `${piece}`, { limit: MAX_ITEMS })
    const records = (await stores.piece.getMany(items)).filter(record => record !== undefined)
    if (records.length === 0)
      return { out: { error: failure('PieceNotFound', `The piece ${piece} was not offered`, { piece }) } }
    const aggregates = aggregatesOf(records).slice(0, MAX_ITEMS)
    const [deals, answers] = await Promise.all([
      fetchDeals(aggregates.map(({ aggregate }) => aggregate)),
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
          return workflowOf(record, cid as UnknownLink, answers.get(record.id), timing)
        }),
      ),
    }
    return { out: { ok: info } }
  })
}

const isLive = ({ status }: DealSummary): boolean => status === 'Active'
