import { createPublicKey, type JsonWebKey } from 'node:crypto'
import * as CBOR from '@ipld/dag-cbor'
import { UCAN } from '@ucanto/core'
import type { Capability } from '@ucanto/interface'
import { Verifier } from '@ucanto/principal'
import { base58btc } from 'multiformats/bases/base58'
import type { Cast, Role } from './corpus.ts'

type View = ReturnType<typeof UCAN.decode>
type Blocks = ReadonlyMap<string, Uint8Array>

/**
 * Decides from the bytes that were sent whether an invocation may succeed. It shares no code with the services: it has its
 * own rules, and the published library verifies signatures.
 */
export class AuthorizationOracle {
  readonly #cast: Cast
  /** Whether the signature of a UCAN is valid, by CID: verifying in JavaScript is slow. */
  readonly #verified = new Map<string, boolean>()

  constructor(cast: Cast) {
    this.#cast = cast
  }

  /** Returns why the invocation must not succeed, e.g. `no proof delegates it`; `undefined` if it may. */
  async findObjection(
    task: string,
    blocks: Blocks,
    to: Role,
    now = Date.now() / 1000,
  ): Promise<string | undefined> {
    const service = this.#cast[to].did()
    const ucan = await this.#readValid(task, blocks, now)
    if (typeof ucan === 'string') return ucan
    const [claim, ...others] = ucan.capabilities as unknown as Capability[]
    if (claim === undefined || others.length > 0) return 'it does not have exactly one capability'
    if (ucan.audience.did() !== service) return 'it is for another audience'
    if (!(await this.#mayInvoke(ucan, claim, blocks, now))) return 'no proof delegates it'
    return this.#checkRule(claim, ucan.issuer.did(), to)
  }

  /** Checks the rules beyond delegation: a service accepts offers and receipts only for the principals that it knows. */
  #checkRule({ can, with: resource }: Capability, issuer: string, to: Role): string | undefined {
    const { storefront, aggregator, dealer, agent } = this.#cast
    const service = this.#cast[to].did()
    const among = (...known: { did(): string }[]) =>
      known.some(one => one.did() === resource) ? undefined : `${resource} is unknown to this service`
    if (OWN_TASKS.includes(can))
      return issuer === service && resource === service ? undefined : 'only the service itself may invoke it'
    if (to === 'aggregator' && OFFERS.aggregator.includes(can)) return among(storefront, aggregator)
    // The aggregator of the stage may offer for every tenant that has delegated to it.
    if (to === 'dealer' && OFFERS.dealer.includes(can))
      return issuer === aggregator.did() ? undefined : among(aggregator, dealer)
    if (can === 'aggregate/get') return among(storefront, aggregator, dealer)
    if (QUESTIONS.includes(can)) return among(storefront, aggregator, dealer, agent, this.#cast.dealTracker)
    if (can === 'ucan/conclude') return to === 'storefront' ? among(aggregator, dealer) : among(dealer)
    return undefined
  }

  /** Whether the service attests, in a proof of the same UCAN, that the issuer of a proof issued it. */
  async #isAttested(cid: string, ucan: View, blocks: Blocks, now: number): Promise<boolean> {
    const service = this.#cast.storefront.did()
    for (const link of ucan.proofs) {
      if (`${link}` === cid) continue
      const proof = await this.#readValid(`${link}`, blocks, now)
      if (typeof proof === 'string' || proof.audience.did() !== ucan.issuer.did()) continue
      for (const given of proof.capabilities as unknown as Capability[])
        if (
          given.can === 'ucan/attest' &&
          given.with === service &&
          proof.issuer.did() === service &&
          `${(given.nb as { proof?: unknown }).proof}` === cid
        )
          return true
    }
    return false
  }

  /**
   * Returns the UCAN if it is in force and its issuer signed it, else the reason against it.
   *
   * @param isAttested the UCAN needs no signature, because a service confirms that its issuer issued it
   */
  async #readValid(cid: string, blocks: Blocks, now: number, isAttested = false): Promise<View | string> {
    const bytes = blocks.get(cid)
    if (bytes === undefined) return `${cid} was not sent`
    const ucan = UCAN.decode(bytes as never)
    if (ucan.expiration <= now) return `${cid} has expired`
    if ((ucan.notBefore ?? 0) > now) return `${cid} is not valid yet`
    const verified = this.#verified.get(cid) ?? (await verifySignature(ucan))
    this.#verified.set(cid, verified)
    return verified || isAttested ? ucan : `${cid} is not signed by its issuer`
  }

