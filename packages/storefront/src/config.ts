import { MAX_GROUP_BYTES } from '@w3filecoin/capabilities'
import { commonSchema, peerSchema, servicePeerSchema } from '@w3filecoin/runtime'
import { z } from 'zod'

/**
 * The configuration of the storefront: JSON in the environment variable `CONFIG`.
 *
 * @example
 * {
 *   "aggregator": { "did": "did:web:aggregator.example.com", "url": "https://aggregator.example.com" },
 *   "dealer": { "did": "did:web:dealer.example.com" },
 *   "dealTracker": { "did": "did:web:tracker.example.com", "url": "https://tracker.example.com" },
 *   "defaultGroup": "did:web:example.com",
 *   "gateway": "https://{cid}.ipfs.w3s.link/"
 * }
 */
export const configSchema = z.strictObject({
  ...commonSchema,
  aggregator: servicePeerSchema,
  /** Issues the receipts of `aggregate/accept`, which arrive through the aggregator. */
  dealer: peerSchema,
  dealTracker: servicePeerSchema,
  /** The group of pieces whose space has no provider in the table `space`. */
  defaultGroup: z
    .string()
    .min(1)
    .refine(group => Buffer.byteLength(group) <= MAX_GROUP_BYTES, {
      error: `The aggregator takes groups of at most ${MAX_GROUP_BYTES} bytes`,
    }),
  /**
   * URL of the content, with `{cid}` in place of its CID. For a CID with codec raw or CAR, the response body must be exactly
   * the bytes that hash to it. Without this setting, content is read from the bucket `content`.
   */
  gateway: z.string().includes('{cid}').optional(),
  /** Whether an offer of content that does not exist waits for the upload, or is refused with `ContentNotFound`. */
  missingContent: z.enum(['wait', 'refuse']).default('wait'),
  /** Time after which content that does not exist, or cannot be read, is abandoned. */
  contentWaitSeconds: z
    .number()
    .positive()
    .default(7 * 24 * 60 * 60),
})
export type StorefrontConfig = z.infer<typeof configSchema>
