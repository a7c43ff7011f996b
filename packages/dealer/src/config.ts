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

/** The lists of peers that the table `peer` extends. */
export const peerLists = { aggregators: aggregatorSchema, storefronts: peerSchema }

/** The dealer's configuration: JSON in the environment variable `CONFIG`. */
export const configSchema = z.strictObject({
  ...commonSchema,
  aggregators: peersOf(aggregatorSchema).meta({
    description:
      'Aggregators that may offer aggregates with their own DID. Receipts, and pieces of failed aggregates, are sent to those with a URL. `w3fil aggregator add` lists further ones, without a deploy.',
  }),
  storefronts: peersSchema.default([]).meta({
    description:
      'Storefronts that authorize deals themselves: an aggregator may offer an aggregate with the DID of one of these, and a delegation of `aggregate/offer` from it. Their URLs are not called. `w3fil storefront add --at dealer` lists further ones, without a deploy.',
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
  places: placeTypesSchema.meta({
    description:
      'Kinds of places on chain with which an aggregate is accepted: a deal of the built-in market, a sector without such a deal, or a piece in a data set that is proven with PDP. Clients that know only deals refuse the receipts of the others: `["market"]` is for them.',
    examples: [['market']],
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
export type DealerConfig = z.infer<typeof configSchema>
/** The configuration before defaults are filled in, as a stage sets it. */
export type DealerSettings = z.input<typeof configSchema>