  /** Returns whether the issuer is the resource, or a chain of proofs delegates the claim to the issuer. */
  async #mayInvoke(ucan: View, claim: Capability, blocks: Blocks, now: number): Promise<boolean> {
    if (claim.with === ucan.issuer.did()) return true
    for (const link of ucan.proofs) {
      const isAttested = await this.#isAttested(`${link}`, ucan, blocks, now)
      const proof = await this.#readValid(`${link}`, blocks, now, isAttested)
      if (typeof proof === 'string' || proof.audience.did() !== ucan.issuer.did()) continue
      for (const given of proof.capabilities as unknown as Capability[])
        if (covers(given, claim) && (await this.#mayInvoke(proof, claim, blocks, now))) return true
    }
    return false
  }
}

const verifySignature = async (ucan: View): Promise<boolean> => {
  try {
    const did = ucan.issuer.did()
    const verifier = did.startsWith('did:key:zDn') ? p256Verifier(did) : Verifier.parse(did)
    return await UCAN.verifySignature(ucan, verifier as never)
  } catch {
    return false
  }
}

const ES256 = 0xd01200
/** The header of a SubjectPublicKeyInfo with a compressed point of P-256. */
const P256_SPKI = Buffer.from('3039301306072a8648ce3d020106082a8648ce3d030107032200', 'hex')

/** The published library does not have P-256: OpenSSL reads the point, and WebCrypto verifies. */
const p256Verifier = (did: string) => ({
  did: () => did,
  verify: async (
    payload: Uint8Array<ArrayBuffer>,
    signature: { code: number; raw: Uint8Array<ArrayBuffer> },
  ) => {
    const point = base58btc.decode(did.slice('did:key:'.length)).subarray(2)
    const jwk = createPublicKey({
      key: Buffer.concat([P256_SPKI, point]),
      format: 'der',
      type: 'spki',
    }).export({ format: 'jwk' })
    const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
    const key = await crypto.subtle.importKey('jwk', jwk as JsonWebKey, algorithm, false, ['verify'])
    return signature.code === ES256 && crypto.subtle.verify(algorithm, key, signature.raw, payload)
  },
})

/** The tasks that services promise, and that no other principal may invoke. */
const OWN_TASKS = [
  'filecoin/submit',
  'filecoin/accept',
  'piece/accept',
  'aggregate/accept',
  'deal/accept',
  'piece/verify',
  'aggregate/arrange',
  'offer/arrange',
]

/** The offers that the services accept, in all vocabularies. */
const OFFERS = {
  aggregator: ['piece/offer', 'aggregate/add', 'aggregate/queue', 'aggregate/offer'],
  dealer: ['aggregate/offer', 'deal/add', 'deal/queue', 'deal/offer'],
}

/** The questions to the deal tracker. */
const QUESTIONS = ['deal/info', 'chain-tracker/info', 'chain/info', 'dealtracker/info']

const TENANT = ['storefront', 'label', 'deal']

/** The caveats that each ability defines, from the protocol and its dialects. */
const CAVEATS: Record<string, readonly string[]> = {
  'filecoin/offer': ['content', 'piece', 'PDP'],
  'filecoin/submit': ['content', 'piece'],
  'filecoin/accept': ['content', 'piece'],
  'filecoin/info': ['piece', 'task'],
  'piece/offer': ['piece', 'group', 'provider', 'link'],
  'piece/accept': ['piece', 'group'],
  'piece/info': ['piece', 'group', 'nonce'],
  'aggregate/offer': ['aggregate', 'pieces', 'offer', 'piece', 'group'],
  'aggregate/accept': ['aggregate', 'pieces', 'piece', 'group'],
  'aggregate/list': ['after', 'limit'],
  'deal/info': ['piece', 'aggregate'],
  'deal/report': ['offer', 'place', 'fault'],
  'deal/watch': ['dealID', 'source'],
  'piece/add': ['link', 'piece'],
  'piece/verify': ['link', 'piece'],
  'filecoin/add': ['content', 'piece'],
  'filecoin/queue': ['content', 'piece'],
  'aggregate/add': ['piece', 'storefront', 'group'],
  'aggregate/queue': ['piece', 'group'],
  'aggregate/arrange': ['piece', 'aggregate'],
  'aggregate/get': ['piece'],
  'deal/add': ['aggregate', 'pieces', 'offer', 'piece', ...TENANT],
  'deal/queue': ['aggregate', 'pieces', 'storefront', 'label'],
  'deal/offer': ['aggregate', 'pieces'],
  'deal/accept': ['aggregate', 'pieces'],
  'offer/arrange': ['piece'],
  'chain-tracker/info': ['piece'],
  'chain/info': ['piece'],
  'dealtracker/info': ['piece'],
  'ucan/conclude': ['receipt'],
  'ucan/revoke': ['ucan', 'proof'],
}

const coversAbility = (pattern: string, can: string): boolean =>
  pattern === can || pattern === '*' || (pattern.endsWith('/*') && can.startsWith(pattern.slice(0, -1)))

/** Whether some ability that a delegation covers defines each of its caveats. */
const isEnforceable = ({ can, nb }: Capability): boolean => {
  const known = Object.keys(CAVEATS).flatMap(ability =>
    coversAbility(can, ability) ? CAVEATS[ability]! : [],
  )
  return Object.keys(nb ?? {}).every(name => known.includes(name))
}

const covers = (given: Capability, claim: Capability): boolean => {
  const ability = coversAbility(given.can, claim.can) && isEnforceable(given)
  const resource = given.with === claim.with || given.with === 'ucan:*'
  const nb = (claim.nb ?? {}) as Record<string, unknown>
  return (
    ability &&
    resource &&
    Object.entries((given.nb ?? {}) as object).every(([name, value]) => isSameValue(value, nb[name]))
  )
}

/** A caveat that the claim does not have does not restrict it: published validators treat caveats this way. */
const isSameValue = (one: unknown, other: unknown): boolean =>
  other === undefined || Buffer.from(CBOR.encode(one as never)).equals(CBOR.encode(other as never))
