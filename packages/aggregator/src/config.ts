import { capacityOf } from '@w3filecoin/piece'
import { commonSchema, peerSchema, peersOf, servicePeerSchema } from '@w3filecoin/runtime'
import * as z from 'zod'

const limits = {
  paddedBytes: z
    .number()
    .int()
    .min(512)
    .refine(size => Number.isInteger(Math.log2(size)), 'expected a power of two')
    .meta({
      unit: 'padded bytes',
      description:
        'Size of an aggregate: a power of two. 32 GiB is the sector size that most storage providers seal.',
      examples: [2 ** 36],
    }),
  minPaddedBytes: z
    .number()
    .int()
    .nonnegative()
    .meta({
      unit: 'padded bytes',
      description:
        'Least size of all pieces of an aggregate, unless it has `maxPieces`: a group with less waits, and is sealed by hand with `npm run ops -- seal`. At most what an aggregate holds beside its index. Default: that less half of `paddedBytes`, which any pieces can reach; `npm start` has 0.',
      examples: [2 ** 34],
    }),
  maxPieces: z
    .number()
    .int()
    .positive()
    .max(95_000)
    .meta({
      unit: 'pieces',
      description: 'Upper limit for the pieces in an aggregate. The dealer accepts 95000 in one message.',
      examples: [20_000],
    }),
  maxWaitSeconds: z
    .number()
    .positive()
    .meta({
      unit: 'seconds',
      description:
        'Time after which a piece is put into an aggregate that is not full, if it has `minPaddedBytes`.',
      examples: [3600],
    }),
}

const generalLimits = z.strictObject({
  paddedBytes: limits.paddedBytes.default(2 ** 35),
  minPaddedBytes: limits.minPaddedBytes.optional(),
  maxPieces: limits.maxPieces.default(95_000),
  maxWaitSeconds: limits.maxWaitSeconds.default(6 * 60 * 60),
})
const groupLimits = z.record(z.string(), z.strictObject(limits).partial())

type LimitsConfig = z.infer<typeof generalLimits>

/** The limits of a group: those of the group itself, and the general ones for the others. */
export const limitsOfGroup = (
  { limits, groups }: { limits: LimitsConfig; groups: z.infer<typeof groupLimits> },
  group: string,
): LimitsConfig & { minPaddedBytes: number } => {
  const merged = Object.assign({}, limits, Object.hasOwn(groups, group) ? groups[group] : undefined)
  return { ...merged, minPaddedBytes: merged.minPaddedBytes ?? defaultMinimum(merged.paddedBytes) }
}

/**
 * Half of an aggregate, less its index. A list with more than that can always be sealed: a piece that does not fit is at
 * most half of the aggregate, so the pieces before it have at least this size.
 *
 * @example defaultMinimum(2 ** 35) // 17163091968, which is 2 ** 34 - 2 ** 24
 */
const defaultMinimum = (paddedBytes: number): number => capacityOf(paddedBytes) - paddedBytes / 2

const storefrontSchema = peerSchema.safeExtend({
  delegation: z
    .string()
    .max(4096)
    .optional()
    .meta({
      description:
        'Delegation of `aggregate/offer` from the storefront to this aggregator: a CAR in base 64, or the text that `@storacha/client` reads as a proof. Then the storefront authorizes the deals of its aggregates, as a tenant that the dealer lists. It must not expire, because promised offers are sent later. On AWS all environment variables of a function share 4 KB.',
      examples: ['mAYIEAO8OEaJlcm9vdHOB…'],
    }),
  piecesPerDay: z
    .number()
    .int()
    .positive()
    .optional()
    .meta({
      unit: 'pieces',
      description:
        'Upper limit for the pieces that the storefront may offer on one day (UTC). A repeated offer does not count. Default: none.',
      examples: [100_000],
    }),
})

/** A storefront in the configuration, or in the table `peer`. */
export type StorefrontConfig = z.infer<typeof storefrontSchema>

/** The lists of peers that the table `peer` extends. */
export const peerLists = { storefronts: storefrontSchema }

/** The aggregator's configuration, as the environment variable `CONFIG` holds it in JSON. */
export const configSchema = z
  .strictObject({
    ...commonSchema,
    storefronts: peersOf(storefrontSchema).meta({
      description:
        'Storefronts that may offer pieces with their own DID. Receipts are sent to those with a URL. `w3fil storefront add` lists further ones, without a deploy.',
    }),
    dealer: servicePeerSchema.meta({ description: 'The dealer that aggregates are offered to.' }),
    limits: generalLimits.prefault({}),
    groups: groupLimits.default({}).meta({
      description: 'Limits of single groups, by name. A limit that is absent here has its value in `limits`.',
      examples: [{ 'did:web:free.example': { maxWaitSeconds: 86_400 } }],
    }),
  })
  .check(({ value, issues }) => {
    // Zod runs this even if a limit is out of range, and then no capacity can be computed.
    if (issues.length > 0) return
    const check = (path: string[], { paddedBytes, minPaddedBytes }: LimitsConfig) => {
      const capacity = capacityOf(paddedBytes)
      if (minPaddedBytes === undefined || minPaddedBytes <= capacity) return
      issues.push({
        code: 'custom',
        path: [...path, 'minPaddedBytes'],
        input: minPaddedBytes,
        message: `an aggregate of ${paddedBytes} padded bytes holds at most ${capacity}`,
      })
    }
    check(['limits'], value.limits)
    for (const group of Object.keys(value.groups)) {
      const { paddedBytes, minPaddedBytes } = value.groups[group]!
      if (paddedBytes !== undefined || minPaddedBytes !== undefined)
        check(['groups', group], limitsOfGroup(value, group))
    }
  })
export type AggregatorConfig = z.infer<typeof configSchema>
/** The configuration before defaults are filled in, as a stage sets it. */
export type AggregatorSettings = z.input<typeof configSchema>
