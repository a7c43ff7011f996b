import { writeFileSync } from 'node:fs'
import { configSchema as aggregator } from '../packages/aggregator/src/config.ts'
import { configSchema as dealTracker } from '../packages/deal-tracker/src/config.ts'
import { configSchema as dealer } from '../packages/dealer/src/config.ts'
import { commonConfig, environmentVariables } from '../packages/runtime/src/config.ts'
import { configSchema as storefront } from '../packages/storefront/src/config.ts'
import { DEFAULTS, type StageSettings } from '../stacks/stages.ts'
import { readOptions } from '../test/options.ts'

const HELP = `Writes docs/configuration.md: all settings, from the schemas of the services.

  npm run docs:configuration

  --help           print this
`

const code = (value: unknown): string =>
  `\`${(typeof value === 'string' ? value : JSON.stringify(value)).replaceAll('|', '\\|')}\``

/** A setting, as a row of the page. */
export interface Setting {
  /** @example 'limits.paddedBytes', 'storefronts[].did', 'groups.NAME.maxPieces' */
  path: string
  type: string
  unit?: string | undefined
  default?: unknown
  required: boolean
  description?: string | undefined
  example?: unknown
  /** Whether the setting holds a value, not further settings. */
  isLeaf: boolean
}

/** The part of JSON Schema that the schemas of the services use, and their own `unit`. */
interface JsonSchema {
  type?: string
  format?: string
  const?: unknown
  enum?: unknown[]
  default?: unknown
  unit?: string
  description?: string
  examples?: unknown[]
  required?: string[]
  properties?: Record<string, JsonSchema>
  items?: JsonSchema
  /** The options of a union of objects, and of another union. */
  oneOf?: JsonSchema[]
  anyOf?: JsonSchema[]
  additionalProperties?: JsonSchema | false
}

interface Describable {
  toJSONSchema(options: object): unknown
}

/** Returns the settings of a schema in its order. An object comes before its settings, if it has a description. */
export const settingsOf = (schema: Describable): Setting[] =>
  // Zod cannot represent custom types such as DIDs: their metadata names the type.
  within(schema.toJSONSchema({ io: 'input', unrepresentable: 'any' }) as JsonSchema, '')

const within = ({ properties = {}, required = [] }: JsonSchema, prefix: string): Setting[] =>
  Object.entries(properties).flatMap(([name, schema]) =>
    settingAt(schema, `${prefix}${name}`, required.includes(name)),
  )

const settingAt = (schema: JsonSchema, path: string, required: boolean): Setting[] => {
  const [inner, innerPath] = hasObjects(schema)
    ? [optionsOf(schema.items), `${path}[].`]
    : schema.additionalProperties
      ? [[schema.additionalProperties], `${path}.NAME.`]
      : [[schema], `${path}.`]
  const { unit, default: value, description, examples: [example] = [] } = schema
  const setting = { path, type: typeOf(schema), unit, default: value, required, description, example }
  const isLeaf = inner.every(({ properties }) => properties === undefined)
  const deeper = new Map(
    inner.flatMap(option => within(option, innerPath)).map(setting => [JSON.stringify(setting), setting]),
  )
  return [...(isLeaf || description ? [{ ...setting, isLeaf }] : []), ...deeper.values()]
}

/** The schemas of a union, or the schema itself. A setting that all options share is listed once. */
const optionsOf = (schema: JsonSchema): JsonSchema[] => schema.oneOf ?? [schema]

const hasObjects = (schema: JsonSchema): schema is JsonSchema & { items: JsonSchema } =>
  schema.items !== undefined && optionsOf(schema.items).some(({ properties }) => properties !== undefined)

const typeOf = (schema: JsonSchema): string => {
  const { type, format, enum: values = 'const' in schema ? [schema.const] : [], items, anyOf } = schema
  if (anyOf) return anyOf.map(typeOf).join(' or ')
  if (values.length > 0) return values.map(value => code(value)).join(' or ')
  if (type === 'array') return `list of ${hasObjects(schema) ? 'objects' : `${items?.type}s`}`
  return format === 'uri' ? 'URL' : `${type}`
}

type Service = 'storefront' | 'aggregator' | 'dealer' | 'dealTracker'

/** The settings of a stage beside those of its services. Their types are in stacks/stages.ts. */
const STAGE: Record<Exclude<keyof StageSettings, Service>, Omit<Setting, 'path' | 'isLeaf' | 'required'>> = {
  domain: {
    type: 'string',
    description:
      'A zone in Route 53 of the AWS account. Each service has a subdomain, e.g. `storefront.w3.example`, and is the `did:web` of that name. If absent, services have the addresses that AWS assigns, and the `did:key`s of their keys.',
    example: 'w3.example',
  },
  formerKeys: {
    type: 'lists of strings, by service',
    description:
      'Keys that each service (`storefront`, `aggregator`, `dealer`, `deal-tracker`) signed with as its `did:web` before the present key. Their signatures stay valid.',
    example: { dealer: ['did:key:z6MkjiEB…'] },
  },
  logLevel: {
    type: '`debug` or `info` or `warn` or `error`',
    default: DEFAULTS.logLevel,
    description: '`LOG_LEVEL` of all services.',
    example: 'debug',
  },
  throttling: {
    type: 'numbers: requests `perSecond` on average, and `burst` at once',
    default: DEFAULTS.throttling,
    description:
      'The requests that API Gateway accepts on each route of each service. It answers further ones with 429. Invocations have a route of their own.',
    example: { perSecond: 500, burst: 1000 },
  },
  reservedConcurrency: {
    type: 'numbers of runs, by service and function',
    description:
      'Runs that the account reserves for a function, which are also the most that it may have at once. AWS keeps 100 unreserved, and a new account may have only 10 in all. The function of a queue needs at least the `concurrency` of the queue.',
    example: { storefront: { api: 50 } },
  },
  dealMaking: {
    type: 'list of strings',
    default: DEFAULTS.dealMaking,
    description:
      "ARNs of the accounts, roles or users that make deals. They may read the dealer's offer documents, and send to its queue `report`.",
    example: ['arn:aws:iam::123456789012:role/deals'],
  },
  alarmAddresses: {
    type: 'list of strings',
    default: DEFAULTS.alarmAddresses,
    description:
      'Addresses that alarms are sent to by email. AWS asks each address for a confirmation first. A deploy of production without an address prints a warning.',
    example: ['ops@example.com'],
  },
  alarms: {
    type: 'numbers, by limit',
    default: DEFAULTS.alarms,
    description:
      'The limits beyond which [alarms](operations.md#alarms) ring. `pieceSeconds`: age of a piece that waits for the aggregator or an aggregate. `dealSeconds`: age of an aggregate without a deal. `overduePieces`: pieces that sweeps send again in five minutes, for fifteen. `queueSeconds`: age of a message. `apiErrors`, `throttledRuns`: in five minutes. `timeShare`, `memoryShare`: share of its timeout and of its memory that a run uses. Absent limits have their default.',
    example: { dealSeconds: 259_200 },
  },
}

