import type { Block } from '@ucanto/interface'
import { type Failure, failure, type Result } from '@w3filecoin/capabilities'
import { type BlockMap, decodeUcan, type Ucan } from '@w3filecoin/capabilities/codec'
import { CID } from 'multiformats/cid'
import { readKey, UnsupportedKey } from './principal.ts'
import { isTaskCid } from './task.ts'
import { didBytes, hasKey } from './ucanto.ts'

/**
 * Limits of one UCAN: its `bytes`, the length of a `text` in it (characters, or bytes of a byte string), the bytes of a
 * `link` and of a `did`, and the depth of `nesting`. A text fits into a database key, and the nesting does not exhaust the
 * stack. DIDs are short because the time to write one in base 58 grows with the square of its length: the `did:key` of an
 * RSA key has 272 bytes for 2048 bits, and 528 bytes for 4096.
 */
export const UCAN_LIMITS = { bytes: 65_536, text: 1_024, link: 128, did: 544, nesting: 32 }

/**
 * The UCANs among the blocks of a message. Each is read when it is needed, and once. A block that is not a valid UCAN
 * concerns only the invocations that rest on it.
 */
export class Ucans {
  readonly blocks: BlockMap
  readonly #unusable: ReadonlyMap<string, Failure>
  readonly #read = new Map<string, Result<Ucan>>()

  /** @param unusable the blocks of the message that are not among `blocks`, with the reason */
  constructor(blocks: BlockMap, unusable: ReadonlyMap<string, Failure> = new Map()) {
    this.blocks = blocks
    this.#unusable = unusable
  }

  /**
   * Reads a UCAN by its CID, without its proofs.
   *
   * Fails with `UCANNotFound` if its block is missing, `MalformedUCAN`, `UCANTooLarge` (see `UCAN_LIMITS`), `UnsupportedKey`
   * if its issuer has another kind of key, and `UnsupportedHash`.
   */
  read(cid: string): Result<Ucan> {
    const known = this.#read.get(cid)
    if (known !== undefined) return known
    const result = this.#decode(cid)
    this.#read.set(cid, result)
    return result
  }

  #decode(cid: string): Result<Ucan> {
    const unusable = this.#unusable.get(cid)
    if (unusable) return { error: unusable }
    const block = this.blocks.get(cid)
    if (block === undefined) return { error: failure('UCANNotFound', `The block of ${cid} is missing`) }
    try {
      return { ok: decode(block) }
    } catch (cause) {
      const { message } = cause as Error
      if (cause instanceof TooLarge) return { error: failure('UCANTooLarge', `${cid}: ${message}`) }
      if (cause instanceof UnsupportedKey)
        return { error: failure('UnsupportedKey', `The issuer of ${cid} cannot be verified: ${message}`) }
      // Cut the reason, because error messages of libraries may quote their whole input.
      return { error: failure('MalformedUCAN', `${cid} is not a UCAN: ${message.slice(0, 200)}`) }
    }
  }
}

/** Decodes a UCAN completely, because views decode lazily. Throws if it is malformed or exceeds a limit. */
const decode = ({ cid, bytes }: Block): Ucan => {
  if (bytes.byteLength > UCAN_LIMITS.bytes)
    throw new TooLarge(`A UCAN has ${bytes.byteLength} bytes; at most ${UCAN_LIMITS.bytes} are allowed`)
  const ucan = decodeUcan(bytes)
  // Otherwise one invocation would be a different task, with a receipt of its own, under each codec.
  if (!isTaskCid(cid as unknown as CID) || cid.code !== ucan.code)
    throw new Error('its CID is not a CIDv1 with the codec of its format and a SHA-256 hash')
  const { issuer, audience } = didBytes(ucan)
  for (const did of [issuer, audience])
    if (did.byteLength > UCAN_LIMITS.did) throw tooLong('DID', UCAN_LIMITS.did)
  // Throws on unsupported kinds of keys, because their signatures cannot be checked.
  if (hasKey(issuer)) readKey(issuer, () => ucan.issuer.did())
  // Throws if the signature is shorter than it says.
  void ucan.signature.raw
  checkValue([ucan.capabilities, ucan.facts, ucan.nonce, ucan.proofs], 0)
  return ucan
}

const checkValue = (value: unknown, nesting: number): void => {
  if (typeof value === 'string') {
    if (value.length > UCAN_LIMITS.text) throw tooLong('text', UCAN_LIMITS.text)
  } else if (typeof value === 'object' && value !== null) {
    const cid = CID.asCID(value)
    if (cid) {
      // `asCID` accepts maps such as `{ '/': 'x', bytes: 'x' }`, and so do schemas. Only a link refers to itself.
      if ((value as { asCID?: unknown }).asCID !== value) throw new Error('a map passes for a link')
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

/** A UCAN exceeds a limit. Thrown deep inside the decoder, and returned as a failure. */
class TooLarge extends Error {}

const tooLong = (what: string, max: number) =>
  new TooLarge(`A UCAN has a ${what} of more than ${max} bytes; at most ${max} are allowed`)
