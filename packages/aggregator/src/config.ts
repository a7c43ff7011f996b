import { commonSchema, peerSchema, servicePeerSchema } from '@w3filecoin/runtime'
import { z } from 'zod'

const limits = {
  /** Padded bytes of an aggregate, a power of two. 32 GiB, the default, is the sector size of most storage providers. */
  paddedBytes: z
    .number()
    .int()
    .min(512)
    .refine(size => Number.isInteger(Math.log2(size)), 'expected a power of two'),
  /** Padded bytes of pieces that an aggregate must contain, so that the dealer makes a deal for it. */
  minPaddedBytes: z.number().int().nonnegative(),
  /** Number of pieces that an aggregate may contain: the dealer accepts at most 95,000 in one message. */
  maxPieces: z.number().int().positive().max(95_000),
  /** Seconds after which a piece does not wait for more pieces. */
  maxWaitSeconds: z.number().positive(),
}
const limitsSchema = z.strictObject({
  paddedBytes: limits.paddedBytes.default(2 ** 35),
  minPaddedBytes: limits.minPaddedBytes.default(0),
  maxPieces: limits.maxPieces.default(95_000),
  maxWaitSeconds: limits.maxWaitSeconds.default(6 * 60 * 60),
})

/** The aggregator's configuration: JSON in the environment variable `CONFIG`. */
export const configSchema = z.strictObject({
  ...commonSchema,
  /** Storefronts that may offer pieces with their own DID as resource. */
  storefronts: z.array(peerSchema),
  dealer: servicePeerSchema,
  limits: limitsSchema.prefault({}),
  /**
   * Limits of individual groups. `limits` applies to every field that a group leaves out.
   *
   * @example { "free": { "maxWaitSeconds": 86400 } }
   */
  groups: z.record(z.string(), z.strictObject(limits).partial()).default({}),
})
export type AggregatorConfig = z.infer<typeof configSchema>
