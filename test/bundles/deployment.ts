import type { Stack } from '../../stacks/test/stack.ts'

/** A function as a deploy registers it. */
export interface DeployedFunction {
  /** The name of its component, e.g. `StorefrontSubmit`. */
  name: string
  arn: string
  /** @example 'bundle.submit' */
  handler: string
  env: Record<string, string>
  timeoutSeconds: number
  memoryMB: number
  policy: Statement[]
}

export interface Statement {
  actions: string[]
  /** ARNs. Each may hold `*`, which stands for any text. */
  resources: string[]
}

export interface DeployedTable {
  name: string
  keys: Keys
  attributes: { name: string; type: 'S' | 'N' }[]
  indexes: (Keys & { name: string; projection: string })[]
}

interface Keys {
  hash: string
  range?: string | undefined
}

export interface DeployedQueue {
  name: string
  /** The name of its component, e.g. `StorefrontSubmitWork`. */
  component: string
  fifo: boolean
  visibilitySeconds: number
  /** JSON, absent for a dead-letter queue. */
  redrivePolicy?: string
}

/** An event source mapping: a queue whose messages Lambda passes to a function. */
export interface Subscription {
  queue: string
  function: string
  batch: number
  windowSeconds: number
  concurrency: number
  attempts: number
  /** Whether Lambda reads which messages of a batch failed. Otherwise it deletes all of them if the function returns. */
  partialResponses: boolean
}

export interface DeployedSchedule {
  name: string
  function: string
  everySeconds: number
  /** The event. */
  input: object
}

/** Everything of a deploy that exists on the local engines. */
export interface Deployment {
  functions: DeployedFunction[]
  tables: DeployedTable[]
  queues: DeployedQueue[]
  /** Physical names by component, e.g. `StorefrontContentData`. */
  buckets: Record<string, string>
  subscriptions: Subscription[]
  schedules: DeployedSchedule[]
  /** The values in the Parameter Store, by name. */
  parameters: Record<string, string>
}

/** Reads the resources that a deploy registers. Throws if one has a property that this check does not implement. */
export const readDeployment = ({ resources }: Pick<Stack, 'resources'>): Deployment => {
  const of = (type: string) => resources.filter(resource => resource.type === type)
  const policies = new Map(
    of('aws:iam/role:Role').map(({ inputs }) => [
      inputs.name,
      (inputs.inlinePolicies ?? []).flatMap(({ policy }: { policy: string }) =>
        JSON.parse(policy).Statement.map(readStatement),
      ),
    ]),
  )
  const functions = of('aws:lambda/function:Function').map(({ name, inputs }) => ({
    name: name.replace(/Function$/, ''),
    arn: lambdaArn(inputs.name),
    handler: inputs.handler,
    env: inputs.environment.variables,
    timeoutSeconds: inputs.timeout,
    memoryMB: inputs.memorySize,
    policy: policies.get(lastOf(inputs.role, '/')) ?? [],
  }))
  const functionAt = (arn: string) => {
    const found = functions.find(deployed => deployed.arn === arn)
    if (found === undefined) throw new Error(`${arn} is not the ARN of a function`)
    return found.name
  }
  const queues = of('aws:sqs/queue:Queue').map(({ name, inputs }) => ({
    name: inputs.name,
    component: name.replace(/Queue$/, ''),
    fifo: inputs.fifoQueue === true,
    visibilitySeconds: inputs.visibilityTimeoutSeconds,
    ...(inputs.redrivePolicy && { redrivePolicy: inputs.redrivePolicy }),
  }))
  return {
    functions,
    tables: of('aws:dynamodb/table:Table').map(({ inputs }) => ({
      name: inputs.name,
      keys: { hash: inputs.hashKey, range: inputs.rangeKey },
      attributes: inputs.attributes,
      indexes: (inputs.globalSecondaryIndexes ?? []).map((index: Record<string, string>) => ({
        name: index.name,
        hash: index.hashKey,
        range: index.rangeKey,
        projection: index.projectionType,
      })),
    })),
    queues,
    buckets: Object.fromEntries(
      of('aws:s3/bucket:Bucket').map(({ name, inputs }) => [name.replace(/Bucket$/, ''), inputs.bucket]),
    ),
    subscriptions: of('aws:lambda/eventSourceMapping:EventSourceMapping').map(({ inputs }) => {
      const queue = lastOf(inputs.eventSourceArn, ':')
      return {
        queue,
        function: functionAt(inputs.functionName),
        batch: inputs.batchSize,
        windowSeconds: inputs.maximumBatchingWindowInSeconds,
        concurrency: inputs.scalingConfig.maximumConcurrency,
        attempts: JSON.parse(queues.find(({ name }) => name === queue)!.redrivePolicy).maxReceiveCount,
        partialResponses: inputs.functionResponseTypes?.includes('ReportBatchItemFailures') === true,
      }
    }),
    schedules: of('aws:scheduler/schedule:Schedule').map(({ inputs }) => ({
      name: inputs.name,
      function: functionAt(inputs.target.arn),
      everySeconds: readRate(inputs.scheduleExpression),
      input: JSON.parse(inputs.target.input),
    })),
    parameters: Object.fromEntries(
      of('aws:ssm/parameter:Parameter').map(({ inputs }) => [inputs.name, inputs.value]),
    ),
  }
}

const readStatement = ({
  Effect,
  Action,
  Resource,
  ...rest
}: Record<string, string | string[]>): Statement => {
  if (Effect !== 'Allow' || 'Condition' in rest || 'NotAction' in rest || 'NotResource' in rest)
    throw new Error(`The check does not implement this statement: ${JSON.stringify({ Effect, ...rest })}`)
  return { actions: [Action!].flat(), resources: [Resource!].flat() }
}

const readRate = (expression: string): number => {
  const [, minutes] = /^rate\((\d+) minutes?\)$/.exec(expression) ?? []
  if (minutes === undefined) throw new Error(`The check does not implement the schedule ${expression}`)
  return Number(minutes) * 60
}

/** The region and the account of a synthesized stage, see stacks/test/mocks.ts. */
const lambdaArn = (name: string) => `arn:aws:lambda:us-east-1:123456789012:function:${name}`

const lastOf = (text: string, separator: string) => text.split(separator).pop()!
