import type { DealTrackerSettings } from '@w3filecoin/deal-tracker/config'
import type { DealerSettings } from '@w3filecoin/dealer/config'
import type { Engines } from '../engines.ts'

/** The ways in which the local system has deals made: with PDP, with Curio, or by the offer documents. */
export const DEAL_WAYS = ['pdp', 'curio', 'offers'] as const
export type DealWay = (typeof DEAL_WAYS)[number]

/** A stand-in for storage providers and the chain. */
export interface DealMaking {
  /** Its address, for people. */
  url: string
  /** The address of a node of the chain that answers JSON-RPC, if it has one. */
  rpc?: string
  /** The contract PDPVerifier, and the name, of that chain. */
  verifier?: string
  network?: string
  /** The settings with which the dealer has deals made. */
  dealer: Pick<DealerSettings, 'targets' | 'policies' | 'keepWholeDays'>
  /** The sources of the deal tracker. */
  sources: DealTrackerSettings['sources']
  /** Padded bytes of the aggregates that its providers accept; absent: 32 GiB. */
  aggregateBytes?: number
  start(options: DealOptions): Promise<void>
  /** Lets the provider of a target die: it answers no request any more, and all its places on chain end. Absent without targets. */
  die?(target: string): void
  stop(): Promise<void>
}

export interface DealOptions {
  engines: Pick<Engines, 's3' | 'sqs'>
  data: string
  /** A deal is made this long after its offer. */
  dealDelayMs: number
  /** CIDs of pieces that get no deal. */
  faulty: readonly string[]
  /**
   * The present URL of each storefront, by its DID: the ports in the documents of an earlier start may be others. The default
   * is the address in the document.
   */
  storefronts?: ReadonlyMap<string, string>
  /** Private key of the dealer. The wallet with which it signs orders is derived from it. */
  dealerKey?: string
  /** Called when the chain has changed. */
  onDeal?: () => void
}
