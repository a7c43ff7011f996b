import type { Link } from '@ucanto/interface'

/** A CID of either version. */
export type AnyLink = Link<unknown, number, number, 0 | 1>

const ALPHABET = 'abcdefghijklmnopqrstuvwxyz234567'
/** The two characters of each value of ten bits. */
const PAIRS = Array.from({ length: 1024 }, (_, bits) => `${ALPHABET[bits >> 5]}${ALPHABET[bits & 31]}`)

/**
 * Returns a CID as text: version 1 in base 32, version 0 in base 58. It is written from the bytes, because a CID that was parsed keeps
 * the text that it was parsed from.
 *
 * @example 'bafyreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy'
 */
export const linkText = (link: AnyLink): string => {
  const { version, bytes } = link as unknown as { version: number; bytes: Uint8Array }
  if (version === 0) return `${link}`
  let text = 'b'
  let bits = 0
  let count = 0
  for (let n = 0; n < bytes.byteLength; n++) {
    bits = (bits << 8) | bytes[n]!
    count += 8
    if (count >= 10) {
      count -= 10
      text += PAIRS[(bits >> count) & 1023]
      bits &= (1 << count) - 1
    }
  }
  // The last bits, with zeros after them.
  if (count > 5) text += PAIRS[(bits << (10 - count)) & 1023]
  else if (count > 0) text += ALPHABET[(bits << (5 - count)) & 31]
  return text
}
