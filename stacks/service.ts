import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import {
  type BucketSpec,
  type FunctionSpec,
  type QueueSpec,
  type Resources,
  type ScheduleSpec,
  type TableSpec,
  visibilityTimeout,
} from '@w3filecoin/runtime/resources'
import hashtree from '../packages/piece/node_modules/@chainsafe/hashtree/package.json'
import { componentName } from './names.ts'
import type { Member } from './network.ts'
import { consume, grant, type Made, places, readKey, writeLogs } from './permissions.ts'
import type { ServiceName, Stage } from './stages.ts'

/** Settings whose values, or the items of whose lists, may be outputs of the deploy. */
type Deployed<S> = {
  [name in keyof S]:
    | $util.Input<S[name]>
    | (NonNullable<S[name]> extends (infer I)[] ? $util.Input<I>[] : never)
}

interface ServiceOptions<S> {
  member: Member
  stage: Stage
  /** The settings of the service, without `self`. */
  config: Deployed<Omit<S, 'self'>>
  /** Principals outside of the stage, by their ARNs, that may read a bucket, and that may send to a queue. */
  outsiders?: { readers?: Record<string, readonly string[]>; senders?: Record<string, readonly string[]> }
  /** Further properties of the function of its API. */
  api?: FunctionExtras
}

/** A created service, as alarms and the dashboard see it. The names are those on AWS. */
export interface MadeService {
  resources: Resources
  /** Id of its API. */
  api: $util.Output<string>
  functions: Record<string, { name: $util.Output<string>; logs: $util.Output<string>; spec: FunctionSpec }>
  queues: Record<string, { name: $util.Output<string>; deadLetters: $util.Output<string> }>
}

/** The properties of a function that are not in its description. */
interface FunctionExtras {
  environment?: Record<string, $util.Input<string>>
  permissions?: sst.aws.FunctionPermissionArgs[]
  retries?: number
  /** Files that the function reads, beside its code. */
  copyFiles?: { from: string; to: string }[]
}

const LOGS_DAYS = 30
const DEAD_LETTERS_DAYS = 14

/**
 * Creates everything that a service describes: its tables, queues and buckets; a function for its API, for each of its
 * queues and for each of its schedules; and the routes, subscriptions and schedules that call these functions. Returns what
 * must be monitored.
 *
 * `S` is the type of the settings of the service: a wrong setting is a compile error.
 */
