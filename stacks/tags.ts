import { componentName } from './names.ts'
import type { ServiceName } from './stages.ts'

const SERVICES: readonly ServiceName[] = ['storefront', 'aggregator', 'dealer', 'deal-tracker']

/** The types of our resources that can have tags, and cost money or hold permissions. */
export const TAGGED: readonly string[] = [
  'aws:acm/certificate:Certificate',
  'aws:apigatewayv2/api:Api',
  'aws:apigatewayv2/domainName:DomainName',
  'aws:apigatewayv2/stage:Stage',
  'aws:cloudwatch/logGroup:LogGroup',
  'aws:cloudwatch/metricAlarm:MetricAlarm',
  'aws:dynamodb/table:Table',
  'aws:iam/role:Role',
  'aws:lambda/function:Function',
  'aws:s3/bucket:Bucket',
  'aws:sqs/queue:Queue',
  'aws:ssm/parameter:Parameter',
]

/** Gives each resource of a service the tag `service`, so that the bill can be read by service. */
export const tagServices = (): void =>
  $util.runtime.registerStackTransformation(({ type, name, props, opts }) => {
    const service = SERVICES.find(service => name.startsWith(componentName(service)))
    return service === undefined || !TAGGED.includes(type)
      ? undefined
      : { props: { ...props, tags: { ...props.tags, service } }, opts }
  })
