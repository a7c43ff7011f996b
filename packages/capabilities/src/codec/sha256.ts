import { sha256 as hasher } from '@ucanto/core'

/** Returns the SHA-256 hash of bytes. */
export const sha256 = async (bytes: Uint8Array): Promise<Uint8Array> => (await hasher.digest(bytes)).digest
