import type { Link } from '@ucanto/interface'
import { isCid } from './cbor.ts'

/** A CID of either version. */
export type AnyLink = Link<unknown, number, number, 0 | 1>

const ALPHABET = Uint8Array.from('abcdefghijklmnopqrstuvwxyz234567', char => char.charCodeAt(0))
const PREFIX = 'b'.charCodeAt(0)

/** CIDs with more bytes are left to the library, because `apply` has a limit. */
const MAX_BYTES = 1_024

/**
 * Returns a CID as text: version 1 in base 32, version 0 in base 58. It is written from the bytes, because a CID that was parsed keeps
 * the text that it was parsed from. A value of a message that should be a link and is not has the text that it has in a template.
 *
 * @example 'bafyreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy'
 */
export const linkText = (link: AnyLink): string => {
  if (!isCid(Object(link)) || link.version !== 1) return `${link}`
  const { bytes } = link as unknown as { bytes: Uint8Array }
  if (bytes.byteLength > MAX_BYTES) return `${link}`
  const codes = [PREFIX]
  let bits = 0
  let count = 0
  for (let n = 0; n < bytes.byteLength; n++) {
    bits = (bits << 8) | bytes[n]!
    for (count += 8; count >= 5; ) {
      count -= 5
      codes.push(ALPHABET[(bits >> count) & 31]!)
    }
    bits &= 31
  }
  // The last bits, with zeros after them.
  if (count > 0) codes.push(ALPHABET[(bits << (5 - count)) & 31]!)
  return String.fromCharCode.apply(null, codes)
}
