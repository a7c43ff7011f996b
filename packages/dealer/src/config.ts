import { commonSchema, peerSchema, servicePeerSchema } from '@w3filecoin/runtime'
import { z } from 'zod'

/** The dealer's configuration: JSON in the environment variable `CONFIG`. */
export const configSchema = z.strictObject({
  ...commonSchema,
  /** Aggregators that may offer aggregates with their own DID as resource. */
  aggregators: z.array(peerSchema),
  dealTracker: servicePeerSchema,
  /** Seconds after which an aggregate without a deal fails, and its pieces are retried. */
  dealWaitSeconds: z
    .number()
    .positive()
    .default(14 * 24 * 60 * 60),
})
export type DealerConfig = z.infer<typeof configSchema>
