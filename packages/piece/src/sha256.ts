import { createRequire } from 'node:module'
import * as wasmSha256 from '@chainsafe/as-sha256'
import type * as Hashtree from '@chainsafe/hashtree'

/**
 * SHA-256 of many 64-byte messages in one call. A Merkle tree asks for nothing else: a message is a pair of
 * 32-byte nodes, and a level of a tree is one batch.
 */
export interface Sha256 {
  readonly name: 'native' | 'wasm'
  /** Hashes each 64 bytes of `input` to 32 bytes of `output`, which is half as long and shares no memory with it. */
  hashInto(input: Uint8Array, output: Uint8Array): void
}

const loadNative = (): Sha256 | undefined => {
  try {
    // Required, not imported: a bundler leaves the call alone, so a bundle works with the module beside it
    // (installed for the platform that it runs on) as well as without.
    const hashtree: typeof Hashtree = createRequire(import.meta.url)('@chainsafe/hashtree')
    return { name: 'native', hashInto: hashtree.hashInto }
  } catch {
    // An optional dependency: no binary was built for this platform, or it was not installed.
    return undefined
  }
}

/** Uses the processor's SHA instructions. `undefined` where there is no prebuilt binary for the platform. */
export const native: Sha256 | undefined = loadNative()

/** Runs everywhere that Node does: WebAssembly, four messages at a time where SIMD is to be had. */
export const wasm: Sha256 = { name: 'wasm', hashInto: wasmSha256.hashInto }

/** The fastest that this machine has. */
export const sha256: Sha256 = native ?? wasm
