import { capability, Schema } from '@ucanto/validator'
import { covers } from './schema.ts'

/** A service delivers a receipt to a principal that waits for it. The receipt's blocks are attached to the invocation. */
export const conclude = capability({
  can: 'ucan/conclude',
  /** The issuer: the service that ran the task, or a service that forwards the receipt. */
  with: Schema.did(),
  nb: Schema.struct({
    /** CID of the receipt's root block. */
    receipt: Schema.link(),
  }),
  derives: covers,
})

/** The result of `ucan/conclude`. */
export interface ConcludeSuccess {
  /** Time at which the receipt was accepted, in milliseconds since 1970. */
  time: number
}

/**
 * A principal on the chain of a delegation revokes it. Invocations and delegations that depend on it are no longer
 * authorized.
 */
export const revoke = capability({
  can: 'ucan/revoke',
  /** The principal that revokes: issuer or audience of the delegation, or of a delegation in its proofs. */
  with: Schema.did(),
  nb: Schema.struct({
    /** CID of the delegation. Its block is attached to the invocation. */
    ucan: Schema.link({ version: 1 }),
    /** The delegations on the path from it to the principal. Their blocks are attached too. */
    proof: Schema.link({ version: 1 }).array().optional(),
  }),
  derives: covers,
})

/** The result of `ucan/revoke`. */
export interface RevokeSuccess {
  /** Time from which this service applies the revocation, in milliseconds since 1970. */
  time: number
}
