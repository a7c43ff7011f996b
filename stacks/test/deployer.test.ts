import { readFileSync } from 'node:fs'
import { beforeAll, describe, expect, test } from 'vitest'
import { KEYS, type Resource, type Stack, synthesize } from './stack.ts'
import { STAGES } from './stages.ts'

/** The files that docs/deploy.md offers for copying, held against the resources of a stage. */

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8')

interface Statement {
  Sid: string
  Effect: string
  Action: string | string[]
  Resource: string | string[]
  Condition?: object
}

const policy = JSON.parse(read('docs/deploy/deployer-policy.json')) as { Statement: Statement[] }

/** The actions with which the AWS provider creates, reads and deletes a resource of each type, and an ARN that they act on. */
const NEEDS: Record<string, { actions: string; on?: (resource: Resource) => string }> = {
  'aws:acm/certificate:Certificate': {
    actions:
      'acm:RequestCertificate acm:DescribeCertificate acm:AddTagsToCertificate acm:ListTagsForCertificate acm:DeleteCertificate',
  },
  'aws:acm/certificateValidation:CertificateValidation': { actions: 'acm:DescribeCertificate' },
  'aws:apigatewayv2/api:Api': {
    actions: 'apigateway:POST apigateway:GET apigateway:PATCH apigateway:DELETE apigateway:TagResource',
    on: () => 'arn:aws:apigateway:us-east-1::/apis/a1b2',
  },
  'aws:apigatewayv2/apiMapping:ApiMapping': {
    actions: 'apigateway:POST apigateway:GET apigateway:PATCH apigateway:DELETE',
    on: () => 'arn:aws:apigateway:us-east-1::/domainnames/dealer.w3.example/apimappings',
  },
  'aws:apigatewayv2/domainName:DomainName': {
    actions: 'apigateway:POST apigateway:GET apigateway:PATCH apigateway:DELETE apigateway:TagResource',
    on: () => 'arn:aws:apigateway:us-east-1::/domainnames/dealer.w3.example',
  },
  'aws:apigatewayv2/integration:Integration': {
    actions: 'apigateway:POST apigateway:GET apigateway:PATCH apigateway:DELETE',
    on: () => 'arn:aws:apigateway:us-east-1::/apis/a1b2/integrations',
  },
  'aws:apigatewayv2/route:Route': {
    actions: 'apigateway:POST apigateway:GET apigateway:PATCH apigateway:DELETE',
    on: () => 'arn:aws:apigateway:us-east-1::/apis/a1b2/routes/c3',
  },
  'aws:apigatewayv2/stage:Stage': {
    actions: 'apigateway:POST apigateway:GET apigateway:PATCH apigateway:DELETE apigateway:TagResource',
    on: () => 'arn:aws:apigateway:us-east-1::/apis/a1b2/stages/$default',
  },
  'aws:cloudwatch/dashboard:Dashboard': {
    actions: 'cloudwatch:PutDashboard cloudwatch:GetDashboard cloudwatch:DeleteDashboards',
    on: ({ inputs }) => `arn:aws:cloudwatch::123456789012:dashboard/${inputs.dashboardName}`,
  },
  'aws:cloudwatch/logGroup:LogGroup': {
    actions:
      'logs:CreateLogGroup logs:PutRetentionPolicy logs:TagResource logs:ListTagsForResource logs:DeleteLogGroup',
    on: ({ inputs }) => `arn:aws:logs:us-east-1:123456789012:log-group:${inputs.name}`,
  },
  'aws:cloudwatch/logMetricFilter:LogMetricFilter': {
    actions: 'logs:PutMetricFilter logs:DescribeMetricFilters logs:DeleteMetricFilter',
    on: ({ inputs }) => `arn:aws:logs:us-east-1:123456789012:log-group:${inputs.logGroupName}`,
  },
  'aws:cloudwatch/metricAlarm:MetricAlarm': {
    actions:
      'cloudwatch:PutMetricAlarm cloudwatch:TagResource cloudwatch:ListTagsForResource cloudwatch:DeleteAlarms',
    on: ({ inputs }) => `arn:aws:cloudwatch:us-east-1:123456789012:alarm:${inputs.name}`,
  },
  'aws:dynamodb/table:Table': {
    actions:
      'dynamodb:CreateTable dynamodb:DescribeTable dynamodb:UpdateTable dynamodb:DescribeContinuousBackups dynamodb:UpdateContinuousBackups dynamodb:DescribeTimeToLive dynamodb:UpdateTimeToLive dynamodb:ListTagsOfResource dynamodb:TagResource dynamodb:DeleteTable',
    on: ({ inputs }) => `arn:aws:dynamodb:us-east-1:123456789012:table/${inputs.name}`,
  },
  'aws:iam/role:Role': {
    actions:
      'iam:CreateRole iam:GetRole iam:PutRolePolicy iam:GetRolePolicy iam:ListRolePolicies iam:ListAttachedRolePolicies iam:TagRole iam:ListInstanceProfilesForRole iam:DeleteRolePolicy iam:DeleteRole iam:PassRole',
    on: ({ inputs }) => `arn:aws:iam::123456789012:role/${inputs.name}`,
  },
  // The provider creates the key with the tags of the app, and encrypts the parameters with it.
  'aws:kms/key:Key': {
    actions:
      'kms:CreateKey kms:TagResource kms:DescribeKey kms:GetKeyPolicy kms:GetKeyRotationStatus kms:ListResourceTags kms:ScheduleKeyDeletion kms:Encrypt kms:Decrypt',
  },
  'aws:lambda/eventSourceMapping:EventSourceMapping': {
    actions:
      'lambda:CreateEventSourceMapping lambda:GetEventSourceMapping lambda:UpdateEventSourceMapping lambda:DeleteEventSourceMapping lambda:ListTags lambda:TagResource',
  },
  'aws:lambda/function:Function': {
    actions:
      'lambda:CreateFunction lambda:GetFunction lambda:UpdateFunctionCode lambda:UpdateFunctionConfiguration lambda:ListVersionsByFunction lambda:GetFunctionCodeSigningConfig lambda:PutFunctionConcurrency lambda:TagResource lambda:DeleteFunction',
    on: ({ inputs }) => `arn:aws:lambda:us-east-1:123456789012:function:${inputs.name}`,
  },
  'aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig': {
    actions:
      'lambda:PutFunctionEventInvokeConfig lambda:GetFunctionEventInvokeConfig lambda:DeleteFunctionEventInvokeConfig',
    on: ({ inputs }) => `arn:aws:lambda:us-east-1:123456789012:function:${inputs.functionName}`,
  },
  'aws:lambda/functionRecursionConfig:FunctionRecursionConfig': {
    actions: 'lambda:PutFunctionRecursionConfig lambda:GetFunctionRecursionConfig',
    on: ({ inputs }) => `arn:aws:lambda:us-east-1:123456789012:function:${inputs.functionName}`,
  },
  'aws:lambda/permission:Permission': {
    actions: 'lambda:AddPermission lambda:GetPolicy lambda:RemovePermission',
    on: ({ inputs }) => inputs.function,
  },
  'aws:route53/record:Record': {
    actions: 'route53:ChangeResourceRecordSets route53:ListResourceRecordSets route53:GetHostedZone',
    on: () => 'arn:aws:route53:::hostedzone/Z1',
  },
  'aws:s3/bucket:Bucket': {
    actions:
      's3:CreateBucket s3:ListBucket s3:GetBucketTagging s3:PutBucketTagging s3:GetBucketVersioning s3:GetLifecycleConfiguration s3:GetEncryptionConfiguration s3:GetReplicationConfiguration s3:GetAccelerateConfiguration s3:GetBucketObjectLockConfiguration s3:ListBucketVersions s3:DeleteObjectVersion s3:DeleteBucket',
    on: ({ inputs }) => `arn:aws:s3:::${inputs.bucket}`,
  },
  'aws:s3/bucketCorsConfiguration:BucketCorsConfiguration': {
    actions: 's3:PutBucketCORS s3:GetBucketCORS',
    on: ({ inputs }) => `arn:aws:s3:::${inputs.bucket}`,
  },
  'aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration': {
    actions: 's3:PutLifecycleConfiguration s3:GetLifecycleConfiguration',
    on: ({ inputs }) => `arn:aws:s3:::${inputs.bucket}`,
  },
  'aws:s3/bucketPolicy:BucketPolicy': {
    actions: 's3:PutBucketPolicy s3:GetBucketPolicy s3:DeleteBucketPolicy',
    on: ({ inputs }) => `arn:aws:s3:::${inputs.bucket}`,
  },
  'aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock': {
    actions: 's3:PutBucketPublicAccessBlock s3:GetBucketPublicAccessBlock',
    on: ({ inputs }) => `arn:aws:s3:::${inputs.bucket}`,
  },
  'aws:scheduler/schedule:Schedule': {
    actions:
      'scheduler:CreateSchedule scheduler:GetSchedule scheduler:UpdateSchedule scheduler:DeleteSchedule',
    on: ({ inputs }) => `arn:aws:scheduler:us-east-1:123456789012:schedule/default/${inputs.name}`,
  },
  'aws:sns/topic:Topic': {
    actions:
      'sns:CreateTopic sns:GetTopicAttributes sns:SetTopicAttributes sns:TagResource sns:ListTagsForResource sns:DeleteTopic',
    on: ({ inputs }) => `arn:aws:sns:us-east-1:123456789012:${inputs.name}`,
  },
  'aws:sns/topicSubscription:TopicSubscription': {
    actions: 'sns:GetSubscriptionAttributes sns:Unsubscribe',
  },
  'aws:sqs/queue:Queue': {
    actions:
      'sqs:CreateQueue sqs:GetQueueAttributes sqs:SetQueueAttributes sqs:GetQueueUrl sqs:TagQueue sqs:ListQueueTags sqs:DeleteQueue',
    on: ({ inputs }) => `arn:aws:sqs:us-east-1:123456789012:${inputs.name}`,
  },
  'aws:sqs/queuePolicy:QueuePolicy': {
    actions: 'sqs:SetQueueAttributes sqs:GetQueueAttributes',
    on: ({ inputs }) => `arn:aws:sqs:us-east-1:123456789012:${`${inputs.queueUrl}`.split('/').at(-1)}`,
  },
  'aws:ssm/parameter:Parameter': {
    actions:
      'ssm:PutParameter ssm:GetParameter ssm:AddTagsToResource ssm:ListTagsForResource ssm:DeleteParameter',
    on: ({ inputs }) => `arn:aws:ssm:us-east-1:123456789012:parameter${inputs.name}`,
  },
  // The code of a function, which SST uploads into its bucket for assets.
  'aws:s3/bucketObjectv2:BucketObjectv2': {
    actions: 's3:PutObject s3:GetObject s3:GetObjectTagging s3:DeleteObject',
    on: () => 'arn:aws:s3:::sst-asset-a1b2c3/assets/code.zip',
  },
}

