import { hkdfSync } from 'node:crypto'
import type { Signer } from '@ucanto/interface'
import type { Hex } from 'viem'

const TEXT = 'w3filecoin wallet'

/**
 * Derives a private key (secp256k1) from the private key of the service: from its signature of a text that is never part of a UCAN,
 * which is always the same. So a stage has no further secret. Of one service, each number has another key.
 *
 * @param number increased to get a new key, e.g. 1
 * @returns 0x and 64 hexadecimal digits
 */
export const deriveWallet = async (service: Signer, number: number): Promise<Hex> => {
  const { raw } = await service.sign(new TextEncoder().encode(`${TEXT} ${number}`))
  return `0x${Buffer.from(hkdfSync('sha256', raw, '', TEXT, 32)).toString('hex')}`
}
