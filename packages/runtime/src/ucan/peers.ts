import type { DID } from '@ucanto/interface'
import type { Vocabulary } from '@w3filecoin/capabilities'

/** Another service, or another principal that this service accepts. */
export interface PeerConfig {
  /** @example 'did:web:aggregator.example.com' */
  did: DID
  /** URL that the peer takes invocations and serves receipts at. Absent for a peer that only calls this service. */
  url?: string | undefined
  /**
   * The `did:key`s that sign for a `did:web`; several during a key change. If absent, the keys are read from the DID
   * document at the host of the `did:web`, see `did-web.ts`.
   */
  keys?: `did:key:${string}`[] | undefined
  /** The vocabularies that the peer understands, the preferred one first. Default: the protocol. */
  speaks?: readonly Vocabulary[] | undefined
}

/**
 * Finds peers by their DID. The answer is asynchronous because a table may hold the peers.
 *
 * `P` is the form that the caller needs: a {@link PeerConfig}, or a `Peer` to call.
 */
export interface Peers<P extends { did: DID } = PeerConfig> {
  /** Returns `undefined` if no peer has this DID. Throws if the peers cannot be read now. */
  find(did: string): Promise<P | undefined>
}

/** The peers in a list, e.g. those in the configuration. Of two with the same DID, the later one is found. */
export const configuredPeers = <P extends { did: DID }>(list: readonly P[]): Peers<P> => {
  const peers = new Map<string, P>(list.map(peer => [peer.did, peer]))
  return { find: async did => peers.get(did) }
}
