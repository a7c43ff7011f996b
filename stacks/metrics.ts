import type { CheckKind } from '@w3filecoin/runtime'
import type { FunctionSpec } from '@w3filecoin/runtime/resources'
import type { MadeService } from './service.ts'
import type { ServiceName } from './stages.ts'

/** A metric of CloudWatch. */
export interface Metric {
  namespace: string
  name: string
  dimensions: Record<string, $util.Input<string>>
  /** @example 'Maximum', 'p99' */
  stat: string
}

/** The namespace of the metrics that the services write, see packages/aws. */
export const ownNamespace = (): string => `${$app.name}/${$app.stage}`

/** The namespace of the metrics that CloudWatch counts in the logs of a service. */
const logNamespace = (service: string): string => `${ownNamespace()}/${service}`

/** A metric that a service writes. `dimensions` are those besides `service`. */
export const ownMetric = (
  service: string,
  name: string,
  stat: string,
  dimensions: Record<string, string> = {},
): Metric => ({ namespace: ownNamespace(), name, dimensions: { service, ...dimensions }, stat })

export const queueMetric = (queue: $util.Input<string>, name: string, stat: string): Metric => ({
  namespace: 'AWS/SQS',
  name,
  dimensions: { QueueName: queue },
  stat,
})

export const functionMetric = (run: $util.Input<string>, name: string, stat: string): Metric => ({
  namespace: 'AWS/Lambda',
  name,
  dimensions: { FunctionName: run },
  stat,
})

export const apiMetric = ({ api }: MadeService, name: string, stat: string): Metric => ({
  namespace: 'AWS/ApiGateway',
  name,
  dimensions: { ApiId: api },
  stat,
})

/** Counts the runs of a service that used nearly all of their memory; see {@link countNearMemory}. */
export const nearMemoryMetric = (service: string): Metric => ({
  namespace: logNamespace(service),
  name: 'NearMemory',
  dimensions: {},
  stat: 'Sum',
})

/**
 * Has CloudWatch count the runs of a function that used more than a share of its memory: Lambda has no metric of memory, but
 * writes it into the log at the end of each run.
 *
 * @param name name of the component
 */
export const countNearMemory = (
  name: string,
  service: ServiceName,
  { logs, spec }: { logs: $util.Output<string>; spec: FunctionSpec },
  share: number,
): void => {
  const metric = nearMemoryMetric(service)
  new aws.cloudwatch.LogMetricFilter(name, {
    logGroupName: logs,
    pattern: `{ ($.type = "platform.report") && ($.record.metrics.maxMemoryUsedMB > ${Math.floor(spec.memory * share)}) }`,
    metricTransformation: { namespace: metric.namespace, name: metric.name, value: '1', unit: 'Count' },
  })
}

/** The kinds of checks of each service that its schedule `check` counts. */
export const CHECKS: Record<ServiceName, readonly CheckKind[]> = {
  storefront: ['peer', 'self', 'hasher', 'gateway'],
  aggregator: ['peer', 'self', 'hasher'],
  dealer: ['peer', 'self', 'hasher', 'pieces', 'target', 'order'],
  'deal-tracker': ['source', 'peer', 'self'],
}
