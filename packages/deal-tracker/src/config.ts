import { commonSchema, peerSchema, peersSchema } from '@w3filecoin/runtime'
import * as z from 'zod'

/** The fields of a source of any kind. */
const sourceFields = {
  name: z
    .string()
    .regex(/^[a-z0-9-]{1,64}$/, 'expected 1 to 64 lower case letters, digits and hyphens')
    .meta({
      description:
        'Name of the source in logs and tables. A renamed source is a new source without deals, and a deal that only the old name reported is not known any more.',
      examples: ['active-replicas'],
    }),
}

const httpUrl = z.url({ protocol: /^https?$/, error: 'expected an http or https URL' })
/** The address of a contract or a wallet. Its letters may be of any case: no checksum is checked. */
const contract = z.string().regex(/^0x[0-9a-fA-F]{40}$/, 'expected an address: 0x and 40 hexadecimal digits')

/** The addresses of the nodes of a source that asks nodes of the chain. */
const rpc = (methods: string) =>
  z
    .array(httpUrl)
    .min(1)
    .max(2)
    .meta({
      description: `Addresses of nodes of the chain that answer JSON-RPC (${methods}). With two, a run counts only if both agree.`,
      examples: [['https://node-1.example.com/rpc/v1', 'https://node-2.example.com/rpc/v1']],
    })
/** The fields of a source that asks nodes of Filecoin with their native methods. */
const filecoinFields = {
  rpc: rpc('`Filecoin.…`'),
  network: z
    .string()
    .min(1)
    .max(64)
    .default('mainnet')
    .meta({
      description: 'Name of the network, as `Filecoin.StateNetworkName` returns it.',
      examples: ['calibrationnet'],
    }),
}

/** A source of deals. `openSource` has a case for each kind. */
const sourceSchema = z.discriminatedUnion('kind', [
  z.strictObject({
    ...sourceFields,
    kind: z.literal('active-replicas').meta({
      description: 'Format of the source: a file of active replicas, plain or compressed with Zstandard.',
      examples: ['active-replicas'],
    }),
    url: httpUrl.meta({
      description: 'URL of the file.',
      examples: ['https://example.com/active-replicas.json.zst'],
    }),
  }),
  z.strictObject({
    ...sourceFields,
    kind: z.literal('pdp').meta({
      description: 'Pieces in data sets that are proven with PDP, read from contracts of the chain.',
      examples: ['pdp'],
    }),
    rpc: rpc('`eth_call`'),
    chain: z
      .int()
      .positive()
      .meta({ description: 'EIP-155 id of the chain: 314 is the mainnet of Filecoin.', examples: [314] }),
    verifier: contract.meta({
      description: 'Address of the contract PDPVerifier.',
      examples: ['0xbadd0b92c1c71d02e7d520f64c0876538fa2557f'],
    }),
    service: contract.meta({
      description: 'Address of the contract FilecoinWarmStorageService.',
      examples: ['0x8408502033c418e1bbc97ce9ac48e5528f371a9f'],
    }),
    payers: z
      .array(contract)
      .min(1)
      .max(100)
      .meta({
        description: 'Addresses of the wallets that pay for the data sets.',
        examples: [['0x1111111111111111111111111111111111111111']],
      }),
    graceDays: z
      .number()
      .nonnegative()
      .default(1)
      .meta({
        unit: 'days',
        description: 'Time after a missed proof from which on a place is faulty.',
        examples: [2],
      }),
    maxFaultDays: z
      .number()
      .positive()
      .default(14)
      .meta({
        unit: 'days',
        description: 'Time after a missed proof from which on a place counts as terminated.',
        examples: [30],
      }),
  }),
  z.strictObject({
    ...sourceFields,
    kind: z.literal('sector').meta({
      description: 'Pieces in sectors of some storage providers, read from the events of their actors.',
      examples: ['sector'],
    }),
    ...filecoinFields,
    miners: z
      .array(z.string().regex(/^[ft]0[1-9]\d{0,14}$/, 'expected the id of an actor, e.g. f01000'))
      .min(1)
      .max(50)
      .meta({
        description: 'Ids of the storage providers. One that is added later is read from then on.',
        examples: [['f01000']],
      }),
    fromEpoch: z
      .int()
      .nonnegative()
      .optional()
      .meta({
        description:
          'Epoch from which on the first run reads events. Default: the epoch of the first run. The nodes must keep events since then.',
        examples: [6_543_210],
      }),
  }),
  z.strictObject({
    ...sourceFields,
    kind: z.literal('f05').meta({
      description: 'Deals of the built-in market whose ids were reported to the deal tracker.',
      examples: ['f05'],
    }),
    ...filecoinFields,
  }),
])
/** The configuration of a source, of one kind or of any. */
export type SourceConfig<
  K extends z.infer<typeof sourceSchema>['kind'] = z.infer<typeof sourceSchema>['kind'],
> = Extract<z.infer<typeof sourceSchema>, { kind: K }>

/** The greatest number of sources. All are read in one run. */
export const MAX_SOURCES = 4

/** The lists of peers that the table `peer` extends. */
export const peerLists = { clients: peerSchema }

/** The deal tracker's configuration, as the environment variable `CONFIG` holds it in JSON. */
export const configSchema = z
  .strictObject({
    ...commonSchema,
    production: z
      .boolean()
      .default(false)
      .meta({
        description: 'Whether the stage is production. Then the service does not start without a source.',
        examples: [true],
      }),
    clients: peersSchema.default([]).meta({
      description:
        'Principals that may ask with their own DID. `w3fil client add` lists further ones, without a deploy.',
    }),
    sources: z
      .array(sourceSchema)
      .max(MAX_SOURCES)
      .check(({ value, issues }) => {
        for (const [n, { name }] of value.entries()) {
          const first = value.findIndex(other => other.name === name)
          if (first === n) continue
          const message = `the source at index ${first} has this name too: expected another one`
          issues.push({ code: 'custom', path: [n, 'name'], input: name, message })
        }
      })
      .default([])
      .meta({
        description:
          'Sources of deals, at most 4, because all are read in one run of at most ten minutes. Without a source, no deal is ever known, and no aggregate fails for want of a deal. Production needs at least one.',
      }),
    maxAgeSeconds: z
      .number()
      .positive()
      .default(3 * 24 * 60 * 60)
      .meta({
        unit: 'seconds',
        description: 'Age of the chain state in a report above which the report is rejected.',
        examples: [86_400],
      }),
    maxLossShare: z
      .number()
      .min(0)
      .max(1)
      .default(0.1)
      .meta({
        unit: 'share, 0 to 1',
        description:
          'Share of its deals that a source may lose from one report to the next. Reports with a greater loss are rejected. It does not limit the kinds `sector` and `f05`, which see each deal end.',
        examples: [0.05],
      }),
  })
  .check(({ value: { production, sources }, issues }) => {
    if (!production || sources.length > 0) return
    const message = 'the stage is production, which must know deals: list at least one source'
    issues.push({ code: 'custom', path: ['sources'], input: sources, message })
  })
export type DealTrackerConfig = z.infer<typeof configSchema>
/** The configuration before defaults are filled in, as a stage sets it. */
export type DealTrackerSettings = z.input<typeof configSchema>
