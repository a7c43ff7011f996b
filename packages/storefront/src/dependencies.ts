import type { Signer } from '@ucanto/interface'
import type { Authority, Clock, Log, Peer, Random } from '@w3filecoin/runtime'
import type { Batching } from './domain/batching.ts'
import type { Timing } from './domain/piece.ts'
import type { Queues } from './queues.ts'
import type { ContentSource, Stores } from './stores.ts'

/** All that the storefront's handlers and consumers work with. */
export interface Dependencies {
  id: Signer
  stores: Stores
  queues: Queues
  content: ContentSource
  aggregator: Peer
  /** DID of the dealer whose word on aggregates counts. */
  dealer: string
  dealTracker: Peer
  authority: Authority
  /** The group of pieces whose space has no provider. */
  defaultGroup: string
  /** Whether content that is not there is waited for, or its offer refused. */
  missingContent: 'wait' | 'refuse'
  timing: Timing
  batching: Batching
  now: Clock
  random: Random
  log: Log
}
