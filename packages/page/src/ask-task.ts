import { type Stage, W3Error } from '@w3filecoin/client'
import { parse as parseLink } from 'multiformats/link'

type Link = ReturnType<typeof parseLink>

/** The state of a task, as `GET /receipt/{task}` says in JSON: see docs/protocol.md. */
export interface AskedTask {
  task: string
  /** Whether the service promised the task. */
  promised: boolean
  can?: string
  stage?: Stage
  /** The next step, as a sentence for people. */
  waitsFor?: string
  /** The time at which that ends, ISO 8601. */
  until?: string
  trouble?: { name: string }
  error?: { name: string }
  /** The workflow of the task: its piece, and the two tasks that the storefront promised. */
  workflow?: { piece: Link; submit: string; accept: string }
  /** Seconds after which it may have changed; absent at the end. */
  retryAfterSeconds?: number
}

/** Asks the storefront about a task. */
export const askTask = async (task: string, signal: AbortSignal): Promise<AskedTask> => {
  const response = await fetch(`/receipt/${encodeURIComponent(task)}`, {
    headers: { accept: 'application/json' },
    signal,
  })
  const { workflow, out, ...state } = await response.json().catch(() => ({}))
  if (response.status === 400)
    throw new W3Error('InvalidCID', state.message ?? `${task} is not the CID of a task`)
  if (response.status !== 404 && !response.ok)
    throw new W3Error('Unreachable', `The storefront answered ${response.status}`)
  return {
    ...state,
    task,
    promised: response.ok || state.promised === true,
    ...(out?.error && { error: out.error }),
    ...(workflow && { workflow: { ...workflow, piece: parseLink(workflow.piece) } }),
  }
}
