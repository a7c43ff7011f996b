import type { Signer } from '@ucanto/interface'
import type { Dialect, Place } from '@w3filecoin/capabilities'
import type { Authority, Check, Clock, Fetch, Log, Metrics, Peer, Random, WebPage } from '@w3filecoin/runtime'
import type { ContentSource } from './content/source.ts'
import type { Uploads } from './content/uploads.ts'
import type { Batching } from './domain/batching.ts'
import type { Timing } from './domain/piece.ts'
import type { Admission, UploadAdmission } from './domain/quota.ts'
import type { PieceAccess } from './piece-door.ts'
import type { Queues } from './queues.ts'
import type { Stores } from './stores.ts'

/** The dependencies of the storefront's handlers, consumers and schedules. */
export interface Dependencies {
  id: Signer
  stores: Stores
  queues: Queues
  content: ContentSource
  /** How agents get content to the storefront, for `GET /`. `upload` is the URL template for a `PUT`. */
  contentAccess?: {
    from: 'bucket' | 'gateway'
    upload?: string | undefined
    uploads?: UploadAdmission['spaces']
  }
  /** Where agents get addresses for uploads, and the bounds on them. If absent, they get none. */
  uploads?: (UploadAdmission & { store: Uploads }) | undefined
  /** The web page for browsers. */
  page?: WebPage | undefined
  /** Who may fetch pieces: nobody, everybody, or those to whom the dealer gave a permit. */
  pieceAccess: PieceAccess
  aggregator: Peer
  /** DID of the dealer whose receipts of aggregates are accepted. */
  dealer: string
  dealTracker: Peer
  /** The kinds of places with which an aggregate is accepted by the word of the deal tracker alone. */
  placeTypes: readonly Place['type'][]
  authority: Authority
  /** The group of pieces whose space has no provider. */
  defaultGroup: string
  /** Whether an offer of content that does not exist waits for the content, or is refused. */
  missingContent: 'wait' | 'refuse'
  /** Which spaces may start workflows, and how many. */
  admission: Admission
  /** Calls the addresses that agents name for receipts: untrusted hosts. `allowPrivate` permits plain HTTP too. */
  addresses: { fetch: Fetch; allowPrivate: boolean }
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