/** Types that are not on AWS, or call it through other types. */
const ELSEWHERE = ['random:index/randomBytes:RandomBytes', 'pulumi-nodejs:dynamic:Resource']

/** The calls of SST itself: its state, its secrets, and the bootstrap of a region. */
const BOOTSTRAP: [action: string, on: string][] = [
  ...['s3:CreateBucket', 's3:PutBucketVersioning', 's3:PutBucketPolicy', 's3:ListBucket'].map(
    (action): [string, string] => [action, 'arn:aws:s3:::sst-state-a1b2c3'],
  ),
  ...['s3:GetObject', 's3:PutObject', 's3:DeleteObject'].map((action): [string, string] => [
    action,
    'arn:aws:s3:::sst-state-a1b2c3/app/w3filecoin/trial.json',
  ]),
  ...['s3:CreateBucket', 's3:PutBucketNotification', 's3:PutBucketPolicy'].map((action): [string, string] => [
    action,
    'arn:aws:s3:::sst-asset-a1b2c3',
  ]),
  ...['ecr:CreateRepository', 'ecr:DescribeRepositories'].map((action): [string, string] => [
    action,
    'arn:aws:ecr:us-east-1:123456789012:repository/sst-asset',
  ]),
  ...['ssm:GetParameter', 'ssm:PutParameter'].flatMap(action =>
    ['bootstrap', 'passphrase/w3filecoin/trial'].map((name): [string, string] => [
      action,
      `arn:aws:ssm:us-east-1:123456789012:parameter/sst/${name}`,
    ]),
  ),
]

