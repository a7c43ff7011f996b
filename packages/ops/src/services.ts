import { messages as aggregatorMessages, tables as aggregatorTables } from '@w3filecoin/aggregator'
import { resources as aggregator } from '@w3filecoin/aggregator/resources'
import { unfinished as aggregatorUnfinished } from '@w3filecoin/aggregator/unfinished'
import { messages as dealTrackerMessages, tables as dealTrackerTables } from '@w3filecoin/deal-tracker'
import { resources as dealTracker } from '@w3filecoin/deal-tracker/resources'
import { unfinished as dealTrackerUnfinished } from '@w3filecoin/deal-tracker/unfinished'
import { messages as dealerMessages, tables as dealerTables } from '@w3filecoin/dealer'
import { resources as dealer } from '@w3filecoin/dealer/resources'
import { unfinished as dealerUnfinished } from '@w3filecoin/dealer/unfinished'
import { Trouble } from '@w3filecoin/local/trouble'
import type { AnyMessageFormats, Due, Queue, TableFormats, Unfinished } from '@w3filecoin/runtime'
import type { Resources } from '@w3filecoin/runtime/resources'
import { messages as storefrontMessages, tables as storefrontTables } from '@w3filecoin/storefront'
import { resources as storefront } from '@w3filecoin/storefront/resources'
import { unfinished as storefrontUnfinished } from '@w3filecoin/storefront/unfinished'

/** Any record that may be unfinished. */
export type AnyRecord = Due & { id?: string; name?: string; stage?: string }
export type AnyQueues = Record<string, Queue<unknown>>

/** What is known of a service here: its description, and what gets its records moving. */
export interface Service {
  resources: Resources
  /** By table. */
  unfinished: Record<string, Unfinished<AnyRecord, AnyQueues>>
  /** Tables whose records have no end: somebody is to look at them for ever. */
  endless: readonly string[]
  /** The formats of its records and messages, by table and queue. */
  tables: TableFormats<Resources>
  messages: AnyMessageFormats
}

/** Each table has records of its own, and each queue messages; here only what they have in common counts. */
const known = (
  resources: Resources,
  tables: Service['tables'],
  messages: Service['messages'],
  unfinished: object,
  endless: readonly string[] = [],
): Service => ({ resources, tables, messages, unfinished: unfinished as Service['unfinished'], endless })

const SERVICES = [
  known(storefront, storefrontTables, storefrontMessages, storefrontUnfinished),
  known(aggregator, aggregatorTables, aggregatorMessages, aggregatorUnfinished, ['group']),
  known(dealer, dealerTables, dealerMessages, dealerUnfinished),
  known(dealTracker, dealTrackerTables, dealTrackerMessages, dealTrackerUnfinished),
]

/** All services, or the one of this name. */
export const servicesNamed = (name: string | undefined): Service[] => {
  const services = SERVICES.filter(({ resources }) => name === undefined || resources.service === name)
  if (services.length === 0)
    throw new Trouble(
      `There is no service ${name}; there are ${SERVICES.map(({ resources }) => resources.service).join(', ')}`,
    )
  return services
}

/** All queues of these services, or those of this name. */
export const queuesNamed = (services: readonly Service[], name: string | undefined) => {
  const all = services.flatMap(({ resources }) =>
    Object.keys(resources.queues).map(queue => ({ resources, queue })),
  )
  const queues = all.filter(({ queue }) => name === undefined || queue === name)
  if (queues.length === 0)
    throw new Trouble(
      `There is no queue ${name}; there are ${[...new Set(all.map(({ queue }) => queue))].join(', ')}`,
    )
  return queues
}
