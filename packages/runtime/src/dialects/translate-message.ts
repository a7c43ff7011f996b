import * as z from 'zod'
import { type MessageOf, messageFormat } from '../messages/message-format.ts'

/**
 * "Issue the receipt of this task of a dialect, if the task of the protocol has one."
 *
 * @example { "v": 1, "id": "kD3…" }
 */
export const translateMessage = messageFormat(z.object({ id: z.string() }))
export type TranslateMessage = MessageOf<typeof translateMessage>
