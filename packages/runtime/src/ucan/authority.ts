import { parse as parseDid } from '@ipld/dag-ucan/did'
import type { Authorization, DID, Principal, Receipt, Signature, Signer, UCANLink } from '@ucanto/interface'
import { DIDResolutionError, Revoked, UnavailableProof } from '@ucanto/validator'
import { type DidWebOptions, HostKeys } from './did-web.ts'
import { configuredPeers, type PeerConfig, type Peers } from './peers.ts'
import { fixedKeys, type Keys, principals, verifierOf } from './principal.ts'
import type { Candidate } from './proof-chain.ts'
import { type Revocations, revocationCheck } from './revocation.ts'
import { Ucans } from './ucans.ts'
import { anyOf, type Context, mayAttest } from './ucanto.ts'

export interface AuthorityOptions {
  /** The principals whose signatures are accepted, beside every `did:key`. Default: none. */
  peers?: Peers
  /** DID and keys of the service itself. Its host is never asked for them. */
  self?: Pick<PeerConfig, 'did' | 'keys'> | undefined
  /**
   * Other DIDs that the service accepts as audience, e.g. a former one. It never issues tasks under them, and they are not
   * its resources.
   */
  aliases?: readonly DID[] | undefined
  /**
   * Principals whose attestations (`ucan/attest`) count, beside those of the service itself. They confirm that an account,
   * e.g. a `did:mailto`, issued a delegation.
   */
  attestors?: readonly PeerConfig[] | undefined
  /** If absent, nothing can be revoked. */
  revocations?: Revocations
  /** How hosts are asked for the keys of their `did:web`s. If absent, a peer without `keys` has none. */
  didWeb?: DidWebOptions
}

/** Upper limit for the hosts whose keys are remembered. */
const MAX_HOSTS = 1024

/**
 * Decides whose signature counts for which DID. A `did:key` is its own key. The keys of a `did:web` are listed with its
 * peer, or are read from its host if the peer has none. A DID that is not a peer has no keys.
 */
export class Authority {
  readonly revocations: Revocations | undefined
  readonly aliases: readonly DID[]
  readonly #peers: Peers
  readonly #self: AuthorityOptions['self']
  readonly #attestors: ReadonlyMap<string, PeerConfig>
  readonly #didWeb: DidWebOptions | undefined
  /** Keys read from hosts, by `did:web`; the one used longest ago comes first. */
  readonly #hosts = new Map<DID, HostKeys>()

  constructor({
    peers = configuredPeers([]),
    self,
    aliases = [],
    attestors = [],
    revocations,
    didWeb,
  }: AuthorityOptions = {}) {
    this.aliases = aliases
    this.#attestors = new Map(attestors.map(attestor => [attestor.did, attestor]))
    this.#peers = peers
    this.#self = self
    this.revocations = revocations
    this.#didWeb = didWeb
  }

  /** All keys of the service itself: first the one that it signs with. */
  keysOf(id: Signer): DID<'key'>[] {
    const listed = this.#self?.did === id.did() ? this.#self.keys : undefined
    return [...new Set([id.toDIDKey(), ...(listed ?? [])])]
  }

