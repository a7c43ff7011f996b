import { capability, Schema } from '@ucanto/validator'
import { covers } from './schema.ts'

/** Hands a receipt to the one who waits for it. The receipt's blocks travel with the invocation. */
export const conclude = capability({
  can: 'ucan/conclude',
  /** The issuer of the message: the service that ran the task, or the one in between that passes it on. */
  with: Schema.did(),
  nb: Schema.struct({
    /** Root of the receipt. */
    receipt: Schema.link(),
  }),
  derives: covers,
})

export interface ConcludeSuccess {
  /** When the receipt was taken, in milliseconds since 1970. */
  time: number
}

/** A principal on the chain of a delegation takes it back: whatever leads through it is authorized no more. */
export const revoke = capability({
  can: 'ucan/revoke',
  /** The principal who revokes: issuer or audience of the delegation, or of one that it was derived from. */
  with: Schema.did(),
  nb: Schema.struct({
    /** The delegation. Its block travels with the invocation. */
    ucan: Schema.link({ version: 1 }),
    /** The delegations that lead from it to the principal; their blocks travel along. */
    proof: Schema.link({ version: 1 }).array().optional(),
  }),
  derives: covers,
})

export interface RevokeSuccess {
  /** When it came into force here, in milliseconds since 1970. */
  time: number
}
