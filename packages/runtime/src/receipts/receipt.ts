import type { Invocation, Receipt, Signer } from '@ucanto/interface'
import { type Failure, failure, type Task } from '@w3filecoin/capabilities'
import { isTask } from '../ucan/task.ts'
import { signReceipt, unsignedReceipt } from '../ucan/ucanto.ts'

/** What came of a task, before it is signed. */
export interface Outcome {
  out: { ok: unknown; error?: undefined } | { ok?: undefined; error: Failure }
  /** The tasks that follow. Their blocks travel with the receipt. */
  fx?: { fork?: readonly Task[]; join?: Task | undefined }
}

/** Signs the outcome of a task. Deterministic: the same task, outcome and key give the same bytes. */
export const issueReceipt = (issuer: Signer, ran: Invocation, { out, fx }: Outcome): Promise<Receipt> =>
  signReceipt(issuer, ran, {
    out: out.error === undefined ? { ok: out.ok as object } : { error: toPublicFailure(out.error) },
    ...fx,
  })

/** Returns an error in the form of a receipt that clients can read, but without a signature: nothing was issued. */
export const issueUnsigned = (id: Signer, ran: Invocation, error: Failure): Promise<Receipt> =>
  unsignedReceipt(id, ran, toPublicFailure(error))

/** Effects whose blocks are handed over with their receipt; of more, the receiver reads them in the sender's log. */
export const MAX_EFFECTS = 100

/**
 * Whether the blocks of its effects came with the receipt. A receipt with very many is handed over without them; the
 * log of the service that issued it has all.
 */
export const hasEffectBlocks = ({ fx }: Receipt): boolean =>
  [...fx.fork, ...(fx.join ? [fx.join] : [])].every(isTask)

/** The most bytes of a receipt that services read of one another: it has as many effects as an aggregate has pieces. */
export const MAX_RECEIPT_BYTES = 64 * 1024 * 1024

/** Whether all that a receipt names can be read: views decode lazily, and throw on what is no UCAN. */
export const isReadable = (receipt: Receipt): boolean => {
  try {
    const { ran, fx } = receipt
    for (const task of [ran, ...fx.fork, ...(fx.join ? [fx.join] : [])])
      if (isTask(task)) void task.capabilities
    return true
  } catch {
    return false
  }
}

/** The outcome that a receipt holds, to be issued again as it is. */
export const outcomeOf = (receipt: Receipt): Outcome => ({
  out: receipt.out as Outcome['out'],
  fx: receipt.fx as NonNullable<Outcome['fx']>,
})

/** The most characters of a failure's message: that of `Unauthorized` tells of every way that was tried. */
const MAX_MESSAGE = 2_000

/**
 * A failure as it may leave the service: the name, the message and the protocol's own fields. Errors of
 * libraries are reduced to name and message, so that no stack trace gets out.
 */
export const toPublicFailure = (error: Failure): Failure => {
  const { name, message } = error
  const clipped = message.length > MAX_MESSAGE ? `${message.slice(0, MAX_MESSAGE)}…` : message
  if (error instanceof Error) return failure(name, clipped)
  const { cause, ...rest } = error
  return { ...(cause === undefined || cause instanceof Error ? rest : error), message: clipped }
}
