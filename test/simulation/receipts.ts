import type { Receipt } from '@ucanto/interface'
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

/** Returns the number of the attempt that a receipt of `filecoin/offer` promises; 0 for receipts of other tasks. */
export const attemptIn = ({ fx }: Receipt): number => {
  const { join } = fx
  if (join === undefined || !isTask(join) || join.capabilities[0]?.can !== 'filecoin/accept') return 0
  const [{ attempt = 1 } = {}] = join.facts as { attempt?: number }[]
  return attempt
}

/** Returns all receipts of a service, by task. */
export const receiptsOf = (service: Simulated): Map<string, Receipt> =>
  new Map(
    [...service.tables.receipt!.items.values()].map(({ task }) => [
      task as string,
      receiptOf(service, task as string) as Receipt,
    ]),
  )
