import { parse as parseDid } from '@ipld/dag-ucan/did'
import type { DID, Principal, Receipt, Signer } from '@ucanto/interface'
import { DIDResolutionError } from '@ucanto/validator'
import { type DidWebOptions, HostKeys } from './did-web.ts'
import { fixedKeys, type Keys, principals, verifierOf } from './principal.ts'
import { type Revocations, revocationCheck } from './revocation.ts'

/** Another service, or a principal that this one knows, as the configuration names it. */
export interface PeerConfig {
  did: DID
  /** Where it takes invocations and serves receipts. Absent for principals that only call. */
  url?: string | undefined
  /**
   * The `did:key`s that sign for a `did:web`; several while keys are being changed. Without them its host is asked for
   * them, see `did-web.ts`.
   */
  keys?: `did:key:${string}`[] | undefined
}

export interface AuthorityOptions {
  /** Without them nothing can be revoked. */
  revocations?: Revocations
  /** How hosts are asked for the keys of their `did:web`s. Without it only keys of the configuration count. */
  didWeb?: DidWebOptions
}

/**
 * Who signs for whom: a `did:key` is its own key; the keys of a `did:web` are in the configuration, or are asked of its
 * host if the configuration names it without keys. Others have none.
 */
export class Authority {
  readonly revocations: Revocations | undefined
  /** Of principals that are no `did:key`. */
  readonly #configured: ReadonlyMap<string, readonly DID<'key'>[]>
  readonly #hosts: ReadonlyMap<string, Keys>

  constructor(peers: readonly PeerConfig[], { revocations, didWeb }: AuthorityOptions = {}) {
    this.revocations = revocations
    const others = peers.filter(({ did }) => !isKey(did))
    const withKeys = others.flatMap(({ did, keys }) => (keys ? [[did, keys] as const] : []))
    this.#configured = new Map(withKeys)
    const listed = others.filter(({ did }) => did.startsWith('did:web:') && !this.#configured.has(did))
    this.#hosts = new Map(didWeb && listed.map(({ did }) => [did, new HostKeys(did, didWeb)]))
  }

  /** All keys of the service itself, the one that it signs with first. */
  keysOf(id: Signer): DID<'key'>[] {
    return [...new Set([id.toDIDKey(), ...(this.#configured.get(id.did()) ?? [])])]
  }

  /** What `@ucanto/server` checks an invocation against. */
  context(id: Signer) {
    return {
      // Signatures of the service itself are looked at with all its keys, also those that it signs with no more.
      id: verifierOf(id.did(), fixedKeys(this.keysOf(id))),
      // `@ucanto/server` resolves a DID to keys, and tries what `principal` makes of each. It is given the DID itself,
      // and so one verifier for it, which tries all keys and finds out when they were changed.
      resolveDIDKey: async (did: DID) => {
        const keys = await this.#keysOf(did)?.known()
        return keys?.length ? { ok: [did] } : { error: new DIDResolutionError(did) }
      },
      principal: {
        parse: (did: DID) => (isKey(did) ? principals.parse(did) : verifierOf(did, this.#keysOf(did)!)),
      },
      validateAuthorization: this.revocations ? revocationCheck(this.revocations) : () => ({ ok: {} }),
    }
  }

  /**
   * Whether the receipt is signed by a key of `signer`. False also where issuer, key or signature can not be read.
   * Throws when a host can not be asked for the keys now: then nobody can say.
   */
  async signed(receipt: Receipt, signer: Principal): Promise<boolean> {
    const did = issuerOf(receipt, signer)
    const keys = did && this.#keysOf(did)
    if (!keys || (await keys.known()).length === 0) return false
    try {
      const { ok } = await receipt.verifySignature(verifierOf(did, keys) as never)
      return ok !== undefined
    } catch {
      // Views decode lazily and throw on what is no signature.
      return false
    }
  }

  #keysOf(did: DID): Keys | undefined {
    if (isKey(did)) return fixedKeys([did])
    const configured = this.#configured.get(did)
    return configured ? fixedKeys(configured) : this.#hosts.get(did)
  }
}

const isKey = (did: DID): did is DID<'key'> => did.startsWith('did:key:')

/** The signer, unless the receipt names another one as its issuer. */
const issuerOf = (receipt: Receipt, signer: Principal): DID | undefined => {
  try {
    const did = signer.did()
    return receipt.issuer === undefined || receipt.issuer.did() === did ? did : undefined
  } catch {
    // Views decode lazily and throw on what is no DID.
    return undefined
  }
}

/** A principal by its DID, without keys. */
export const principal = (did: string): Principal => parseDid(did as DID)
