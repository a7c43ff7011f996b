/**
 * What is public about a task that a service promised, while it has no receipt. It names no content, nonce, group or space.
 *
 * @example
 * { can: 'filecoin/accept', piece: 'bafkzci…', stage: 'offered', since: '2026-11-26T17:40:00.000Z',
 *   waitsFor: 'The content must be read and checked; abandoned on 2026-12-03T17:40:00.000Z',
 *   until: '2026-12-03T17:40:00.000Z', trouble: { name: 'ContentUnreadable' }, retryAfterSeconds: 300 }
 */
export interface Progress {
  /** The ability of the task. */
  can?: string
  /** CID of the piece that the task is about. */
  piece?: string
  /** The stage of its workflow, e.g. `queued`. */
  stage: string
  /** The time at which the workflow reached the stage, ISO 8601. */
  since: string
  /** The next step, as a sentence for people. */
  waitsFor?: string
  /** The time at which the service abandons this step, ISO 8601. Absent if it waits without a limit. */
  until?: string
  /** The problem that delays this step; `since` when it began, ISO 8601. The service retries the step. */
  trouble?: { name: string; since?: string }
  /** Seconds after which the next question makes sense. */
  retryAfterSeconds: number
}

/**
 * Finds the progress of tasks without a receipt, in their order: `undefined` for a task that the service did not promise,
 * `unknown` if it has no index that would find its promise.
 */
export type FindProgress = (tasks: readonly string[]) => Promise<(Progress | 'unknown' | undefined)[]>

/**
 * The answer about a task that has no receipt.
 *
 * @example { name: 'ReceiptNotFound', message: 'Task bafyrei… has no receipt yet', task: 'bafyrei…', promised: false, retryAfterSeconds: 5 }
 */
export interface ReceiptNotFound extends Partial<Progress> {
  name: 'ReceiptNotFound'
  message: string
  task: string
  promised: boolean | 'unknown'
  retryAfterSeconds: number
}

/** Seconds after which it makes sense to ask again about a task that may be promised meanwhile. */
const UNPROMISED_RETRY_SECONDS = 5

/** Describes a task that has no receipt. */
export const describeMissing = (
  task: string,
  progress: Progress | 'unknown' | undefined,
): ReceiptNotFound => ({
  name: 'ReceiptNotFound',
  message: `Task ${task} has no receipt yet`,
  task,
  ...(typeof progress === 'object'
    ? { promised: true, ...progress }
    : { promised: progress ?? false, retryAfterSeconds: UNPROMISED_RETRY_SECONDS }),
})
