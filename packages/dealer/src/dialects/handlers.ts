import type { DID } from '@ucanto/interface'
import type { Dialect } from '@w3filecoin/capabilities'
import {
  attachedBlock,
  type Filed,
  type Handler,
  type Input,
  type Outcome,
  provide,
  translatedTask,
} from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import { authorizeOffer } from '../offers/authorize-offer.ts'
import { offerAggregate } from '../offers/offer-aggregate.ts'
import { aggregateGetHandler } from './aggregate-get.ts'
import { promiseIn } from './promises.ts'
import { WORDS, type Words } from './words.ts'

type DialectDependencies = Parameters<typeof offerAggregate>[0] &
  Parameters<typeof authorizeOffer>[0] &
  Parameters<typeof aggregateGetHandler>[0] &
  Pick<Dependencies, 'dialects'>

/**
 * Returns the handlers of offers in dialects, and of the tasks that they promise. An offer is one of the protocol in other
 * words: the aggregate of one aggregator and tenant has one record, and one deal is made for it.
 */
export const dialectHandlers = (dependencies: DialectDependencies): Handler[] => {
  const forms = dependencies.dialects.flatMap(dialect => WORDS[dialect].map(words => ({ dialect, words })))
  const offers = forms.map(({ dialect, words }) =>
    provide(words.offer, input => offerIn(dependencies, dialect, words, input as never), {
      keep: true,
      matches: words.matches,
    }),
  )
  const promised = new Map(forms.map(form => [form.words.promised, form.words]))
  const ownTasks = [...promised].map(([ability, { otherForm }]) => {
    // An offer that the dealer makes to itself has the form of the promised task.
    const offered = forms.find(({ words }) => words.offer === ability)
    return translatedTask(ability, dependencies, {
      otherForm,
      matches: offered?.words.matches,
      offer: offered && (input => offerIn(dependencies, offered.dialect, offered.words, input as never)),
    })
  })
  const questions = dependencies.dialects.includes('draft-1') ? [aggregateGetHandler(dependencies)] : []
  return [...ownTasks, ...offers, ...questions]
}

/** Offers an aggregate in a dialect, and promises the task of that dialect. */
const offerIn = async (
  dependencies: DialectDependencies,
  dialect: Dialect,
  words: Words,
  { capability, ...input }: Input<{ with: DID; nb: object }>,
): Promise<Outcome | Filed> => {
  const { invocation } = input
  const { aggregate, pieces, named } = words.read(capability.nb as never)
  const parties = await authorizeOffer(dependencies, words.offer, capability.with, input, named)
  if (parties.error) return { out: { error: words.fail(parties.error) } }
  const { record, refusal } = await offerAggregate(dependencies, {
    aggregate,
    pieces,
    piecesBytes: attachedBlock(invocation, pieces),
    nonce: invocation.nonce,
    ...parties.ok,
    task: invocation,
    describe: words.fail,
  })
  if (refusal) {
    if ('filed' in refusal || refusal.out.error === undefined) return refusal
    return { ...refusal, out: { error: words.fail(refusal.out.error) } }
  }
  const isOwnOffer = invocation.issuer.did() === dependencies.id.did()
  const { task, isRepeat } = await promiseIn(dependencies, dialect, words, record, {
    nb: capability.nb,
    isOwnOffer,
  })
  return { out: { ok: words.answer(aggregate) }, fx: { join: task }, isRepeat }
}