export const makeService = <S>(
  resources: Resources,
  {
    member: { api, key, encryption, peer },
    stage,
    config,
    outsiders: { readers = {}, senders = {} } = {},
    api: extras,
  }: ServiceOptions<S>,
): MadeService => {
  const { service } = resources
  const reserved: Record<string, number | undefined> = stage.reservedConcurrency[service as ServiceName] ?? {}
  // The names of components must be unique across types. Functions have the plain names.
  const named = (...words: string[]) => componentName(service, ...words)

  const tables = mapValues(resources.tables, (spec, name) => makeTable(named(name, 'records'), spec))
  const buckets = mapValues(resources.buckets, (spec, name) =>
    makeBucket(named(name, 'data'), spec, readers[name]),
  )
  const queues = mapValues(resources.queues, (spec, name) => makeQueue(named(name), spec))
  const made: Made = {
    tables,
    buckets,
    queues: mapValues(queues, ({ queue }) => queue),
    deadLetters: mapValues(queues, ({ dlq }) => dlq),
  }

  // Physical names end in random letters, so `npm run ops` reads them from this parameter. It also names the address and the
  // keys that the service must have.
  new aws.ssm.Parameter(named('places'), {
    name: `/${$app.name}/${$app.stage}/${service}`,
    description: `Address of the ${service}, and physical names of its tables, queues and buckets`,
    type: 'String',
    // About 2.5 KB. Up to 4 KB the parameter is free of charge.
    tier: 'Intelligent-Tiering',
    value: $jsonStringify({
      SERVICE_URL: api.url,
      SERVICE_DID: peer.did,
      SERVICE_KEYS: peer.apply(({ did, keys = [did] }) => keys.join(' ')),
      ...places(made),
    }),
  })

  const common = {
    SERVICE_KEY_PARAMETER: key.name,
    CONFIG: $jsonStringify({ self: peer, ...config }),
    LOG_LEVEL: stage.logLevel,
    // The namespace of metrics. Without it, none are written.
    STAGE: $app.stage,
    NODE_OPTIONS: '--enable-source-maps',
  }

  const functions: MadeService['functions'] = {}

  /** Creates the function that the service exports under this name. */
  const makeFunction = (
    name: string,
    spec: FunctionSpec,
    { environment: own, permissions: more = [], ...rest }: FunctionExtras = {},
  ) => {
    const { environment, permissions } = grant(spec.uses, made, resources)
    const logs = new aws.cloudwatch.LogGroup(named(name, 'logs'), {
      name: `/${$app.name}/${$app.stage}/${service}/${name}`,
      retentionInDays: LOGS_DAYS,
    })
    const run = new sst.aws.Function(named(name), {
      ...rest,
      description: `${service}: ${name}`,
      handler: `packages/${service}/src/functions.${name}`,
      runtime: 'nodejs24.x',
      // A fifth cheaper than x86, and all Graviton processors have SHA instructions.
      architecture: 'arm64',
      timeout: `${spec.timeout} seconds`,
      memory: `${spec.memory} MB`,
      ...(reserved[name] === undefined ? {} : { concurrency: { reserved: reserved[name] } }),
      environment: { ...common, ...environment, ...own },
      permissions: [...permissions, ...more, ...readKey(key, encryption), writeLogs(logs)],
      logging: { logGroup: logs.name, format: 'json' },
      // Native code cannot be bundled. It is optional: without it hashing is slow, without any warning.
      // Splitting keeps code that no start uses in other files, e.g. the SDK's ways to find credentials.
      nodejs: {
        install: { [hashtree.name]: hashtree.version },
        minify: true,
        splitting: true,
        sourcemap: true,
      },
      hook: { postbuild: dropSources },
      transform: { role: restrict },
    })
    functions[name] = { name: run.name, logs: logs.name, spec }
    return run
  }

  // Invocations have a route of their own, so that other requests cannot use up the requests that they may have.
  const run = makeFunction('api', resources.api, extras)
  api.route('POST /', run.arn, { name: 'invocations' })
  api.route('$default', run.arn, { name: 'all' })

  for (const [name, principals] of Object.entries(senders))
    if (principals.length > 0) letSend(named(name, 'senders'), queues[name].queue, principals)

  for (const [name, spec] of Object.entries(resources.queues)) {
    const { queue } = queues[name]
    if (reserved[name] !== undefined && reserved[name] < spec.concurrency)
      throw new Error(
        `The queue ${name} of the ${service} may have ${spec.concurrency} runs at once, but reservedConcurrency has ${reserved[name]} for it. Reserve at least ${spec.concurrency}: otherwise AWS refuses runs, and each refusal counts as an attempt.`,
      )
    const run = makeFunction(name, spec.run, consume(name, made, resources))
    queue.subscribe(run.arn, {
      batch: { size: spec.batch, window: `${spec.window ?? 0} seconds`, partialResponses: true },
      transform: { eventSourceMapping: { scalingConfig: { maximumConcurrency: spec.concurrency } } },
    })
    // A consumer that sends messages to its own queue is intended here. By default AWS stops such a chain after 16.
    if (spec.run.uses.queues?.includes(name))
      new aws.lambda.FunctionRecursionConfig(named(name, 'chain'), {
        functionName: run.name,
        recursiveLoop: 'Allow',
      })
  }

  for (const [name, spec] of Object.entries(resources.schedules)) {
    // The next run does the work of a failed one, so Lambda must not retry.
    const run = makeFunction(name, spec.run, { retries: 0 })
    new sst.aws.CronV2(named(name, 'clock'), { function: run.arn, schedule: rate(spec) })
  }

  return {
    resources,
    api: api.nodes.api.id,
    functions,
    queues: mapValues(queues, ({ queue, dlq }) => ({
      name: queue.nodes.queue.name,
      deadLetters: dlq.nodes.queue.name,
    })),
  }
}

const makeTable = (name: string, { fields, key, indexes = {}, expires, derived }: TableSpec) =>
  new sst.aws.Dynamo(name, {
    fields,
    primaryIndex: keys(key),
    ...(expires === undefined ? {} : { ttl: expires }),
    globalIndexes: mapValues(indexes, index => ({ ...keys(index), projection: 'keys-only' as const })),
    deletionProtection: isProduction(),
    transform: { table: { pointInTimeRecovery: { enabled: derived !== true } } },
  })

