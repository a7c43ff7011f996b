import { tables as aggregatorTables } from '@w3filecoin/aggregator'
import { resources as aggregator } from '@w3filecoin/aggregator/resources'
import { type Bound, bind, type Tables } from '@w3filecoin/aws'
import { tables as trackerTables } from '@w3filecoin/deal-tracker'
import { resources as tracker } from '@w3filecoin/deal-tracker/resources'
import { tables as dealerTables } from '@w3filecoin/dealer'
import { resources as dealer } from '@w3filecoin/dealer/resources'
import { type Clock, type COMMON_FORMATS, openStores } from '@w3filecoin/runtime'
import type { Resources } from '@w3filecoin/runtime/resources'
import { tables as storefrontTables } from '@w3filecoin/storefront'
import { resources as storefront } from '@w3filecoin/storefront/resources'
import { requireTables, type Target } from '../target.ts'

/** The tables and the receipts of the four services. */
export type Services = Awaited<ReturnType<typeof openServices>>
export type ServiceName = keyof Services

/** @param engine the engine for tables, if it is not DynamoDB */
export const openServices = async (target: Target, engine: Tables | undefined, now: Clock) => {
  const open = async <const R extends Resources, F extends typeof COMMON_FORMATS>(
    resources: R,
    formats: F,
  ) => {
    const places = await target.placesOf(resources.service)
    requireTables(resources.service, places, Object.keys(resources.tables))
    const aws: Bound<R> = bind(resources, places, engine)
    return { service: resources.service as R['service'], aws, formats, ...openStores(aws, formats, { now }) }
  }
  return {
    storefront: await open(storefront, storefrontTables),
    aggregator: await open(aggregator, aggregatorTables),
    dealer: await open(dealer, dealerTables),
    tracker: await open(tracker, trackerTables),
  }
}
