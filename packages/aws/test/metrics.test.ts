import { afterEach, expect, it, vi } from 'vitest'
import { openMetrics } from '../src/index.ts'

const written: string[] = []
vi.spyOn(process.stdout, 'write').mockImplementation(text => {
  written.push(`${text}`)
  return true
})
const takeLines = () => written.splice(0).map(line => JSON.parse(line))

afterEach(() => void written.splice(0))

it('metrics of a run are written in the embedded metric format, one line for each set of dimensions', () => {
  const { metrics, flush } = openMetrics({ service: 'aggregator', stage: 'production' })
  metrics({ StageSeconds: 12.4 }, { record: 'piece', stage: 'pending' })
  metrics({ GroupsBelowMinimum: 3 })
  metrics({ StageSeconds: 7 }, { stage: 'pending', record: 'piece' })
  expect(written).toEqual([])
  flush()
  const emf = (name: string, unit: string, dimensions: string[]) => ({
    Timestamp: expect.any(Number),
    CloudWatchMetrics: [
      {
        Namespace: 'w3filecoin/production',
        Dimensions: [['service', ...dimensions]],
        Metrics: [{ Name: name, Unit: unit }],
      },
    ],
  })
  expect(takeLines()).toEqual([
    {
      _aws: emf('StageSeconds', 'Seconds', ['record', 'stage']),
      service: 'aggregator',
      record: 'piece',
      stage: 'pending',
      StageSeconds: [12.4, 7],
    },
    { _aws: emf('GroupsBelowMinimum', 'Count', []), service: 'aggregator', GroupsBelowMinimum: 3 },
  ])
})

it('the next run writes its own values only, with the same dimensions', () => {
  const { metrics, flush } = openMetrics({ service: 'dealer', stage: 'dev' })
  for (const value of [1, 2]) {
    metrics({ Overdue: value }, { record: 'aggregate' })
    flush()
  }
  flush()
  expect(takeLines()).toMatchObject([
    { service: 'dealer', record: 'aggregate', Overdue: 1 },
    { service: 'dealer', record: 'aggregate', Overdue: 2 },
  ])
})

it('many values become several lines, because CloudWatch reads at most 100 of one metric in a line', () => {
  const { metrics, flush } = openMetrics({ service: 'storefront', stage: 'dev' })
  for (let n = 0; n < 150; n++) metrics({ StageSeconds: n }, { record: 'piece', stage: 'queued' })
  flush()
  expect(takeLines().map(({ StageSeconds }) => StageSeconds.length)).toEqual([100, 50])
})

it('without a stage, as on one machine, nothing is written', () => {
  const { metrics, flush } = openMetrics({ service: 'storefront', stage: undefined })
  metrics({ Overdue: 1 }, { record: 'piece' })
  flush()
  expect(written).toEqual([])
})
