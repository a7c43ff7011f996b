import type { Signer } from '@ucanto/interface'
import type { Dialect, SourceState } from '@w3filecoin/capabilities'
import type { Authority, Check, Clock, Log, Metrics, Peers } from '@w3filecoin/runtime'
import type { Batching } from './domain/batching.ts'
import type { Report } from './domain/report.ts'
import type { Limits } from './domain/report-check.ts'
import type { Snapshot } from './domain/snapshot.ts'
import type { Watched } from './domain/watch.ts'
import type { Queues } from './queues.ts'
import type { Stores } from './stores.ts'

/** A source of the deals on chain. `sources/` has one implementation for each kind. */
export interface Source {
  /** Names the source in logs and metrics, and in the keys of its records. */
  name: string
  /** Its address in logs. */
  url?: string
  /** The kinds of places that it can see. */
  types: NonNullable<SourceState['types']>
  /** Whether it searches deals that were reported to the tracker. Default: it does not, because it finds all deals itself. */
  searchesReported?: boolean
  /**
   * Reads all deals that are on chain now. A source that reads only changes adds them to those of the last accepted run. Throws if the
   * source cannot be reached or parsed.
   *
   * @param previous the last accepted run. A report that must skip deals keeps the deals of this one.
   * @param watched deals that were reported to the tracker
   */
  read(previous: Snapshot, watched: Watched): Promise<Report>
}

/** The dependencies of the deal tracker's handlers, consumers and schedules. */
export interface Dependencies {
  id: Signer
  stores: Stores
  queues: Queues
  /** Principals that may invoke `deal/info` and `deal/watch` with their own DID as the resource. */
  clients: Peers
  /** The dialects in which it takes invocations. */
  dialects: readonly Dialect[]
  sources: readonly Source[]
  limits: Limits
  batching: Batching
  authority: Authority
  /** The checks that the schedule `check` runs. */
  checks: readonly Check[]
  now: Clock
  log: Log
  metrics: Metrics
}
