import { TAGGED } from '../tags.ts'
import { outputsOf } from './mocks.ts'
import {
  alarmsIn,
  defectOfMetric,
  expressionOf,
  linesOf,
  metricsOf,
  OWN_METRICS,
  widgetsOf,
} from './monitoring.ts'
import { KEYS, type Resource, type Stack } from './stack.ts'

/** A property that every resource of a kind must have. */
export interface Rule {
  title: string
  /** The resources that the rule is about. */
  of: (stack: Stack) => Resource[]
  /** Returns the defect of a resource, as a predicate: 'has no dead-letter queue'. Returns undefined if it has none. */
  defect: (resource: Resource, stack: Stack) => string | undefined | false
  /** The stages that have such resources. The default is all. */
  in?: (stack: Stack) => boolean
}

/** Returns the number of checked resources, and a line for each that breaks the rule. */
export const checkRule = ({ of, defect }: Rule, stack: Stack) => {
  const resources = of(stack)
  const defects = resources.flatMap(resource => {
    const found = defect(resource, stack)
    return found ? [`${resource.name} ${found}`] : []
  })
  return { count: resources.length, defects }
}

// These lists repeat decisions of the stacks and of each resources.ts, so that a change of one alone is found.

/** The tables whose rows the services count or acquire again. */
const DERIVED = [
  'StorefrontQuotaRecordsTable',
  'AggregatorQuotaRecordsTable',
  'StorefrontUploadRecordsTable',
  'StorefrontReadingRecordsTable',
  'AggregatorTallyRecordsTable',
  'DealerPartRecordsTable',
  'StorefrontHealthRecordsTable',
  'AggregatorHealthRecordsTable',
  'DealerHealthRecordsTable',
  'DealTrackerHealthRecordsTable',
]

/** The bucket whose objects are written in parts, and removed by the service. */
const IN_PARTS = 'DealerWholesDataBucket'

/** The buckets whose objects are superseded, or were never offered, with the days for which they are kept. */
const TEMPORARY: Record<string, number> = { DealTrackerBlocksDataBucket: 30, StorefrontUploadsDataBucket: 7 }

/** The principals that make the deals of a stage, and what they may do with offer documents. */
const DEAL_MAKING = ['arn:aws:iam::999999999999:role/deals']
const READ_OFFERS = ['s3:GetObject', 's3:ListBucket']

const LOG_DAYS = [30]
const ATTEMPTS = 5
const DEAD_LETTER_SECONDS = 14 * 86_400

/** Everything that a function may be allowed to do, by the type of the resource. */
const ACTIONS: Record<string, readonly string[]> = {
  'aws:dynamodb/table:Table': [
    'dynamodb:GetItem',
    'dynamodb:BatchGetItem',
    'dynamodb:Query',
    'dynamodb:PutItem',
    'dynamodb:UpdateItem',
    'dynamodb:BatchWriteItem',
  ],
  'aws:sqs/queue:Queue': [
    'sqs:SendMessage',
    'sqs:ReceiveMessage',
    'sqs:DeleteMessage',
    'sqs:GetQueueAttributes',
    'sqs:ChangeMessageVisibility',
  ],
  'aws:s3/bucket:Bucket': [
    's3:GetObject',
    's3:PutObject',
    's3:ListBucket',
    's3:AbortMultipartUpload',
    's3:DeleteObject',
  ],
  'aws:cloudwatch/logGroup:LogGroup': ['logs:CreateLogStream', 'logs:PutLogEvents'],
  'aws:lambda/function:Function': ['lambda:InvokeFunction'],
  'aws:ssm/parameter:Parameter': ['ssm:GetParameter'],
  'aws:kms/key:Key': ['kms:Decrypt'],
}

/** The addresses that receive the alarms of the stage that has some. */
const ALARM_ADDRESSES = ['ops@w3.example', 'night-shift@w3.example']

/** CloudWatch's limit for the metrics of an alarm. */
const MAX_ALARM_METRICS = 10

/** The metrics of AWS that an alarm must watch, by the dimension that names the resource. */
const WATCHED: Record<string, (resource: Resource, stack: Stack) => string[]> = {
  'aws:lambda/function:Function': (run, stack) => [
    'Throttles',
    'Duration',
    ...(run.name.endsWith('ApiFunction') ? [] : ['Errors']),
    ...(schedules(stack).some(({ inputs }) => inputs.target.arn === arnOf(run)) ? ['Invocations'] : []),
  ],
  'aws:sqs/queue:Queue': (queue, stack) =>
    isDeadLetters(queue, stack)
      ? ['ApproximateNumberOfMessagesVisible', 'ApproximateNumberOfMessagesNotVisible']
      : ['ApproximateAgeOfOldestMessage'],
  'aws:apigatewayv2/api:Api': () => ['5xx'],
}

