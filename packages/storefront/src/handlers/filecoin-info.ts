import { decode } from '@ipld/dag-cbor'
import {
  type DealInfoSuccess,
  type Failure,
  type FilecoinInfoSuccess,
  failure,
  filecoinInfo,
  type Inclusion,
  type PieceLink,
  Tasks,
} from '@w3filecoin/capabilities'
import { type Handler, type Key, provide } from '@w3filecoin/service'
import { parse as parseLink } from 'multiformats/link'
import type { Dependencies } from '../dependencies.ts'
import type { PieceRecord } from '../domain/piece.ts'

/** The most workflows of one piece that an answer tells of. */
const LIMIT = 100

/**
 * `filecoin/info`: the aggregates that a piece is in, and their live deals as the deal tracker knows them now. Pieces are
 * found by an index, which may lag a moment behind an offer.
 */
export const filecoinInfoHandler = ({
  id,
  stores,
  dealTracker,
  random,
}: Pick<Dependencies, 'id' | 'stores' | 'dealTracker' | 'random'>): Handler => {
  const dealsOf = async (aggregates: string[]): Promise<FilecoinInfoSuccess['deals']> => {
    if (aggregates.length === 0) return []
    const questions = aggregates.map(aggregate =>
      Tasks.dealInfo(id, dealTracker.principal, { piece: link(aggregate), nonce: random() }),
    )
    const answers = await dealTracker.execute(await Promise.all(questions))
    return answers.flatMap((answer, n) => {
      if (answer.error) throw new Error(answer.error.message)
      const refusal = answer.ok.out.error as Failure | undefined
      if (refusal && refusal.name !== 'DealNotFound') throw new Error(refusal.message)
      const { deals } = (answer.ok.out.ok ?? { deals: {} }) as DealInfoSuccess
      const live = Object.entries(deals).filter(([, { status }]) => status === 'Active')
      return live.map(([deal, { provider }]) => ({
        aggregate: link(aggregates[n] as string),
        provider,
        aux: { dataType: 0, dataSource: { dealID: Number(deal) } },
      }))
    })
  }

  return provide(filecoinInfo, async ({ capability }) => {
    const piece = capability.nb.piece as PieceLink
    const { items } = await stores.pieces.find('piece', `${piece}`, { limit: LIMIT })
    const records = (await stores.pieces.getMany(items as Key[])).filter(record => record !== undefined)
    if (records.length === 0)
      return { out: { error: failure('PieceNotFound', `Nobody offered ${piece}`, { piece }) } }
    const included = new Map(records.filter(isAggregated).map(record => [record.aggregate, record]))
    const info: FilecoinInfoSuccess = {
      piece,
      aggregates: [...included.values()].map(({ aggregate, inclusion }) => ({
        aggregate: link(aggregate),
        inclusion: decode<Inclusion>(inclusion as never),
      })),
      deals: await dealsOf([...included.keys()]),
    }
    return { out: { ok: info } }
  })
}

const isAggregated = <R extends PieceRecord>(
  record: R,
): record is R & { aggregate: string; inclusion: Uint8Array } => record.aggregate !== undefined

const link = (text: string) => parseLink(text) as unknown as PieceLink
