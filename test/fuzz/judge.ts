import * as CBOR from '@ipld/dag-cbor'
import { CAR, UCAN } from '@ucanto/core'
import type { Capability } from '@ucanto/interface'
import { Verifier } from '@ucanto/principal'
import type { Cast, Role } from './corpus.ts'

type View = ReturnType<typeof UCAN.decode>
type Blocks = ReadonlyMap<string, Uint8Array>

/**
 * Says whether an invocation may succeed, from the bytes that were sent and without the code of the services: with the
 * published verifier of signatures, and rules of its own.
 */
export class Judge {
  readonly #cast: Cast
  /** Signatures looked at, by CID. Published libraries check them in JavaScript, slowly. */
  readonly #signed = new Map<string, boolean>()

  constructor(cast: Cast) {
    this.#cast = cast
  }

  /** Why the invocation must not succeed; `undefined` if it may. */
  async objection(
    task: string,
    blocks: Blocks,
    to: Role,
    now = Date.now() / 1000,
  ): Promise<string | undefined> {
    const service = this.#cast[to].did()
    const ucan = await this.#valid(task, blocks, now)
    if (typeof ucan === 'string') return ucan
    const [claim, ...others] = ucan.capabilities as unknown as Capability[]
    if (claim === undefined || others.length > 0) return 'it has not one capability'
    if (ucan.audience.did() !== service) return 'it is for somebody else'
    if (!(await this.#holds(ucan, claim, blocks, now))) return 'nobody delegated it'
    return this.#rule(claim, ucan.issuer.did(), to)
  }

  /** Beyond delegations: services know whom they work with. */
  #rule({ can, with: resource }: Capability, issuer: string, to: Role): string | undefined {
    const { storefront, aggregator, dealer, agent } = this.#cast
    const service = this.#cast[to].did()
    const among = (...known: { did(): string }[]) =>
      known.some(one => one.did() === resource) ? undefined : `${resource} is not known here`
    if (can === 'filecoin/submit' || can.endsWith('/accept'))
      return issuer === service && resource === service ? undefined : 'it is for the service alone'
    if (can === 'piece/offer') return among(storefront, aggregator)
    if (can === 'aggregate/offer') return among(aggregator, dealer)
    if (can === 'deal/info') return among(storefront, dealer, agent, this.#cast.dealTracker)
    if (can === 'ucan/conclude') return to === 'storefront' ? among(aggregator, dealer) : among(dealer)
    return undefined
  }

  /** The UCAN, if it is in force and its issuer signed it; else why not. */
  async #valid(cid: string, blocks: Blocks, now: number): Promise<View | string> {
    const bytes = blocks.get(cid)
    if (bytes === undefined) return `${cid} was not sent`
    const ucan = UCAN.decode(bytes as never)
    if (ucan.expiration <= now) return `${cid} is over`
    if ((ucan.notBefore ?? 0) > now) return `${cid} is not begun`
    const known = this.#signed.get(cid) ?? (await signedBy(ucan))
    this.#signed.set(cid, known)
    return known ? ucan : `${cid} is not signed by its issuer`
  }

  /** Whether the issuer is the resource, or was given it. */
  async #holds(ucan: View, claim: Capability, blocks: Blocks, now: number): Promise<boolean> {
    if (claim.with === ucan.issuer.did()) return true
    for (const link of ucan.proofs) {
      const proof = await this.#valid(`${link}`, blocks, now)
      if (typeof proof === 'string' || proof.audience.did() !== ucan.issuer.did()) continue
      for (const given of proof.capabilities as unknown as Capability[])
        if (covers(given, claim) && (await this.#holds(proof, claim, blocks, now))) return true
    }
    return false
  }
}

const signedBy = async (ucan: View): Promise<boolean> => {
  try {
    return await UCAN.verifySignature(ucan, Verifier.parse(ucan.issuer.did()) as never)
  } catch {
    return false
  }
}

const covers = (given: Capability, claim: Capability): boolean => {
  const ability =
    given.can === claim.can ||
    (given.can as string) === '*' ||
    (given.can.endsWith('/*') && claim.can.startsWith(given.can.slice(0, -1)))
  const resource = given.with === claim.with || given.with === 'ucan:*'
  const nb = (claim.nb ?? {}) as Record<string, unknown>
  return (
    ability &&
    resource &&
    Object.entries((given.nb ?? {}) as object).every(([name, value]) => same(value, nb[name]))
  )
}

/** Caveats that an ability does not define bind nobody: that is how published validators read them. */
const same = (one: unknown, other: unknown): boolean =>
  other === undefined || Buffer.from(CBOR.encode(one as never)).equals(CBOR.encode(other as never))

/** The receipts in an answer: which task each is of, and what came of it. */
export interface Told {
  task: string
  out: { ok?: unknown; error?: { name?: string; message?: string } }
}

export const receiptsIn = (car: Uint8Array): Told[] => {
  const { roots, blocks } = CAR.decode(car as never)
  const message = CBOR.decode<Answer>(roots[0]!.bytes as never)['ucanto/message@7.0.0']
  return Object.values(message.report ?? {}).map(link => {
    const { ocm } = CBOR.decode<{ ocm: { ran: unknown; out: Told['out'] } }>(
      blocks.get(`${link}`)!.bytes as never,
    )
    return { task: `${ocm.ran}`, out: ocm.out }
  })
}

type Answer = { 'ucanto/message@7.0.0': { report?: Record<string, unknown> } }
