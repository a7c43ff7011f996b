import { MAX_GROUP_BYTES } from '@w3filecoin/capabilities'
import { commonSchema, peerSchema, servicePeerSchema } from '@w3filecoin/runtime'
import { z } from 'zod'

/** The storefront's configuration, as the environment variable `CONFIG` holds it in JSON. */
export const configSchema = z.strictObject({
  ...commonSchema,
  aggregator: servicePeerSchema,
  /** Runs the `aggregate/accept` tasks whose receipts come through the aggregator. */
  dealer: peerSchema,
  dealTracker: servicePeerSchema,
  /** The group of pieces whose space has no provider in the table. */
  defaultGroup: z
    .string()
    .min(1)
    .refine(group => Buffer.byteLength(group) <= MAX_GROUP_BYTES, {
      error: `The aggregator takes groups of at most ${MAX_GROUP_BYTES} bytes`,
    }),
  /**
   * Where content is read from, with `{cid}` for its CID: for one of codec raw or CAR the very bytes that hash to it. The
   * storefront's own bucket when left out.
   */
  gateway: z.string().includes('{cid}').optional(),
  /** What an offer of content that is not there meets: `wait` until it is uploaded, or `refuse` with `ContentNotFound`. */
  missingContent: z.enum(['wait', 'refuse']).default('wait'),
  /** Seconds after which content that is not there, or can not be read, is waited for no more. */
  contentWaitSeconds: z
    .number()
    .positive()
    .default(7 * 24 * 60 * 60),
})
export type StorefrontConfig = z.infer<typeof configSchema>
