import { type Consumer, DONE, each, loggedUrl, postReceipt, update } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import { beginAttempt, isExhausted, type ListenerRecord, MAX_DELIVERY_ATTEMPTS } from '../domain/listener.ts'
import { type NotifyMessage, notifyMessage } from '../queues.ts'

/**
 * On `notify`, deliver the receipt of a workflow that ended to an address that an agent named. If the address does not take it,
 * the sweep sends the message again after a pause; the message itself never fails for that, because an address of a stranger must
 * not fill the dead-letter queue. After the last attempt the row is removed: the agent can still ask for the receipt.
 */
export const onNotify = ({
  id,
  stores: { listener, receipts },
  addresses,
  now,
  log,
}: Pick<Dependencies, 'id' | 'stores' | 'addresses' | 'now' | 'log'>): Consumer<NotifyMessage> => {
  const remove = (key: string) => listener.removeMany([{ id: key }])
  const abandon = async ({ id, task, audience, url, attempts }: ListenerRecord, problem?: string) => {
    await remove(id)
    log('info', 'receipt not delivered', { task, audience, url: loggedUrl(url), attempts, problem })
  }
  return each(notifyMessage, async ({ id: key }) => {
    const found = await listener.get({ id: key })
    if (found === undefined) return DONE
    if (isExhausted(found, now())) {
      await abandon(found)
      return DONE
    }
    const receipt = await receipts.get(found.task)
    if (receipt === undefined) return DONE
    const { record, changed } = await update(listener, { id: key }, current => beginAttempt(current, now()))
    if (!changed || record === undefined) return DONE
    const { audience, url, attempts } = record
    const problem = await postReceipt(receipt, { id, audience, url, fetch: addresses.fetch })
    if (problem === undefined) await remove(key)
    else if (attempts >= MAX_DELIVERY_ATTEMPTS) await abandon(record, problem)
    return DONE
  })
}