const matches = (patterns: string | string[], text: string): boolean =>
  [patterns]
    .flat()
    .some(pattern => new RegExp(`^${RegExp.escape(pattern).replaceAll('\\*', '.*')}$`, 's').test(text))

/** Whether a statement of the policy allows an action. Conditions are checked by a test of their own. */
const isAllowed = (action: string, on = '*'): boolean =>
  policy.Statement.some(
    ({ Effect, Action, Resource }) =>
      Effect === 'Allow' &&
      matches(Action, action) &&
      (on === '*' ? Resource === '*' : matches(Resource, on)),
  )

const stacks: Stack[] = []
beforeAll(async () => {
  for (const stage of ['production', 'trial'] as const) stacks.push(await synthesize(stage, STAGES[stage]))
})

describe('the policy of a deployer', () => {
  test('knows the actions for every type in stacks/resources.txt', () => {
    const types = [
      ...new Set([...read('stacks/resources.txt').matchAll(/^([\w-]+:\S+) /gm)].map(([, type]) => type!)),
    ]
    expect(types.length).toBeGreaterThan(20)
    expect(types.filter(type => NEEDS[type] === undefined && !ELSEWHERE.includes(type))).toEqual([])
  })

  test('allows them on every resource of a stage', () => {
    const resources = stacks.flatMap(({ resources }) => resources).filter(({ type }) => NEEDS[type])
    expect(resources.length).toBeGreaterThan(600)
    const denied = resources.flatMap(resource => {
      const { actions, on } = NEEDS[resource.type]!
      const arn = on?.(resource)
      return actions
        .split(' ')
        .filter(action => !isAllowed(action, arn))
        .map(action => `${action} on ${arn ?? '*'} (${resource.type})`)
    })
    expect([...new Set(denied)]).toEqual([])
  })

  test('allows the calls of SST itself, and what HTTP APIs need for access logs', () => {
    expect(BOOTSTRAP.filter(([action, on]) => !isAllowed(action, on))).toEqual([])
    for (const action of ['logs:CreateLogDelivery', 'logs:PutResourcePolicy', 'logs:DescribeLogGroups'])
      expect(isAllowed(action), action).toBe(true)
  })

  test('is limited to the names of this app and of SST, but for calls that have no names', () => {
    for (const { Sid, Action, Resource, Condition } of policy.Statement) {
      if (Resource === '*') {
        // Without a condition, each action is listed, and none changes a resource of another app by its name.
        if (!Condition) expect([Action].flat().join(), Sid).not.toContain('*')
        continue
      }
      if (['Apis', 'Names', 'RoleOfApiGateway'].includes(Sid)) continue
      for (const pattern of [Resource].flat()) expect(pattern, Sid).toMatch(/[:/](w3filecoin|sst)[-/]/)
    }
    expect(isAllowed('iam:CreateRole', 'arn:aws:iam::123456789012:role/administrator')).toBe(false)
    expect(
      isAllowed('dynamodb:Scan', 'arn:aws:dynamodb:us-east-1:123456789012:table/w3filecoin-production-x'),
    ).toBe(false)
  })

  test('passes roles to Lambda and the scheduler only', () => {
    const passing = policy.Statement.filter(({ Action }) => matches(Action, 'iam:PassRole'))
    expect(passing).toMatchObject([
      {
        Condition: {
          StringEquals: { 'iam:PassedToService': ['lambda.amazonaws.com', 'scheduler.amazonaws.com'] },
        },
      },
    ])
  })

  test('fits into a managed policy: 6,144 characters without white space', () => {
    expect(JSON.stringify(policy).length).toBeLessThan(6_144)
  })
})

