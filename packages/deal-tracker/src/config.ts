import { commonSchema, peerSchema } from '@w3filecoin/runtime'
import { z } from 'zod'

/** The fields of a source of any kind. */
const sourceFields = {
  /** Names the source in logs and tables, e.g. `spade`. A renamed source is a new source without deals. */
  name: z.string().regex(/^[a-z0-9-]{1,64}$/, 'expected lower case letters, digits and hyphens'),
}

/**
 * A source of deals. `openSource` has a case for each kind.
 *
 * @example `{ "name": "spade", "kind": "active-replicas", "url": "https://spade.example/active_replicas.json.zst" }`
 */
const sourceSchema = z.discriminatedUnion('kind', [
  z.strictObject({
    ...sourceFields,
    kind: z.literal('active-replicas'),
    /** The address of the file. */
    url: z.url({ protocol: /^https?$/ }),
  }),
])
/** The configuration of a source, of one kind or of any. */
export type SourceConfig<
  K extends z.infer<typeof sourceSchema>['kind'] = z.infer<typeof sourceSchema>['kind'],
> = Extract<z.infer<typeof sourceSchema>, { kind: K }>

/** The deal tracker's configuration, as the environment variable `CONFIG` holds it in JSON. */
export const configSchema = z.strictObject({
  ...commonSchema,
  /** Principals that may invoke `deal/info` with their own DID as the resource. */
  clients: z.array(peerSchema).default([]),
  /** The sources of deals. One run of at most ten minutes reads all of them. */
  sources: z
    .array(sourceSchema)
    .max(4)
    .refine(
      sources => new Set(sources.map(({ name }) => name)).size === sources.length,
      'expected a different name for each source',
    )
    .default([]),
  /** The greatest age of the chain state in a report. An older report is refused. */
  maxAgeSeconds: z
    .number()
    .positive()
    .default(3 * 24 * 60 * 60),
  /** The greatest share of its live deals, from 0 to 1, that a source may lose from one accepted report to the next. */
  maxLossShare: z.number().min(0).max(1).default(0.1),
})
export type DealTrackerConfig = z.infer<typeof configSchema>
