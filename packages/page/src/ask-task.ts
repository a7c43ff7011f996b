import { type AnyLink, type Stage, W3Error } from '@w3filecoin/client'
import { parse as parseLink } from 'multiformats/link'

/**
 * The state of a task, as `GET /receipt/{task}` says in JSON: see docs/protocol.md. It is shown, and decides when to ask again;
 * receipts are read and verified from CARs.
 */
export interface AskedTask {
  task: string
  /** Whether the task has a receipt, or the service promised it. */
  known: boolean
  can?: string
  stage?: Stage
  /** The next step, as a sentence for people. */
  waitsFor?: string
  /** The time at which that ends, ISO 8601. */
  until?: string
  trouble?: { name: string }
  /** The failure in the receipt. */
  error?: { name: string }
  /** The piece that the task is about. */
  piece?: AnyLink
  /** Seconds after which the answer may have changed. Absent if the task has a receipt. */
  retryAfterSeconds?: number
}

/** Asks the storefront about a task. */
export const askTask = async (task: string, signal: AbortSignal): Promise<AskedTask> => {
  const response = await fetch(`/receipt/${encodeURIComponent(task)}`, {
    headers: { accept: 'application/json' },
    // A cached answer about a task without a receipt may be hours old.
    cache: 'no-cache',
    signal,
  })
  const body = await response.json().catch(() => ({}))
  if (response.status === 400)
    throw new W3Error('InvalidCID', body.message ?? `${task} is not the CID of a task`)
  // 406: the receipt is too large for JSON.
  if (![200, 404, 406].includes(response.status))
    throw new W3Error('Unreachable', `The storefront answered ${response.status}`)
  const { can, stage, waitsFor, until, trouble, out, promised, retryAfterSeconds } = body
  const piece = body.piece ?? out?.ok?.piece?.['/']
  return {
    task,
    known: response.status !== 404 || promised === true,
    ...(can && { can }),
    ...(stage && { stage }),
    ...(waitsFor && { waitsFor }),
    ...(until && { until }),
    ...(trouble && { trouble }),
    ...(out?.error && { error: out.error }),
    ...(piece && { piece: parseLink(piece) }),
    ...(response.status === 404 && { retryAfterSeconds: retryAfterSeconds ?? 5 }),
  }
}
