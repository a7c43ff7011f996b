import type { Task } from '@w3filecoin/capabilities'
import { isTask } from './task.ts'

/** The properties that identify a task which another service promises or runs. */
export interface ExpectedTask {
  /** The ability, e.g. `aggregate/accept`. */
  can: string
  /** DID of the service that must have issued the task. */
  issuer: string
  /** DID of the service that must run it. If absent, the issuer runs it itself, with itself as the resource. */
  audience?: string
  /** The caveats that must have these values, as text. */
  nb: Record<string, string>
}

/**
 * Whether the task is the expected one. A receipt may change a record only if the task that was run, or the task that the
 * receipt promises, is the one that the record waits for. False also for a task whose blocks are missing or malformed.
 *
 * @example isExpectedTask(receipt.fx.join, {
 *   can: 'aggregate/accept', issuer: 'did:web:dealer.example.com', nb: { aggregate: 'bafkzci…' } })
 */
export const isExpectedTask = (task: unknown, { can, issuer, audience, nb }: ExpectedTask): task is Task => {
  if (!isTask(task)) return false
  try {
    const [capability, ...others] = task.capabilities
    const caveats = Object(capability?.nb) as Record<string, unknown>
    return (
      others.length === 0 &&
      capability?.can === can &&
      task.issuer.did() === issuer &&
      task.audience.did() === (audience ?? issuer) &&
      (audience !== undefined || capability.with === issuer) &&
      Object.entries(nb).every(([name, value]) => `${caveats[name]}` === value)
    )
  } catch {
    // Views decode lazily and throw on malformed bytes.
    return false
  }
}
