import type { Block, Capability, Receipt } from '@ucanto/interface'
import { type Failure, failure, type Result } from '@w3filecoin/capabilities'
import { CID } from 'multiformats/cid'
import { principals } from './principal.ts'
import { type BlockMap, decodeUcan, didBytes, type Ucan } from './ucanto.ts'

/**
 * What a UCAN may hold. Nothing in it is longer than a key in a database may be, or nested deeper than a stack bears;
 * DIDs are written in base 58, which takes time with the square of their length.
 */
export const UCAN_LIMITS = { bytes: 65_536, text: 1_024, link: 128, did: 256, nesting: 32 }

/** How far the delegations may go that an invocation, or all of a message, rests on. */
export interface ChainLimits {
  /** Delegations one upon another. */
  depth: number
  /**
   * Signatures that are looked at in the worst case. `@ucanto/validator` tries every way up through the proofs, and
   * what several ways lead to it looks at again on each: n levels of two proofs are 2^n ways.
   */
  checks: number
}

/** The cost of the way up from a UCAN. */
interface Cost {
  depth: number
  checks: number
}

/**
 * Looks at what UCANs rest on, before anything is checked or run: reads each UCAN once, and counts what it would take
 * to check their signatures. The limits hold for all that one of these has looked at together.
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
   * Takes a UCAN with its proofs, as far as their blocks are there.
   *
   * Fails with `MessageTooLarge` or `MalformedMessage`.
   */
  take(link: { toString(): string }): Result<object> {
    try {
      const ucan = this.#read(`${link}`)
      if (ucan === undefined) return { error: unreadable(link, 'its block is not there') }
      this.#left -= this.#cost(ucan, ucan.capabilities[0], 0, new Map()).checks
      return { ok: {} }
    } catch (cause) {
      const { message } = cause as Error
      return {
        error: cause instanceof TooLarge ? failure('MessageTooLarge', message) : unreadable(link, message),
      }
    }
  }

  /** Takes the tasks that a receipt tells of, as far as their blocks are there. */
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

  /** Every way up counts, as often as one of a UCAN's capabilities fits the claim. */
  #cost(ucan: Ucan, claim: Capability | undefined, depth: number, known: Map<Ucan, Cost>): Cost {
    const cost = known.get(ucan)
    if (depth + (cost?.depth ?? 0) > this.#limits.depth)
      throw new TooLarge(`More than ${this.#limits.depth} delegations stand one upon another`)
    if (cost !== undefined) return cost
    const proofs = ucan.proofs.map(link => this.#read(`${link}`)).filter(proof => proof !== undefined)
    const costs = proofs.map(proof => this.#cost(proof, claim, depth + 1, known))
    const sum = costs.reduce((sum, { checks }, n) => sum + checks * fitting(proofs[n]!, claim), 1)
    const made = {
      depth: 1 + Math.max(-1, ...costs.map(({ depth }) => depth)),
      checks: sum + sessions(proofs, costs),
    }
    if (made.checks > this.#left)
      throw new TooLarge(`The signatures of delegations would take more than ${this.#limits.checks} checks`)
    known.set(ucan, made)
    return made
  }
}

/**
 * What it takes to find out whether UCANs of others than keys are attested (`ucan/attest`): each looks at all
 * attestations beside it, and those that are not of keys look for attestations themselves, among the ones that are left.
 */
const sessions = (proofs: readonly Ucan[], costs: readonly Cost[]): number => {
  const [byOthers, byKeys] = [proofs.filter(isOther), proofs.filter(proof => !isOther(proof))]
  const attested = orders(byOthers.filter(isAttestation).length) * (1 + byKeys.filter(isAttestation).length)
  const most = Math.max(0, ...proofs.map((proof, n) => (isAttestation(proof) ? costs[n]!.checks : 0)))
  return most === 0 ? 0 : byOthers.length * attested * most
}

/** In how many orders some of so many can come. */
const orders = (count: number): number => (count === 0 ? 1 : 1 + count * orders(count - 1))

const isOther = ({ issuer }: Ucan) => !issuer.did().startsWith('did:key:')
const isAttestation = ({ capabilities: [first] }: Ucan) => first?.can === 'ucan/attest'

/** The capabilities that may stand for the claim. One that none fits is looked at all the same. */
const fitting = ({ capabilities }: Ucan, claim: Capability | undefined): number =>
  Math.max(1, capabilities.filter(given => claim !== undefined && fits(given, claim)).length)

const fits = (given: Capability, claim: Capability): boolean =>
  (given.with === claim.with || given.with === 'ucan:*') &&
  (given.can === claim.can ||
    given.can === '*' ||
    (given.can.endsWith('/*') && claim.can.startsWith(given.can.slice(0, -1))))

/** Reads a UCAN and all that is in it; views decode lazily otherwise. Throws what is wrong with it. */
const readUcan = ({ bytes }: Block): Ucan => {
  if (bytes.byteLength > UCAN_LIMITS.bytes)
    throw new TooLarge(`A UCAN has ${bytes.byteLength} bytes, at most ${UCAN_LIMITS.bytes} are taken`)
  const ucan = decodeUcan(bytes)
  for (const did of didBytes(ucan))
    if (did.byteLength > UCAN_LIMITS.did) throw tooLong('DID', UCAN_LIMITS.did)
  const issuer = ucan.issuer.did()
  // Throws on keys of kinds that are not known here: nobody could check their signatures.
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
      // The decoder lets `__proto__` have its way: such a value is not what its bytes say.
      if (![Object.prototype, Array.prototype].includes(Object.getPrototypeOf(value)))
        throw new Error('a value has a prototype of its own')
      if (nesting === UCAN_LIMITS.nesting)
        throw new TooLarge(`A UCAN is nested deeper than ${UCAN_LIMITS.nesting}`)
      for (const [name, part] of Object.entries(value)) {
        // Whoever writes such a value as text would call what is found there.
        if (name in Object.prototype) throw new Error('a value has a name that all objects have')
        checkValue(name, nesting)
        checkValue(part, nesting + 1)
      }
    }
  }
}

/** Carries out of what reads deep inside that a limit is passed. */
class TooLarge extends Error {}

const tooLong = (what: string, most: number) =>
  new TooLarge(`A UCAN holds a ${what} of more than ${most} bytes`)

/** Messages of libraries may quote all that they were given. */
const unreadable = (link: { toString(): string }, why: string): Failure =>
  failure('MalformedMessage', `${link} is no UCAN: ${why.slice(0, 200)}`)
