import type { Capability, Failure as UcanFailure } from '@ucanto/interface'
import { fail, ok, Schema } from '@ucanto/validator'
import type { PieceLink } from '@web3-storage/data-segment'
import { parse as parseLink } from 'multiformats/link'
import { describeValue } from './describe-value.ts'

export type { UnknownLink } from 'multiformats'
export type { PieceLink }

/** The codec of a piece CID v2, and its multihash `fr32-sha2-256-trunc254-padded-binary-tree`. */
const RAW = 0x55
const PIECE = 0x1011

/**
 * The schema of a piece CID v2 (FRC-0069): CIDv1, codec raw (0x55), multihash `fr32-sha2-256-trunc254-padded-binary-tree`
 * (0x1011).
 *
 * @example `bafkzcibcaapao7s73y24kcutaosvacpdjgfe5pw76ooefnyqw4ynr3d2y6x2mpq`
 */
export const pieceLink = Schema.link({
  code: RAW,
  version: 1,
  multihash: { code: PIECE },
}) as Schema.Schema<PieceLink>

/**
 * Parses a piece CID v2 and checks its version, codec and multihash. It does not decode the digest: use `parsePiece` of
 * `@w3filecoin/piece` for the height, the padding and their validation.
 *
 * @example parsePieceLink('bafkzcibcaapao7s73y24kcutaosvacpdjgfe5pw76ooefnyqw4ynr3d2y6x2mpq') // an empty piece of 32 GiB
 * @throws TypeError if the text is not a CID, or not a piece CID v2
 */
export const parsePieceLink = (text: string): PieceLink => {
  let cause: unknown
  try {
    const link = parseLink(text)
    // Not by the schema: the sealer parses up to a million links in one run, and the schema takes twice as long.
    if (link.version === 1 && link.code === RAW && link.multihash.code === PIECE) return link as PieceLink
  } catch (error) {
    cause = error
  }
  throw new TypeError(
    `Not a piece CID: '${text}'. Pass a CIDv1 with codec 0x55 and multihash 0x1011 ("bafkzci…").`,
    { cause },
  )
}

/** An inclusion proof on the wire (FRC-0058), as two paths of the type `ProofData` of `@web3-storage/data-segment`. */
export interface Inclusion {
  /** From the piece's root to the aggregate's root. */
  subtree: ProofData
  /** From the piece's entry in the aggregate's index to the aggregate's root. */
  index: ProofData
}

/**
 * A path in a binary Merkle tree: the index of the leaf in its row, and the siblings (32 bytes each) from the leaf's
 * sibling up to the child of the root.
 */
export type ProofData = readonly [offset: number | bigint, nodes: readonly Uint8Array[]]

/**
 * Whether a delegation of the ability `pattern` covers an ability.
 *
 * @example coversAbility('filecoin/*', 'filecoin/offer') // true
 */
export const coversAbility = (pattern: string, can: string): boolean =>
  pattern === can || pattern === '*' || (pattern.endsWith('/*') && can.startsWith(pattern.slice(0, -1)))

type Claim = Pick<Capability, 'with'> & { nb: object }

/**
 * Checks that a delegated capability covers a claim: the resources are equal, and so is every caveat that the delegation
 * names. The claim may have further caveats. The validator has removed those of the delegation that the ability does not
 * define: see `findUnknownCaveat`.
 *
 * @example A delegation with `{ group: 'did:web:a.example' }` covers the claim `{ piece, group: 'did:web:a.example' }`.
 */
export const covers = (claim: Claim, delegated: Claim): { ok: object } | { error: UcanFailure } => {
  if (claim.with !== delegated.with)
    return fail(`it is for the resource ${delegated.with}, not for ${claim.with}`)
  const claimed = claim.nb as Record<string, unknown>
  for (const [name, value] of Object.entries(delegated.nb)) {
    if (value !== undefined && `${value}` !== `${claimed[name]}`)
      return fail(
        `it allows only ${describeValue(value)} as ${name}, and the invocation has ${describeValue(claimed[name])}`,
      )
  }
  return ok({})
}