const keys = ({ hash, range }: { hash: string; range?: string }) => ({
  hashKey: hash,
  ...(range === undefined ? {} : { rangeKey: range }),
})

const makeQueue = (name: string, spec: QueueSpec) => {
  // No content-based deduplication: the sender sets the id of each message to a FIFO queue.
  const fifo = spec.fifo === true
  const dlq = new sst.aws.Queue(`${name}Dead`, {
    fifo,
    transform: { queue: { messageRetentionSeconds: DEAD_LETTERS_DAYS * 24 * 3600 } },
  })
  const queue = new sst.aws.Queue(`${name}Work`, {
    fifo,
    visibilityTimeout: `${visibilityTimeout(spec)} seconds`,
    dlq: { queue: dlq.arn, retry: spec.attempts },
  })
  return { queue, dlq }
}

/** Allows principals outside of the stage to send to a queue. */
const letSend = (name: string, { arn, url }: sst.aws.Queue, principals: readonly string[]) =>
  new aws.sqs.QueuePolicy(name, {
    queueUrl: url,
    policy: $jsonStringify({
      Version: '2012-10-17',
      Statement: [
        { Effect: 'Allow', Principal: { AWS: principals }, Action: 'sqs:SendMessage', Resource: arn },
      ],
    }),
  })

/** Private, over HTTPS only, and not versioned, because objects never change. */
const makeBucket = (
  name: string,
  { webMethods, keepDays, uploadDays }: BucketSpec,
  readers: readonly string[] = [],
) =>
  new sst.aws.Bucket(name, {
    ...(readers.length === 0
      ? {}
      : {
          policy: [
            {
              actions: ['s3:GetObject', 's3:ListBucket'],
              principals: [{ type: 'aws' as const, identifiers: [...readers] }],
            },
          ],
        }),
    // The default of SST for the other properties: all origins and headers.
    cors: webMethods === undefined ? false : { allowMethods: [...webMethods] },
    ...(keepDays === undefined ? {} : { lifecycle: [{ id: 'temporary', expiresIn: `${keepDays} days` }] }),
    ...(uploadDays === undefined ? {} : { lifecycle: [{ id: 'uploads' }] }),
    transform: {
      bucket: { forceDestroy: !isProduction() },
      // SST has no argument for it.
      ...(uploadDays === undefined
        ? {}
        : {
            lifecycle: {
              rules: [
                {
                  id: 'uploads',
                  status: 'Enabled',
                  abortIncompleteMultipartUpload: { daysAfterInitiation: uploadDays },
                },
              ],
            },
          }),
    },
  })

/**
 * Removes the text of the sources from the source maps of a bundle: Node parses the maps at each cold start, and a stack trace
 * needs only positions.
 */
const dropSources = async (directory: string): Promise<void> => {
  for (const name of await readdir(directory)) {
    if (!name.endsWith('.map')) continue
    const file = join(directory, name)
    const { sourcesContent: _, ...map } = JSON.parse(await readFile(file, 'utf8'))
    await writeFile(file, JSON.stringify(map))
  }
}

/** Restricts the roles that SST creates: they trust the whole account, and may write to any log group. */
const restrict = (role: aws.iam.RoleArgs): undefined => {
  // With `sst dev` the functions run on the developer's machine, which assumes these roles.
  if (!$dev) role.assumeRolePolicy = aws.iam.assumeRolePolicyForPrincipal({ Service: 'lambda.amazonaws.com' })
  role.managedPolicyArns = []
}

const rate = ({ everySeconds }: ScheduleSpec): `rate(${string})` => {
  if (everySeconds % 60 !== 0)
    throw new Error(`A schedule of AWS runs at whole minutes, not every ${everySeconds} seconds`)
  const minutes = everySeconds / 60
  return minutes === 1 ? 'rate(1 minute)' : `rate(${minutes} minutes)`
}

const isProduction = () => $app.stage === 'production'

const mapValues = <T, U>(record: Record<string, T>, map: (value: T, name: string) => U): Record<string, U> =>
  Object.fromEntries(Object.entries(record).map(([name, value]) => [name, map(value, name)]))
