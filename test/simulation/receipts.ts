import type { Receipt } from '@ucanto/interface'
import type { Task } from '@w3filecoin/capabilities'
import { COMMON_FORMATS, isTask, type Row, readReceipt, unpack } from '@w3filecoin/runtime'
import type { Simulated } from './services.ts'

/** Returns the receipt of a task at a service; `undefined` if there is none. */
export const receiptOf = (service: Simulated, task: string): Receipt | undefined => {
  const item = service.tables.receipt!.items.get(JSON.stringify([task]))
  return item && decodeReceipt(service, item)
}

/** Returns the receipt in an item of the table `receipt`. */
export const decodeReceipt = ({ blocks }: Simulated, item: Record<string, unknown>): Receipt | undefined => {
  const { task, car, block, part } = COMMON_FORMATS.receipt.decode(item as Row)
  const bytes = car ?? (blocks.blocks.get((part?.block ?? block) as string) as Uint8Array)
  return readReceipt(task, part ? unpack(bytes.subarray(part.at, part.at + part.bytes)) : bytes)
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
