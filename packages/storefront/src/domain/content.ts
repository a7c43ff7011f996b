import { parse as parseLink } from 'multiformats/link'

const RAW = 0x55
const CAR = 0x0202
const SHA2_256 = 0x12

/**
 * The SHA-256 that the bytes of content have, where its CID says so: a raw block, or a CAR as a whole. Other CIDs name the
 * root of a DAG, and what a source gives for one is not what they are the hash of.
 */
export const sha256Of = (content: string): Uint8Array | undefined => {
  const { code, multihash } = parseLink(content)
  const { digest } = multihash
  const ofBytes = (code === RAW || code === CAR) && multihash.code === SHA2_256 && digest.byteLength === 32
  return ofBytes ? digest : undefined
}