/** The value that names a resource in the dimension of a metric. */
const dimensionOf = ({ type, name, inputs }: Resource): string =>
  type === 'aws:apigatewayv2/api:Api' ? `${name}-id` : inputs.name

/** Names of services on AWS are limited to these lengths. A name that is longer fails at the deploy. */
const MAX_NAME: Record<string, number> = {
  'aws:lambda/function:Function': 64,
  'aws:iam/role:Role': 64,
  'aws:s3/bucket:Bucket': 63,
  'aws:sqs/queue:Queue': 80,
  'aws:dynamodb/table:Table': 255,
}

const ofType =
  (...types: string[]) =>
  ({ resources }: Stack) =>
    resources.filter(({ type }) => types.some(wanted => type.endsWith(`:${wanted}`)))

const tables = ofType('Table')
const queues = ofType('Queue')
const buckets = ofType('Bucket')
const functions = ofType('Function')
const logGroups = ofType('LogGroup')
const roles = ofType('Role')
const apis = ofType('Api')
const routes = ofType('Route')
const schedules = ofType('Schedule')
const mappings = ofType('EventSourceMapping')

const isProduction = ({ app }: Stack) => app.stage === 'production'
const hasDomain = (stack: Stack) => ofType('DomainName')(stack).length > 0

const arnOf = ({ type, name, inputs }: Resource) => (outputsOf(type, name, inputs) as { arn: string }).arn

const byArn = ({ resources }: Stack, arn: string) => resources.find(resource => arnOf(resource) === arn)

/** The resource that an ARN in a policy belongs to: itself, its objects, one of its indexes, or its log streams. */
const ownerOf = ({ resources }: Stack, arn: string) =>
  resources.find(resource => {
    const own = arnOf(resource)
    return (
      resource.type in ACTIONS &&
      (arn === own || arn === `${own}/*` || arn === `${own}:*` || isIndex(resource, arn))
    )
  })

const isIndex = ({ inputs, ...resource }: Resource, arn: string) =>
  (inputs.globalSecondaryIndexes ?? []).some(
    ({ name }: { name: string }) => arn === `${arnOf({ inputs, ...resource })}/index/${name}`,
  )

interface Statement {
  Effect: string
  Principal?: string | Record<string, string | string[]>
  Action: string | string[]
  Resource?: string | string[]
  Condition?: Record<string, Record<string, unknown>>
}

const statementsOf = (policy: string | { Statement: Statement[] }): Statement[] =>
  (typeof policy === 'string' ? JSON.parse(policy) : policy).Statement

/** Whether a statement allows deal making, and no other principal, these actions at most. */
const isForDealMaking = ({ Effect, Principal, Action }: Statement, actions: readonly string[]): boolean =>
  Effect === 'Allow' &&
  typeof Principal === 'object' &&
  [Principal.AWS].flat().join() === DEAL_MAKING.join() &&
  [Action].flat().every(action => actions.includes(action))

const grantsOf = ({ inputs }: Resource): Statement[] =>
  (inputs.inlinePolicies ?? []).flatMap(({ policy }: { policy: string }) => statementsOf(policy))

const roleOf = (run: Resource, stack: Stack) => byArn(stack, run.inputs.role)

/** Whether the policy of a function allows an action on a resource. */
const allows = (run: Resource, action: string, on: Resource, stack: Stack): boolean =>
  grantsOf(roleOf(run, stack)!).some(
    ({ Action, Resource }) => [Action].flat().includes(action) && [Resource].flat().includes(arnOf(on)),
  )

const consumerOf = (queue: Resource, stack: Stack) => {
  const mapping = mappings(stack).find(({ inputs }) => inputs.eventSourceArn === arnOf(queue))
  return mapping && byArn(stack, mapping.inputs.functionName)
}

const redriveOf = ({
  inputs,
}: Resource): { deadLetterTargetArn: string; maxReceiveCount: number } | undefined =>
  inputs.redrivePolicy && JSON.parse(inputs.redrivePolicy)

const isDeadLetters = (queue: Resource, stack: Stack) =>
  queues(stack).some(other => redriveOf(other)?.deadLetterTargetArn === arnOf(queue))

const workQueues = (stack: Stack) => queues(stack).filter(queue => consumerOf(queue, stack) !== undefined)
const deadLetters = (stack: Stack) => queues(stack).filter(queue => isDeadLetters(queue, stack))

/** The queues that a function is the consumer of. */
const consumedBy = (run: Resource, stack: Stack) =>
  queues(stack).filter(queue => consumerOf(queue, stack) === run)

