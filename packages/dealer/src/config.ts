import { commonSchema, peerSchema, servicePeerSchema } from '@w3filecoin/runtime'
import { z } from 'zod'

/** The dealer's configuration, as the environment variable `CONFIG` holds it in JSON. */
export const configSchema = z.strictObject({
  ...commonSchema,
  /** Aggregators that may offer aggregates with their own DID. */
  aggregators: z.array(peerSchema),
  dealTracker: servicePeerSchema,
  /** Seconds after which an aggregate that is in no deal has failed, and its pieces are tried again. */
  dealWaitSeconds: z
    .number()
    .positive()
    .default(14 * 24 * 60 * 60),
})
export type DealerConfig = z.infer<typeof configSchema>
