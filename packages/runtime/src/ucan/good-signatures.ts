import { hash } from 'node:crypto'

/** Signatures that each of the two generations has at most: about 1 MB. */
const MAX_SIGNATURES = 8_192

/**
 * Remembers signatures that were verified: a storefront sends the same delegation with each of its messages, and to verify it
 * takes 130 µs. It remembers only that a key signed certain bytes, which never changes. Times and revocations are checked each
 * time. A signature that is not good is verified again each time.
 */
export class GoodSignatures {
  readonly #max: number
  #recent = new Set<string>()
  #earlier = new Set<string>()

  constructor(max = MAX_SIGNATURES) {
    this.#max = max
  }

  /**
   * Returns whether a key signed a payload.
   *
   * @param key the `did:key`
   * @param verify is called unless this signature was good before
   */
  verifyOnce(key: string, signature: Uint8Array, payload: Uint8Array, verify: () => boolean): boolean {
    const id = idOf(key, signature, payload)
    const isGood = this.#recent.has(id) || this.#earlier.has(id) || verify()
    if (isGood) this.#add(id)
    return isGood
  }

  #add(id: string): void {
    this.#recent.add(id)
    if (this.#recent.size < this.#max) return
    this.#earlier = this.#recent
    this.#recent = new Set()
  }
}

/** Returns a hash of key, signature and payload. Two of the lengths come first, so that no part can end in the next one. */
const idOf = (key: string, signature: Uint8Array, payload: Uint8Array): string => {
  const bytes = Buffer.from(key)
  const lengths = Buffer.alloc(8)
  lengths.writeUInt32BE(bytes.byteLength)
  lengths.writeUInt32BE(signature.byteLength, 4)
  return hash('sha256', Buffer.concat([lengths, bytes, signature, payload]), 'base64url')
}
