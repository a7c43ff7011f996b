import type { Capability, Invocation, Receipt } from '@ucanto/interface'
import { coversAbility, failure, type Result } from '@w3filecoin/capabilities'
import { type AnyLink, linkText, type Ucan } from '@w3filecoin/capabilities/codec'
import type { Ucans } from './ucans.ts'
import { didBytes, hasKey, isExpired, viewInvocation } from './ucanto.ts'

/** Limits of the proofs of UCANs. */
export interface ChainLimits {
  /** Maximum length of a chain of delegations. */
  depth: number
  /**
   * Maximum number of signature checks in the worst case. `@ucanto/validator` tries every path through the proofs, and
   * verifies a proof reachable by several paths once per path: n levels of two proofs are 2^n paths. A check with long DIDs or
   * many links counts several times, see `weightOf`.
   */
  checks: number
}

/** The cost of checking a UCAN with its proofs. */
interface Cost {
  depth: number
  checks: number
}

/** The proofs of a UCAN that are read, by their CIDs. */
type ProofsOf = (ucan: Ucan) => ReadonlyMap<string, Ucan>

/** Thrown deep inside the count, and returned as a failure. */
class TooManyProofs extends Error {
  override name = 'TooManyProofs'
}

/**
 * Bounds the cost of checking UCANs whose proofs must all be valid, e.g. those of a receipt. The limits apply to the sum
 * over all UCANs passed to one instance.
 */
export class Chains {
  readonly #ucans: Ucans
  readonly #limits: ChainLimits
  #left: number

  constructor(ucans: Ucans, limits: ChainLimits) {
    this.#ucans = ucans
    this.#limits = limits
    this.#left = limits.checks
  }

