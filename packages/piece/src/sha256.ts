import * as wasmSha256 from '@chainsafe/as-sha256'
import type { SHA256_CODE, SyncMultihashHasher } from '@web3-storage/data-segment'
import * as Digest from 'multiformats/hashes/digest'
import { loadHashtree } from '#platform'

/**
 * SHA-256 of many 64-byte messages in one call. A Merkle tree needs only this: a message is a pair of 32-byte
 * nodes, and a level of the tree is one batch.
 */
export interface Sha256 {
  readonly name: 'native' | 'wasm'
  /** Hashes each 64 bytes of `input` to 32 bytes of `output`, which is half as long and shares no memory with it. */
  hashInto(input: Uint8Array, output: Uint8Array): void
}

const createNative = (): Sha256 | undefined => {
  const hashtree = loadHashtree()
  return hashtree && { name: 'native', hashInto: hashtree.hashInto }
}

/** Uses the processor's SHA instructions. `undefined` if the platform has no prebuilt binary. */
export const native: Sha256 | undefined = createNative()

/** Runs in Node, browsers and workers: WebAssembly, four messages at a time where SIMD is available. */
export const wasm: Sha256 = { name: 'wasm', hashInto: wasmSha256.hashInto }

/** The fastest backend that this machine supports. */
export const sha256: Sha256 = native ?? wasm

/** The backend that hashes pieces and aggregates in this process. */
export const hasher = sha256.name

const SHA2_256 = 0x12

/**
 * The backend as a hasher for the published library, which hashes one index entry of 64 bytes a call.
 *
 * Every call returns the same multihash, overwritten: the library copies the digest at once, and allocating one for
 * each of 262,144 pieces takes longer than hashing.
 */
export const toHasher = ({ hashInto }: Sha256): SyncMultihashHasher<SHA256_CODE> => {
  const multihash = Digest.create(SHA2_256, new Uint8Array(32))
  return {
    name: 'sha2-256',
    code: SHA2_256,
    digest(entry) {
      hashInto(entry, multihash.digest)
      return multihash
    },
  }
}
