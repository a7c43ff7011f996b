import { type Resources, type Uses, variable } from '@w3filecoin/runtime/resources'

/** The created resources of a service, by the names in its description. */
export interface Made {
  tables: Record<string, sst.aws.Dynamo>
  queues: Record<string, sst.aws.Queue>
  /** The dead-letter queue of each queue. */
  deadLetters: Record<string, sst.aws.Queue>
  buckets: Record<string, sst.aws.Bucket>
}

// The actions that packages/aws calls. sqs:SendMessage includes batches.
const READ_TABLE = ['dynamodb:GetItem', 'dynamodb:BatchGetItem', 'dynamodb:Query']
const WRITE_TABLE = ['dynamodb:PutItem', 'dynamodb:UpdateItem', 'dynamodb:BatchWriteItem']
const READ_OBJECT = ['s3:GetObject']
const WRITE_OBJECT = ['s3:PutObject']
/** Of objects that are written in parts, and removed by the service. */
const REPLACE_OBJECT = ['s3:AbortMultipartUpload', 's3:DeleteObject']

/** Returns environment and permissions of a function: for exactly the resources that it uses. */
export const grant = (uses: Uses, made: Made, resources: Resources) => {
  const environment: Record<string, $util.Input<string>> = {}
  const permissions: sst.aws.FunctionPermissionArgs[] = []
  const allow = (actions: string[], ...on: $util.Input<string>[]) =>
    permissions.push({ actions, resources: on })

  for (const [name, mode] of Object.entries(uses.tables ?? {})) {
    const { arn, name: table } = described(made.tables, 'table', name, resources)
    environment[variable('table', name)] = table
    allow(mode === 'write' ? [...READ_TABLE, ...WRITE_TABLE] : READ_TABLE, arn)
    const indexes = Object.keys(resources.tables[name]?.indexes ?? {})
    if (indexes.length > 0)
      allow(['dynamodb:Query'], ...indexes.map(index => $interpolate`${arn}/index/${index}`))
  }
  for (const name of uses.queues ?? []) {
    const { arn, url } = described(made.queues, 'queue', name, resources)
    environment[variable('queue', name)] = url
    allow(['sqs:SendMessage'], arn)
  }
  for (const [name, mode] of Object.entries(uses.buckets ?? {})) {
    const { arn, name: bucket } = described(made.buckets, 'bucket', name, resources)
    environment[variable('bucket', name)] = bucket
    const isInParts = resources.buckets[name]?.uploadDays !== undefined
    const write = [...WRITE_OBJECT, ...(isInParts ? REPLACE_OBJECT : [])]
    allow(mode === 'write' ? [...READ_OBJECT, ...write] : READ_OBJECT, $interpolate`${arn}/*`)
    // Without this, S3 answers AccessDenied instead of NoSuchKey for a missing object.
    allow(['s3:ListBucket'], arn)
  }
  return { environment, permissions }
}

/** Returns the further environment and permissions of the consumer of a queue. Lambda polls the queue with them. */
export const consume = (name: string, made: Made, resources: Resources) => {
  const queue = described(made.queues, 'queue', name, resources)
  const deadLetters = described(made.deadLetters, 'dead-letter queue', name, resources)
  const permissions: sst.aws.FunctionPermissionArgs[] = [
    {
      // The function itself changes the visibility of messages that failed, so that they are retried sooner.
      actions: [
        'sqs:ReceiveMessage',
        'sqs:DeleteMessage',
        'sqs:GetQueueAttributes',
        'sqs:ChangeMessageVisibility',
      ],
      resources: [queue.arn],
    },
    { actions: ['sqs:SendMessage'], resources: [deadLetters.arn] },
  ]
  const environment = {
    [variable('queue', name)]: queue.url,
    [variable('deadLetter', name)]: deadLetters.url,
  }
  return { environment, permissions }
}

/** Returns the physical names of all resources of a service, by environment variable. */
export const places = ({ tables, queues, deadLetters, buckets }: Made) =>
  Object.fromEntries([
    ...Object.entries(tables).map(([name, { name: at }]) => [variable('table', name), at] as const),
    ...Object.entries(queues).map(([name, { url }]) => [variable('queue', name), url] as const),
    ...Object.entries(deadLetters).map(([name, { url }]) => [variable('deadLetter', name), url] as const),
    ...Object.entries(buckets).map(([name, { name: at }]) => [variable('bucket', name), at] as const),
  ])

/** Reading an encrypted parameter needs two permissions, because the Parameter Store decrypts it in the name of the caller. */
export const readKey = (
  parameter: aws.ssm.Parameter,
  encryption: aws.kms.Key,
): sst.aws.FunctionPermissionArgs[] => [
  { actions: ['ssm:GetParameter'], resources: [parameter.arn] },
  { actions: ['kms:Decrypt'], resources: [encryption.arn] },
]

export const writeLogs = (group: aws.cloudwatch.LogGroup): sst.aws.FunctionPermissionArgs => ({
  actions: ['logs:CreateLogStream', 'logs:PutLogEvents'],
  resources: [$interpolate`${group.arn}:*`],
})

const described = <T>(made: Record<string, T>, kind: string, name: string, { service }: Resources): T => {
  const found = made[name]
  if (found === undefined)
    throw new Error(`A function of ${service} uses the ${kind} ${name}, which its resources do not describe`)
  return found
}