  /**
   * Reads a UCAN with those of its proofs whose blocks are present, and adds their cost.
   *
   * Fails with the errors of `Ucans.read`, and with `TooManyProofs`.
   */
  take(link: AnyLink): Result<object> {
    const ucan = this.#ucans.read(linkText(link))
    if (ucan.error) return ucan
    try {
      const limits = { ...this.#limits, checks: this.#left }
      this.#left -= countCost(ucan.ok, ucan.ok.capabilities[0], this.#proofsOf, limits).checks
      return { ok: {} }
    } catch (cause) {
      const { name, message } = cause as Error
      return { error: failure(name, `${link}: ${message}`) }
    }
  }

  /** Does the same for the tasks and proofs of a receipt whose blocks are present. */
  takeTasks({ root }: Receipt): Result<object> {
    const { ran, fx, prf = [] } = root.data!.ocm
    const links = [ran, ...fx.fork, ...(fx.join ? [fx.join] : []), ...prf]
    for (const link of links) {
      const taken = this.#ucans.blocks.has(linkText(link)) ? this.take(link) : { ok: {} }
      if (taken.error) return taken
    }
    return { ok: {} }
  }

  #proofsOf: ProofsOf = ucan => {
    const present = ucan.proofs.map(linkText).filter(link => this.#ucans.blocks.has(link))
    return new Map(
      present.map(link => {
        const proof = this.#ucans.read(link)
        if (proof.error) throw Object.assign(new Error(proof.error.message), { name: proof.error.name })
        return [link, proof.ok]
      }),
    )
  }
}

/** An invocation whose authorization is to be checked, and what its checks may still cost. */
export interface Candidate {
  ucans: Ucans
  /** CID of the invocation, which can be read. */
  cid: string
  /** Each check of this invocation reduces the number of signature checks. */
  limits: ChainLimits
  /** CIDs of delegations that the check found to be revoked. */
  revoked: Set<string>
}

/**
 * Yields views of an invocation to check one after the other until one is authorized. A proof that cannot be read or is
 * revoked is hidden. If the checks of all proofs cost more than the limit, proofs that do not lead to the claim are hidden;
 * if the remaining ones still cost more, each proof of the invocation is tried alone. So a bad or unneeded proof beside a
 * valid chain does no harm. The views of all claims together cost at most the limit.
 *
 * @param claim the capability that the proofs are checked for. Default: that of the invocation.
 */
export function* viewsOf(candidate: Candidate, claim?: Capability): Generator<Invocation> {
  const { ucans, cid, revoked, limits } = candidate
  const invocation = ucans.read(cid).ok as Ucan
  const claimed = claim ?? (invocation.capabilities[0] as Capability)
  const readable = remember(ucan => readableProofs(ucans, ucan))
  const needed = remember(ucan => neededProofs(ucan, claimed, readable(ucan)))
  const alone =
    (link: string): ProofsOf =>
    ucan =>
      ucan === invocation ? withAttestations(needed(ucan), link) : needed(ucan)
  /** Yields views without the proofs that a check finds to be revoked. Returns whether the limit admits any. */
  const tryProofs = function* (select: ProofsOf): Generator<Invocation, boolean> {
    const proofsOf: ProofsOf = ucan =>
      revoked.size === 0 ? select(ucan) : new Map([...select(ucan)].filter(([link]) => !revoked.has(link)))
    let isAdmitted = false
    for (let known = -1; known < revoked.size; ) {
      known = revoked.size
      try {
        limits.checks -= countCost(invocation, claimed, proofsOf, limits).checks
      } catch (cause) {
        if (cause instanceof TooManyProofs) return isAdmitted
        throw cause
      }
      isAdmitted = true
      yield viewInvocation(cid, ucans.blocks, proofCid => {
        const ucan = ucans.read(proofCid).ok as Ucan
        return { links: ucan.proofs.map(linkText), visible: new Set(proofsOf(ucan).keys()) }
      })
    }
    return true
  }
  if (yield* tryProofs(readable)) return
  if (yield* tryProofs(needed)) return
  for (const link of needed(invocation).keys()) yield* tryProofs(alone(link))
}

/** Computes the proofs of each UCAN once. */
const remember = (compute: ProofsOf): ProofsOf => {
  const known = new Map<Ucan, ReadonlyMap<string, Ucan>>()
  return ucan => {
    const proofs = known.get(ucan) ?? compute(ucan)
    known.set(ucan, proofs)
    return proofs
  }
}

/** Returns an invocation without its proofs. A receipt of a refused invocation has no blocks of proofs. */
export const viewWithoutProofs = ({ ucans, cid }: Pick<Candidate, 'ucans' | 'cid'>): Invocation =>
  viewInvocation(cid, ucans.blocks, () => ({
    links: ucans.read(cid).ok?.proofs.map(linkText) ?? [],
    visible: new Set(),
  }))

/** The most proofs of one UCAN that are read. */
const MAX_PROOFS = 500

const readableProofs = (ucans: Ucans, { proofs }: Ucan): Map<string, Ucan> => {
  const readable = new Map<string, Ucan>()
  for (const link of proofs.slice(0, MAX_PROOFS).map(linkText)) {
    const proof = ucans.read(link).ok
    if (proof) readable.set(link, proof)
  }
  return readable
}

/**
 * Selects the proofs that may lead from a UCAN to the claim: delegations to the issuer that are in time and cover the claim,
 * with the attestations of these. An attestation is a claim itself.
 */
const neededProofs = (
  ucan: Ucan,
  claim: Capability,
  readable: ReadonlyMap<string, Ucan>,
): ReadonlyMap<string, Ucan> => {
  const claimed = isAttestation(ucan) ? (ucan.capabilities[0] as Capability) : claim
  const proofs = [...readable].filter(([, proof]) => isFor(proof, ucan) && !isExpired(proof))
  const covering = proofs.filter(([, proof]) => proof.capabilities.some(given => mayCover(given, claimed)))
  const selected = new Map(covering)
  for (const [link, proof] of proofs)
    if (isAttestation(proof) && selected.has(`${attestedBy(proof)}`)) selected.set(link, proof)
  return selected
}

/** Returns one of the proofs, with its attestations. */
const withAttestations = (proofs: ReadonlyMap<string, Ucan>, link: string): ReadonlyMap<string, Ucan> =>
  new Map(
    [...proofs].filter(
      ([other, proof]) => other === link || (isAttestation(proof) && `${attestedBy(proof)}` === link),
    ),
  )

/**
 * Counts the signature checks of every path through the proofs, once for each capability of a proof that may cover the
 * claim. Throws `TooManyProofs` if a limit is exceeded.
 */
const countCost = (
  root: Ucan,
  claim: Capability | undefined,
  proofsOf: ProofsOf,
  limits: ChainLimits,
): Cost => {
  const known = new Map<Ucan, Cost>()
  let visited = 0
  const tooManyChecks = () =>
    new TooManyProofs(`The delegations need more than ${limits.checks} signature checks`)
  const count = (ucan: Ucan, depth: number): Cost => {
    const cost = known.get(ucan)
    if (depth + (cost?.depth ?? 0) > limits.depth)
      throw new TooManyProofs(`A chain of delegations is longer than ${limits.depth}`)
    if (cost !== undefined) return cost
    // Each UCAN costs one check at least.
    visited += 1
    if (visited > limits.checks) throw tooManyChecks()
    const proofs = [...proofsOf(ucan).values()]
    const costs = proofs.map(proof => count(proof, depth + 1))
    const sum = costs.reduce(
      (sum, { checks }, n) => sum + checks * countCovering(proofs[n]!, claim),
      weightOf(ucan),
    )
    const total = {
      depth: 1 + Math.max(-1, ...costs.map(({ depth }) => depth)),
      checks: sum + countAttestationChecks(proofs, costs),
    }
    if (total.checks > limits.checks) throw tooManyChecks()
    known.set(ucan, total)
    return total
  }
  return count(root, 0)
}

/**
 * Counts the signature checks for attestations (`ucan/attest`). A UCAN issued by a DID other than a `did:key` may be
 * attested by any attestation beside it. An attestation issued by such a DID may in turn be attested by the remaining ones.
 */
const countAttestationChecks = (proofs: readonly Ucan[], costs: readonly Cost[]): number => {
  const [byOthers, byKeys] = [proofs.filter(isIssuedByOther), proofs.filter(proof => !isIssuedByOther(proof))]
  const attested =
    countOrders(byOthers.filter(isAttestation).length) * (1 + byKeys.filter(isAttestation).length)
  const most = Math.max(0, ...proofs.map((proof, n) => (isAttestation(proof) ? costs[n]!.checks : 0)))
  return most === 0 ? 0 : byOthers.length * attested * most
}

/** Counts the ordered selections of any size from `count` elements. */
const countOrders = (count: number): number => (count === 0 ? 1 : 1 + count * countOrders(count - 1))

/** Links of proofs that count as one signature check. */
const LINKS_PER_CHECK = 12

/**
 * Returns how often a check of a UCAN counts: one with Ed25519 or P-256 keys takes about 150 µs, and counts once. The
 * validator writes each DID as text about five times. For an RSA key that takes longer than the check: 150 µs for each time
 * with 2048 bits, 500 µs with 4096. And it decodes and encodes the links of all proofs, also of those that are hidden: 720
 * links take about 30 ms.
 */
const weightOf = (ucan: Ucan): number => {
  const { issuer, audience } = didBytes(ucan)
  const ofDid = (did: Uint8Array) => (hasKey(did) ? Math.floor(did.byteLength ** 2 / 20_000) : 0)
  return 1 + ofDid(issuer) + ofDid(audience) + Math.floor(ucan.proofs.length / LINKS_PER_CHECK)
}

/** Whether a proof delegates to the issuer of a UCAN. */
const isFor = (proof: Ucan, ucan: Ucan): boolean =>
  Buffer.from(didBytes(proof).audience).equals(didBytes(ucan).issuer)

const isIssuedByOther = (ucan: Ucan) => !hasKey(didBytes(ucan).issuer)
const isAttestation = ({ capabilities: [first] }: Ucan) => first?.can === 'ucan/attest'
const attestedBy = ({ capabilities: [first] }: Ucan) => (first?.nb as { proof?: unknown } | undefined)?.proof

/** Counts the capabilities that may cover the claim; at least 1, because a proof without any is checked too. */
const countCovering = ({ capabilities }: Ucan, claim: Capability | undefined): number =>
  Math.max(1, capabilities.filter(given => claim !== undefined && mayCover(given, claim)).length)

const mayCover = (given: Capability, claim: Capability): boolean =>
  (given.with === claim.with || given.with === 'ucan:*') && coversAbility(given.can, claim.can)
