import { create as createSignature, EdDSA } from '@ipld/dag-ucan/signature'
import type { DID, Signer } from '@ucanto/interface'
import type { Authority } from './authority.ts'

/** What a dealer permits: to fetch the pieces of one aggregate of a storefront, for some time. */
export interface PiecePermit {
  /** DID of the storefront that serves the pieces. */
  storefront: string
  /** Piece CID of the aggregate. */
  aggregate: string
  /** The end of the permission, in seconds since 1970. */
  expires: number
}

/**
 * Signs a permit, in a form that can be a segment of a URL: the end, the aggregate, and the dealer's signature in base64url. The
 * same permit has the same text.
 *
 * @example '1769904000.bafkzcibcaafe…._tDtAUC…'
 */
export const signPermit = async (dealer: Signer, permit: PiecePermit): Promise<string> => {
  const { raw } = await dealer.sign(payloadOf(permit))
  return `${permit.expires}.${permit.aggregate}.${Buffer.from(raw).toString('base64url')}`
}

/** A signature has 64 bytes: services sign with Ed25519. */
const FORMAT = /^(\d{1,11})\.([a-z0-9]{1,128})\.([\w-]{86})$/

/**
 * Reads a permit, and returns it if it is valid now and the dealer signed it for this storefront; otherwise `undefined`. Throws
 * if the dealer's keys cannot be fetched now.
 *
 * @param now in milliseconds since 1970
 */
export const readPermit = async (
  text: string,
  {
    authority,
    dealer,
    storefront,
    now,
  }: { authority: Authority; dealer: string; storefront: string; now: number },
): Promise<PiecePermit | undefined> => {
  const [, end = '', aggregate = '', signature = ''] = FORMAT.exec(text) ?? []
  const permit = { storefront, aggregate, expires: Number(end) }
  if (aggregate === '' || permit.expires * 1000 <= now) return undefined
  const view = createSignature(EdDSA, Buffer.from(signature, 'base64url'))
  return (await authority.verifies(payloadOf(permit), view, dealer as DID)) ? permit : undefined
}

/** The signed bytes. Their beginning distinguishes them from everything else that a dealer signs. */
const payloadOf = ({ storefront, aggregate, expires }: PiecePermit): Uint8Array =>
  Buffer.from(JSON.stringify(['w3filecoin fetch pieces', storefront, aggregate, expires]))
