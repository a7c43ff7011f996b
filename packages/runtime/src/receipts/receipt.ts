import type { Block, Invocation, Link, Receipt, Signer } from '@ucanto/interface'
import { type Failure, failure, type Task } from '@w3filecoin/capabilities'
import { isTask } from '../ucan/task.ts'
import { signReceipt, unsignedReceipt, viewReceipt } from '../ucan/ucanto.ts'

/** The result of a task, before it is signed. */
export interface Outcome {
  out: { ok: unknown; error?: undefined } | { ok?: undefined; error: Failure }
  /** The tasks that the service promises to run next. Their blocks are part of the receipt's CAR. */
  fx?: { fork?: readonly Task[]; join?: Task | undefined }
  /** Notes about the receipt that are not its result. */
  meta?: object
  /** Whether an earlier task had this outcome. The receipt of a repeated task expires, because the first one's stays. */
  isRepeat?: boolean
  /** Whether the receipt is not stored: it repeats that of another task, which is served. */
  isUnstored?: boolean
}

/** Signs the outcome of a task. Deterministic: the same task, outcome and key produce the same bytes. */
export const issueReceipt = (
  issuer: Signer,
  ran: Invocation | Link,
  { out, fx, meta }: Outcome,
): Promise<Receipt> =>
  signReceipt(issuer, ran, {
    out: out.error === undefined ? { ok: out.ok as object } : { error: toPublicFailure(out.error) },
    ...fx,
    meta,
  })

/** Returns an error in the form of a receipt that clients can read, but without a signature: nothing was issued. */
export const issueUnsigned = (id: Signer, ran: Invocation, error: Failure): Promise<Receipt> =>
  unsignedReceipt(id, ran, toPublicFailure(error))

/** Maximum number of effects whose blocks are sent with their receipt. The receiver fetches a receipt with more of them. */
export const MAX_EFFECTS = 100

/**
 * Whether the receipt includes the blocks of its effects. A receipt with more than `MAX_EFFECTS` is sent without them; the
 * receipt log of the service that issued it has them.
 */
export const hasEffectBlocks = ({ fx }: Receipt): boolean =>
  [...fx.fork, ...(fx.join ? [fx.join] : [])].every(isTask)

/**
 * Returns the receipt with the blocks of `task`, which it is about, and without a large block that a reader of the receipt
 * does not need. An answer may lack the blocks that were sent with the invocation, or contain all of them.
 *
 * @param omit CID of the block to leave out
 */
export const withTask = (receipt: Receipt, task: Task, { omit }: { omit: string }): Receipt => {
  const blocks = [...receipt.iterateIPLDBlocks(), ...task.iterateIPLDBlocks()].map(
    block => [`${block.cid}`, block as Block] as const,
  )
  return viewReceipt(receipt.root.cid, new Map(blocks.filter(([cid]) => cid !== omit)))
}

/** Maximum size of a receipt that a service fetches from another: it may have as many effects as an aggregate has pieces. */
export const MAX_RECEIPT_BYTES = 64 * 1024 * 1024

/** Whether all UCANs in a receipt can be decoded. Views decode lazily, and throw on malformed UCANs. */
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

/** Returns the outcome in a receipt, for another receipt of the same outcome. */
export const outcomeOf = (receipt: Receipt): Outcome => ({
  out: receipt.out as Outcome['out'],
  fx: receipt.fx as NonNullable<Outcome['fx']>,
})

/** Maximum length of a failure's message: that of `Unauthorized` describes every path of proofs that was tried. */
const MAX_MESSAGE_CHARACTERS = 2_000

/**
 * Returns a failure without internal details: its name, its message and the fields that the protocol defines. Errors of
 * libraries are reduced to name and message, so that stack traces do not leave the service.
 *
 * @example { name: 'InvalidContentPiece', message: 'The content hashes to bafkzci…', content: <CID> }
 */
export const toPublicFailure = (error: Failure): Failure => {
  const { name, message } = error
  const clipped =
    message.length > MAX_MESSAGE_CHARACTERS ? `${message.slice(0, MAX_MESSAGE_CHARACTERS)}…` : message
  if (error instanceof Error) return failure(name, clipped)
  const { cause, ...rest } = error
  return { ...(cause === undefined || cause instanceof Error ? rest : error), message: clipped }
}
