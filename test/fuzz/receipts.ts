import * as CBOR from '@ipld/dag-cbor'
import { CAR } from '@ucanto/core'

/** The task of a receipt, and its result. */
export interface TaskOutcome {
  task: string
  out: { ok?: unknown; error?: { name?: string; message?: string } }
}

type Answer = { 'ucanto/message@7.0.0': { report?: Record<string, unknown> } }

/** Reads the receipts in the answer to a message. */
export const readReceipts = (car: Uint8Array): TaskOutcome[] => {
  const { roots, blocks } = CAR.decode(car as never)
  const message = CBOR.decode<Answer>(roots[0]!.bytes as never)['ucanto/message@7.0.0']
  return Object.values(message.report ?? {}).map(link => {
    const { ocm } = CBOR.decode<{ ocm: { ran: unknown; out: TaskOutcome['out'] } }>(
      blocks.get(`${link}`)!.bytes as never,
    )
    return { task: `${ocm.ran}`, out: ocm.out }
  })
}
