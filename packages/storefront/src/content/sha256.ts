import { parse as parseLink } from 'multiformats/link'

const RAW = 0x55
const CAR = 0x0202
const SHA2_256 = 0x12

/**
 * Returns the SHA-256 that the bytes of content must have, if the CID of the content determines it: the CID of a raw block
 * or of a whole CAR does. Any other CID names the root of a DAG, and is not the hash of the bytes that a source returns.
 */
export const sha256Of = (content: string): Uint8Array | undefined => {
  const { code, multihash } = parseLink(content)
  const { digest } = multihash
  const isOfBytes = (code === RAW || code === CAR) && multihash.code === SHA2_256 && digest.byteLength === 32
  return isOfBytes ? digest : undefined
}
