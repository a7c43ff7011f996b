import type { Edit } from './stack.ts'
import type { STAGES } from './stages.ts'

/** A defect of the stacks, made on purpose, and the line with which the check must report it. */
export interface Mutation extends Edit {
  title: string
  stage: keyof typeof STAGES
  reported: string
}

export const MUTATIONS: readonly Mutation[] = [
  {
    title: 'consumers report no partial failures, so one bad message repeats its whole batch',
    stage: 'development',
    file: 'stacks/service.ts',
    from: 'partialResponses: true',
    to: 'partialResponses: false',
    reported: 'StorefrontSubmitWorkSubscriberKduwkfEventSourceMapping does not report partial batch failures',
  },
  {
    title: 'queues hide messages for five times the timeout of the consumer',
    stage: 'development',
    file: 'packages/runtime/src/resources.ts',
    from: '6 * run.timeout + window',
    to: '5 * run.timeout + window',
    reported: 'DealerTrackWorkQueue hides messages for 1500 s, but its consumer has a timeout of 300 s',
  },
  {
    title: 'messages become dead letters after three attempts',
    stage: 'development',
    file: 'stacks/service.ts',
    from: 'retry: spec.attempts',
    to: 'retry: 3',
    reported: 'AggregatorSealWorkQueue lets messages be received 3 times',
  },
  {
    title: 'queues have no dead-letter queue',
    stage: 'development',
    file: 'stacks/service.ts',
    from: '    dlq: { queue: dlq.arn, retry: spec.attempts },\n',
    to: '',
    reported: 'AggregatorSealWorkQueue has no dead-letter queue',
  },
  {
    title: 'every function may be part of a loop',
    stage: 'development',
    file: 'stacks/service.ts',
    from: 'if (spec.run.uses.queues?.includes(name))',
    to: 'if (spec)',
    reported: 'DealerRetryFunction may be part of a loop, but does not send to its own queue',
  },
  {
    title: 'functions may send to every queue',
    stage: 'development',
    file: 'stacks/permissions.ts',
    from: "allow(['sqs:SendMessage'], arn)",
    to: "allow(['sqs:SendMessage'], '*')",
    reported: 'DealerSweepRole allows sqs:SendMessage on *, which is not one resource of the stack',
  },
  {
    title: 'functions may do everything with their buckets',
    stage: 'development',
    file: 'stacks/permissions.ts',
    from: "const READ_OBJECT = ['s3:GetObject']",
    to: "const READ_OBJECT = ['s3:*']",
    reported: 'DealTrackerUpdateRole allows s3:* on DealTrackerBlocksDataBucket',
  },
  {
    title: 'the roles of functions trust the whole account, as SST creates them',
    stage: 'development',
    file: 'stacks/service.ts',
    from: "if (!$dev) role.assumeRolePolicy = aws.iam.assumeRolePolicyForPrincipal({ Service: 'lambda.amazonaws.com' })",
    to: '',
    reported:
      'StorefrontApiRole can be assumed by {"Service":["lambda.amazonaws.com"],"AWS":["arn:aws:iam::123456789012:root"]}',
  },
  {
    title: 'receipts have no point-in-time recovery',
    stage: 'production',
    file: 'packages/runtime/src/resources.ts',
    from: "receipt: { fields: { task: 'string' }, key: { hash: 'task' }, expires: 'expiresAt' }",
    to: "receipt: { fields: { task: 'string' }, key: { hash: 'task' }, expires: 'expiresAt', derived: true }",
    reported:
      'StorefrontReceiptRecordsTable has no point-in-time recovery, but its data cannot be derived again',
  },
  {
    title: 'tables of production can be deleted',
    stage: 'production',
    file: 'stacks/service.ts',
    from: 'deletionProtection: isProduction()',
    to: 'deletionProtection: false',
    reported: 'AggregatorAggregateRecordsTable has no deletion protection',
  },
  {
    title: 'SST would remove production',
    stage: 'production',
    file: 'sst.config.ts',
    from: 'protect: production',
    to: 'protect: false',
    reported: 'The stage production has protect: false and removal: retain',
  },
  {
    title: 'buckets are public',
    stage: 'production',
    file: 'stacks/service.ts',
    from: '  new sst.aws.Bucket(name, {\n',
    to: "  new sst.aws.Bucket(name, {\n    access: 'public',\n",
    reported: 'DealerOffersDataBucket does not set blockPublicPolicy, restrictPublicBuckets',
  },
  {
    title: 'snapshots of the deal tracker are never deleted',
    stage: 'development',
    file: 'packages/deal-tracker/src/resources.ts',
    from: '      keepDays: 30,\n',
    to: '',
    reported: 'DealTrackerBlocksDataBucket deletes objects after no days, not 30',
  },
  {
    title: 'an API accepts any number of requests',
    stage: 'development',
    file: 'stacks/domain.ts',
    from: 'throttlingBurstLimit: stage.throttling.burst,',
    to: '',
    reported: 'DealTrackerRouteInvocationsRoute has no limit of requests (throttling)',
  },
  {
    title: 'APIs keep the address that AWS assigns beside their domain',
    stage: 'trial',
    file: 'stacks/domain.ts',
    from: 'disableExecuteApiEndpoint: host !== undefined',
    to: 'disableExecuteApiEndpoint: false',
    reported: 'StorefrontApi has its default execute-api address beside its domain',
  },
  {
    title: 'settings of reserved concurrency have no effect',
    stage: 'trial',
    file: 'stacks/service.ts',
    from: 'concurrency: { reserved: reserved[name] }',
    to: '',
    reported: 'StorefrontSubmitFunction has the reserved concurrency undefined, not 60',
  },
]
