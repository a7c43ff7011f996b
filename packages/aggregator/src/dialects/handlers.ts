import type { DID } from '@ucanto/interface'
import { type Dialect, OWN_OFFER, type PieceLink } from '@w3filecoin/capabilities'
import {
  addTranslation,
  type Filed,
  type Handler,
  type Input,
  type Outcome,
  promiseTranslation,
  provide,
  type Stored,
  translatedTask,
  translationsOf,
  unpackTask,
  update,
} from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import type { PieceRecord } from '../domain/piece.ts'
import { acceptOffer, type OfferDependencies, refuseOffer } from '../offers/accept-offer.ts'
import { WORDS } from './words.ts'

type DialectDependencies = OfferDependencies & Pick<Dependencies, 'queues' | 'timing' | 'dialects'>

/**
 * Returns the handlers of offers in dialects, and of the tasks that they promise. An offer is one of the protocol in other
 * words: the piece has the same record, and gets one place in an aggregate.
 */
export const dialectHandlers = (dependencies: DialectDependencies): Handler[] => {
  const { dialects } = dependencies
  const promised = new Set(dialects.map(dialect => WORDS[dialect].promised))
  const offers = dialects.map(dialect => {
    const { offer, matches } = WORDS[dialect]
    return provide(offer, input => offerIn(dependencies, dialect, input as never), {
      keep: true,
      matches,
    })
  })
  const ownTasks = [...promised].map(ability => {
    // An offer that the aggregator makes to itself has the form of the promised task.
    const dialect = dialects.find(dialect => WORDS[dialect].offer === ability)
    return translatedTask(ability, dependencies, {
      offer: dialect && (input => offerIn(dependencies, dialect, input as never)),
    })
  })
  return [...ownTasks, ...offers]
}

type OfferInput = Pick<
  Input<{ with: DID; nb: { piece: PieceLink } }>,
  'capability' | 'invocation' | 'candidate'
>

/** Accepts an offer in a dialect, and promises the task of that dialect. */
const offerIn = async (
  dependencies: DialectDependencies,
  dialect: Dialect,
  { capability, invocation, candidate }: OfferInput,
): Promise<Outcome | Filed> => {
  const words = WORDS[dialect]
  const { ucans: message } = candidate
  const offer = { resource: capability.with, invocation, message, ...words.read(capability.nb as never) }
  const { ok: record, error } = await acceptOffer(dependencies, offer)
  if (error) return refuseOffer(dependencies, invocation, { ...error, ...words.fail(error, offer.piece) })
  const { task, isRepeat } = await promiseIn(
    dependencies,
    dialect,
    record,
    invocation.issuer.did() === dependencies.id.did(),
  )
  return { out: { ok: words.answer(capability.nb as never, record) }, fx: { join: task }, isRepeat }
}

const promiseIn = async (
  dependencies: DialectDependencies,
  dialect: Dialect,
  record: Stored<PieceRecord>,
  isOwnOffer: boolean,
) => {
  const { id, stores, queues } = dependencies
  const { promise, distinction } = WORDS[dialect]
  const translation = await promiseTranslation(dependencies, {
    dialect,
    of: `${(await unpackTask(record.acceptTask)).cid}`,
    subject: record.id,
    build: facts => promise(id, record, isOwnOffer ? [OWN_OFFER, ...facts] : facts),
    distinction: distinction?.(record),
  })
  const { record: current } = await update(
    stores.piece,
    { id: record.id },
    current => addTranslation(current, translation.id),
    { known: record },
  )
  if (current?.stage === 'included')
    await queues.translate.send(translationsOf({ translations: [translation.id] }))
  return translation
}
