import type { Signer } from '@ucanto/interface'
import type { Authority, Clock, Log, Peer, Peers } from '@w3filecoin/runtime'
import type { Timing } from './domain/aggregate.ts'
import type { Batching } from './domain/batching.ts'
import type { Limits } from './domain/limits.ts'
import type { Queues } from './queues.ts'
import type { Stores } from './stores.ts'

/** All that the aggregator's handlers and consumers work with. */
export interface Dependencies {
  id: Signer
  stores: Stores
  queues: Queues
  /** Storefronts that may offer pieces with their own DID, and where receipts are handed to them. */
  storefronts: Peers<Peer>
  dealer: Peer
  authority: Authority
  /** The limits of a group. */
  limitsOf: (group: string) => Limits
  timing: Timing
  batching: Batching
  now: Clock
  log: Log
}