export interface Section {
  title: string
  intro: string
  settings: Setting[]
}

const common = settingsOf(commonConfig)

const service = (title: string, intro: string, schema: Describable): Section => ({
  title,
  intro,
  settings: settingsOf(schema).filter(({ path }) => common.every(setting => setting.path !== path)),
})

export const SECTIONS: readonly Section[] = [
  {
    title: 'Environment variables',
    intro:
      'Each service reads these variables at start, beside the variables that name its tables, queues and buckets. On AWS the stacks set them, on a laptop `npm start` does.',
    settings: settingsOf(environmentVariables),
  },
  { title: 'Every service', intro: 'Every service has these settings in `CONFIG`.', settings: common },
  service(
    'Storefront',
    'A stage sets these as `storefront`, except `aggregator`, `dealer` and `dealTracker`, which the stacks fill in. The default of `defaultGroup` in a stage is `default`.',
    storefront,
  ),
  service(
    'Aggregator',
    'A stage sets these as `aggregator`, except `dealer`, which the stacks fill in. The stacks add the storefront of the stage to `storefronts`.',
    aggregator,
  ),
  service(
    'Dealer',
    'A stage sets these as `dealer`, except `dealTracker`, which the stacks fill in. The stacks add the aggregator of the stage to `aggregators`, with all `tenants`.',
    dealer,
  ),
  service(
    'Deal tracker',
    'A stage sets these as `dealTracker`, except `production`, which the stacks fill in. The stacks add the storefront, the aggregator and the dealer of the stage to `clients`.',
    dealTracker,
  ),
  {
    title: 'Stage',
    intro:
      'A stage in `stacks/settings.ts` has the settings of its services, as above, and these. The stacks fill in `self` of each service.',
    settings: Object.entries(STAGE).map(([path, setting]) => ({
      path,
      required: false,
      isLeaf: true,
      ...setting,
    })),
  },
]

const INTRO = `# Configuration

Every setting of every service. This page is generated from the schemas in \`packages/*/src/config.ts\`: change the text
there, then run \`npm run docs:configuration\`.

A service reads its settings from the environment variable \`CONFIG\`, as JSON. For example, a dealer:

\`\`\`json
{
  "aggregators": [
    { "did": "did:web:aggregator.example.com", "url": "https://aggregator.example.com", "tenants": "all" }
  ],
  "dealTracker": { "did": "did:web:deal-tracker.example.com", "url": "https://deal-tracker.example.com" },
  "timing": { "retrySeconds": 30 }
}
\`\`\`

A deployed stage sets them in \`stacks/settings.ts\`, where a typo is a compile error:

\`\`\`ts
production: { dealer: { timing: { retrySeconds: 30 } } }
\`\`\`

A service with a wrong setting does not start. The error has a line for each problem, with the setting, the value found
and the value expected:

\`\`\`
CONFIG: limits.minPaddedBytes is 40000000000, but an aggregate of 34359738368 padded bytes holds at most 34342961152
CONFIG: limits.maxPiece is not a setting; see docs/configuration.md
\`\`\`

In the tables, \`[]\` stands for each item of a list, and \`NAME\` for a name of your choice.
`

const row = ({ path, type, unit, default: value, required, description = '', example }: Setting): string => {
  // The default of an object is that of the settings in it.
  const isImplied = typeof value === 'object' && JSON.stringify(value) === '{}'
  const fallback = required ? 'required' : value === undefined || isImplied ? '' : code(value)
  const cells = [
    code(path),
    unit === undefined ? type : `${type}, ${unit}`,
    fallback,
    description.replaceAll('|', '\\|'),
    example === undefined ? '' : code(example),
  ]
  return `| ${cells.join(' | ')} |`
}

/** The page that the schemas give. */
export const configurationPage = (): string =>
  [
    INTRO,
    ...SECTIONS.flatMap(({ title, intro, settings }) => [
      `## ${title}\n`,
      `${intro}\n`,
      '| setting | type, unit | default | meaning | example |',
      '|---|---|---|---|---|',
      ...settings.map(row),
      '',
    ]),
  ].join('\n')

export const page = new URL('../docs/configuration.md', import.meta.url)

if (import.meta.main) {
  readOptions({ script: 'docs:configuration', help: HELP, options: {} })
  writeFileSync(page, configurationPage())
}
