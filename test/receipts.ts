import type { Invocation, Receipt } from '@ucanto/interface'
import { Verifier } from '@ucanto/principal'
import type { Address } from '@w3filecoin/local'
import { readReceipt } from '@w3filecoin/runtime'
import { expect, vi } from 'vitest'

/** The longest time from offer to deal in these tests, in milliseconds, and the interval of polling. */
export const PATIENCE = { timeout: 120_000, interval: 200 }

/** Fetches `GET /receipt/{task}` and checks the signature. Returns `undefined` until the service has the receipt. */
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
    if (receipt === undefined) throw new Error(`${at.url} has no receipt of ${task}`)
    return receipt
  }, PATIENCE)

/** Returns the task of an effect of a receipt. The receipt must contain its blocks. */
export const effectOf = (run: unknown): Invocation => {
  const invocation = run as Invocation
  expect(invocation?.capabilities, 'the receipt has the blocks of its effects').toHaveLength(1)
  return invocation
}
