import { encode } from '@ipld/dag-json'
import * as z from 'zod'
import { isTask } from '../ucan/task.ts'
import { readReceipt } from './receipt-log.ts'

/**
 * A receipt in JSON. CIDs in `out` have the form of DAG-JSON, `{"/": "bafy…"}`, and bytes `{"/": {"bytes": "…"}}` in base64. All
 * other CIDs are text.
 *
 * @example
 * { "task": "bafyrei…", "receipt": "bafyrei…", "service": "did:key:z6Mk…", "can": "filecoin/submit", "with": "did:key:z6Mk…",
 *   "out": { "ok": { "piece": { "/": "bafkzci…" } } }, "fork": [], "join": "bafyrei…", "issued": "2026-11-26T17:40:00.000Z" }
 */
export const receiptJson = z.object({
  task: z.string().describe('CID of the task'),
  receipt: z.string().describe('CID of the receipt'),
  service: z.string().optional().describe('DID of the service that signed the receipt'),
  can: z.string().optional().describe('The ability of the task'),
  with: z.string().optional().describe('The resource of the task'),
  out: z
    .union([
      z.object({ ok: z.unknown() }),
      z.object({ error: z.looseObject({ name: z.string(), message: z.string().optional() }) }),
    ])
    .describe('The result in DAG-JSON: a CID is {"/": "bafy…"}, bytes are {"/": {"bytes": "…"}} in base64'),
  fork: z.array(z.string()).describe('CIDs of the tasks that run next'),
  join: z.string().optional().describe('CID of the task that continues this one'),
  issued: z.iso.datetime().describe('The time at which the service stored the receipt. It is not signed'),
})

/** Writes a receipt as JSON. The signature covers the receipt's DAG-CBOR, so verify the CAR: the JSON is for reading. */
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
