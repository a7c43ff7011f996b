import {
  commonSchema,
  didSchema,
  peerSchema,
  peersOf,
  peersSchema,
  placeTypesSchema,
  servicePeerSchema,
} from '@w3filecoin/runtime'
import * as z from 'zod'
import { labelOf, type PolicyRule, type Target, targetsOf } from './domain/policy.ts'
import { curioTargetSchema } from './makers/curio-target.ts'

const aggregatorSchema = peerSchema.safeExtend({
  tenants: z
    .union([z.literal('all'), z.array(didSchema)])
    .default([])
    .meta({
      description:
        'Storefronts that the aggregator may name as the tenant of an aggregate without their delegation: `all`, or a list of DIDs. It may always name itself.',
      examples: ['all'],
    }),
})

/** The fields of a target of any kind. */
const targetFields = {
  name: z
    .string()
    .regex(/^[a-z0-9-]{1,64}$/, 'expected 1 to 64 lower case letters, digits and hyphens')
    .meta({ description: 'Name of the target in orders and logs.', examples: ['example-pdp'] }),
  region: z
    .string()
    .min(1)
    .max(100)
    .optional()
    .meta({
      description: 'Where the target is, for policies with copies in different regions.',
      examples: ['eu-west'],
    }),
  org: z
    .string()
    .min(1)
    .max(100)
    .optional()
    .meta({
      description: 'The organization of the target, for policies with copies at different organizations.',
      examples: ['Example Storage'],
    }),
  maxInFlight: z
    .int()
    .min(1)
    .max(100)
    .default(10)
    .meta({
      description: 'Copies that the target may be storing at the same time.',
      examples: [3],
    }),
  deadlineDays: z
    .number()
    .positive()
    .max(90)
    .default(5)
    .meta({
      unit: 'days',
      description:
        'Time after the first request within which a copy must be live. Then another one is ordered, once the deal tracker has seen a later state of the chain.',
      examples: [3],
    }),
}

const address = z.string().regex(/^0x[0-9a-fA-F]{40}$/, 'expected an address: 0x and 40 hexadecimal digits')
const httpUrl = z.url({ protocol: /^https?$/, error: 'expected an http or https URL' })

/** A provider that stores copies on order. `openTarget` has a case for each kind. */
const targetSchema = z.discriminatedUnion('kind', [
  z.strictObject({
    ...targetFields,
    kind: z.literal('pdp').meta({
      description: 'A provider that proves pieces with PDP (Filecoin Onchain Cloud).',
      examples: ['pdp'],
    }),
    rpc: httpUrl.meta({
      description: 'Address of a node of the chain that answers JSON-RPC.',
      examples: ['https://node.example.com/rpc/v1'],
    }),
    chain: z
      .int()
      .positive()
      .meta({ description: 'EIP-155 id of the chain: 314 is the mainnet of Filecoin.', examples: [314] }),
    service: address.meta({
      description: 'Address of the contract FilecoinWarmStorageService.',
      examples: ['0x8408502033c418e1bbc97ce9ac48e5528f371a9f'],
    }),
    payer: address.meta({
      description: 'Address of the wallet that pays. It must let the wallet of this dealer sign.',
      examples: ['0x1111111111111111111111111111111111111111'],
    }),
    provider: z
      .strictObject({
        id: z
          .int()
          .positive()
          .meta({ description: 'Id in the registry of providers.', examples: [3] }),
        url: httpUrl.meta({ description: 'URL of its API.', examples: ['https://pdp.example.com/'] }),
      })
      .meta({ description: 'The provider.' }),
  }),
  z.strictObject({
    ...targetFields,
    kind: z.literal('curio').meta({
      description: 'A provider with the market of Curio, "mk20". It stores in sectors.',
      examples: ['curio'],
    }),
    ...curioTargetSchema.shape,
  }),
])
export type TargetConfig = z.infer<typeof targetSchema>

/** The largest piece that providers prove with PDP, in padded bytes (Curio, `PieceSizeMaxLimit`). */
const MAX_PDP_BYTES = 2 ** 30

