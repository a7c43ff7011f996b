import { type Dialect, OWN_OFFER, type Task } from '@w3filecoin/capabilities'
import { addTranslation, promiseTranslation, type Stored, unpackTask, update } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import { type AggregateRecord, isFinal } from '../domain/aggregate.ts'
import { WORDS, type Words } from './words.ts'

type PromiseDependencies = Pick<Dependencies, 'id' | 'stores' | 'queues' | 'timing' | 'now'>

/** Promises the task of a dialect for an offered aggregate. */
export const promiseIn = async (
  { id, stores, queues, timing, now }: PromiseDependencies,
  dialect: Dialect,
  { promise }: Words,
  record: Stored<AggregateRecord>,
  /** The arguments of the offer, and whether the dealer made it itself. */
  { nb = {}, isOwnOffer = false }: { nb?: object; isOwnOffer?: boolean } = {},
) => {
  const { aggregator, storefront, group, piecesCid } = record
  const translation = await promiseTranslation(
    { stores, timing, now },
    {
      dialect,
      of: `${(await unpackTask(record.acceptTask as Uint8Array)).cid}`,
      subject: record.id,
      build: facts => promise(id, record, nb as never, isOwnOffer ? [OWN_OFFER, ...facts] : facts),
      distinction: { aggregator, storefront, group, pieces: piecesCid },
    },
  )
  const { record: current } = await update(stores.aggregate, { id: record.id }, current =>
    addTranslation(current, translation.id),
  )
  if (current && isFinal(current)) await queues.translate.send([{ id: translation.id }])
  return translation
}

/** Promises the tasks of dialects that every offer gets, in the order of the dialects. */
export const promiseBeside = async (
  dependencies: PromiseDependencies & Pick<Dependencies, 'dialects'>,
  record: Stored<AggregateRecord>,
): Promise<Task[]> => {
  const tasks: Task[] = []
  for (const dialect of dependencies.dialects)
    for (const words of WORDS[dialect])
      if (words.isPromisedBeside) tasks.push((await promiseIn(dependencies, dialect, words, record)).task)
  return tasks
}
