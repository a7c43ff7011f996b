import type { DID, Receipt } from '@ucanto/interface'
import { Verifier } from '@ucanto/principal'
import type { Failure, FilecoinAcceptSuccess, Result } from '@w3filecoin/capabilities'
import { type EncodedInclusion, type PieceLink, verifyInclusion } from '@w3filecoin/piece'

/** The promise in the receipt of an offer. */
export interface Promised {
  /** CID of the `filecoin/accept` task in the receipt's effects. */
  accept: string
  piece: PieceLink
  storefront: DID
}

/** The facts that the receipt proves. */
export interface Accepted {
  aggregate: PieceLink
  dealID: number
}

/**
 * Verifies a `filecoin/accept` receipt: its signature, its task, and the proof that the piece and its index entry are
 * in the aggregate. It trusts only the storefront's key.
 */
export const verifyAccept = async (
  receipt: Receipt,
  { accept, piece, storefront }: Promised,
): Promise<Result<Accepted>> => {
  if (`${receipt.ran.link()}` !== accept)
    return invalid(`The receipt is for task ${receipt.ran.link()}, not for the promised ${accept}`)
  // The published library's verifier: the signature was created by this repository's own code.
  const { ok: signed } = await receipt.verifySignature(Verifier.parse(storefront) as never)
  if (!signed) return invalid(`The receipt is not signed by ${storefront}`)
  if (receipt.out.error) return { error: receipt.out.error as Failure }
  const { aggregate, inclusion, aux, ...accepted } = receipt.out.ok as FilecoinAcceptSuccess
  if (`${accepted.piece}` !== `${piece}`)
    return invalid(`The receipt is for piece ${accepted.piece}, not for the offered ${piece}`)
  const proof = verifyInclusion({ piece, aggregate, inclusion: inclusion as EncodedInclusion })
  if (proof.error) return proof
  const dealID = aux?.dataSource?.dealID
  return Number.isSafeInteger(dealID) ? { ok: { aggregate, dealID } } : invalid('The receipt names no deal')
}

const invalid = (message: string) => ({ error: { name: 'InvalidReceipt', message } })

/** Formats an error or a failure of the protocol as one line. */
export const formatReason = (error: unknown): string => {
  const { name = 'Error', message = `${error}` } = error as { name?: string; message?: string }
  return name === 'Error' ? message : `${name}: ${message}`
}
