import type { Invocation, Receipt } from '@ucanto/interface'
import { Verifier } from '@ucanto/principal'
import type { Address } from '@w3filecoin/local'
import { readReceipt } from '@w3filecoin/runtime'
import { expect, vi } from 'vitest'

/** How long a piece may take from offer to deal here. */
export const PATIENCE = { timeout: 60_000, interval: 200 }

/** The receipt of a task at `GET /receipt/{task}`; `undefined` while there is none. Its signature is checked. */
export const fetchReceipt = async ({ url, did }: Address, task: string): Promise<Receipt | undefined> => {
  const response = await fetch(`${url}/receipt/${task}`)
  if (response.status === 404) return undefined
  expect(response.status).toBe(200)
  expect(response.headers.get('content-type')).toBe('application/vnd.ipld.car')
  const receipt = readReceipt(task, new Uint8Array(await response.arrayBuffer())) as Receipt
  await expect(receipt.verifySignature(Verifier.parse(did) as never)).resolves.toEqual({ ok: {} })
  return receipt
}

/** Waits for the receipt of a task. */
export const awaitReceipt = (at: Address, task: string): Promise<Receipt> =>
  vi.waitFor(async () => {
    const receipt = await fetchReceipt(at, task)
    if (receipt === undefined) throw new Error(`There is no receipt of ${task} at ${at.url}`)
    return receipt
  }, PATIENCE)

/** The task that a receipt joins or forks, with its blocks. */
export const effect = (run: unknown): Invocation => {
  const invocation = run as Invocation
  expect(invocation?.capabilities, 'the blocks of an effect travel with the receipt').toHaveLength(1)
  return invocation
}
