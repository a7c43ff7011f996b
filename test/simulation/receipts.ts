import type { Receipt } from '@ucanto/interface'
import type { Task } from '@w3filecoin/capabilities'
import { isTask, readReceipt } from '@w3filecoin/runtime'
import type { Simulated } from './services.ts'

/** Returns the receipt of a task at a service; `undefined` if there is none. */
export const receiptOf = (service: Simulated, task: string): Receipt | undefined => {
  const item = service.tables.receipt!.items.get(JSON.stringify([task]))
  return item && decodeReceipt(service, item)
}

/** Returns the receipt in an item of the table `receipt`. */
export const decodeReceipt = ({ blocks }: Simulated, item: Record<string, unknown>): Receipt | undefined => {
  const { task, car, block } = item as unknown as { task: string; car?: Uint8Array; block?: string }
  return readReceipt(task, car ?? (blocks.blocks.get(block as string) as Uint8Array))
}

/** The tasks that offers of content promise, in any vocabulary. */
const PROMISED = ['filecoin/accept', 'filecoin/add', 'piece/verify']

/** Returns the number of the attempt that the receipt of an offer of content promises; 0 for receipts of other tasks. */
export const attemptIn = ({ fx }: Receipt): number => {
  const { join } = fx
  if (join === undefined || !isTask(join) || !PROMISED.includes(join.capabilities[0].can)) return 0
  return distinctionIn(join).attempt ?? 1
}

/** Returns what distinguishes a promised task of the storefront from that of an earlier workflow. */
export const distinctionIn = ({ facts }: Task): { group?: string; attempt?: number } =>
  Object.assign({}, ...facts)

/** Returns all receipts of a service, by task. */
export const receiptsOf = (service: Simulated): Map<string, Receipt> =>
  new Map(
    [...service.tables.receipt!.items.values()].map(({ task }) => [
      task as string,
      receiptOf(service, task as string) as Receipt,
    ]),
  )
