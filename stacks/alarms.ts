import { visibilityTimeout } from '@w3filecoin/runtime/resources'
import {
  apiMetric,
  CHECKS,
  countNearMemory,
  functionMetric,
  type Metric,
  nearMemoryMetric,
  ownMetric,
  queueMetric,
} from './metrics.ts'
import { componentName } from './names.ts'
import type { MadeService } from './service.ts'
import type { AlarmLimits, ServiceName, Stage } from './stages.ts'

/** CloudWatch's limit for the metrics in the expression of an alarm. */
const MAX_METRICS = 10

const PERIOD_SECONDS = 300

/** An alarm. Its name ends with the name of its row in docs/operations.md. */
interface Alarm {
  /** @example 'SubmitDeadLetters' */
  name: string
  description: string
  metrics: readonly Metric[]
  /** Combines the metrics, by their ids. Required if there are several. */
  combine?: (ids: readonly string[]) => string
  /** It rings above the threshold; with `below`, it rings below. */
  threshold: number
  below?: true
  periodSeconds?: number
  /** It rings if so many of the last periods are beyond the threshold. */
  periods?: { of: number; ring: number }
  /** Whether it rings if there is no value. */
  missingRings?: true
  /** It reports an event, not a state: its end means nothing, so it sends no message. */
  event?: true
}

/** A state must last for ten minutes, so that a deploy or a single failure does not ring. */
const LASTING = { of: 3, ring: 2 }

// Without FILL, a sum has no value in a period in which one of its metrics has none.
const filled = (id: string) => `FILL(${id}, 0)`
const sum = (ids: readonly string[]) => ids.map(filled).join(' + ')
const max = (ids: readonly string[]) => `MAX([${ids.map(filled).join(', ')}])`
const min = (ids: readonly string[]) => `MIN([${ids.map(filled).join(', ')}])`

/** Creates the alarms of a stage, and subscribes its addresses to them. Returns the topic, and the ARNs of the alarms. */
export const makeAlarms = (stage: Stage, services: readonly MadeService[]) => {
  const topic = new sst.aws.SnsTopic('Alarms')
  for (const address of stage.alarmAddresses)
    new aws.sns.TopicSubscription(
      componentName('alarms', 'to', ...address.split(/[^a-zA-Z0-9]+/).filter(Boolean)),
      {
        topic: topic.arn,
        protocol: 'email',
        endpoint: address,
      },
    )

  const alarms = services.flatMap(made => {
    const service = made.resources.service as ServiceName
    for (const [name, run] of Object.entries(made.functions))
      countNearMemory(componentName(service, name, 'near', 'memory'), service, run, stage.alarms.memoryShare)
    return alarmsOf(made, stage.alarms).map(({ name, ...alarm }) =>
      makeAlarm(componentName(service, name), alarm, topic.arn),
    )
  })
  return { topic, alarms: alarms.map(({ arn }) => arn) }
}

/** Returns the alarms of a service. */
const alarmsOf = (made: MadeService, limits: AlarmLimits): Alarm[] => {
  const { resources, functions, queues } = made
  const service = resources.service as ServiceName
  const schedules = Object.keys(resources.schedules)
  /** All functions but that of the API, whose errors are answers with 5xx. */
  const workers = Object.entries(functions).filter(([name]) => name !== 'api')
  const runs = Object.values(functions)
  return [
    ...Object.entries(queues).map(
      ([queue, { deadLetters }]): Alarm => ({
        name: componentName(queue, 'dead', 'letters'),
        description: `The queue ${queue} of the ${service} has a new dead letter, after ${resources.queues[queue]!.attempts} failed attempts`,
        // The sum does not change while letters are read: they are hidden then. SQS writes the number of hidden messages only in
        // minutes in which there are some, so its average would be too high.
        metrics: [
          queueMetric(deadLetters, 'ApproximateNumberOfMessagesVisible', 'Average'),
          queueMetric(deadLetters, 'ApproximateNumberOfMessagesNotVisible', 'Sum'),
        ],
        combine: ([visible = '', hidden = '']) =>
          `DIFF(${filled(visible)} + ${filled(hidden)} / ${PERIOD_SECONDS / 60})`,
        threshold: 0,
        periods: { of: 2, ring: 1 },
        event: true,
      }),
    ),
    {
      name: 'Late',
      description: `A queue of the ${service} has an old message: it is not consumed`,
      metrics: Object.values(queues).map(({ name }) =>
        queueMetric(name, 'ApproximateAgeOfOldestMessage', 'Maximum'),
      ),
      combine: max,
      // Twice the time for which a crashed run hides a message.
      threshold: Math.max(limits.queueSeconds, 2 * longestHidden(made)),
    },
    {
      name: 'Errors',
      description: `Runs of functions of the ${service} crashed, or exceeded their time or memory`,
      metrics: workers.map(([, { name }]) => functionMetric(name, 'Errors', 'Sum')),
      combine: sum,
      threshold: 0,
      event: true,
    },
    {
      name: 'Schedules',
      description: `A schedule of the ${service} does not run: ${schedules.join(', ')}`,
      metrics: schedules.map(name => functionMetric(functions[name]!.name, 'Invocations', 'Sum')),
      combine: min,
      threshold: 1,
      below: true,
      periodSeconds:
        2 * Math.max(...Object.values(resources.schedules).map(({ everySeconds }) => everySeconds), 300),
      missingRings: true,
    },
    {
      name: 'Throttles',
      description: `AWS refuses runs of functions of the ${service}: the account has too little concurrency`,
      metrics: runs.map(({ name }) => functionMetric(name, 'Throttles', 'Sum')),
      combine: sum,
      threshold: limits.throttledRuns,
      periods: LASTING,
    },
    {
      name: 'NearTimeout',
      description: `A run of the ${service} took more than ${limits.timeShare} of its time`,
      metrics: runs.map(({ name }) => functionMetric(name, 'Duration', 'Maximum')),
      combine: ids =>
        `MAX([${ids.map((id, n) => `${filled(id)} / ${runs[n]!.spec.timeout * 1000}`).join(', ')}])`,
      threshold: limits.timeShare,
      event: true,
    },
    {
      name: 'NearMemory',
      description: `A run of the ${service} used more than ${limits.memoryShare} of its memory`,
      metrics: [nearMemoryMetric(service)],
      threshold: 0,
      event: true,
    },
    {
      name: 'ApiErrors',
      description: `Requests to the ${service} were answered with 5xx`,
      metrics: [apiMetric(made, '5xx', 'Sum')],
      threshold: limits.apiErrors,
      event: true,
    },
    {
      name: 'FailedChecks',
      description: `A check of the ${service} fails: ${CHECKS[service].join(', ')}`,
      metrics: CHECKS[service].map(check => ownMetric(service, 'FailedChecks', 'Maximum', { check })),
      combine: max,
      threshold: 0,
      periods: LASTING,
    },
    ...ageAlarmsOf[service](limits),
  ]
}

