// The answers of AWS that the components of SST need in order to go on: attributes of created resources, and look-ups.

const REGION = 'us-east-1'
const ACCOUNT = '123456789012'

/** Returns the attributes that AWS assigns to a resource when it is created, e.g. its ARN. */
export const outputsOf = (type: string, name: string, inputs: Record<string, string>): object => {
  const at = (service: string, path: string) => ({ arn: `arn:aws:${service}:${REGION}:${ACCOUNT}:${path}` })
  const named = inputs.name ?? name
  switch (type) {
    case 'aws:sqs/queue:Queue':
      return { ...at('sqs', named), url: `https://sqs.${REGION}.amazonaws.com/${ACCOUNT}/${named}` }
    case 'aws:dynamodb/table:Table':
      return at('dynamodb', `table/${named}`)
    case 'aws:s3/bucket:Bucket':
      return { arn: `arn:aws:s3:::${inputs.bucket}`, region: REGION }
    case 'aws:lambda/function:Function':
      return {
        ...at('lambda', `function:${named}`),
        invokeArn: `arn:aws:apigateway:${REGION}:lambda:path/functions/${named}/invocations`,
      }
    case 'aws:iam/role:Role':
      return { arn: `arn:aws:iam::${ACCOUNT}:role/${named}` }
    case 'aws:ssm/parameter:Parameter':
      return at('ssm', `parameter${named}`)
    case 'aws:kms/key:Key':
      return at('kms', `key/${name}`)
    case 'aws:cloudwatch/metricAlarm:MetricAlarm':
      return at('cloudwatch', `alarm:${named}`)
    case 'aws:cloudwatch/logGroup:LogGroup':
      return at('logs', `log-group:${named}`)
    case 'aws:apigatewayv2/api:Api':
      return {
        ...at('apigateway', `/apis/${name}`),
        apiEndpoint: `https://${name.toLowerCase()}.execute-api.${REGION}.amazonaws.com`,
        executionArn: `arn:aws:execute-api:${REGION}:${ACCOUNT}:${name}`,
      }
    case 'aws:apigatewayv2/domainName:DomainName':
      return { domainNameConfiguration: { targetDomainName: `${name}.invalid`, hostedZoneId: 'Z2' } }
    case 'aws:acm/certificate:Certificate':
      return {
        ...at('acm', `certificate/${name}`),
        domainValidationOptions: [
          {
            domainName: inputs.domainName,
            resourceRecordName: `_validate.${inputs.domainName}`,
            resourceRecordType: 'CNAME',
            resourceRecordValue: '_answer.invalid',
          },
        ],
      }
    case 'pulumi-nodejs:dynamic:Resource':
      // A look-up of SST's own: the zone of a domain.
      return { zoneId: 'Z1' }
    default:
      return type.startsWith('aws:') ? at(type.split(/[:/]/)[1]!, named) : {}
  }
}

interface Call {
  token: string
  // biome-ignore lint/suspicious/noExplicitAny: each function of the provider has its own inputs
  inputs: any
}

/** Returns the answer of a function of the AWS provider. Throws if it has none here. */
export const answerCall = ({ token, inputs }: Call): object => {
  switch (token) {
    case 'aws:index/getPartition:getPartition':
      return { partition: 'aws', dnsSuffix: 'amazonaws.com' }
    case 'aws:index/getRegion:getRegion':
      return { region: REGION, name: REGION }
    case 'aws:index/getCallerIdentity:getCallerIdentity':
      return { accountId: ACCOUNT }
    case 'aws:iam/getPolicyDocument:getPolicyDocument':
      // SST attaches a policy to a role only if the answer repeats its statements.
      return { ...inputs, json: JSON.stringify(policyOf(inputs)) }
    default:
      throw new Error(`The stacks call ${token}. Add its answer to stacks/test/mocks.ts.`)
  }
}

interface Statement {
  sid?: string
  effect?: string
  actions?: string[]
  resources?: string[]
  principals?: { type: string; identifiers: string[] }[]
  conditions?: { test: string; variable: string; values: string[] }[]
}

const policyOf = ({ statements = [] }: { statements?: Statement[] }) => ({
  Version: '2012-10-17',
  Statement: statements.map(({ sid, effect = 'Allow', actions, resources, principals, conditions }) => ({
    Sid: sid,
    Effect: effect,
    Principal: principals && principalOf(principals),
    Action: actions,
    Resource: resources,
    Condition:
      conditions &&
      Object.fromEntries(conditions.map(({ test, variable, values }) => [test, { [variable]: values }])),
  })),
})

const principalOf = (principals: { type: string; identifiers: string[] }[]) =>
  principals.some(({ type }) => type === '*')
    ? '*'
    : Object.fromEntries(principals.map(({ type, identifiers }) => [type, identifiers]))
