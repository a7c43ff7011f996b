import {
  type FunctionSpec,
  type QueueSpec,
  type Resources,
  type ScheduleSpec,
  type TableSpec,
  visibilityTimeout,
} from '@w3filecoin/runtime/resources'
import hashtree from '../packages/piece/node_modules/@chainsafe/hashtree/package.json'
import type { Alarms } from './alarms.ts'
import { componentName } from './names.ts'
import type { Member } from './network.ts'
import { consume, grant, type Made, places, writeLogs } from './permissions.ts'
import type { Stage } from './stages.ts'

interface ServiceOptions {
  member: Member
  stage: Stage
  alarms: Alarms
  /** What the service is told of the others and of its work. */
  config: Record<string, unknown>
}

/** What a function has beside what its description says. */
interface FunctionExtras {
  environment?: Record<string, $util.Input<string>>
  permissions?: sst.aws.FunctionPermissionArgs[]
  retries?: number
}

const LOGS_DAYS = 30
const DEAD_LETTERS_DAYS = 14

/**
 * Makes everything that a service describes: its tables, queues and buckets; a function for its API, for each of its
 * queues and for each of its schedules; and what calls these functions.
 */
export const makeService = (
  resources: Resources,
  { member: { api, key, peer }, stage, alarms, config }: ServiceOptions,
): void => {
  const { service } = resources
  // No two components may have one name, whatever they are; functions have the plain ones.
  const named = (...words: string[]) => componentName(service, ...words)

  const tables = mapValues(resources.tables, (spec, name) => makeTable(named(name, 'records'), spec))
  const buckets = mapValues(resources.buckets, (_, name) => makeBucket(named(name, 'data')))
  const queues = mapValues(resources.queues, (spec, name) => makeQueue(named(name), spec))
  const made: Made = {
    tables,
    buckets,
    queues: mapValues(queues, ({ queue }) => queue),
    deadLetters: mapValues(queues, ({ dlq }) => dlq),
  }

  // Physical names end in random letters: `npm run ops` finds the resources of a stage by this.
  new aws.ssm.Parameter(named('places'), {
    name: `/${$app.name}/${$app.stage}/${service}`,
    description: `Where the tables, queues and buckets of the ${service} are`,
    type: 'String',
    // About 2 KB; 4 KB are the most that is free of charge.
    tier: 'Intelligent-Tiering',
    value: $jsonStringify(places(made)),
  })

  const common = {
    SERVICE_KEY: key,
    CONFIG: $jsonStringify({ self: peer, ...config }),
    LOG_LEVEL: stage.logLevel,
  }

  /** The function that the service exports under this name. */
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
    return new sst.aws.Function(named(name), {
      ...rest,
      description: `${service}: ${name}`,
      handler: `packages/${service}/src/functions.${name}`,
      runtime: 'nodejs24.x',
      // A fifth cheaper than x86, and all of these processors have SHA instructions.
      architecture: 'arm64',
      timeout: `${spec.timeout} seconds`,
      memory: `${spec.memory} MB`,
      environment: { ...common, ...environment, ...own },
      permissions: [...permissions, ...more, writeLogs(logs)],
      logging: { logGroup: logs.name, format: 'json' },
      // Native code can not be bundled. It is optional: without it hashing is slow, and nothing says so.
      nodejs: { install: { [hashtree.name]: hashtree.version } },
      transform: { role: restrict },
    })
  }

  api.route('$default', makeFunction('api', resources.api).arn, { name: 'all' })
  alarms.api(named('api'), api)

  for (const [name, spec] of Object.entries(resources.queues)) {
    const { queue } = queues[name]
    const run = makeFunction(name, spec.run, consume(name, made, resources))
    queue.subscribe(run.arn, {
      batch: { size: spec.batch, window: `${spec.window ?? 0} seconds`, partialResponses: true },
      transform: { eventSourceMapping: { scalingConfig: { maximumConcurrency: spec.concurrency } } },
    })
    // A message that leaves the rest to another one is no runaway: AWS would stop the chain after 16.
    if (spec.run.uses.queues?.includes(name))
      new aws.lambda.FunctionRecursionConfig(named(name, 'chain'), {
        functionName: run.name,
        recursiveLoop: 'Allow',
      })
    alarms.queue(named(name), spec, queues[name])
    alarms.consumer(named(name), run)
  }

  for (const [name, spec] of Object.entries(resources.schedules)) {
    // What failed is done by the next run; Lambda would try twice more beside it.
    const run = makeFunction(name, spec.run, { retries: 0 })
    new sst.aws.CronV2(named(name, 'clock'), { function: run.arn, schedule: rate(spec) })
    alarms.schedule(named(name), spec, run)
  }
}

/** SST has every table recoverable to any point in time. */
const makeTable = (name: string, { fields, key, indexes = {} }: TableSpec) =>
  new sst.aws.Dynamo(name, {
    fields,
    primaryIndex: keys(key),
    globalIndexes: mapValues(indexes, index => ({ ...keys(index), projection: 'keys-only' as const })),
    deletionProtection: isProduction(),
  })

const keys = ({ hash, range }: { hash: string; range?: string }) => ({
  hashKey: hash,
  ...(range === undefined ? {} : { rangeKey: range }),
})

const makeQueue = (name: string, spec: QueueSpec) => {
  // The sender says what each message to a FIFO queue is: equal bodies need not be the same message.
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

/** Private, over HTTPS only, not versioned: nothing in it ever changes. */
const makeBucket = (name: string) =>
  new sst.aws.Bucket(name, {
    cors: false,
    transform: { bucket: { forceDestroy: !isProduction() } },
  })

/** Two corrections to the roles that SST makes: they trust the whole account, and may write any log. */
const restrict = (role: aws.iam.RoleArgs): undefined => {
  // With `sst dev` the functions run on the developer's machine, under these roles.
  if (!$dev) role.assumeRolePolicy = aws.iam.assumeRolePolicyForPrincipal({ Service: 'lambda.amazonaws.com' })
  role.managedPolicyArns = []
}

const rate = ({ everySeconds }: ScheduleSpec): `rate(${string})` => {
  if (everySeconds % 60 !== 0) throw new Error('AWS runs schedules by the minute')
  const minutes = everySeconds / 60
  return minutes === 1 ? 'rate(1 minute)' : `rate(${minutes} minutes)`
}

const isProduction = () => $app.stage === 'production'

const mapValues = <T, U>(record: Record<string, T>, map: (value: T, name: string) => U): Record<string, U> =>
  Object.fromEntries(Object.entries(record).map(([name, value]) => [name, map(value, name)]))
