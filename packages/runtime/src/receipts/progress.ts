import * as z from 'zod'

const time = z.iso.datetime()

/** @see Progress */
export const progressFields = {
  can: z.string().optional().describe('The ability of the task'),
  piece: z.string().optional().describe('CID of the piece that the task is about'),
  stage: z.string().describe('The stage of its workflow, e.g. `queued`'),
  since: time.describe('The time at which the workflow reached the stage'),
  waitsFor: z.string().optional().describe('The next step, as a sentence for people'),
  until: time
    .optional()
    .describe('The time at which the service abandons this step. Absent if it waits without a limit'),
  trouble: z
    .object({ name: z.string(), since: time.optional() })
    .optional()
    .describe('The problem that delays this step. The service retries it'),
  retryAfterSeconds: z.int().min(0).describe('Seconds after which the next question makes sense'),
}

/**
 * The public state of a task that a service promised, while it has no receipt. It names no content, nonce, group or space.
 *
 * @example
 * { can: 'filecoin/accept', piece: 'bafkzci…', stage: 'offered', since: '2026-11-26T17:40:00.000Z',
 *   waitsFor: 'The content must be read and checked; abandoned on 2026-12-03T17:40:00.000Z',
 *   until: '2026-12-03T17:40:00.000Z', trouble: { name: 'ContentUnreadable' }, retryAfterSeconds: 300 }
 */
export type Progress = z.infer<z.ZodObject<typeof progressFields>>

/**
 * Finds the progress of tasks without a receipt, in their order: `undefined` for a task that the service did not promise,
 * `unknown` if it has no index that would find its promise.
 */
export type FindProgress = (tasks: readonly string[]) => Promise<(Progress | 'unknown' | undefined)[]>

const { stage, since } = progressFields

/**
 * The answer about a task that has no receipt.
 *
 * @example { name: 'ReceiptNotFound', message: 'Task bafyrei… has no receipt yet', task: 'bafyrei…', promised: false, retryAfterSeconds: 5 }
 */
export const receiptNotFound = z.object({
  name: z.literal('ReceiptNotFound'),
  message: z.string(),
  task: z.string().describe('CID of the task'),
  promised: z
    .union([z.boolean(), z.literal('unknown')])
    .describe(
      'Whether the service promised the task; `unknown` if it has no index that would find the promise',
    ),
  ...progressFields,
  stage: stage.optional(),
  since: since.optional(),
})

/** Seconds after which it makes sense to ask again about a task that may be promised meanwhile. */
const UNPROMISED_RETRY_SECONDS = 5

/** Describes a task that has no receipt. */
export const describeMissing = (
  task: string,
  progress: Progress | 'unknown' | undefined,
): z.infer<typeof receiptNotFound> => ({
  name: 'ReceiptNotFound',
  message: `Task ${task} has no receipt yet`,
  task,
  ...(typeof progress === 'object'
    ? { promised: true, ...progress }
    : { promised: progress ?? false, retryAfterSeconds: UNPROMISED_RETRY_SECONDS }),
})
