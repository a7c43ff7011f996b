import { MAX_GROUP_BYTES } from '@w3filecoin/capabilities'
import { commonSchema, peerSchema, placeTypesSchema, servicePeerSchema } from '@w3filecoin/runtime'
import * as z from 'zod'

/** S3 takes up to 5 GiB with one `PUT`, and copies as much in one call. */
const MAX_UPLOAD_BYTES = 5 * 2 ** 30

const perDay = (
  defaults: { listed: number; shared: number },
  what: string,
  examples: [number, number],
  unit = 'workflows',
) =>
  z
    .strictObject({
      listed: z
        .int()
        .nonnegative()
        .default(defaults.listed)
        .meta({
          unit,
          description: `Maximum ${what} in one day (UTC) of each space that has a provider in the table of spaces.`,
          examples: [examples[0]],
        }),
      shared: z
        .int()
        .nonnegative()
        .default(defaults.shared)
        .meta({
          unit,
          description: `Maximum ${what} in one day (UTC) of all other spaces together.`,
          examples: [examples[1]],
        }),
    })
    .prefault({})

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
export const configSchema = z
  .strictObject({
    ...commonSchema,
    aggregator: servicePeerSchema.meta({ description: 'The aggregator that pieces are offered to.' }),
    dealer: peerSchema.meta({
      description:
        'The dealer that signs the receipts of `aggregate/accept`, which the aggregator passes on.',
    }),
    dealTracker: servicePeerSchema.meta({
      description: 'The deal tracker that `filecoin/info` asks for deals.',
    }),
    places: placeTypesSchema.meta({
      description:
        'Kinds of places on chain with which an aggregate is accepted, if the aggregator names no offer to the dealer, and the storefront asks the deal tracker itself. Otherwise the `places` of the dealer decides: set both alike.',
      examples: [['market']],
    }),
    defaultGroup: z
      .string()
      .min(1)
      .refine(
        group => Buffer.byteLength(group) <= MAX_GROUP_BYTES,
        `the aggregator accepts groups of at most ${MAX_GROUP_BYTES} bytes`,
      )
      .meta({
        description: 'Group of pieces whose space has no provider in the table of spaces.',
        examples: ['did:web:storefront.example.com'],
      }),
    gateway: z
      .string()
      .includes('{cid}', 'expected a URL with {cid} in place of the CID')
      .refine(
        template => /^https?:$/.test(URL.parse(template.replace('{cid}', 'cid'))?.protocol ?? ''),
        'expected a URL, e.g. https://gateway.example.com/ipfs/{cid}',
      )
      .optional()
      .meta({
        description:
          "URL template that content is read from, with `{cid}` in place of its CID. For a CID of codec raw or CAR it must serve exactly the bytes that hash to it. It is not asked for content in identity CIDs of these codecs. If absent, content is read from the storefront's own bucket.",
        examples: ['https://gateway.example.com/ipfs/{cid}'],
      }),
    gatewayHosts: z
      .array(z.string().regex(/^[a-z0-9.-]+(:\d{1,5})?$/, 'expected a host, e.g. ipfs.dweb.link'))
      .default([])
      .meta({
        description:
          'Hosts that the gateway may redirect to, with their subdomains. The host in `gateway` is always one of them: of a host that begins with `{cid}.`, the part that follows.',
        examples: [['ipfs.dweb.link']],
      }),
    upload: z
      .string()
      .includes('{cid}', 'expected a URL with {cid} in place of the CID')
      .optional()
      .meta({
        description:
          'URL template that agents may send content to with `PUT`, with `{cid}` in place of its CID. It is public: `GET /` names it. If absent, agents get addresses as `uploads` says, or must store content where the storefront reads it by other means.',
        examples: ['https://uploads.example.com/{cid}'],
      }),
    uploads: z
      .enum(['off', 'listed', 'open'])
      .default('off')
      .meta({
        description:
          'Which spaces get an address for an upload with `space/blob/add`: `open` is every space, `listed` only those with a provider in the table of spaces, `off` none. Uploaded content that is not found to hash to an offered piece is deleted after 7 days. It cannot be combined with `gateway`.',
        examples: ['listed'],
      }),
    uploadsPerDay: perDay(
      { listed: 100_000, shared: 20_000 },
      'addresses for uploads',
      [1_000_000, 1_000],
      'addresses',
    ),
    uploadBytesPerDay: perDay(
      { listed: 2 ** 40, shared: 2 ** 36 },
      'bytes of the uploads that got an address',
      [2 ** 44, 2 ** 30],
      'bytes',
    ),
    maxUploadBytes: z
      .int()
      .positive()
      .max(MAX_UPLOAD_BYTES)
      .default(MAX_UPLOAD_BYTES)
      .meta({
        unit: 'bytes',
        description: 'Maximum size of one upload. S3 takes at most 5 GiB with one `PUT`.',
        examples: [2 ** 28],
      }),
    pieces: z
      .enum(['off', 'permit', 'open'])
      .default('permit')
      .meta({
        description:
          'Whether the content of offered pieces can be fetched at `GET /piece/…`. `permit`: with a permit of the dealer for the aggregate of the piece, as its offer documents contain. `open`: with the piece CID alone. `off`: not at all.',
        examples: ['open'],
      }),
    spaces: z
      .enum(['open', 'listed'])
      .default('open')
      .meta({
        description:
          'Which spaces may start workflows: `open` is every space, `listed` only those with a provider in the table of spaces. Other spaces are answered `SpaceNotListed`.',
        examples: ['listed'],
      }),
    offersPerDay: perDay({ listed: 100_000, shared: 20_000 }, 'new workflows', [1_000_000, 1_000]),
    noncesPerDay: perDay({ listed: 1_000, shared: 1_000 }, 'new workflows with a nonce', [10_000, 10]),
    missingContent: z
      .enum(['wait', 'refuse'])
      .default('wait')
      .meta({
        description:
          'How content that is not stored yet is handled: `wait` accepts the offer and waits for the upload, `refuse` answers `ContentNotFound`. A gateway is asked with HEAD. If it answers that with 403, 405 or 501, it is asked with GET for the first byte; if it forbids this too (403), the content counts as missing.',
        examples: ['refuse'],
      }),
    contentWaitSeconds: z
      .number()
      .positive()
      .default(7 * 24 * 60 * 60)
      .meta({
        unit: 'seconds',
        description:
          'Time after the last offer at which a workflow fails whose content is missing or cannot be read.',
        examples: [86_400],
      }),
  })
  .check(({ value: { gateway, uploads, didWeb }, issues }) => {
    if (gateway !== undefined && uploads !== 'off')
      issues.push({
        code: 'custom',
        path: ['uploads'],
        input: uploads,
        message: 'expected off: with gateway, the storefront does not read its own buckets',
      })
    if (gateway?.startsWith('http:') && !didWeb.allowPrivate)
      issues.push({
        code: 'custom',
        path: ['gateway'],
        input: gateway,
        message: 'expected an https URL; plain HTTP needs didWeb.allowPrivate',
      })
  })
export type StorefrontConfig = z.infer<typeof configSchema>
/** The configuration before defaults are filled in, as a stage sets it. */
export type StorefrontSettings = z.input<typeof configSchema>
