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
  /** How the messages of its FIFO queues are told apart. */
  fifo: Record<string, SqsFifo<unknown>>
}

/** Each table has records of its own, and each queue messages; here only what they have in common counts. */
const known = (
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
  known(storefront, storefrontUnfinished),
  known(aggregator, aggregatorUnfinished, { endless: ['group'], fifo: { seal: sealOrder } }),
  known(dealer, dealerUnfinished),
  known(dealTracker, dealTrackerUnfinished),
]

/** All services, or the one of this name. */
export const servicesNamed = (name: string | undefined): Service[] => {
  const services = SERVICES.filter(({ resources }) => name === undefined || resources.service === name)
  if (services.length === 0)
    throw new UserError(
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
    throw new UserError(
      `There is no queue ${name}; there are ${[...new Set(all.map(({ queue }) => queue))].join(', ')}`,
    )
  return queues
}