test('names of stages may have 14 characters, as docs/deploy.md says: longer ones shorten the name of the app', () => {
  const { resources } = stacks[0]!
  const limits: Record<string, number> = { Function: 64, Role: 64, Bucket: 63, Queue: 80 }
  const room = resources.flatMap(({ type, inputs }) => {
    const limit = limits[type.split(':')[2]!]
    const name: unknown = inputs.bucket ?? inputs.name
    return limit === undefined || typeof name !== 'string' ? [] : limit - name.length
  })
  expect(room.length).toBeGreaterThan(50)
  expect('production'.length + Math.min(...room)).toBe(14)
})

test('a key that was set from a file is deployed without its line break', async () => {
  const lineBreak = {
    file: 'stacks/secrets.ts',
    from: 'secret.value.apply(text =>',
    to: 'secret.value.apply(part => part + "\\n").apply(text =>',
  }
  const { resources } = await synthesize('development', {}, [lineBreak])
  const texts = resources.map(({ inputs }) => JSON.stringify(inputs))
  const stored = texts.filter(text => text.includes(KEYS.StorefrontKey!))
  expect(stored.length).toBeGreaterThan(0)
  for (const text of stored) expect(text).not.toContain(`${KEYS.StorefrontKey}\\n`)
})

describe('the files for CI', () => {
  const workflow = read('docs/deploy/github-workflow.yml')
  /** The commands of its steps. */
  const commands = [...workflow.matchAll(/^ +- run: (.+?)(?: #.*)?$/gm)].map(([, command]) => command!)

  test('the workflow runs scripts of package.json, and commands of SST', () => {
    const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> }
    expect(commands.length).toBeGreaterThan(5)
    for (const command of commands) {
      const [, script] = /^npm run (?:--silent )?([\w:]+)(?: -- .+)?$/.exec(command) ?? []
      if (script !== undefined) expect(Object.keys(scripts), command).toContain(script)
      else expect(command).toMatch(/^npx sst (diff|deploy) --stage "\$STAGE"$/)
    }
    expect(commands.indexOf('npx sst deploy --stage "$STAGE"')).toBeGreaterThan(
      commands.indexOf('npm run check:bundles'),
    )
    expect(commands.at(-1)).toContain('npm run ops -- doctor')
  })

  test('the workflow holds no key, and the role trusts the environments that it names', () => {
    expect(workflow).not.toMatch(/AWS_SECRET|AKIA|secrets\./)
    expect(workflow).toMatch(/^ {2}id-token: write$/m)
    const trust = JSON.parse(read('docs/deploy/github-trust.json'))
    const [{ Action, Condition }] = trust.Statement
    expect(Action).toBe('sts:AssumeRoleWithWebIdentity')
    const { 'token.actions.githubusercontent.com:sub': subjects, ...others } = Condition.StringEquals
    expect(others).toEqual({ 'token.actions.githubusercontent.com:aud': 'sts.amazonaws.com' })
    const environments = /options: \[(.+)\]/.exec(workflow)![1]!.split(', ')
    expect(subjects).toEqual(environments.map(name => `repo:OWNER/REPOSITORY:environment:${name}`))
  })
})
