import {
  apiMetric,
  functionMetric,
  type Metric,
  nearMemoryMetric,
  ownNamespace,
  queueMetric,
} from './metrics.ts'
import type { MadeService } from './service.ts'

/** Columns of a dashboard. */
const COLUMNS = 24
const GRAPH_ROWS = 6
const PERIOD_SECONDS = 300

/** A graph, whose lines are metrics, or expressions that find metrics. */
interface Graph {
  title: string
  lines: readonly Line[]
  /** @example 'Seconds' */
  unit?: string
}

type Line = { label: string; metric: Metric } | { label: string; expression: string }

/** The stages of a dashboard row, from left to right. */
type Row = { heading: string; graphs: readonly Graph[] }

/**
 * Creates the dashboard of the stage: its alarms, the way of pieces from offer to receipt, and a row of queues, functions and
 * requests for each service.
 *
 * @param alarms the ARNs of the alarms
 */
export const makeDashboard = (
  services: readonly MadeService[],
  alarms: readonly $util.Output<string>[],
): aws.cloudwatch.Dashboard =>
  new aws.cloudwatch.Dashboard('Dashboard', {
    dashboardName: `${$app.name}-${$app.stage}`,
    dashboardBody: $jsonStringify({
      widgets: [
        {
          type: 'alarm',
          x: 0,
          y: 0,
          width: COLUMNS,
          height: GRAPH_ROWS,
          properties: { title: 'Alarms', alarms },
        },
        ...widgetsOf([recordsRow(), ...services.map(serviceRow)], GRAPH_ROWS),
      ],
    }),
  })

/** Metrics that the services write. SEARCH finds those of every record, stage and reason. */
const recordsRow = (): Row => ({
  heading: 'From offer to receipt',
  graphs: [
    {
      title: 'Pieces of the storefront that left a stage',
      lines: [
        searchOwn('StageSeconds', 'SampleCount', ['record', 'stage'], 'service="storefront" record="piece"'),
      ],
    },
    {
      title: 'From offer to receipt',
      unit: 'Seconds',
      lines: ['p50', 'p90', 'p99'].map(stat => ({
        label: stat,
        metric: {
          namespace: ownNamespace(),
          name: 'TotalSeconds',
          dimensions: { service: 'storefront', record: 'piece', stage: 'accepted' },
          stat,
        },
      })),
    },
    {
      title: 'Time in each stage (p90)',
      unit: 'Seconds',
      lines: [searchOwn('StageSeconds', 'p90', ['record', 'stage'])],
    },
    {
      title: 'Age of the oldest unfinished record',
      unit: 'Seconds',
      lines: [searchOwn('OldestSeconds', 'Maximum', ['record', 'stage'])],
    },
    { title: 'Records that failed, by reason', lines: [searchOwn('Failed', 'Sum', ['record', 'reason'])] },
    { title: 'Records that sweeps sent again', lines: [searchOwn('Overdue', 'Sum', ['record'])] },
    {
      title: 'Groups below their minimum',
      lines: [searchOwn('GroupsBelowMinimum', 'Maximum', [])],
    },
    { title: 'Failed checks', lines: [searchOwn('FailedChecks', 'Maximum', ['check'])] },
    {
      title: 'Sources: age of the last good run',
      unit: 'Seconds',
      lines: [searchOwn('SourceAgeSeconds', 'Maximum', ['source'])],
    },
    { title: 'Sources: epoch', lines: [searchOwn('SourceEpoch', 'Maximum', ['source'])] },
  ],
})

const searchOwn = (name: string, stat: string, dimensions: readonly string[], filter = ''): Line => ({
  label: '',
  expression: `SEARCH('{${[ownNamespace(), 'service', ...dimensions].join(',')}} MetricName="${name}" ${filter}', '${stat}', ${PERIOD_SECONDS})`,
})

const serviceRow = (made: MadeService): Row => {
  const { resources, queues, functions } = made
  const ofQueues = (name: string, stat: string) =>
    Object.entries(queues).map(([label, queue]) => ({ label, metric: queueMetric(queue.name, name, stat) }))
  const ofFunctions = (name: string, stat: string) =>
    Object.entries(functions).map(([label, run]) => ({ label, metric: functionMetric(run.name, name, stat) }))
  return {
    heading: resources.service,
    graphs: [
      {
        title: 'Dead letters',
        lines: Object.entries(queues).map(([label, { deadLetters }]) => ({
          label,
          metric: queueMetric(deadLetters, 'ApproximateNumberOfMessagesVisible', 'Maximum'),
        })),
      },
      { title: 'Messages in queues', lines: ofQueues('ApproximateNumberOfMessagesVisible', 'Maximum') },
      {
        title: 'Age of the oldest message',
        unit: 'Seconds',
        lines: ofQueues('ApproximateAgeOfOldestMessage', 'Maximum'),
      },
      { title: 'Errors of functions', lines: ofFunctions('Errors', 'Sum') },
      {
        title: 'Throttles of functions, and runs near their memory',
        lines: [
          ...ofFunctions('Throttles', 'Sum'),
          { label: 'near memory', metric: nearMemoryMetric(resources.service) },
        ],
      },
      {
        title: 'Duration of functions',
        unit: 'Milliseconds',
        lines: ofFunctions('Duration', 'Maximum'),
      },
      {
        title: 'Requests',
        lines: [
          { label: 'all', metric: apiMetric(made, 'Count', 'Sum') },
          { label: '4xx', metric: apiMetric(made, '4xx', 'Sum') },
          { label: '5xx', metric: apiMetric(made, '5xx', 'Sum') },
        ],
      },
      {
        title: 'Latency of requests',
        unit: 'Milliseconds',
        lines: ['p50', 'p99'].map(stat => ({ label: stat, metric: apiMetric(made, 'Latency', stat) })),
      },
    ],
  }
}

const GRAPHS_BESIDE = 4
const HEADING_ROWS = 1

/** Places the rows below one another. */
const widgetsOf = (rows: readonly Row[], top: number): object[] => {
  let y = top
  return rows.flatMap(({ heading, graphs }) => {
    const title = {
      type: 'text',
      x: 0,
      y,
      width: COLUMNS,
      height: HEADING_ROWS,
      properties: { markdown: `## ${heading}` },
    }
    y += HEADING_ROWS
    const placed = graphs.map((graph, n) => ({
      type: 'metric',
      x: (n % GRAPHS_BESIDE) * (COLUMNS / GRAPHS_BESIDE),
      y: y + Math.floor(n / GRAPHS_BESIDE) * GRAPH_ROWS,
      width: COLUMNS / GRAPHS_BESIDE,
      height: GRAPH_ROWS,
      properties: propertiesOf(graph),
    }))
    y += Math.ceil(graphs.length / GRAPHS_BESIDE) * GRAPH_ROWS
    return [title, ...placed]
  })
}

const propertiesOf = ({ title, lines, unit }: Graph): object => ({
  title,
  region: aws.getRegionOutput().region,
  period: PERIOD_SECONDS,
  view: 'timeSeries',
  ...(unit === undefined ? {} : { yAxis: { left: { label: unit, showUnits: false, min: 0 } } }),
  metrics: lines.map(line =>
    'expression' in line
      ? [{ expression: line.expression, ...(line.label === '' ? {} : { label: line.label }) }]
      : [
          line.metric.namespace,
          line.metric.name,
          ...Object.entries(line.metric.dimensions).flat(),
          { stat: line.metric.stat, label: line.label },
        ],
  ),
})
