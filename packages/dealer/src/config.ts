import { commonSchema, peerSchema, servicePeerSchema } from '@w3filecoin/service'
import { z } from 'zod'

/** The dealer's configuration, as the environment variable `CONFIG` holds it in JSON. */
export const configSchema = z.strictObject({
  ...commonSchema,
  /** Aggregators that may offer aggregates with their own DID. */
  aggregators: z.array(peerSchema),
  dealTracker: servicePeerSchema,
})
export type DealerConfig = z.infer<typeof configSchema>
