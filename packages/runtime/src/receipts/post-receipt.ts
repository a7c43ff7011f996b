import type { Receipt, Signer } from '@ucanto/interface'
import type { Failure } from '@w3filecoin/capabilities'
import { reasonOf } from '../health/reason-of.ts'
import type { Fetch } from '../ports.ts'
import { principal } from '../ucan/authority.ts'
import { CAR, decodeMessage, encodeMessage, MESSAGE_LIMITS, type MessageLimits } from '../ucan/message.ts'
import { readBody } from '../ucan/read-body.ts'
import { receiptIn } from '../ucan/ucanto.ts'
import { concludeReceipt } from './conclude.ts'

/** Maximum time for the whole answer of an address. */
const TIMEOUT_MS = 10_000

/** Limits of an answer: one receipt of `ucan/conclude`. */
const ANSWER_LIMITS: MessageLimits = {
  ...MESSAGE_LIMITS,
  bytes: 64 * 1024,
  blocks: 100,
  invocations: 0,
  receipts: 1,
  chain: { depth: 10, checks: 100 },
}

/**
 * Posts a receipt to an address that an agent named: a message with one `ucan/conclude`, which is addressed to the agent. It is
 * the request that a service gets from another one, so the agent may use the same code for both.
 *
 * The receipt counts as delivered if the status is 2xx, unless the answer is a message with a failure. Its signature is not
 * checked, because nothing depends on it.
 *
 * @param options.audience DID of the agent
 * @param options.fetch calls untrusted hosts, and follows no redirect
 * @returns why the receipt is not delivered; `undefined` if it is
 * @example await postReceipt(receipt, { id, audience: 'did:key:z6Mk…', url: 'https://agent.example/receipts', fetch })
 */
export const postReceipt = async (
  receipt: Receipt,
  { id, audience, url, fetch }: { id: Signer; audience: string; url: string; fetch: Fetch },
): Promise<string | undefined> => {
  const conclusion = await concludeReceipt(id, principal(audience), receipt)
  try {
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': CAR, accept: CAR },
      body: await encodeMessage({ invocations: [conclusion] }),
      signal: AbortSignal.timeout(TIMEOUT_MS),
    })
    if (!response.ok) {
      await response.body?.cancel()
      return `It answered ${response.status}`
    }
    const body = await readBody(response.body, ANSWER_LIMITS.bytes)
    const refusal = body && findRefusal(body, `${conclusion.cid}`)
    return refusal && `It answered ${refusal.name}`.slice(0, 200)
  } catch (cause) {
    return reasonOf(cause)
  }
}

/** Returns the failure that an answer has for a task; `undefined` if it has none, or cannot be read. */
const findRefusal = (body: Uint8Array, task: string): Partial<Failure> | undefined => {
  const { ok } = decodeMessage(body, ANSWER_LIMITS)
  try {
    return ok && (receiptIn(ok.message, task)?.out.error as Partial<Failure> | undefined)
  } catch {
    return undefined
  }
}
