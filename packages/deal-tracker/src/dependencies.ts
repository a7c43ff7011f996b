import type { Signer } from '@ucanto/interface'
import type { Authority, Clock, Log, Peers } from '@w3filecoin/runtime'
import type { Batching } from './domain/batching.ts'
import type { Report } from './domain/report.ts'
import type { Limits } from './domain/report-check.ts'
import type { Queues } from './queues.ts'
import type { Stores } from './stores.ts'

/** Somebody who looks at the chain. */
export interface Source {
  name: string
  /** What the chain holds, as the source sees it now. Throws when it can not be reached or read. */
  read(): Promise<Report>
}

/** All that the deal tracker's handlers and consumers work with. */
export interface Dependencies {
  id: Signer
  stores: Stores
  queues: Queues
  /** Principals that may ask with their own DID. */
  clients: Peers
  sources: readonly Source[]
  limits: Limits
  batching: Batching
  authority: Authority
  now: Clock
  log: Log
}
