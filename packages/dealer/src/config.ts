import { commonSchema, peersSchema, servicePeerSchema } from '@w3filecoin/runtime'
import { z } from 'zod'

/** The dealer's configuration: JSON in the environment variable `CONFIG`. */
export const configSchema = z.strictObject({
  ...commonSchema,
  aggregators: peersSchema.meta({
    description:
      'Aggregators that may offer aggregates with their own DID. Receipts, and pieces of failed aggregates, are sent to those with a URL.',
  }),
  dealTracker: servicePeerSchema.meta({ description: 'The deal tracker that is asked for deals.' }),
  dealWaitSeconds: z
    .number()
    .positive()
    .default(14 * 24 * 60 * 60)
    .meta({
      unit: 'seconds',
      description:
        'Time after which an aggregate without a deal has failed, and its pieces are offered again. It does not fail before the deal tracker has seen a later state of the chain.',
      examples: [604_800],
    }),
})
export type DealerConfig = z.infer<typeof configSchema>
/** The configuration before defaults are filled in, as a stage sets it. */
export type DealerSettings = z.input<typeof configSchema>
