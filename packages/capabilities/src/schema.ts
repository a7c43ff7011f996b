import type { Capability, Failure as UcanFailure } from '@ucanto/interface'
import { fail, ok, Schema } from '@ucanto/validator'
import type { PieceLink } from '@web3-storage/data-segment'
import { parse as parseLink } from 'multiformats/link'

export type { UnknownLink } from 'multiformats'
export type { PieceLink }

/** CIDv1, codec raw, multihash `fr32-sha2-256-trunc254-padded-binary-tree`: a piece CID v2 (FRC-0069). */
export const pieceLink = Schema.link({
  code: 0x55,
  version: 1,
  multihash: { code: 0x1011 },
}) as unknown as Schema.Schema<PieceLink>

/**
 * Parses a piece CID v2 and checks its version, codec and multihash. It does not decode the digest: use `parsePiece` of
 * `@w3filecoin/piece` for the height, the padding and their validation.
 *
 * @example parsePieceLink('bafkzcibcaapao7s73y24kcutaosvacpdjgfe5pw76ooefnyqw4ynr3d2y6x2mpq') // an empty piece of 32 GiB
 * @throws TypeError if the text is not a CID, or not one of a piece
 */
export const parsePieceLink = (text: string): PieceLink => {
  try {
    return pieceLink.from(parseLink(text))
  } catch (cause) {
    throw new TypeError(
      `Not a piece CID: '${text}'. Pass a CIDv1 with codec 0x55 and multihash 0x1011 ("bafkzci…").`,
      { cause },
    )
  }
}

/**
 * An inclusion proof on the wire: two paths of `@web3-storage/data-segment`'s ProofData, each `[offset, nodes]`
 * with nodes of 32 bytes from the leaf's sibling up to the child of the root (FRC-0058).
 */
export interface Inclusion {
  /** From the piece's root to the aggregate's root. */
  subtree: ProofData
  /** From the piece's entry in the aggregate's index to the aggregate's root. */
  index: ProofData
}

export type ProofData = readonly [offset: number | bigint, nodes: readonly Uint8Array[]]

/** Where a deal is: `dataType` 0 with the id of a deal of the built-in market (go-data-segment `SingletonMarketSource`). */
export interface DealMetadata {
  dataType: number
  dataSource: { dealID: number }
}

type Claim = Pick<Capability, 'with'> & { nb: object }

/**
 * A delegated capability covers a claim for the same resource whose caveats are the delegated ones, for as many
 * as the delegation names.
 */
export const covers = (claim: Claim, delegated: Claim): { ok: object } | { error: UcanFailure } => {
  if (claim.with !== delegated.with)
    return fail(`Can not derive a claim for ${claim.with} from a delegation of ${delegated.with}`)
  const claimed = claim.nb as Record<string, unknown>
  for (const [name, value] of Object.entries(delegated.nb)) {
    if (value !== undefined && `${value}` !== `${claimed[name]}`)
      return fail(`${name}: ${claimed[name]} violates the delegated ${value}`)
  }
  return ok({})
}
