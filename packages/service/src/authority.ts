import { parse as parseDid } from '@ipld/dag-ucan/did'
import type { DID, Principal, Receipt, Signer } from '@ucanto/interface'
import { DIDResolutionError } from '@ucanto/validator'
import { principals } from './principal.ts'
import { type Revocations, unrevoked } from './revocation.ts'

/** Another service, or a principal that this one knows, as the configuration names it. */
export interface PeerConfig {
  did: DID
  /** Where it takes invocations and serves receipts. Absent for principals that only call. */
  url?: string | undefined
  /** The `did:key`s that sign for a `did:web`; several while keys are being changed. */
  keys?: `did:key:${string}`[] | undefined
}

/**
 * Who signs for whom: `did:key`s are their own keys, `did:web`s are resolved from the configuration.
 */
export class Authority {
  readonly #keys: ReadonlyMap<string, readonly DID<'key'>[]>
  /** Without them nothing can be revoked. */
  readonly revocations: Revocations | undefined

  constructor(peers: readonly PeerConfig[], revocations?: Revocations) {
    this.revocations = revocations
    this.#keys = new Map(peers.filter(peer => peer.keys?.length).map(peer => [peer.did, peer.keys!]))
  }

  /** All keys of the service itself, the one that it signs with first. */
  keysOf(id: Signer): DID<'key'>[] {
    return [...new Set([id.toDIDKey(), ...(this.#keys.get(id.did()) ?? [])])]
  }

  /** What `@ucanto/server` checks an invocation against. */
  context(id: Signer) {
    const keys = this.keysOf(id)
    return {
      // Signatures of the service itself are looked at with all its keys, also those that it signs with no more.
      id: {
        did: () => id.did(),
        toDIDKey: () => id.toDIDKey(),
        verify: async (payload: never, signature: never) => {
          for (const key of keys) if (await principals.parse(key).verify(payload, signature)) return true
          return false
        },
      },
      principal: principals,
      resolveDIDKey: (did: DID) => {
        const keys = this.#keys.get(did)
        return keys === undefined ? { error: new DIDResolutionError(did) } : { ok: [...keys] }
      },
      validateAuthorization: this.revocations ? unrevoked(this.revocations) : () => ({ ok: {} }),
    }
  }

  /** Whether the receipt is signed by a key of `signer`. False also where issuer, key or signature can not be read. */
  async signed(receipt: Receipt, signer: Principal): Promise<boolean> {
    try {
      const did = signer.did()
      if (receipt.issuer !== undefined && receipt.issuer.did() !== did) return false
      const keys = did.startsWith('did:key:') ? [did as DID<'key'>] : (this.#keys.get(did) ?? [])
      for (const key of keys) {
        const { ok } = await receipt.verifySignature(principals.parse(key) as never)
        if (ok) return true
      }
    } catch {
      // Views decode lazily and throw on what is no issuer or no key of a kind that is known here.
    }
    return false
  }
}

/** A principal by its DID, without keys. */
export const principal = (did: string): Principal => parseDid(did as DID)
