import { OWN_OFFER, Tasks } from '@w3filecoin/capabilities'
import {
  addTranslation,
  type Handler,
  type Input,
  type Outcome,
  promiseTranslation,
  provide,
  translatedTask,
  update,
} from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import { distinctGroup } from '../domain/piece.ts'
import { findActingSpace } from '../workflow/acting-space.ts'
import { type OfferDependencies, type OfferedPiece, offerPiece } from '../workflow/offer-piece.ts'
import { removeEarlierReceipt } from '../workflow/promises.ts'
import { hasWords, type StorefrontDialect, WORDS } from './words.ts'

type DialectDependencies = OfferDependencies & Pick<Dependencies, 'authority' | 'dialects'>

/**
 * Returns the handlers of offers in dialects, and of the tasks that they promise. An offer is one of the protocol in other
 * words: the same content and piece have one workflow.
 */
export const dialectHandlers = (dependencies: DialectDependencies): Handler[] => {
  const dialects = dependencies.dialects.filter(hasWords)
  const offers = dialects.map(dialect =>
    provide(WORDS[dialect].offer, input => offerIn(dependencies, dialect, input as never), { keep: true }),
  )
  const promised = new Set(dialects.map(dialect => WORDS[dialect].promised))
  const ownTasks = [...promised].map(ability => {
    // An offer that the storefront makes to itself has the form of the promised task.
    const dialect = dialects.find(dialect => WORDS[dialect].offer === ability)
    return translatedTask(ability, dependencies, {
      offer: dialect && (input => offerIn(dependencies, dialect, input as never)),
    })
  })
  return [...ownTasks, ...offers]
}

/** Starts the workflow of an offer in a dialect, or finds it, and promises the task of that dialect. */
const offerIn = async (
  dependencies: DialectDependencies,
  dialect: StorefrontDialect,
  { capability, ...input }: Input<{ nb: object }>,
): Promise<Outcome> => {
  const { id } = dependencies
  const { invocation } = input
  const words = WORDS[dialect]
  const { content, piece } = words.read(capability.nb as never)
  const offered = await offerPiece(dependencies, {
    content,
    piece,
    nonce: invocation.nonce,
    space: await findActingSpace(dependencies, words.offer, input),
  })
  if (offered.error) return { out: { error: words.fail(offered.error, piece) } }
  const { attempt } = offered.ok.record
  const facts = [
    ...Tasks.factsOf({ group: distinctGroup(offered.ok.record), attempt }),
    ...(invocation.issuer.did() === id.did() ? [OWN_OFFER] : []),
  ]
  const { task, isRepeat } = await promiseIn(dependencies, dialect, offered.ok, () =>
    words.promise(id, { content, piece, nonce: invocation.nonce }, facts),
  )
  if (attempt !== undefined) await removeEarlierReceipt(dependencies, `${invocation.cid}`, task)
  return { out: { ok: words.answer({ content, piece }) }, fx: { join: task }, isRepeat }
}

const promiseIn = async (
  dependencies: DialectDependencies,
  dialect: StorefrontDialect,
  { record: { id, attempt }, submitTask }: OfferedPiece,
  build: Parameters<typeof promiseTranslation>[1]['build'],
) => {
  const { stores, queues } = dependencies
  const translation = await promiseTranslation(dependencies, {
    dialect,
    of: `${submitTask.cid}`,
    subject: id,
    build,
  })
  await stores.task.putMany([{ task: `${translation.task.cid}`, id, attempt }])
  const { record: current } = await update(stores.piece, { id }, current =>
    current.attempt === attempt ? addTranslation(current, translation.id) : undefined,
  )
  if (current?.stage !== 'offered') await queues.translate.send([{ id: translation.id }])
  return translation
}
