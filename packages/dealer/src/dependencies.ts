import type { Signer } from '@ucanto/interface'
import type { Dialect, Place } from '@w3filecoin/capabilities'
import type { Authority, Check, Clock, Log, Metrics, Peer, Peers, Random } from '@w3filecoin/runtime'
import type { Timing } from './domain/aggregate.ts'
import type { Batching } from './domain/batching.ts'
import type { AllowedTenants } from './domain/tenant.ts'
import type { Queues } from './queues.ts'
import type { OfferDocuments, Stores } from './stores.ts'

/** Everything that the dealer's handlers and consumers use. */
export interface Dependencies {
  id: Signer
  stores: Stores
  queues: Queues
  offerDocuments: OfferDocuments
  /** By storefront, the URL template of its pieces: see `pieceSources` of the configuration. */
  pieceSources: ReadonlyMap<string, string>
  /** Aggregators that may offer aggregates with their own DID, and where receipts are handed to them. */
  aggregators: Peers<Peer>
  /** By aggregator, the tenants that it may name without their delegation. */
  allowedTenants: Peers<AllowedTenants>
  /** Storefronts whose delegation to an aggregator makes them the tenant. */
  storefronts: Peers
  dealTracker: Peer
  /** The kinds of places with which an aggregate is accepted. */
  placeTypes: readonly Place['type'][]
  authority: Authority
  /** The dialects in which it takes invocations. */
  dialects: readonly Dialect[]
  timing: Timing
  batching: Batching
  /** The checks that the schedule `check` runs. */
  checks: readonly Check[]
  now: Clock
  random: Random
  log: Log
  metrics: Metrics
}
