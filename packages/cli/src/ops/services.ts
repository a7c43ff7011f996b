import { messages as aggregatorMessages, tables as aggregatorTables } from '@w3filecoin/aggregator'
import { resources as aggregator } from '@w3filecoin/aggregator/resources'
import { unfinished as aggregatorUnfinished } from '@w3filecoin/aggregator/unfinished'
import { messages as dealTrackerMessages, tables as dealTrackerTables } from '@w3filecoin/deal-tracker'
import { resources as dealTracker } from '@w3filecoin/deal-tracker/resources'
import { unfinished as dealTrackerUnfinished } from '@w3filecoin/deal-tracker/unfinished'
import { messages as dealerMessages, tables as dealerTables } from '@w3filecoin/dealer'
import { resources as dealer } from '@w3filecoin/dealer/resources'
import { unfinished as dealerUnfinished } from '@w3filecoin/dealer/unfinished'
import type { AnyMessageFormats, Due, Queue, TableFormats, Unfinished } from '@w3filecoin/runtime'
import type { Resources } from '@w3filecoin/runtime/resources'
import { UserError } from '@w3filecoin/runtime/user-error'
import { messages as storefrontMessages, tables as storefrontTables } from '@w3filecoin/storefront'
import { resources as storefront } from '@w3filecoin/storefront/resources'
import { unfinished as storefrontUnfinished } from '@w3filecoin/storefront/unfinished'

/** A record of any table with unfinished work. */
export type AnyRecord = Due & { id?: string; name?: string; stage?: string }
export type AnyQueues = Record<string, Queue<unknown>>

/** A service's resources, and how its unfinished records are found and resent. */
export interface Service {
  resources: Resources
  /** By table. */
  unfinished: Record<string, Unfinished<AnyRecord, AnyQueues>>
  /** Tables whose records never finish: sweeps check them for ever. */
  endless: readonly string[]
  /** The formats of its records, by table, and of its messages, by queue. */
  tables: TableFormats<Resources>
  messages: AnyMessageFormats
}

/** Widens the types of a service's tables and queues: `ops` needs only their common fields. */
const defineService = (
  resources: Resources,
  tables: Service['tables'],
  messages: Service['messages'],
  unfinished: object,
  endless: readonly string[] = [],
): Service => ({ resources, tables, messages, unfinished: unfinished as Service['unfinished'], endless })

const SERVICES = [
  defineService(storefront, storefrontTables, storefrontMessages, storefrontUnfinished),
  defineService(aggregator, aggregatorTables, aggregatorMessages, aggregatorUnfinished, ['group']),
  defineService(dealer, dealerTables, dealerMessages, dealerUnfinished),
  defineService(dealTracker, dealTrackerTables, dealTrackerMessages, dealTrackerUnfinished),
]

/** Returns the time of the next check, or `undefined` if the record is not in the index that sweeps read. */
export const findCheckAt = (
  unfinished: Unfinished<AnyRecord, AnyQueues>,
  record: AnyRecord,
): number | undefined =>
  unfinished.nextCheckAt
    ? unfinished.nextCheckAt(record)
    : record.due === undefined
      ? undefined
      : record.checkAt

/** Returns all services, or the one with this name. */
export const findServices = (name: string | undefined): Service[] => {
  const services = SERVICES.filter(({ resources }) => name === undefined || resources.service === name)
  if (services.length === 0)
    throw new UserError(
      `Unknown service: ${name}. The services are ${SERVICES.map(({ resources }) => resources.service).join(', ')}.`,
    )
  return services
}

/** Returns all queues of these services, or those with this name. */
export const findQueues = (services: readonly Service[], name: string | undefined) => {
  const all = services.flatMap(({ resources }) =>
    Object.keys(resources.queues).map(queue => ({ resources, queue })),
  )
  const queues = all.filter(({ queue }) => name === undefined || queue === name)
  if (queues.length === 0)
    throw new UserError(
      `Unknown queue: ${name}. The queues are ${[...new Set(all.map(({ queue }) => queue))].join(', ')}.`,
    )
  return queues
}