  /**
   * Returns the context in which `@ucanto/server` checks views of an invocation. It adds revoked delegations to those of the
   * candidate.
   */
  context(id: Signer, { ucans, revoked }: Pick<Candidate, 'ucans' | 'revoked'> = NO_CANDIDATE()): Context {
    const check = this.revocations && revocationCheck(this.revocations)
    const context = {
      // Signatures of the service itself are verified with all its keys, including keys that it no longer signs with.
      id: verifierOf(id.did(), fixedKeys(this.keysOf(id))),
      audience: anyOf([id.did(), ...this.aliases]),
      proofs: [...this.#attestors.keys()].map(attestor => mayAttest(id.did(), attestor)),
      // `@ucanto/server` resolves a DID to keys, and verifies with what `principal` returns for each. It gets the DID
      // itself, and so one verifier, which tries all keys and fetches new ones.
      resolveDIDKey: async (did: DID) => {
        const keys = await this.#keysOf(did).known()
        return keys.length > 0 ? { ok: [did] } : { error: new DIDResolutionError(did) }
      },
      principal: {
        parse: (did: DID) => (isKey(did) ? principals.parse(did) : verifierOf(did, this.#keysOf(did))),
      },
      validateAuthorization: async (authorization: Authorization) => {
        const checked = (await check?.(authorization)) ?? { ok: {} }
        if (checked.error instanceof Revoked) revoked.add(`${checked.error.delegation.cid}`)
        return checked
      },
      // The views hide proofs that cannot be read, or are not needed. The error says why.
      resolve: async (link: UCANLink) => {
        const { error } = ucans.read(`${link}`)
        const isMissing = error?.name === 'UCANNotFound'
        const reason = isMissing ? undefined : new Error(error?.message ?? 'it is revoked or not needed')
        return { error: new UnavailableProof(link, reason) }
      },
    }
    return context as unknown as Context
  }

  /**
   * Whether a key of `signer` signed the receipt. False also if issuer, key or signature cannot be read. Throws if the keys
   * cannot be fetched now: then the answer is unknown.
   */
  async signed(receipt: Receipt, signer: Principal): Promise<boolean> {
    const did = issuerOf(receipt, signer)
    if (did === undefined) return false
    const keys = this.#keysOf(did)
    if ((await keys.known()).length === 0) return false
    try {
      const { ok } = await receipt.verifySignature(verifierOf(did, keys) as never)
      return ok !== undefined
    } catch {
      // Views decode lazily and throw on bytes that are not a signature.
      return false
    }
  }

  /** Whether a key of `did` signed the bytes. Throws if the keys cannot be fetched now. */
  async verifies(bytes: Uint8Array, signature: Signature, did: DID): Promise<boolean> {
    const keys = this.#keysOf(did)
    if ((await keys.known()).length === 0) return false
    return verifierOf(did, keys).verify(bytes as never, signature as never)
  }

  #keysOf(did: DID): Keys {
    if (isKey(did)) return fixedKeys([did])
    return {
      known: async () => (await this.#find(did)).known(),
      renew: async () => (await this.#find(did)).renew(),
    }
  }

  async #find(did: DID): Promise<Keys> {
    const peer =
      this.#self?.did === did && this.#self.keys
        ? this.#self
        : ((await this.#peers.find(did)) ?? this.#attestors.get(did))
    if (peer?.keys) return fixedKeys(peer.keys)
    return peer && this.#didWeb && did.startsWith('did:web:') ? this.#hostKeys(did, this.#didWeb) : NO_KEYS
  }

  #hostKeys(did: DID, didWeb: DidWebOptions): HostKeys {
    const keys = this.#hosts.get(did) ?? new HostKeys(did, didWeb)
    this.#hosts.delete(did)
    this.#hosts.set(did, keys)
    const [oldest] = this.#hosts.keys()
    if (this.#hosts.size > MAX_HOSTS && oldest) this.#hosts.delete(oldest)
    return keys
  }
}

const NO_KEYS = fixedKeys([])
const NO_CANDIDATE = () => ({ ucans: new Ucans(new Map()), revoked: new Set<string>() })

const isKey = (did: DID): did is DID<'key'> => did.startsWith('did:key:')

/** Returns the signer's DID, unless the receipt names another issuer. */
const issuerOf = (receipt: Receipt, signer: Principal): DID | undefined => {
  try {
    const did = signer.did()
    return receipt.issuer === undefined || receipt.issuer.did() === did ? did : undefined
  } catch {
    // Views decode lazily and throw on text that is not a DID.
    return undefined
  }
}

/** Returns a principal by its DID, without keys. */
export const principal = (did: string): Principal => parseDid(did as DID)
