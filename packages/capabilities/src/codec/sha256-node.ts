import { hash } from 'node:crypto'

/** Returns the SHA-256 hash of bytes. In Node, this is twice as fast as the hasher of `multiformats`. */
export const sha256 = (bytes: Uint8Array): Uint8Array => hash('sha256', bytes, 'buffer')