const oldest = (service: ServiceName, record: string, stages: readonly string[]) =>
  stages.map(stage => ownMetric(service, 'OldestSeconds', 'Maximum', { record, stage }))

const overdue = (service: ServiceName, limits: AlarmLimits): Alarm => ({
  name: 'Overdue',
  description: `Sweeps of the ${service} send the messages of many pieces again`,
  metrics: [ownMetric(service, 'Overdue', 'Sum', { record: 'piece' })],
  threshold: limits.overduePieces,
  periods: { of: 3, ring: 3 },
})

/** The alarms about records that wait for too long. Which stages may last is different in each service. */
const ageAlarmsOf: Record<ServiceName, (limits: AlarmLimits) => Alarm[]> = {
  storefront: limits => [
    overdue('storefront', limits),
    {
      name: 'OldPieces',
      description: `A piece at the storefront waits for the aggregator or an aggregate for more than ${limits.pieceSeconds} s`,
      // Not `offered`, which waits for its content, nor `aggregated`, which waits for a deal.
      metrics: oldest('storefront', 'piece', ['submitted', 'queued', 'retried']),
      combine: max,
      threshold: limits.pieceSeconds,
    },
  ],
  aggregator: limits => [overdue('aggregator', limits)],
  dealer: limits => [
    {
      name: 'NoDeal',
      description: `An aggregate has had no deal for more than ${limits.dealSeconds} s`,
      metrics: oldest('dealer', 'aggregate', ['offered']),
      threshold: limits.dealSeconds,
    },
  ],
  'deal-tracker': () => [],
}

const longestHidden = ({ resources }: MadeService): number =>
  Math.max(...Object.values(resources.queues).map(visibilityTimeout))

const makeAlarm = (
  name: string,
  {
    description,
    metrics,
    combine,
    threshold,
    below,
    periodSeconds: period = PERIOD_SECONDS,
    periods = { of: 1, ring: 1 },
    missingRings,
    event,
  }: Omit<Alarm, 'name'>,
  topic: $util.Output<string>,
) => {
  if (metrics.length > MAX_METRICS)
    throw new Error(
      `The alarm ${name} has ${metrics.length} metrics, and CloudWatch allows ${MAX_METRICS}. Split it in stacks/alarms.ts.`,
    )
  return new aws.cloudwatch.MetricAlarm(name, {
    name: `${$app.name}-${$app.stage}-${name}`,
    alarmDescription: `${description}. See Alarms in docs/operations.md.`,
    comparisonOperator: below ? 'LessThanThreshold' : 'GreaterThanThreshold',
    threshold,
    evaluationPeriods: periods.of,
    datapointsToAlarm: periods.ring,
    treatMissingData: missingRings ? 'breaching' : 'notBreaching',
    alarmActions: [topic],
    okActions: event ? [] : [topic],
    ...comparedValue(name, metrics, combine, period),
  })
}

/** The value that an alarm compares: one metric, or an expression of several. */
const comparedValue = (
  name: string,
  metrics: readonly Metric[],
  combine: Alarm['combine'],
  period: number,
): Partial<aws.cloudwatch.MetricAlarmArgs> => {
  const [only, ...others] = metrics
  // A single metric costs the same, but the console shows it without an expression.
  if (only !== undefined && others.length === 0 && (combine === undefined || combine === max))
    return {
      namespace: only.namespace,
      metricName: only.name,
      dimensions: only.dimensions,
      statistic: only.stat,
      period,
    }
  if (combine === undefined)
    throw new Error(`The alarm ${name} has several metrics, but does not combine them`)
  const ids = metrics.map((_, n) => `m${n}`)
  return {
    metricQueries: [
      { id: 'value', expression: combine(ids), label: name, returnData: true },
      ...metrics.map(({ namespace, name: metricName, dimensions, stat }, n) => ({
        id: ids[n]!,
        metric: { namespace, metricName, dimensions, stat, period },
      })),
    ],
  }
}
