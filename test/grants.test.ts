import { resources as aggregator } from '@w3filecoin/aggregator/resources'
import { resources as dealTracker } from '@w3filecoin/deal-tracker/resources'
import { resources as dealer } from '@w3filecoin/dealer/resources'
import type { Resources } from '@w3filecoin/runtime/resources'
import { resources as storefront } from '@w3filecoin/storefront/resources'
import { grantsOf } from '@w3filecoin/testing'
import { expect, test } from 'vitest'
import { ordersTour } from './simulation/orders-tour.ts'
import { simulateSeed } from './simulation/simulate.ts'
import { tour } from './simulation/tour.ts'
import { continueJourney, readYesterday } from './simulation/yesterday.ts'

/** Seeds in which sweeps mend lost messages of every kind. The first one has offers in dialects. */
const SEEDS = [1, 51]

const reports = [await tour(), await ordersTour()]
for (const seed of SEEDS) reports.push(await simulateSeed(seed))
// Some resources are only there for records of earlier code.
const { snapshots, messages } = readYesterday('2026-11-27')
for (const snapshot of snapshots)
  for (const aggregator of [{}, messages.aggregator!])
    reports.push(await continueJourney(snapshot, { aggregator }))

test('the tour of the services loses nothing', () =>
  expect(reports.flatMap(({ violations }) => violations)).toEqual([]))

const functionsOf = (resources: Resources) => [
  'api',
  ...Object.keys(resources.queues),
  ...Object.keys(resources.schedules),
]

const FUNCTIONS = [storefront, aggregator, dealer, dealTracker].flatMap(resources =>
  functionsOf(resources).map(name => [resources.service, name, resources] as const),
)
const touchedBy = (service: string, name: string) => [
  ...new Set(reports.flatMap(({ touched }) => [...(touched.get(`${service} ${name}`) ?? [])])),
]

test.each(FUNCTIONS)('%s %s touches only what it is granted', (service, name, resources) => {
  const granted = grantsOf(resources, name)
  const isGranted = (access: string) =>
    granted.includes(access) || granted.includes(access.replace(/ read$/, ' write'))
  expect(touchedBy(service, name).filter(access => !isGranted(access))).toEqual([])
})

test.each(FUNCTIONS)('%s %s touches everything that it is granted', (service, name, resources) => {
  const touched = touchedBy(service, name)
  expect(grantsOf(resources, name).filter(grant => !touched.includes(grant))).toEqual([])
})
