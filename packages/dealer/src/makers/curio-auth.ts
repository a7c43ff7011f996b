import { createHash } from 'node:crypto'
import { blake2b } from '@noble/hashes/blake2.js'
import { base32 } from 'multiformats/bases/base32'
import { type Address, hexToBytes, keccak256 } from 'viem'
import type { PrivateKeyAccount } from 'viem/accounts'

/** The first letter of addresses: `f` on mainnet, `t` on a test network. */
export type NetworkLetter = 'f' | 't'

/** The protocol of delegated addresses, and the actor that delegates: the Ethereum Address Manager, f010. */
const DELEGATED = 4
const ADDRESS_MANAGER = 10
const CHECKSUM_BYTES = 4
/** The type of a signature by the key of a delegated address. */
const SIGNATURE_TYPE = 3
const MINUTE_MS = 60_000

/**
 * Returns the Filecoin address of an Ethereum account, as bytes and as text.
 *
 * @example delegatedAddress('0x19e7e376e7c213b7e7e7e46cc70a5dd086daff2a', 'f').text
 * // 'f410fdht6g5xhyij3pz7h4rwmocs52cdnv7zknv774ti'
 * @see https://github.com/filecoin-project/FIPs/blob/master/FIPS/fip-0048.md
 */
export const delegatedAddress = (
  account: Address,
  network: NetworkLetter,
): { bytes: Uint8Array; text: string } => {
  const subaddress = hexToBytes(account)
  const bytes = Uint8Array.of(DELEGATED, ADDRESS_MANAGER, ...subaddress)
  const checksum = blake2b(bytes, { dkLen: CHECKSUM_BYTES })
  const text = base32.baseEncode(Uint8Array.of(...subaddress, ...checksum))
  return { bytes, text: `${network}${DELEGATED}${ADDRESS_MANAGER}f${text}` }
}

/**
 * Returns the header `Authorization` of a request to Curio's market. The account signs the method, the path and the minute of the
 * request, but neither the body nor the query. Curio accepts a signature of its present minute, the one before and the one after.
 *
 * @param request.method e.g. `POST`
 * @param request.path escaped as in the URL, e.g. `/market/mk20/deal`
 * @param request.at the time of the request, in milliseconds since 1970
 * @example 'CurioAuth delegated:BAoZ5+N2…Kg==:A5nJtwc4…ADEB'
 * @see https://github.com/filecoin-project/curio/blob/main/market/mk20/auth.go
 */
export const authorize = async (
  account: Pick<PrivateKeyAccount, 'address' | 'sign'>,
  { method, path, at }: { method: string; path: string; at: number },
): Promise<string> => {
  // The bytes are the same on every network.
  const { bytes } = delegatedAddress(account.address, 'f')
  const minute = new Date(at - (at % MINUTE_MS)).toISOString().replace('.000Z', 'Z')
  const digest = createHash('sha256').update(bytes).update(`${method}${path}${minute}`).digest()
  const signature = hexToBytes(await account.sign({ hash: keccak256(digest) }))
  // Ethereum adds 27 to the recovery bit, Filecoin does not.
  signature[64]! -= 27
  const encode = (value: Uint8Array) => Buffer.from(value).toString('base64')
  return `CurioAuth delegated:${encode(bytes)}:${encode(Uint8Array.of(SIGNATURE_TYPE, ...signature))}`
}