const sendsToItself = (run: Resource, stack: Stack) =>
  consumedBy(run, stack).some(queue => allows(run, 'sqs:SendMessage', queue, stack))

const isPositive = (value: unknown) => typeof value === 'number' && value > 0

export const RULES: readonly Rule[] = [
  {
    title: 'every function has the runtime nodejs24.x',
    of: functions,
    defect: ({ inputs }) => inputs.runtime !== 'nodejs24.x' && `has the runtime ${inputs.runtime}`,
  },
  {
    title: 'every function runs on arm64 only',
    of: functions,
    defect: ({ inputs }) =>
      inputs.architectures?.join() !== 'arm64' && `has the architectures ${inputs.architectures}`,
  },
  {
    title: 'every function has at least 1024 MB, and no more than the 3008 MB of a new account',
    of: functions,
    defect: ({ inputs: { memorySize } }) =>
      !(memorySize >= 1024 && memorySize <= 3008) && `has ${memorySize} MB of memory`,
  },
  {
    title:
      'every function has a timeout of at most 900 s, and below the 30 s of API Gateway if it answers requests',
    of: functions,
    defect: (run, stack) => {
      const answers = ofType('Integration')(stack).some(({ inputs }) => inputs.integrationUri === arnOf(run))
      const { timeout } = run.inputs
      return !(timeout >= 20 && timeout <= (answers ? 29 : 900)) && `has a timeout of ${timeout} s`
    },
  },
  {
    title: 'every function has an environment below the 4 KB of Lambda',
    of: functions,
    defect: ({ inputs }) => {
      const bytes = JSON.stringify(inputs.environment.variables).length
      return bytes > 4096 && `has ${bytes} bytes of environment variables`
    },
  },
  {
    title: 'every function logs JSON into a log group of the stack',
    of: functions,
    defect: ({ inputs: { loggingConfig } }, stack) =>
      !(
        loggingConfig?.logFormat === 'JSON' &&
        logGroups(stack).some(({ inputs }) => inputs.name === loggingConfig.logGroup)
      ) && `logs as ${loggingConfig?.logFormat} into ${loggingConfig?.logGroup}`,
  },
  {
    title: 'every log group keeps its events for 30 days',
    of: logGroups,
    defect: ({ inputs }) =>
      !LOG_DAYS.includes(inputs.retentionInDays) &&
      `keeps events for ${inputs.retentionInDays ?? 'unlimited'} days`,
  },
  {
    title: 'only the functions in the settings of the stage have reserved concurrency',
    of: functions,
    defect: ({ name, inputs }, stack) => {
      const reserved = inputs.reservedConcurrentExecutions
      const wanted = hasDomain(stack) && name === 'StorefrontSubmitFunction' ? 60 : undefined
      return reserved !== wanted && `has the reserved concurrency ${reserved}, not ${wanted}`
    },
  },
  {
    title: 'every queue has a consumer, or is the dead-letter queue of another one',
    of: queues,
    defect: (queue, stack) =>
      consumerOf(queue, stack) === undefined && !isDeadLetters(queue, stack) && 'has no consumer',
  },
  {
    title: 'every consumer reports the messages of a batch that failed',
    of: mappings,
    defect: ({ inputs }) =>
      inputs.functionResponseTypes?.join() !== 'ReportBatchItemFailures' &&
      'does not report partial batch failures',
  },
  {
    title: 'every consumer has a maximum concurrency between 2 and 50',
    of: mappings,
    defect: ({ inputs: { scalingConfig } }) =>
      !(scalingConfig?.maximumConcurrency >= 2 && scalingConfig.maximumConcurrency <= 50) &&
      `has the maximum concurrency ${scalingConfig?.maximumConcurrency}`,
  },
  {
    title: 'every batch of more than ten messages has a window, as SQS requires, and is not FIFO',
    of: mappings,
    defect: ({ inputs: { batchSize, maximumBatchingWindowInSeconds: window, eventSourceArn } }) =>
      batchSize > 10 &&
      !(isPositive(window) && !eventSourceArn.endsWith('.fifo')) &&
      `has batches of ${batchSize} messages with a window of ${window} s`,
  },
  {
    title: 'every queue hides a message for at least six times the timeout of its consumer',
    of: workQueues,
    defect: (queue, stack) => {
      const { timeout } = consumerOf(queue, stack)!.inputs
      const { visibilityTimeoutSeconds: hidden } = queue.inputs
      return (
        !(hidden >= 6 * timeout && hidden <= 43_200) &&
        `hides messages for ${hidden} s, but its consumer has a timeout of ${timeout} s`
      )
    },
  },
  {
    title: `every queue has a dead-letter queue of its own kind, for messages that were received ${ATTEMPTS} times`,
    of: workQueues,
    defect: (queue, stack) => {
      const redrive = redriveOf(queue)
      const dead = redrive && byArn(stack, redrive.deadLetterTargetArn)
      if (dead === undefined) return 'has no dead-letter queue'
      if (redrive!.maxReceiveCount !== ATTEMPTS)
        return `lets messages be received ${redrive!.maxReceiveCount} times`
      return (
        Boolean(queue.inputs.fifoQueue) !== Boolean(dead.inputs.fifoQueue) &&
        `is ${queue.inputs.fifoQueue ? '' : 'not '}FIFO, unlike ${dead.name}`
      )
    },
  },
  {
    title:
      'every dead-letter queue keeps its messages for 14 days, and has an alarm that rings for each new one',
    of: deadLetters,
    defect: ({ inputs }, stack) => {
      if (inputs.messageRetentionSeconds !== DEAD_LETTER_SECONDS)
        return `keeps messages for ${inputs.messageRetentionSeconds ?? 'the default of 345600'} s`
      const alarm = alarmsIn(stack).find(alarm =>
        metricsOf(alarm).some(({ dimensions }) => dimensions.QueueName === inputs.name),
      )
      return (
        !expressionOf(alarm ?? { type: '', name: '', inputs: {}, retainOnDelete: false })?.startsWith(
          'DIFF(',
        ) && 'has no alarm for each new dead letter'
      )
    },
  },
  {
    title: 'every queue, function and API has the alarms of its kind',
    of: ({ resources }) => resources.filter(({ type }) => type in WATCHED),
    defect: (resource, stack) => {
      const watched = alarmsIn(stack)
        .flatMap(metricsOf)
        .filter(({ dimensions }) => Object.values(dimensions).includes(dimensionOf(resource)))
        .map(({ name }) => name)
      const missing = WATCHED[resource.type]!(resource, stack).filter(name => !watched.includes(name))
      return missing.length > 0 && `has no alarm for ${missing.join(', ')}`
    },
  },
  {
    title: 'every alarm has metrics of its stack, as many as CloudWatch allows',
    of: alarmsIn,
    defect: (alarm, stack) => {
      const metrics = metricsOf(alarm)
      if (metrics.length < 1 || metrics.length > MAX_ALARM_METRICS) return `has ${metrics.length} metrics`
      const [defect] = metrics.flatMap(metric => defectOfMetric(metric, stack) ?? [])
      return defect && `watches ${defect}`
    },
  },
  {
    title: 'every function has a count of runs near its memory',
    of: functions,
    defect: ({ inputs: { loggingConfig, memorySize } }, stack) =>
      !ofType('LogMetricFilter')(stack).some(
        ({ inputs }) =>
          inputs.logGroupName === loggingConfig.logGroup &&
          inputs.pattern.includes(`> ${Math.floor(memorySize * 0.95)})`),
      ) && 'has no count of runs near its memory',
  },
  {
    title: 'every address of the stage receives the alarms, by a subscription to their topic',
    of: ofType('TopicSubscription'),
    in: stack => ofType('TopicSubscription')(stack).length > 0,
    defect: (subscription, stack) => {
      const all = ofType('TopicSubscription')(stack).map(({ inputs }) => inputs.endpoint)
      if (all.sort().join() !== ALARM_ADDRESSES.toSorted().join()) return `is one of ${all.join()}`
      const { protocol, topic } = subscription.inputs
      return (
        !(protocol === 'email' && byArn(stack, topic)?.type === 'aws:sns/topic:Topic') &&
        `sends ${protocol} from ${topic}`
      )
    },
  },
  {
    title:
      'the dashboard has a graph of each queue, function and API, and every line of it has metrics of the stage',
    of: ofType('Dashboard'),
    defect: (dashboard, stack) => {
      const { metrics, expressions } = linesOf(dashboard)
      const [defect] = metrics.flatMap(metric => defectOfMetric(metric, stack) ?? [])
      if (defect) return `shows ${defect}`
      const unshown = Object.keys(OWN_METRICS).filter(
        name =>
          !metrics.some(metric => metric.name === name) &&
          !expressions.some(expression =>
            expression.startsWith(
              `SEARCH('{${[`${stack.app.name}/${stack.app.stage}`, 'service', ...OWN_METRICS[name]!].join(',')}} MetricName="${name}"`,
            ),
          ),
      )
      if (unshown.length > 0) return `does not show ${unshown.join(', ')}`
      const missing = stack.resources.filter(
        resource =>
          resource.type in WATCHED &&
          !metrics.some(({ dimensions }) => Object.values(dimensions).includes(dimensionOf(resource))),
      )
      return missing.length > 0 && `does not show ${missing.map(({ name }) => name).join(', ')}`
    },
  },
  {
    title: 'the dashboard has the form that CloudWatch accepts: at most 500 widgets that do not overlap',
    of: ofType('Dashboard'),
    defect: (dashboard, stack) => {
      const widgets = widgetsOf(dashboard)
      if (widgets.length === 0 || widgets.length > 500) return `has ${widgets.length} widgets`
      const overlap = widgets.find((a, n) =>
        widgets
          .slice(n + 1)
          .some(
            b => a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height,
          ),
      )
      if (overlap) return `has a widget that covers another one: ${overlap.properties.title}`
      const bad = widgets.find(
        ({ type, x, width, properties }) =>
          x + width > 24 ||
          (type === 'metric' &&
            !(properties.metrics?.length && properties.region === 'us-east-1' && properties.title)) ||
          (type === 'text' && !properties.markdown) ||
          (type === 'alarm' &&
            properties.alarms?.toSorted().join() !== alarmsIn(stack).map(arnOf).sort().join()),
      )
      return bad && `has an invalid widget: ${JSON.stringify(bad).slice(0, 200)}`
    },
  },
  {
    title: 'no function has a private key in its environment, and each may read that of its service',
    of: functions,
    defect: (run, stack) => {
      const { variables } = run.inputs.environment
      const text = JSON.stringify(variables)
      if ('SERVICE_KEY' in variables || Object.values(KEYS).some(key => text.includes(key)))
        return 'has a private key in its environment'
      const parameter = ofType('Parameter')(stack).find(
        ({ inputs }) => inputs.name === variables.SERVICE_KEY_PARAMETER,
      )
      if (parameter?.inputs.type !== 'SecureString') return 'names no encrypted parameter for its private key'
      if (parameter.inputs.tags?.service !== run.inputs.tags?.service)
        return `reads the private key of another service, ${parameter.name}`
      const encryption = byArn(stack, parameter.inputs.keyId)
      return (
        !(
          allows(run, 'ssm:GetParameter', parameter, stack) &&
          encryption !== undefined &&
          allows(run, 'kms:Decrypt', encryption, stack)
        ) && `may not read ${parameter.name}`
      )
    },
  },
  {
    title:
      'every parameter with a private key is encrypted with a key of the stage, and outside of the path that operators may read',
    of: stack =>
      ofType('Parameter')(stack).filter(({ inputs }) => Object.values(KEYS).includes(inputs.value)),
    defect: ({ inputs }, stack) => {
      const { app } = stack
      if (!inputs.name.startsWith(`/${app.name}-keys/${app.stage}/`)) return `has the name ${inputs.name}`
      const encryption = inputs.type === 'SecureString' && byArn(stack, inputs.keyId)?.type
      return encryption !== 'aws:kms/key:Key' && 'is not encrypted with a key of the stage'
    },
  },
  {
    title: 'no resource but a parameter has a private key',
    of: ({ resources }) => resources,
    defect: ({ type, inputs }) =>
      type !== 'aws:ssm/parameter:Parameter' &&
      type !== 'sst:sst:LinkRef' &&
      Object.values(KEYS).some(key => JSON.stringify(inputs).includes(key)) &&
      'has a private key',
  },
  {
    title: 'every alarm notifies the topic of the stack',
    of: ofType('MetricAlarm'),
    defect: ({ inputs }, stack) =>
      !inputs.alarmActions?.some((arn: string) => byArn(stack, arn)?.type === 'aws:sns/topic:Topic') &&
      'notifies no topic',
  },
  {
    title: 'a function may be part of a loop if it sends to its own queue, and only then',
    of: functions,
    defect: (run, stack) => {
      const allowed = ofType('FunctionRecursionConfig')(stack).some(
        ({ inputs }) => inputs.functionName === run.inputs.name && inputs.recursiveLoop === 'Allow',
      )
      const sends = sendsToItself(run, stack)
      if (allowed && !sends) return 'may be part of a loop, but does not send to its own queue'
      return sends && !allowed && 'sends to its own queue, but AWS would stop it after 16 messages'
    },
  },
  {
    title: 'some functions send to their own queue',
    of: ofType('FunctionRecursionConfig'),
    defect: ({ inputs }) => inputs.recursiveLoop !== 'Allow' && `has the value ${inputs.recursiveLoop}`,
  },
  {
    title: 'every schedule calls a function that ends before the next call, and is not retried',
    of: schedules,
    defect: ({ inputs: { target, state, scheduleExpression } }, stack) => {
      const run = byArn(stack, target.arn)
      if (run === undefined) return `calls ${target.arn}, which is not in the stack`
      if (state !== 'ENABLED') return `is ${state}`
      const minutes = Number(/^rate\((\d+) minutes?\)$/.exec(scheduleExpression)?.[1])
      if (!(run.inputs.timeout < minutes * 60))
        return `calls each ${minutes * 60} s a function with a timeout of ${run.inputs.timeout} s`
      const { maximumRetryAttempts } =
        ofType('FunctionEventInvokeConfig')(stack).find(
          ({ inputs }) => inputs.functionName === run.inputs.name,
        )?.inputs ?? {}
      return (
        !(maximumRetryAttempts === 0 && target.retryPolicy?.maximumRetryAttempts === 0) &&
        'is retried after a failure'
      )
    },
  },
  {
    title: 'every table whose data cannot be derived again has point-in-time recovery, and no other',
    of: tables,
    defect: ({ name, inputs }) => {
      const enabled = inputs.pointInTimeRecovery?.enabled === true
      if (DERIVED.includes(name))
        return enabled && 'has point-in-time recovery, but its data can be derived again'
      return !enabled && 'has no point-in-time recovery, but its data cannot be derived again'
    },
  },
  {
    title: 'every table bills by request, so that no capacity can be too low',
    of: tables,
    defect: ({ inputs }) =>
      inputs.billingMode !== 'PAY_PER_REQUEST' && `has the billing mode ${inputs.billingMode}`,
  },
  {
    title: 'production keeps every table: AWS refuses to delete it, and so does a removal of the stage',
    of: tables,
    in: isProduction,
    defect: ({ inputs, retainOnDelete }) => {
      if (inputs.deletionProtectionEnabled !== true) return 'has no deletion protection'
      return !retainOnDelete && 'is deleted with the stage'
    },
  },
  {
    title: 'production keeps every bucket, and its objects',
    of: buckets,
    in: isProduction,
    defect: ({ inputs, retainOnDelete }) => {
      if (inputs.forceDestroy !== false) return 'may be deleted with its objects'
      return !retainOnDelete && 'is deleted with the stage'
    },
  },
  {
    title: 'SST refuses to remove production',
    of: ({ app }) => [
      { type: 'sst:stage', name: `The stage ${app.stage}`, inputs: {}, retainOnDelete: false },
    ],
    in: isProduction,
    defect: (_, { app: { protect, removal } }) =>
      !(protect === true && removal === 'retain') && `has protect: ${protect} and removal: ${removal}`,
  },
  {
    title: 'another stage can be removed completely',
    of: stack => [...tables(stack), ...buckets(stack)],
    in: stack => !isProduction(stack),
    defect: ({ inputs, retainOnDelete }) => {
      if (retainOnDelete || inputs.deletionProtectionEnabled) return 'stays when the stage is removed'
      return inputs.forceDestroy === false && 'cannot be deleted with its objects'
    },
  },
  {
    title: 'every bucket is private',
    of: buckets,
    defect: ({ inputs: { bucket } }, stack) => {
      const block = ofType('BucketPublicAccessBlock')(stack).find(
        ({ inputs }) => inputs.bucket === bucket,
      )?.inputs
      const open = [
        'blockPublicAcls',
        'blockPublicPolicy',
        'ignorePublicAcls',
        'restrictPublicBuckets',
      ].filter(property => block?.[property] !== true)
      return open.length > 0 && `does not set ${open.join(', ')}`
    },
  },
  {
    title: 'every bucket denies requests without TLS, and its policy allows only deal making to read offers',
    of: buckets,
    defect: ({ name, inputs: { bucket } }, stack) => {
      const policy = ofType('BucketPolicy')(stack).find(({ inputs }) => inputs.bucket === bucket)
      const statements = policy === undefined ? [] : statementsOf(policy.inputs.policy)
      const isOffers = name === 'DealerOffersDataBucket'
      if (statements.some(s => s.Effect !== 'Deny' && !(isOffers && isForDealMaking(s, READ_OFFERS))))
        return 'has a policy that allows something else'
      return (
        !statements.some(
          ({ Principal, Action, Condition }) =>
            Principal === '*' &&
            [Action].flat().includes('s3:*') &&
            `${Condition?.Bool?.['aws:SecureTransport']}` === 'false',
        ) && 'does not deny requests without TLS'
      )
    },
  },
  {
    title: 'S3 deletes the objects of temporary buckets, and of no other bucket',
    of: buckets,
    defect: ({ name, inputs: { bucket } }, stack) => {
      const rules = ofType('BucketLifecycleConfiguration')(stack)
        .filter(({ inputs }) => inputs.bucket === bucket)
        .flatMap(({ inputs }) => inputs.rules)
      const days = rules.map(({ status, expiration }) =>
        status === 'Enabled' ? expiration?.days : undefined,
      )
      return (
        `${days}` !== `${TEMPORARY[name] ?? ''}` &&
        `deletes objects after ${days.join() || 'no'} days, not ${TEMPORARY[name] ?? 'never'}`
      )
    },
  },
  {
    title: 'S3 removes the parts of unfinished uploads where objects are written in parts, and only there',
    of: buckets,
    defect: ({ name, inputs: { bucket } }, stack) => {
      const rules = ofType('BucketLifecycleConfiguration')(stack)
        .filter(({ inputs }) => inputs.bucket === bucket)
        .flatMap(({ inputs }) => inputs.rules)
      const days = rules.flatMap(rule => rule.abortIncompleteMultipartUpload?.daysAfterInitiation ?? [])
      const expected = name === IN_PARTS ? '3' : ''
      return `${days}` !== expected && `removes unfinished uploads after ${days.join() || 'no'} days`
    },
  },
  {
    title: 'only functions that write objects in parts may delete objects, and only these objects',
    of: roles,
    defect: (role, stack) => {
      for (const { Action, Resource } of grantsOf(role)) {
        if (![Action].flat().includes('s3:DeleteObject')) continue
        for (const arn of [Resource].flat()) {
          const owner = ownerOf(stack, arn ?? '')
          if (owner?.name !== IN_PARTS) return `may delete objects of ${owner?.name}`
        }
      }
      return undefined
    },
  },
  {
    title: 'only AWS Lambda assumes the roles of functions, and only the scheduler those of schedules',
    of: roles,
    defect: (role, stack) => {
      const wanted = functions(stack).some(run => run.inputs.role === arnOf(role)) ? 'lambda' : 'scheduler'
      const found = statementsOf(role.inputs.assumeRolePolicy).map(({ Principal }) =>
        JSON.stringify(Principal),
      )
      const expected = JSON.stringify({ Service: `${wanted}.amazonaws.com` })
      return (
        found.map(principal => principal.replaceAll(/[[\]]/g, '')).join() !== expected &&
        `can be assumed by ${found.join(' and ')}`
      )
    },
  },
  {
    title: 'every role has only policies of its own, within the 10,240 characters of IAM',
    of: roles,
    defect: role => {
      if (role.inputs.managedPolicyArns?.length > 0)
        return `has the policies ${role.inputs.managedPolicyArns}`
      const length = JSON.stringify(grantsOf(role)).length
      return (length > 10_240 || length < 10) && `has ${length} characters of policies`
    },
  },
  {
    title: 'every role allows known actions on resources of its stack, without wildcards',
    of: roles,
    defect: (role, stack) => {
      for (const { Effect, Action, Resource } of grantsOf(role)) {
        if (Effect !== 'Allow') return `has a statement that is ${Effect}`
        for (const arn of [Resource].flat()) {
          const owner = ownerOf(stack, arn ?? '')
          if (owner === undefined)
            return `allows ${[Action].flat().join(', ')} on ${arn}, which is not one resource of the stack`
          const unknown = [Action].flat().filter(action => !ACTIONS[owner.type]?.includes(action))
          if (unknown.length > 0) return `allows ${unknown.join(', ')} on ${owner.name}`
        }
      }
      return undefined
    },
  },
  {
    title: 'every function may use the resources in its environment, and no others of these kinds',
    of: functions,
    defect: (run, stack) => {
      const values = Object.values<string>(run.inputs.environment.variables)
      for (const resource of [
        ...tables(stack),
        ...queues(stack),
        ...buckets(stack),
        ...ofType('Parameter')(stack),
      ]) {
        const named = values.some(
          value => value === (resource.inputs.bucket ?? resource.inputs.name) || isUrlOf(resource, value),
        )
        const granted = grantsOf(roleOf(run, stack)!).some(({ Resource }) =>
          [Resource].flat().some(arn => ownerOf(stack, arn ?? '') === resource),
        )
        const consumed = consumedBy(run, stack).includes(resource)
        if (named && !granted) return `has no permissions for ${resource.name}`
        if (granted && !named && !consumed)
          return `has permissions for ${resource.name}, which it does not use`
      }
      return undefined
    },
  },
  {
    title: 'only deal making sends to a queue from outside, to the reports of the dealer',
    in: stack => ofType('QueuePolicy')(stack).length > 0,
    of: ofType('QueuePolicy'),
    defect: ({ inputs: { queueUrl, policy } }, stack) => {
      const queue = queues(stack).find(({ inputs }) => queueUrl.endsWith(`/${inputs.name}`))
      if (queue?.name !== 'DealerReportWorkQueue') return `is for ${queue?.name}`
      const isRight = statementsOf(policy).every(statement => isForDealMaking(statement, ['sqs:SendMessage']))
      return !isRight && 'allows something else'
    },
  },
  {
    title: 'every consumer may have its failed messages retried sooner',
    of: stack => functions(stack).filter(run => consumedBy(run, stack).length > 0),
    defect: (run, stack) =>
      consumedBy(run, stack).some(
        queue =>
          !allows(run, 'sqs:ChangeMessageVisibility', queue, stack) ||
          !Object.values<string>(run.inputs.environment.variables).some(value => isUrlOf(queue, value)),
      ) && 'may not have its failed messages retried sooner',
  },
  {
    title: 'only its consumer receives messages from a queue',
    of: functions,
    defect: (run, stack) => {
      const other = queues(stack).find(
        queue => allows(run, 'sqs:ReceiveMessage', queue, stack) && !consumedBy(run, stack).includes(queue),
      )
      return other && `may receive messages of ${other.name}`
    },
  },
  {
    title: 'every API has a route for invocations, and one for other requests',
    of: apis,
    defect: (api, stack) => {
      const keys = routes(stack)
        .filter(({ inputs }) => inputs.apiId === `${api.name}-id`)
        .map(({ inputs }) => inputs.routeKey)
      return keys.sort().join() !== '$default,POST /' && `has the routes ${keys.join()}`
    },
  },
  {
    title: 'every route of an API has a limit of requests',
    of: routes,
    defect: ({ inputs: { apiId, routeKey } }, stack) => {
      const stage = ofType('Stage')(stack).find(({ inputs }) => inputs.apiId === apiId)?.inputs
      const limits =
        stage?.routeSettings?.find((route: { routeKey: string }) => route.routeKey === routeKey) ??
        stage?.defaultRouteSettings
      return (
        !(isPositive(limits?.throttlingRateLimit) && isPositive(limits?.throttlingBurstLimit)) &&
        'has no limit of requests (throttling)'
      )
    },
  },
  {
    title: 'every API writes its access log into a log group of the stack',
    of: ofType('Stage'),
    defect: ({ inputs }, stack) =>
      byArn(stack, inputs.accessLogSettings?.destinationArn)?.type !== 'aws:cloudwatch/logGroup:LogGroup' &&
      'has no access log',
  },
  {
    title: 'an API has either its domain or the address that AWS assigns',
    of: apis,
    defect: ({ name, inputs }, stack) => {
      const mapped = ofType('ApiMapping')(stack).some(mapping => mapping.inputs.apiId === `${name}-id`)
      if (mapped)
        return (
          inputs.disableExecuteApiEndpoint !== true && 'has its default execute-api address beside its domain'
        )
      return inputs.disableExecuteApiEndpoint === true && 'has no address'
    },
  },
  {
    title: 'every domain has TLS 1.2 or later',
    of: ofType('DomainName'),
    in: stack => stack.app.stage === 'trial',
    defect: ({ inputs }) =>
      inputs.domainNameConfiguration?.securityPolicy !== 'TLS_1_2' &&
      `has the policy ${inputs.domainNameConfiguration?.securityPolicy}`,
  },
  {
    title: 'every resource has tags for the application, the stage, and its service',
    of: ({ resources }) => resources.filter(({ type }) => TAGGED.includes(type)),
    defect: ({ name, inputs }, { app }) => {
      const tags = app.providers.aws?.defaultTags?.tags
      if (tags?.app !== app.name || tags?.stage !== app.stage)
        return 'has no tags for the application and the stage'
      const expected = /^(Storefront|Aggregator|DealTracker|Dealer)/
        .exec(name)?.[0]
        ?.replace('DealT', 'deal-t')
        .toLowerCase()
      return (
        (expected === undefined || inputs.tags?.service !== expected) &&
        `has the tags ${JSON.stringify(inputs.tags)}`
      )
    },
  },
  {
    title: 'every name is within the limits of AWS',
    of: ({ resources }) => resources.filter(({ type }) => type in MAX_NAME),
    defect: ({ type, inputs }) => {
      const name: string = inputs.bucket ?? inputs.name
      return name.length > MAX_NAME[type]! && `has a name of ${name.length} characters: ${name}`
    },
  },
]

const isUrlOf = ({ type, name, inputs }: Resource, value: string) =>
  type === 'aws:sqs/queue:Queue' && (outputsOf(type, name, inputs) as { url: string }).url === value
