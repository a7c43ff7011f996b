import type { Resource, Stack } from './stack.ts'

/** A metric as an alarm or a graph names it. */
export interface NamedMetric {
  namespace: string
  name: string
  dimensions: Record<string, string>
}

/** Returns the metrics that an alarm watches. */
export const metricsOf = ({ inputs }: Resource): NamedMetric[] =>
  inputs.metricQueries === undefined
    ? [{ namespace: inputs.namespace, name: inputs.metricName, dimensions: inputs.dimensions ?? {} }]
    : inputs.metricQueries.flatMap(
        ({ metric }: { metric?: { namespace: string; metricName: string; dimensions?: object } }) =>
          metric === undefined
            ? []
            : [{ namespace: metric.namespace, name: metric.metricName, dimensions: metric.dimensions ?? {} }],
      )

/** Returns the expression of an alarm; `undefined` if it watches one metric as it is. */
export const expressionOf = ({ inputs }: Resource): string | undefined =>
  inputs.metricQueries?.find(({ returnData }: { returnData?: boolean }) => returnData)?.expression

export const alarmsIn = ({ resources }: Stack): Resource[] =>
  resources.filter(({ type }) => type === 'aws:cloudwatch/metricAlarm:MetricAlarm')

/** A widget of a dashboard, see the section "Dashboard body structure" in the documentation of CloudWatch. */
export interface Widget {
  type: 'alarm' | 'text' | 'metric'
  x: number
  y: number
  width: number
  height: number
  properties: {
    title?: string
    markdown?: string
    region?: string
    alarms?: string[]
    /** Each is namespace, name, pairs of dimensions and values, and options; or options with an expression. */
    metrics?: (string | { expression?: string; stat?: string; label?: string })[][]
  }
}

export const widgetsOf = (dashboard: Resource): Widget[] => JSON.parse(dashboard.inputs.dashboardBody).widgets

/** Returns the metrics and the expressions of a dashboard. */
export const linesOf = (dashboard: Resource): { metrics: NamedMetric[]; expressions: string[] } => {
  const lines = widgetsOf(dashboard).flatMap(({ properties }) => properties.metrics ?? [])
  const metrics = lines.flatMap(([namespace, name, ...more]) => {
    if (typeof namespace !== 'string' || typeof name !== 'string') return []
    const texts = more.filter(part => typeof part === 'string')
    const dimensions: Record<string, string> = {}
    for (let n = 0; n < texts.length; n += 2) dimensions[texts[n]!] = texts[n + 1]!
    return [{ namespace, name, dimensions }]
  })
  const expressions = lines.flatMap(([first]) =>
    typeof first === 'object' && first.expression ? [first.expression] : [],
  )
  return { metrics, expressions }
}

/** The dimensions that name a resource, with its type and the property that has the name. */
const DIMENSIONS: Record<string, (resource: Resource, value: string) => boolean> = {
  QueueName: ({ type, inputs }, value) => type === 'aws:sqs/queue:Queue' && inputs.name === value,
  FunctionName: ({ type, inputs }, value) => type === 'aws:lambda/function:Function' && inputs.name === value,
  ApiId: ({ type, name }, value) => type === 'aws:apigatewayv2/api:Api' && `${name}-id` === value,
}

/** The metrics that the services write, with their dimensions besides `service`: see `Metrics` of the runtime. */
export const OWN_METRICS: Record<string, readonly string[]> = {
  StageSeconds: ['record', 'stage'],
  TotalSeconds: ['record', 'stage'],
  Failed: ['record', 'reason'],
  Overdue: ['record'],
  OldestSeconds: ['record', 'stage'],
  GroupsBelowMinimum: [],
  FailedChecks: ['check'],
  SourceAgeSeconds: ['source'],
  SourceEpoch: ['source'],
}

/** Returns the defect of a metric: it names no resource of the stack, or is not one of the services'. */
export const defectOfMetric = (
  { namespace, name, dimensions }: NamedMetric,
  { app, resources }: Stack,
): string | undefined => {
  if (namespace.startsWith('AWS/')) {
    const [dimension = '', value = ''] = Object.entries(dimensions)[0] ?? []
    return resources.some(resource => DIMENSIONS[dimension]?.(resource, value))
      ? undefined
      : `the metric ${name} of ${dimension} ${value}, which is not in the stack`
  }
  if (namespace === `${app.name}/${app.stage}`) {
    const found = Object.keys(dimensions).sort().join()
    const expected = ['service', ...(OWN_METRICS[name] ?? ['(unknown metric)'])].sort().join()
    return found === expected ? undefined : `the metric ${name} by ${found}, not by ${expected}`
  }
  const isCounted = resources.some(
    ({ type, inputs: { metricTransformation: counted } }) =>
      type === 'aws:cloudwatch/logMetricFilter:LogMetricFilter' &&
      counted.namespace === namespace &&
      counted.name === name,
  )
  return isCounted ? undefined : `the metric ${name} of ${namespace}, which nothing writes`
}

/** Prices of CloudWatch in us-east-1, in dollars a month. The first tier: more than 10,000 metrics cost less each. */
const ALARM_METRIC = 0.1
const CUSTOM_METRIC = 0.3
const DASHBOARD = 3
/** Free in each account, and so perhaps used up by other applications. */
const FREE_DASHBOARDS = 3

/**
 * The most metrics that the services write in a stage with one source of deals: one for each value of the dimensions. Reasons of
 * failures are the names of errors.
 */
export const CUSTOM_METRICS = {
  // The stages that a record leaves: a storefront's piece 5 and aggregate 1; an aggregator's piece 2 and aggregate 2; a dealer's
  // aggregate 1; a deal tracker's source 1.
  StageSeconds: 12,
  // The final stages of these records.
  TotalSeconds: 2 + 2 + 1 + 2 + 2 + 1,
  Failed: 12,
  // The tables that sweeps read: 4, 4 and 2.
  Overdue: 10,
  OldestSeconds: 12,
  GroupsBelowMinimum: 1,
  FailedChecks: 16,
  SourceAgeSeconds: 1,
  SourceEpoch: 1,
} satisfies Record<keyof typeof OWN_METRICS, number>

/** Returns what monitoring of a stage costs a month, without the free tier of the account, and without logs. */
export const monthlyPrice = (stack: Stack) => {
  const alarmMetrics = alarmsIn(stack).reduce((count, alarm) => count + metricsOf(alarm).length, 0)
  // Each filter of a service counts into one metric, which is only billed in hours with a value.
  const counted = new Set(
    stack.resources
      .filter(({ type }) => type === 'aws:cloudwatch/logMetricFilter:LogMetricFilter')
      .map(({ inputs }) => `${inputs.metricTransformation.namespace} ${inputs.metricTransformation.name}`),
  ).size
  const customMetrics = Object.values(CUSTOM_METRICS).reduce((sum, count) => sum + count, counted)
  const dashboards = stack.resources.filter(
    ({ type }) => type === 'aws:cloudwatch/dashboard:Dashboard',
  ).length
  return {
    alarms: alarmsIn(stack).length,
    alarmMetrics,
    customMetrics,
    dashboards,
    free: FREE_DASHBOARDS,
    dollars: {
      alarms: alarmMetrics * ALARM_METRIC,
      metrics: customMetrics * CUSTOM_METRIC,
      dashboards: dashboards * DASHBOARD,
    },
  }
}
