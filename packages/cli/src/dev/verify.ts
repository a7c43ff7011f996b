import type { DID, Receipt } from '@ucanto/interface'
import { Verifier } from '@ucanto/principal'
import type { Failure, FilecoinAcceptSuccess, Result } from '@w3filecoin/capabilities'
import { type EncodedInclusion, type PieceLink, verifyInclusion } from '@w3filecoin/piece'

/** What an agent was promised, and by whom. */
export interface Promised {
  /** CID of the `filecoin/accept` task in the effects of the offer's receipt. */
  accept: string
  piece: PieceLink
  storefront: DID
}

/** What the receipt proves. */
export interface Accepted {
  aggregate: PieceLink
  dealID: number
}

/**
 * Checks the receipt that ends a piece's way, trusting nobody but the storefront's key and the mathematics: who
 * signed it, which task it is of, and that the piece and its entry in the index are in the aggregate.
 */
export const verifyAccept = async (
  receipt: Receipt,
  { accept, piece, storefront }: Promised,
): Promise<Result<Accepted>> => {
  if (`${receipt.ran.link()}` !== accept)
    return invalid(`It is of ${receipt.ran.link()}, the task that was promised is ${accept}`)
  // The published library's verifier, not ours, which made the signature.
  const { ok: signed } = await receipt.verifySignature(Verifier.parse(storefront) as never)
  if (!signed) return invalid(`It is not signed by ${storefront}`)
  if (receipt.out.error) return { error: receipt.out.error as Failure }
  const { aggregate, inclusion, aux, ...accepted } = receipt.out.ok as FilecoinAcceptSuccess
  if (`${accepted.piece}` !== `${piece}`)
    return invalid(`It is about ${accepted.piece}, the piece that was offered is ${piece}`)
  const proof = verifyInclusion({ piece, aggregate, inclusion: inclusion as EncodedInclusion })
  if (proof.error) return proof
  const dealID = aux?.dataSource?.dealID
  return Number.isSafeInteger(dealID) ? { ok: { aggregate, dealID } } : invalid('It names no deal')
}

const invalid = (message: string) => ({ error: { name: 'InvalidReceipt', message } })

/** A failure of the protocol in one line. */
export const reasonOf = (error: unknown): string => {
  const { name = 'Error', message = `${error}` } = error as { name?: string; message?: string }
  return name === 'Error' ? message : `${name}: ${message}`
}
