import { commonSchema, peerSchema, servicePeerSchema } from '@w3filecoin/runtime'
import { z } from 'zod'

const limits = {
  /** Padded bytes of an aggregate, a power of two. 32 GiB is the sector size that most providers seal. */
  paddedBytes: z
    .number()
    .int()
    .min(512)
    .refine(size => Number.isInteger(Math.log2(size)), 'expected a power of two'),
  /** The least padded bytes of pieces that the dealer makes a deal for. */
  minPaddedBytes: z.number().int().nonnegative(),
  /** The most pieces in an aggregate: what the dealer takes in one message. */
  maxPieces: z.number().int().positive().max(95_000),
  /** Seconds after which a piece waits no more for others. */
  maxWaitSeconds: z.number().positive(),
}
const limitsSchema = z.strictObject({
  paddedBytes: limits.paddedBytes.default(2 ** 35),
  minPaddedBytes: limits.minPaddedBytes.default(0),
  maxPieces: limits.maxPieces.default(95_000),
  maxWaitSeconds: limits.maxWaitSeconds.default(6 * 60 * 60),
})

/** The aggregator's configuration, as the environment variable `CONFIG` holds it in JSON. */
export const configSchema = z.strictObject({
  ...commonSchema,
  /** Storefronts that may offer pieces with their own DID. */
  storefronts: z.array(peerSchema),
  dealer: servicePeerSchema,
  limits: limitsSchema.prefault({}),
  /** Limits of single groups, where they differ: what is not said of a group is as it is for all. */
  groups: z.record(z.string(), z.strictObject(limits).partial()).default({}),
})
export type AggregatorConfig = z.infer<typeof configSchema>
