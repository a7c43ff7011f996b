export type ServiceName = 'storefront' | 'aggregator' | 'dealer' | 'deal-tracker'

/** What one stage is given that no code can know. All of it is public; keys are secrets, see secrets.ts. */
export interface Stage {
  /**
   * The services are reached at `storefront.<domain>`, `aggregator.<domain>`, … and are the `did:web`s of these
   * names. The domain is a zone in Route 53 of the account. Without it they are reached where AWS puts them, and
   * each is the `did:key` of its key.
   */
  domain?: string
  /** Files of active replicas that the deal tracker reads. Without any it never hears of a deal. */
  sources: readonly Source[]
  /** The group of pieces from spaces whose provider is not in the storefront's table of spaces. */
  defaultGroup: string
  /** When the aggregator seals; what is not given here has the aggregator's defaults. */
  limits?: Record<string, number>
  /** Keys that signed for a `did:web` before its present one; what they signed stays valid. */
  formerKeys?: Partial<Record<ServiceName, readonly `did:key:${string}`[]>>
  /** Storefronts of others that offer pieces to this aggregator. */
  storefronts?: readonly Peer[]
  /** Aggregators of others that offer aggregates to this dealer. */
  aggregators?: readonly Peer[]
  /** Others that may ask this deal tracker. */
  clients?: readonly Peer[]
  logLevel: 'debug' | 'info' | 'warn' | 'error'
}

export interface Source {
  name: string
  kind: 'active-replicas'
  url: string
}

/** A service as the others know it. */
export interface Peer {
  did: string
  url?: string
  /** The `did:key`s that sign for a `did:web`. Without them its host is asked. */
  keys?: readonly string[]
}

const usual: Stage = { sources: [], defaultGroup: 'default', logLevel: 'info' }

/** By the name of the stage; stages that are not here have the usual. */
const stages: Record<string, Partial<Stage>> = {
  production: {},
}

export const stageNamed = (name: string): Stage => ({ ...usual, ...stages[name] })
