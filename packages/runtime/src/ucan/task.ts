import { isDelegation } from '@ucanto/core/delegation'
import type { Task } from '@w3filecoin/capabilities'

/** Whether the blocks of a task are there, so that it can be read. */
export const isTask = (task: unknown): task is Task => isDelegation(task as never)
