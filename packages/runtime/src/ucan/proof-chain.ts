import type { Block, Capability, Receipt } from '@ucanto/interface'
import { coversAbility, type Failure, failure, type Result } from '@w3filecoin/capabilities'
import { CID } from 'multiformats/cid'
import { principals } from './principal.ts'
import { isTaskCid } from './task.ts'
import { type BlockMap, decodeUcan, didBytes, type Ucan } from './ucanto.ts'

/**
 * Limits of one UCAN: its `bytes`, the length of a `text` in it (characters, or bytes of a byte string), the bytes of a
 * `link` and of a `did`, and the depth of `nesting`. A text fits into a database key, and the nesting does not exhaust the
 * stack. DIDs are short because the time to write one in base 58 grows with the square of its length.
 */
export const UCAN_LIMITS = { bytes: 65_536, text: 1_024, link: 128, did: 256, nesting: 32 }

/** Limits of the proofs of all UCANs in one message. */
export interface ChainLimits {
  /** Maximum length of a chain of delegations. */
  depth: number
  /**
   * Maximum number of signature checks in the worst case. `@ucanto/validator` tries every path through the proofs, and
   * verifies a proof reachable by several paths once per path: n levels of two proofs are 2^n paths.
   */
  checks: number
}

/** The cost of checking a UCAN with its proofs. */
interface Cost {
  depth: number
  checks: number
}

/**
 * Bounds the cost of checking UCANs, before any is checked or run. Reads each UCAN and its proofs once, and counts the
 * signature checks that they may need. The limits apply to the sum over all UCANs passed to one instance.
 */
export class Chains {
  readonly #blocks: BlockMap
  readonly #limits: ChainLimits
  readonly #ucans = new Map<string, Ucan>()
  #left: number

  constructor(blocks: BlockMap, limits: ChainLimits) {
    this.#blocks = blocks
    this.#limits = limits
    this.#left = limits.checks
  }

  /**
   * Reads a UCAN with those of its proofs whose blocks are present, and adds their cost.
   *
   * Fails with `MessageTooLarge` or `MalformedMessage`.
   *
   * @param claim the capability that the proofs are checked for. Default: that of the UCAN.
   */
  take(link: { toString(): string }, claim?: Capability): Result<object> {
    try {
      const ucan = this.#read(`${link}`)
      if (ucan === undefined) return { error: malformedUcan(link, 'its block is missing') }
      this.#left -= this.#cost(ucan, claim ?? ucan.capabilities[0], 0, new Map()).checks
      return { ok: {} }
    } catch (cause) {
      const { message } = cause as Error
      return {
        error: cause instanceof TooLarge ? failure('MessageTooLarge', message) : malformedUcan(link, message),
      }
    }
  }

  /** Does the same for the tasks and proofs of a receipt whose blocks are present. */
  takeTasks({ root }: Receipt): Result<object> {
    const { ran, fx, prf = [] } = root.data!.ocm
    const links = [ran, ...fx.fork, ...(fx.join ? [fx.join] : []), ...prf]
    for (const link of links) {
      const taken = this.#blocks.has(`${link}`) ? this.take(link) : { ok: {} }
      if (taken.error) return taken
    }
    return { ok: {} }
  }

