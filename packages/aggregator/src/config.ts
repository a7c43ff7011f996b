import { commonSchema, peerSchema, servicePeerSchema } from '@w3filecoin/service'
import { z } from 'zod'

const limits = {
  /** Padded bytes of an aggregate, a power of two. 32 GiB is the sector size that most providers seal. */
  size: z
    .number()
    .int()
    .min(512)
    .refine(size => Number.isInteger(Math.log2(size)), 'expected a power of two')
    .default(2 ** 35),
  /** The least padded bytes of pieces that the dealer makes a deal for. */
  minimumFill: z.number().int().nonnegative().default(0),
  /** The most pieces in an aggregate: what the dealer takes in one message. */
  maxPieces: z.number().int().positive().max(95_000).default(95_000),
  /** Seconds after which a piece waits no more for others. */
  longestWait: z
    .number()
    .positive()
    .default(6 * 60 * 60),
}
const limitsSchema = z.strictObject(limits)

/** The aggregator's configuration, as the environment variable `CONFIG` holds it in JSON. */
export const configSchema = z.strictObject({
  ...commonSchema,
  /** Storefronts that may offer pieces with their own DID. */
  storefronts: z.array(peerSchema),
  dealer: servicePeerSchema,
  limits: limitsSchema.prefault({}),
  /** Limits of single groups, where they differ. */
  groups: z.record(z.string(), limitsSchema.partial()).default({}),
})
export type AggregatorConfig = z.infer<typeof configSchema>
