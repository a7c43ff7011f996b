import type { Delegation, Signer } from '@ucanto/interface'
import type { Dialect } from '@w3filecoin/capabilities'
import type { Authority, Check, Clock, Log, Metrics, Peer, Peers } from '@w3filecoin/runtime'
import type { Timing } from './domain/aggregate.ts'
import type { Batching } from './domain/batching.ts'
import type { Limits } from './domain/limits.ts'
import type { StorefrontBounds } from './domain/quota.ts'
import type { Queues } from './queues.ts'
import type { Stores } from './stores.ts'

/** Everything that the aggregator's handlers and consumers use. */
export interface Dependencies {
  id: Signer
  stores: Stores
  queues: Queues
  /** Storefronts that may offer pieces with their own DID as resource, and that receive receipts. */
  storefronts: Peers<Peer>
  /** By storefront, how much it may offer. */
  bounds: Peers<StorefrontBounds>
  /** Returns the delegation with which the aggregator offers aggregates of a storefront, if the storefront authorizes them. */
  delegationOf: (storefront: string) => Promise<Delegation | undefined>
  dealer: Peer
  authority: Authority
  /** Returns the limits of a group. */
  limitsOf: (group: string) => Limits
  /** The dialects in which it takes invocations. */
  dialects: readonly Dialect[]
  timing: Timing
  batching: Batching
  /** The checks that the schedule `check` runs. */
  checks: readonly Check[]
  now: Clock
  log: Log
  metrics: Metrics
}