  #read(cid: string): Ucan | undefined {
    const known = this.#ucans.get(cid)
    if (known !== undefined) return known
    const block = this.#blocks.get(cid)
    if (block === undefined) return undefined
    const ucan = readUcan(block)
    this.#ucans.set(cid, ucan)
    return ucan
  }

  /** Counts every path through the proofs, once for each capability of a proof that may cover the claim. */
  #cost(ucan: Ucan, claim: Capability | undefined, depth: number, known: Map<Ucan, Cost>): Cost {
    const cost = known.get(ucan)
    if (depth + (cost?.depth ?? 0) > this.#limits.depth)
      throw new TooLarge(`A chain of delegations is longer than ${this.#limits.depth}`)
    if (cost !== undefined) return cost
    const proofs = ucan.proofs.map(link => this.#read(`${link}`)).filter(proof => proof !== undefined)
    const costs = proofs.map(proof => this.#cost(proof, claim, depth + 1, known))
    const sum = costs.reduce((sum, { checks }, n) => sum + checks * countCovering(proofs[n]!, claim), 1)
    const total = {
      depth: 1 + Math.max(-1, ...costs.map(({ depth }) => depth)),
      checks: sum + countAttestationChecks(proofs, costs),
    }
    if (total.checks > this.#left)
      throw new TooLarge(`The delegations need more than ${this.#limits.checks} signature checks`)
    known.set(ucan, total)
    return total
  }
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

const isIssuedByOther = ({ issuer }: Ucan) => !issuer.did().startsWith('did:key:')
const isAttestation = ({ capabilities: [first] }: Ucan) => first?.can === 'ucan/attest'

/** Counts the capabilities that may cover the claim; at least 1, because a proof without any is checked too. */
const countCovering = ({ capabilities }: Ucan, claim: Capability | undefined): number =>
  Math.max(1, capabilities.filter(given => claim !== undefined && mayCover(given, claim)).length)

const mayCover = (given: Capability, claim: Capability): boolean =>
  (given.with === claim.with || given.with === 'ucan:*') && coversAbility(given.can, claim.can)

/** Reads a UCAN completely, because views decode lazily. Throws if it is malformed or exceeds a limit. */
const readUcan = ({ cid, bytes }: Block): Ucan => {
  if (bytes.byteLength > UCAN_LIMITS.bytes)
    throw new TooLarge(`A UCAN has ${bytes.byteLength} bytes, more than ${UCAN_LIMITS.bytes}`)
  const ucan = decodeUcan(bytes)
  // Otherwise one invocation would be a different task, with a receipt of its own, under each codec.
  if (!isTaskCid(cid as unknown as CID) || cid.code !== ucan.code)
    throw new Error('its CID is not a CIDv1 with the codec of its format')
  for (const did of didBytes(ucan))
    if (did.byteLength > UCAN_LIMITS.did) throw tooLong('DID', UCAN_LIMITS.did)
  const issuer = ucan.issuer.did()
  // Throws on unsupported kinds of keys, because their signatures cannot be checked.
  if (issuer.startsWith('did:key:')) principals.parse(issuer)
  checkValue([ucan.capabilities, ucan.facts, ucan.nonce, ucan.proofs], 0)
  return ucan
}

const checkValue = (value: unknown, nesting: number): void => {
  if (typeof value === 'string') {
    if (value.length > UCAN_LIMITS.text) throw tooLong('text', UCAN_LIMITS.text)
  } else if (typeof value === 'object' && value !== null) {
    const cid = CID.asCID(value)
    if (cid) {
      if (cid.bytes.byteLength > UCAN_LIMITS.link) throw tooLong('link', UCAN_LIMITS.link)
    } else if (value instanceof Uint8Array) {
      if (value.byteLength > UCAN_LIMITS.text) throw tooLong('byte string', UCAN_LIMITS.text)
    } else {
      // Reject `__proto__`: the decoder sets the prototype, so the value differs from its bytes.
      if (![Object.prototype, Array.prototype].includes(Object.getPrototypeOf(value)))
        throw new Error('a value sets its prototype')
      if (nesting === UCAN_LIMITS.nesting)
        throw new TooLarge(`A UCAN is nested more than ${UCAN_LIMITS.nesting} levels deep`)
      for (const [name, part] of Object.entries(value)) {
        // Reject keys such as `toString`: stringifying the value would call attacker-supplied data.
        if (name in Object.prototype) throw new Error('a value has a key that all objects inherit')
        checkValue(name, nesting)
        checkValue(part, nesting + 1)
      }
    }
  }
}

/** A UCAN exceeds a limit. Thrown deep inside the reader, and returned as a failure. */
class TooLarge extends Error {}

const tooLong = (what: string, max: number) => new TooLarge(`A UCAN has a ${what} of more than ${max} bytes`)

/** Cuts the reason, because error messages of libraries may quote their whole input. */
const malformedUcan = (link: { toString(): string }, why: string): Failure =>
  failure('MalformedMessage', `${link} is not a UCAN: ${why.slice(0, 200)}`)
