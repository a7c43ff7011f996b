import {
  type AggregateListSuccess,
  aggregateList,
  describeValue,
  failure,
  MAX_LISTED_OFFERS,
  type OpenOffer,
  parsePieceLink,
} from '@w3filecoin/capabilities'
import { type Handler, provide, type Stored } from '@w3filecoin/runtime'
import type { Link } from 'multiformats'
import { parse as parseLink } from 'multiformats/link'
import type { Dependencies } from '../dependencies.ts'
import { type AggregateRecord, isFinal, isOpenKey, toOpenKey } from '../domain/aggregate.ts'
import { describeOffer, documentName } from '../domain/offer-document.ts'
import type { WholeRecord } from '../domain/whole.ts'
import { refuseUnlessBroker } from '../offers/authorize-broker.ts'
import { locatePieces, locateWhole, permitEndMs } from '../offers/locate.ts'

/** Maximum number of invocations in one message: the answers of 100 offers each must fit into one message. */
const MAX_PER_MESSAGE = 5

/** The media type of the list of pieces. */
const DAG_CBOR = 'application/vnd.ipld.dag-cbor'

/** `aggregate/list`: returns the offers that need a deal, the oldest first, to a broker. */
export const aggregateListHandler = (
  dependencies: Pick<Dependencies, 'id' | 'stores' | 'brokers' | 'pieceSources' | 'door' | 'timing' | 'now'>,
): Handler => {
  const { stores, door, timing, now } = dependencies

  const describe = async (
    record: Stored<AggregateRecord>,
    whole: WholeRecord | undefined,
  ): Promise<OpenOffer> => {
    const pieces = parseLink(record.piecesCid) as Link
    // Not from the time of the offer: it may wait for longer than a permit lasts.
    const end = permitEndMs(now(), timing)
    const [piecesUrl, source] = await Promise.all([
      stores.blocks.locate(pieces, DAG_CBOR),
      locatePieces(dependencies, record, end),
    ])
    const isReady = door !== undefined && whole?.stage === 'ready'
    return {
      offer: documentName(record),
      aggregate: parsePieceLink(record.aggregate),
      pieces,
      piecesUrl,
      ...describeOffer(record, source),
      ...(isReady && { whole: await locateWhole({ ...dependencies, door }, record.aggregate, end) }),
    }
  }

  return provide(
    aggregateList,
    async input => {
      const stranger = await refuseUnlessBroker(dependencies, input)
      if (stranger) return { out: { error: stranger } }
      const { after, limit = MAX_LISTED_OFFERS } = input.capability.nb
      if (after !== undefined && !isOpenKey(after)) return { out: { error: newInvalidCursor(after) } }
      const { records, next } = await listOpen(dependencies, { after, limit })
      const wholes = await stores.whole.getMany(records.map(({ aggregate }) => ({ id: aggregate })))
      const aggregates = await Promise.all(records.map((record, n) => describe(record, wholes[n])))
      return {
        out: { ok: { aggregates, ...(next !== undefined && { next }) } satisfies AggregateListSuccess },
      }
    },
    { maxPerMessage: MAX_PER_MESSAGE },
  )
}

/** Reads a page of the open offers behind a place in the index. An offer that the index has, and that has ended, is left out. */
const listOpen = async (
  { stores: { aggregate } }: Pick<Dependencies, 'stores'>,
  { after, limit }: { after: string | undefined; limit: number },
): Promise<{ records: Stored<AggregateRecord>[]; next: string | undefined }> => {
  const stage: AggregateRecord['stage'] = 'offered'
  // The range begins with the place itself. One more than the page says whether there is a next one.
  const { items } = await aggregate.find('open', stage, {
    limit: limit + 2,
    ...(after !== undefined && { from: after }),
  })
  const found = (await aggregate.getMany(items))
    .filter(record => record !== undefined)
    .filter(record => after === undefined || toOpenKey(record) > after)
  const page = found.slice(0, limit)
  const last = page.at(-1)
  return {
    records: page.filter(record => !isFinal(record)),
    next: last && found.length > page.length ? toOpenKey(last) : undefined,
  }
}

const newInvalidCursor = (after: string) => {
  const found = describeValue(after)
  const expected = 'the field `next` of an earlier answer'
  return failure('MalformedCapability', `nb.after of aggregate/list is ${found}. Expected ${expected}.`, {
    field: 'nb.after',
    found,
    expected,
  })
}
