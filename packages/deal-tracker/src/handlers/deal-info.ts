import {
  type DealInfoQuestion,
  type DealInfoSuccess,
  type DealNotFound,
  dealInfo,
  epochToMs,
  failure,
  type InvalidArgument,
  type PieceLink,
  type Result,
  type SourceState,
} from '@w3filecoin/capabilities'
import { toV1 } from '@w3filecoin/piece'
import { type Handler, provide } from '@w3filecoin/runtime'
import { refuseUnlessClient } from '../authorize-client.ts'
import type { Dependencies } from '../dependencies.ts'
import type { DialectQuestion } from '../dialects/questions.ts'
import { type DealRecord, toDeals, toPieceKey, toPlaces } from '../domain/deal.ts'
import { toSourceState } from '../domain/source.ts'

/** The greatest number of deals that one query reads, and one answer reports: about 2 MB. */
const MAX_PAGE_DEALS = 1000
const MAX_PIECE_DEALS = 5000

/**
 * Returns the handler of a question for the deals of a piece: `deal/info`, or the ability of a dialect that means it. It reports
 * every known deal with its present status, and how recent the knowledge is.
 */
export const dealInfoHandler = (
  dependencies: Pick<Dependencies, 'id' | 'stores' | 'clients' | 'sources' | 'now'>,
  ability: typeof dealInfo | DialectQuestion = dealInfo,
): Handler => {
  const { stores, sources, now } = dependencies
  /** Returns `undefined` if the piece has more deals than one answer reports. */
  const listDeals = async (piece: string): Promise<DealRecord[] | undefined> => {
    const deals: DealRecord[] = []
    let after: string | undefined
    do {
      const page = await stores.deal.list(piece, { limit: MAX_PAGE_DEALS, after })
      deals.push(...page.items)
      if (deals.length > MAX_PIECE_DEALS) return undefined
      after = page.next
    } while (after !== undefined)
    return deals
  }

  const readSources = async (): Promise<SourceState[]> => {
    const records = await stores.source.getMany(sources.map(({ name }) => ({ name })))
    return sources.map((source, n) => toSourceState(source, records[n], now()))
  }

  return provide(ability as typeof dealInfo, async input => {
    const stranger = await refuseUnlessClient(dependencies, input)
    if (stranger) return { out: { error: stranger } }
    const { capability } = input
    const named = findAggregate(capability.nb)
    if (named.error) return { out: named }
    const piece = named.ok
    const chain = toV1(piece)
    if (chain.error) return { out: { error: chain.error } }
    // Read the sources first: a run that ends between the two reads must not vouch for deals read before it.
    const asOf = await readSources()
    const records = await listDeals(toPieceKey(chain.ok))
    if (records === undefined)
      return {
        out: {
          error: failure(
            'TooManyDeals',
            `More than ${MAX_PIECE_DEALS} deals of ${piece} are known, and an answer has at most ${MAX_PIECE_DEALS}`,
            { piece },
          ),
        },
      }
    const read = new Map(asOf.map(({ source, epoch }) => [source, epoch]))
    const deals = toDeals(records, chain.ok, now(), read)
    const places = toPlaces(records, chain.ok, now(), read)
    if (Object.keys(deals).length === 0 && places.length === 0)
      return { out: { error: newDealNotFound(piece, asOf) } }
    return { out: { ok: { deals, places, asOf } satisfies DealInfoSuccess } }
  })
}

/** Returns the aggregate that a question names: as `aggregate`, as the protocol's schema does, or as `piece`. */
const findAggregate = ({ aggregate, piece }: DealInfoQuestion): Result<PieceLink, InvalidArgument> => {
  const link = aggregate ?? piece
  if (link === undefined) return { error: newInvalidPiece('missing', 'nothing', AGGREGATE) }
  if (aggregate !== undefined && piece !== undefined && `${aggregate}` !== `${piece}`)
    return { error: newInvalidPiece(`${piece}`, `${piece}`, `${aggregate}, as in nb.aggregate, or nothing`) }
  return { ok: link }
}

const AGGREGATE = 'the piece CID v2 of an aggregate, as a link, here or in nb.aggregate'

const newInvalidPiece = (value: string, found: string, expected: string): InvalidArgument =>
  failure('MalformedCapability', `nb.piece of deal/info is ${value}. Expected ${expected}.`, {
    field: 'nb.piece',
    found,
    expected,
  })

/** The message reports how old the knowledge is, so that a person does not take an old answer for a recent one. */
const newDealNotFound = (piece: PieceLink, asOf: SourceState[]): DealNotFound => {
  const sources = asOf.map(({ source, at, epoch }) =>
    epoch === undefined
      ? `${source} was never read completely`
      : `${source} was read last at ${at}, when it knew the chain until ${new Date(epochToMs(epoch)).toISOString()}`,
  )
  const knowledge =
    sources.length === 0 ? 'The deal tracker has no source of deals' : `By source: ${sources.join('; ')}`
  return failure('DealNotFound', `No deal of ${piece} is known. ${knowledge}.`, { piece, asOf })
}
