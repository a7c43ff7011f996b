import type { Receipt, Signer } from '@ucanto/interface'
import type { Task } from '@w3filecoin/capabilities'
import pMap from 'p-map'
import { type Consumer, catchErrors, DONE, type Handled } from '../messages/consumer.ts'
import type { Clock, Stored, Table } from '../ports.ts'
import { issueReceipt, type Outcome } from '../receipts/receipt.ts'
import type { ReceiptLog } from '../receipts/receipt-log.ts'
import { packTask, unpackTask, update } from '../records/record.ts'
import { isTask } from '../ucan/task.ts'
import { type TranslateMessage, translateMessage } from './translate-message.ts'
import { markBlocked, markDone, markFiled, type TranslationRecord } from './translation.ts'

/** The outcome of a task in the words of a dialect. */
export interface Translation {
  outcome: Outcome
  /** The offer in its `fx.join` that only this translation sends. */
  offer?: Task | undefined
}

interface TranslateOptions {
  id: Signer
  stores: { translation: Table<TranslationRecord>; receipts: ReceiptLog }
  /** Translates the receipt of the protocol. `undefined` if something else must happen first. */
  translate: (record: Stored<TranslationRecord>, receipt: Receipt) => Promise<Translation | undefined>
  /** Sends offers, and returns for each whether it has a final answer. Absent if no translation has offers. */
  forward?: (offers: readonly Task[]) => Promise<boolean[]>
  timing: { retryMs: number }
  now: Clock
}

/**
 * On `translate`, issue the receipts of tasks that were promised in a dialect: each reports the outcome of the task of the
 * protocol, if that has a receipt. Then send the offers that these receipts promise. The sweep repeats both.
 */
export const onTranslate = ({
  id,
  stores,
  translate,
  forward,
  timing,
  now,
}: TranslateOptions): Consumer<TranslateMessage> => {
  const { translation, receipts } = stores

  const file = async (record: Stored<TranslationRecord>): Promise<Stored<TranslationRecord> | undefined> => {
    const receipt = await receipts.get(record.of)
    if (receipt === undefined) return record
    const translated = await translate(record, receipt)
    if (translated === undefined)
      return (
        await update(translation, { id: record.id }, current => markBlocked(current, now(), timing.retryMs))
      ).record
    const { outcome, offer } = translated
    const filed = await receipts.put(await issueReceipt(id, await unpackTask(record.promisedTask), outcome))
    // An interrupted run may have stored a receipt that promises the offer as another key signed it.
    const { join } = filed.fx
    const offerTask = offer && (await packTask(isTask(join) ? join : offer))
    return (
      await update(translation, { id: record.id }, current =>
        markFiled(current, offerTask, now(), timing.retryMs),
      )
    ).record
  }

  const forwardAll = async (records: readonly Stored<TranslationRecord>[]): Promise<void> => {
    if (forward === undefined || records.length === 0) return
    const offers = await Promise.all(records.map(({ offerTask }) => unpackTask(offerTask as Uint8Array)))
    const isAnswered = await forward(offers)
    await pMap(
      records.filter((_, n) => isAnswered[n]),
      record => update(translation, { id: record.id }, markDone),
      { concurrency: 10 },
    )
  }

  return {
    decode: translateMessage.decode,
    handle: async messages => {
      const records = new Map(
        (await translation.getMany(messages.map(({ id }) => ({ id }))))
          .filter(record => record !== undefined)
          .map(record => [record.id, record]),
      )
      const handled = new Map<string, Handled>()
      await pMap(
        records.values(),
        async record => {
          const answer = await catchErrors(async () => {
            if (record.stage === 'promised' || record.stage === 'blocked')
              records.set(record.id, (await file(record)) ?? record)
            return DONE
          })
          handled.set(record.id, answer)
        },
        { concurrency: 10 },
      )
      const forwarded = await catchErrors(async () => {
        await forwardAll([...records.values()].filter(({ stage }) => stage === 'filed'))
        return DONE
      })
      return messages.map(({ id }) => {
        const answer = handled.get(id) ?? DONE
        return answer.error || records.get(id)?.stage !== 'filed' ? answer : forwarded
      })
    },
  }
}
