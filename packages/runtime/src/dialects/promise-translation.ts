import type { Fact } from '@ucanto/interface'
import type { Dialect, Task } from '@w3filecoin/capabilities'
import type { Clock, Table } from '../ports.ts'
import { packTask, unpackTask } from '../records/record.ts'
import { newTranslation, type TranslationRecord, translationId } from './translation.ts'

/** A task that a service promises in a dialect. */
export interface TranslatedPromise {
  dialect: Dialect
  /** CID of the task of the protocol that means the same. */
  of: string
  /** Key of the record whose workflow promises both. */
  subject: string
  /** Builds the task with the facts that distinguish it, if any. */
  build: (facts: Fact[]) => Promise<Task>
  /** The facts of a task that another workflow promised first without them. */
  distinction?: Fact | undefined
}

/**
 * Records a promised task of a dialect, and returns it. The same promise of the same workflow is recorded once: a repeated
 * offer gets the task as it was signed first.
 *
 * @returns the key of its record, the task, and whether it was promised before
 */
export const promiseTranslation = async (
  {
    stores: { translation },
    timing: { retryMs },
    now,
  }: { stores: { translation: Table<TranslationRecord> }; timing: { retryMs: number }; now: Clock },
  { build, distinction, ...promise }: TranslatedPromise,
): Promise<{ id: string; task: Task; isRepeat: boolean }> => {
  for (const facts of distinction ? [[], [distinction]] : [[]]) {
    const task = await build(facts)
    const id = identify(task)
    const known = await translation.get({ id })
    const inserted = known
      ? undefined
      : await translation.insert(
          newTranslation({ ...promise, id, task, promisedTask: await packTask(task) }, now(), retryMs),
        )
    if (inserted?.ok) return { id, task, isRepeat: false }
    const record = known ?? inserted?.error?.record
    if (record?.subject === promise.subject)
      return { id, task: await unpackTask(record.promisedTask), isRepeat: true }
  }
  throw new Error(`Other workflows promised the tasks in ${promise.dialect} of ${promise.subject}`)
}

const identify = ({ capabilities: [{ can, nb }], nonce, facts, issuer, audience }: Task): string =>
  translationId({
    can,
    nb: Object(nb),
    nonce,
    facts,
    audience: audience.did() === issuer.did() ? undefined : audience.did(),
  })