/** Returns the facts of a target that do not depend on how orders reach it. */
export const toTarget = ({
  name,
  region,
  org,
  maxInFlight,
  deadlineDays,
  ...config
}: TargetConfig): Target => ({
  name,
  region,
  org,
  maxInFlight,
  deadlineMs: deadlineDays * 24 * 60 * 60 * 1000,
  ...(config.kind === 'pdp'
    ? { place: 'pdp', provider: `pdp:${config.provider.id}`, maxPaddedBytes: MAX_PDP_BYTES }
    : { place: 'sector', provider: config.miner }),
})

const policySchema = z
  .strictObject({
    storefront: didSchema.optional().meta({
      description: 'The storefront whose aggregates the policy is for. Absent: all.',
    }),
    group: z
      .string()
      .min(1)
      .max(1_000)
      .optional()
      .meta({
        description: 'The group whose aggregates the policy is for. Absent: all.',
        examples: ['free'],
      }),
    places: placeTypesSchema.meta({
      description:
        'Kinds of places on chain with which an aggregate is accepted: a deal of the built-in market, a sector without such a deal, or a piece in a data set that is proven with PDP. Clients that know only deals refuse the receipts of the others: `["market"]` is for them.',
      examples: [['market']],
    }),
    copies: z
      .int()
      .min(1)
      .max(10)
      .default(2)
      .meta({
        description: 'Copies of an aggregate that are ordered from targets.',
        examples: [3],
      }),
    minLive: z
      .int()
      .min(1)
      .max(10)
      .default(1)
      .meta({
        description: 'Live copies with which an aggregate is accepted.',
        examples: [2],
      }),
    targets: z
      .array(z.string())
      .optional()
      .meta({
        description: 'Names of the targets that may store copies. Absent: all. Empty: none.',
        examples: [['example-pdp']],
      }),
    distinct: z
      .enum(['provider', 'org', 'region'])
      .default('provider')
      .meta({
        description: 'The copies of an aggregate are at different providers, organizations or regions.',
        examples: ['region'],
      }),
    attempts: z
      .int()
      .min(1)
      .max(100)
      .default(3)
      .meta({
        description:
          'Orders of a copy without success, one after the other, after which an operator must permit further ones.',
        examples: [5],
      }),
    renewBeforeDays: z
      .number()
      .nonnegative()
      .default(60)
      .meta({
        unit: 'days',
        description: 'Time before the end of a place at which another copy is ordered.',
        examples: [90],
      }),
    giveUp: z
      .enum(['operator', 'automatic'])
      .default('operator')
      .meta({
        description:
          'Whether an aggregate fails by itself when all its orders ended without a copy, or waits for an operator.',
        examples: ['automatic'],
      }),
  })
  .check(({ value: { copies, minLive, targets }, issues }) => {
    if (minLive <= copies || targets?.length === 0) return
    const message = `only ${copies} copies are ordered: expected at most as many`
    issues.push({ code: 'custom', path: ['minLive'], input: minLive, message })
  })

/** The lists of peers that the table `peer` extends. */
export const peerLists = { aggregators: aggregatorSchema, storefronts: peerSchema, brokers: peerSchema }

