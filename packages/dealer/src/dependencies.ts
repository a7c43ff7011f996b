import type { Signer } from '@ucanto/interface'
import type { Dialect } from '@w3filecoin/capabilities'
import type { Authority, Check, Clock, Fetch, Log, Metrics, Peer, Peers, Random } from '@w3filecoin/runtime'
import type { Timing } from './domain/aggregate.ts'
import type { Batching } from './domain/batching.ts'
import type { PolicyRule, Target } from './domain/policy.ts'
import type { AllowedTenants } from './domain/tenant.ts'
import type { Maker } from './makers/maker.ts'
import type { Queues } from './queues.ts'
import type { OfferDocuments, Stores, WholeObjects } from './stores.ts'

/** A target, and how orders reach it. */
export interface OpenTarget extends Target {
  maker: Maker
}

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
  /** Principals that may list offers and report about them with their own DID. */
  brokers: Peers
  dealTracker: Peer
  /** How many copies of aggregates are made and where, by tenant. The last one is for all. */
  policies: readonly PolicyRule[]
  /** The providers that store copies on order. */
  targets: readonly OpenTarget[]
  wholes: WholeObjects
  /** URL of this service, from which targets fetch whole aggregates, without a slash at its end. */
  door: string | undefined
  /** Time for which a whole is kept after its copies are live, in milliseconds. */
  keepWholeMs: number
  /** Reads contents. It does not follow redirects, and decides which hosts may be called. */
  fetchContent: Fetch
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
