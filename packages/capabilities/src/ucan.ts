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