/** The dealer's configuration: JSON in the environment variable `CONFIG`. */
export const configSchema = z
  .strictObject({
    ...commonSchema,
    aggregators: peersOf(aggregatorSchema).meta({
      description:
        'Aggregators that may offer aggregates with their own DID. Receipts, and pieces of failed aggregates, are sent to those with a URL. `w3fil aggregator add` lists further ones, without a deploy.',
    }),
    storefronts: peersSchema.default([]).meta({
      description:
        'Storefronts that authorize deals themselves: an aggregator may offer an aggregate with the DID of one of these, and a delegation of `aggregate/offer` from it. Their URLs are not called. `w3fil storefront add --at dealer` lists further ones, without a deploy.',
    }),
    brokers: peersSchema.default([]).meta({
      description:
        'Principals that make deals, and need no access to AWS: they list the open offers and report places and failures with their own DID. A broker can make every offer fail. Their URLs are not called. `w3fil broker add` lists further ones, without a deploy.',
    }),
    pieceSources: z
      .array(
        z.strictObject({
          storefront: didSchema.meta({ description: 'The storefront whose pieces are there.' }),
          url: z
            .string()
            .includes('{piece}', 'expected a URL with {piece} in place of the piece CID')
            .refine(
              template => /^https?:$/.test(URL.parse(template.replaceAll(/[{}]/g, ''))?.protocol ?? ''),
              'expected a URL, e.g. https://storefront.example.com/piece/{permit}/{piece}',
            )
            .meta({
              description:
                "URL template of a piece, with `{piece}` in place of its CID, and `{permit}` where the storefront expects the dealer's permit for the aggregate.",
              examples: ['https://storefront.example.com/piece/{permit}/{piece}'],
            }),
        }),
      )
      .default([])
      .meta({
        description:
          'Where storage providers fetch the pieces of a storefront. Offer documents of its aggregates have the address in `source`.',
      }),
    dealTracker: servicePeerSchema.meta({ description: 'The deal tracker that is asked for deals.' }),
    targets: z
      .array(targetSchema)
      .max(20)
      .check(({ value, issues }) => {
        for (const [n, { name }] of value.entries()) {
          const first = value.findIndex(other => other.name === name)
          if (first === n) continue
          const message = `the target at index ${first} has this name too: expected another one`
          issues.push({ code: 'custom', path: [n, 'name'], input: name, message })
        }
      })
      .default([])
      .meta({
        description:
          'Providers that store copies of whole aggregates on order. Without one, deals are made by those who read the offer documents.',
      }),
    walletNumber: z
      .int()
      .min(0)
      .default(0)
      .meta({
        description:
          'Number of the key that signs orders. It is derived from the private key of the service; another number has another key.',
        examples: [1],
      }),
    policies: z.array(policySchema).default([]).meta({
      description:
        'How many copies of aggregates are made and where, by storefront and group. The first policy that is for an aggregate applies. For the other aggregates, the defaults of its fields apply.',
    }),
    door: z
      .url({ protocol: /^https?$/, error: 'expected an http or https URL' })
      .optional()
      .meta({
        description:
          'URL of this dealer, at which targets fetch whole aggregates. The default is that of `self`. Without both, targets get no orders.',
        examples: ['https://dealer.example.com'],
      }),
    keepWholeDays: z
      .number()
      .nonnegative()
      .default(7)
      .meta({
        unit: 'days',
        description: 'Time for which the payload of an aggregate is kept after its copies are live.',
        examples: [3],
      }),
    liveCheckSeconds: z
      .number()
      .positive()
      .max(24 * 60 * 60)
      .default(24 * 60 * 60)
      .meta({
        unit: 'seconds',
        description:
          'Interval at which the dealer checks that a copy which a target stores is still live. If it has ended, another one is ordered.',
        examples: [3600],
      }),
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
  .check(({ value: { policies, targets }, issues }) => {
    for (const [n, policy] of policiesOf({ policies }).entries()) {
      const fit = targetsOf(policy, targets.map(toTarget))
      const places = new Set(fit.map(target => labelOf(target, policy))).size
      if (fit.length === 0 || places >= policy.copies) continue
      const message = `${policy.copies} copies need targets with as many different values of ${policy.distinct}: there are ${places}`
      issues.push({ code: 'custom', path: ['policies', n], input: policies[n], message })
    }
    const known = new Set(targets.map(({ name }) => name))
    for (const [n, policy] of policies.entries())
      for (const name of policy.targets ?? [])
        if (!known.has(name))
          issues.push({
            code: 'custom',
            path: ['policies', n, 'targets'],
            input: name,
            message: `there is no target ${name}`,
          })
  })
export type DealerConfig = z.infer<typeof configSchema>
/** The configuration before defaults are filled in, as a stage sets it. */
export type DealerSettings = z.input<typeof configSchema>

/** Returns the policies of a configuration, the last one for all aggregates. */
export const policiesOf = ({
  policies,
}: {
  policies: readonly z.infer<typeof policySchema>[]
}): PolicyRule[] =>
  [...policies, policySchema.parse({})].map(({ renewBeforeDays, ...policy }) => ({
    ...policy,
    renewBeforeMs: renewBeforeDays * 24 * 60 * 60 * 1000,
  }))
