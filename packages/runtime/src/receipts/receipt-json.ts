import { encode } from '@ipld/dag-json'
import { isTask } from '../ucan/task.ts'
import { readReceipt } from './receipt-log.ts'

/**
 * Writes a receipt as JSON. The signature covers the receipt's DAG-CBOR, so verify the CAR: the JSON is for reading.
 *
 * CIDs in `out` have the form of DAG-JSON, `{"/": "bafy…"}`, and bytes `{"/": {"bytes": "…"}}` in base64. All other CIDs are text.
 *
 * @example
 * { "task": "bafyrei…", "receipt": "bafyrei…", "service": "did:key:z6Mk…", "can": "filecoin/submit", "with": "did:key:z6Mk…",
 *   "out": { "ok": { "piece": { "/": "bafkzci…" } } }, "fork": [], "join": "bafyrei…", "issued": "2026-11-26T17:40:00.000Z" }
 */
export const receiptToJson = (task: string, car: Uint8Array, issuedAt: number): string => {
  const receipt = readReceipt(task, car)
  if (receipt === undefined) throw new Error(`The stored CAR has no receipt of ${task}`)
  const { ran, out, fx, root } = receipt
  const capability = isTask(ran) ? ran.capabilities[0] : undefined
  return new TextDecoder().decode(
    encode({
      task,
      receipt: `${root.cid}`,
      ...(receipt.issuer && { service: receipt.issuer.did() }),
      ...(capability && { can: capability.can, with: capability.with }),
      out: out.error === undefined ? { ok: out.ok } : { error: out.error },
      fork: fx.fork.map(effect => `${effect.link()}`),
      ...(fx.join && { join: `${fx.join.link()}` }),
      issued: new Date(issuedAt).toISOString(),
    }),
  )
}
