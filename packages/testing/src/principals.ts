import { hash } from 'node:crypto'
import type { DID, Signer } from '@ucanto/interface'
import { ed25519 } from '@ucanto/principal'
import { parseSigner } from '@w3filecoin/runtime'

/** Returns the private key for a name, the same in every run, e.g. `MgCZ…`. */
export const keyOf = async (name: string): Promise<string> =>
  ed25519.format(await ed25519.derive(hash('sha256', name, 'buffer')))

/** Returns a signer with {@link keyOf}, optionally under a `did:web`. */
export const signerOf = async (name: string, did?: DID): Promise<Signer> =>
  parseSigner(await keyOf(name), did)

/** Returns several signers by their names. */
export const signersOf = async <const N extends string>(...names: N[]): Promise<Record<N, Signer>> =>
  Object.fromEntries(await Promise.all(names.map(async name => [name, await signerOf(name)]))) as never
