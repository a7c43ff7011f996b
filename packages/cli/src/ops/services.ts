import { sealOrder } from '@w3filecoin/aggregator/queues'
import { resources as aggregator } from '@w3filecoin/aggregator/resources'
import { unfinished as aggregatorUnfinished } from '@w3filecoin/aggregator/unfinished'
import type { SqsFifo } from '@w3filecoin/aws'
import type { Resources } from '@w3filecoin/aws/resources'
import { resources as dealTracker } from '@w3filecoin/deal-tracker/resources'
import { unfinished as dealTrackerUnfinished } from '@w3filecoin/deal-tracker/unfinished'
import { resources as dealer } from '@w3filecoin/dealer/resources'
import { unfinished as dealerUnfinished } from '@w3filecoin/dealer/unfinished'
import type { Due, Queue, Unfinished } from '@w3filecoin/service'
import { UserError } from '@w3filecoin/service/user-error'
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
  /** By FIFO queue, the group and the deduplication id of its messages. */
  fifo: Record<string, SqsFifo<unknown>>
}

/** Widens the types of a service's tables and queues: `ops` needs only their common fields. */
const defineService = (
  resources: Resources,
  unfinished: object,
  { endless = [], fifo = {} }: { endless?: string[]; fifo?: object } = {},
): Service => ({
  resources,
  unfinished: unfinished as Service['unfinished'],
  endless,
  fifo: fifo as Service['fifo'],
})

const SERVICES = [
  defineService(storefront, storefrontUnfinished),
  defineService(aggregator, aggregatorUnfinished, { endless: ['group'], fifo: { seal: sealOrder } }),
  defineService(dealer, dealerUnfinished),
  defineService(dealTracker, dealTrackerUnfinished),
]

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
