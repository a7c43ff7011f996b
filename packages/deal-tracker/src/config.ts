import { commonSchema, peerSchema } from '@w3filecoin/runtime'
import { z } from 'zod'

const sourceSchema = z.strictObject({
  /** What it is called in logs and in the tables: the same source keeps its name. */
  name: z.string().regex(/^[a-z0-9-]{1,64}$/, 'expected lower case letters, digits and hyphens'),
  kind: z.literal('active-replicas'),
  url: z.url({ protocol: /^https?$/ }),
})
export type SourceConfig = z.infer<typeof sourceSchema>

/** The deal tracker's configuration, as the environment variable `CONFIG` holds it in JSON. */
export const configSchema = z.strictObject({
  ...commonSchema,
  /** Those who may ask with their own DID. */
  clients: z.array(peerSchema).default([]),
  /** Where the tracker hears of deals. All of them are read in one run, which has ten minutes. */
  sources: z
    .array(sourceSchema)
    .max(4)
    .refine(
      sources => new Set(sources.map(({ name }) => name)).size === sources.length,
      'expected other names',
    )
    .default([]),
  /** Seconds after which what a source looked at is too old. */
  maxAgeSeconds: z
    .number()
    .positive()
    .default(3 * 24 * 60 * 60),
  /** The most of its deals that a source may lose from one good run to the next, as a share. */
  maxLossShare: z.number().min(0).max(1).default(0.1),
})
export type DealTrackerConfig = z.infer<typeof configSchema>
