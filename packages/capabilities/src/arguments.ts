import type { Capability } from '@ucanto/interface'
import { parse as parseLink } from 'multiformats/link'
import { MAX_LISTED_OFFERS } from './dealer.ts'
import { cutText, describeValue, isLink } from './describe-value.ts'
import { type Failure, failure } from './result.ts'
import { pieceLink, type UnknownLink } from './schema.ts'

/** An argument of an invocation, or a caveat of a delegation, that does not fit the schema of the ability. */
export interface InvalidArgument extends Failure {
  /** `InvalidPieceCID` if a value stands where a piece belongs, `MalformedCapability` otherwise. */
  name: 'InvalidPieceCID' | 'MalformedCapability'
  /** The path of the argument: `with`, `nb`, or a path below it, e.g. `nb.piece` or `nb.proof[1]`. */
  field: string
  /** The value as text, at most some 200 characters; `nothing` if it is missing. */
  found: string
  /** Which value belongs there. */
  expected: string
  /** Only with `InvalidPieceCID`: the link, or the text that stands in place of one. */
  piece?: unknown
}

interface Reader {
  read(value: unknown): { error?: SchemaError | undefined }
}

/** An error of a schema. `at` is the index in a list, if the error concerns one of its values. */
interface SchemaError {
  message: string
  at?: unknown
  cause?: unknown
}

/** The parts of a `capability(…)` that have its schemas. */
interface Definition {
  can: string
  descriptor: { with: Reader; nb: { shape: object } }
}

/** The value that belongs to a field of `nb`. */
interface Expected {
  kind: 'piece' | 'link' | 'other'
  description: string
}

const piece: Expected = {
  kind: 'piece',
  description: 'a piece CID v2 ("bafkzci…": CIDv1, codec 0x55, multihash 0x1011), as a link',
}
const link = (what: string): Expected => ({ kind: 'link', description: `${what}, as a link` })
const text = (what: string): Expected => ({ kind: 'other', description: `${what}, as text` })

const number = (what: string): Expected => ({
  kind: 'other',
  description: `a whole number ${what}, as integer`,
})

/** The fields of `nb` by name. A name has one meaning in all abilities, but for {@link OTHER_MEANINGS}. */
const FIELDS: Record<string, Expected> = {
  blob: {
    kind: 'other',
    description: 'a blob by its multihash (bytes) and its number of bytes, as { digest, size }',
  },
  index: link('the CIDv1 of the CAR that contains the index'),
  root: link('the root of the uploaded DAG'),
  shards: link('a list of CIDv1s of CARs, each'),
  content: link('the CID of the content'),
  piece,
  aggregate: piece,
  pieces: link('the CIDv1 of the block that lists the pieces'),
  group: text('the name of the group'),
  nonce: text('the nonce of the offer'),
  PDP: link('the CIDv1 of a `pdp/accept` task'),
  task: link('the CID of a promised task'),
  after: text('the field `next` of an earlier answer'),
  limit: number(`from 1 to ${MAX_LISTED_OFFERS}`),
  dealID: number('from 1: the id of a deal of the built-in market'),
  source: text('the name of a source of deals'),
  place: text('the key of a place, e.g. "81234567", "sector:f020378/77" or "pdp:314/0xbadd…557f/12/0"'),
  fault: {
    kind: 'other',
    description: 'the reason, and the invalid pieces as links, as { message, invalid: [{ piece, message }] }',
  },
  receipt: link('the CID of the receipt'),
  ucan: link('the CIDv1 of a delegation'),
  proof: link('a list of CIDv1s of delegations, each'),
  link: link('the CID of the content'),
  offer: link('the CIDv1 of the block that lists the pieces'),
  provider: text('the provider of the space, which is the group of the piece'),
  storefront: text('the DID of the storefront'),
  label: text('the label of the deal'),
  deal: { kind: 'other', description: 'the tenant of the deal and its label, as { tenantId, label }' },
}

/** Fields with another meaning in one ability. */
const OTHER_MEANINGS: Record<string, Expected> = {
  // In dialects, `offer` is the list of pieces.
  'deal/report offer': text('the name of an offer document, e.g. "bafkzci…/kD3wbPzc….json"'),
}

/**
 * Returns why the arguments of an invocation do not fit the schema of its ability; `undefined` if they fit. The message
 * describes every invalid argument, the fields describe the first one.
 *
 * @param claim the capability as it arrived: its values may be of any kind
 * @param partial whether arguments may be missing, as in a delegation
 * @example findInvalidArgument(filecoinOffer, { can: 'filecoin/offer', with: 'did:key:z6Mk…', nb: { content } })
 * // { name: 'MalformedCapability', field: 'nb.piece', found: 'nothing', expected: 'a piece CID v2 …', message: … }
 */
export const findInvalidArgument = (
  ability: object,
  claim: Pick<Capability, 'with' | 'nb'>,
  { partial = false } = {},
): InvalidArgument | undefined => {
  const { can, descriptor } = ability as Definition
  const nb: unknown = claim.nb || {}
  const found =
    typeof nb === 'object' && !Array.isArray(nb)
      ? Object.entries<Reader>(descriptor.nb.shape as Record<string, Reader>)
          .map(([name, reader]) => [name, reader, (nb as Record<string, unknown>)[name]] as const)
          .filter(([, , value]) => !(partial && value === undefined))
          .map(([name, reader, value]) => checkField(can, name, reader, value))
      : [newFailure(can, { field: 'nb', value: nb, kind: 'other', description: 'a map with the arguments' })]
  const resource = descriptor.with.read(claim.with).error && {
    field: 'with',
    value: claim.with,
    kind: 'other' as const,
    description: 'a DID, e.g. "did:key:z6Mk…"',
  }
  const [first, ...others] = [resource && newFailure(can, resource), ...found].filter(
    failure => failure !== undefined,
  )
  return first && { ...first, message: [first, ...others].map(({ message }) => message).join(' ') }
}

const checkField = (
  can: string,
  name: string,
  reader: Reader,
  value: unknown,
): InvalidArgument | undefined => {
  const { error } = reader.read(value)
  if (error === undefined) return undefined
  const isInList = Array.isArray(value) && typeof error.at === 'number'
  return newFailure(can, {
    field: isInList ? `nb.${name}[${error.at}]` : `nb.${name}`,
    value: isInList ? value[error.at as number] : value,
    // An ability outside the protocol: the schema describes itself.
    ...(OTHER_MEANINGS[`${can} ${name}`] ??
      (Object.hasOwn(FIELDS, name) ? FIELDS[name]! : { kind: 'other', description: error.message })),
    isAggregate: name === 'aggregate' || can === 'deal/info',
  })
}

interface Finding extends Expected {
  /** The path of the argument. */
  field: string
  value: unknown
  /** Whether the piece that belongs there is an aggregate. */
  isAggregate?: boolean
}

const newFailure = (can: string, finding: Finding): InvalidArgument => {
  const { field, value, kind, description: expected } = finding
  const found = describeValue(value)
  const hint = hintFor(finding)
  const message = `${field} of ${can} is ${value === undefined ? 'missing' : found}. Expected ${expected}.${hint}`
  const fields = { field, found, expected }
  return kind === 'piece' && (typeof value === 'string' || isLink(value))
    ? failure('InvalidPieceCID', message, { piece: isLink(value) ? value : cutText(value), ...fields })
    : failure('MalformedCapability', message, fields)
}

/** Codec and multihash of a piece CID v1 ("baga…"): `fil-commitment-unsealed` and `sha2-256-trunc254-padded`. */
const FIL_COMMITMENT_UNSEALED = 0xf101
const SHA2_256_TRUNC254_PADDED = 0x1012

const FROM_CONTENT =
  'Compute the v2 from the content: Piece.fromPayload(bytes).link of @web3-storage/data-segment.'
const FROM_INFO =
  'An aggregate has no padding, so its v2 is Piece.fromInfo({ link, size }).link of @web3-storage/data-segment, with the size in padded bytes, e.g. 34359738368n for 32 GiB.'

/** Returns how to get the right link, as sentences to append. */
const hintFor = ({ kind, value, isAggregate }: Finding): string => {
  if (kind === 'other') return ''
  // The text of a CID, or the JSON form of a link.
  const text = typeof value === 'string' ? value : (value as { '/'?: unknown } | null | undefined)?.['/']
  const parsed = typeof text === 'string' ? parseOrNull(text) : null
  const asLink = parsed ? ' Send the link instead of its text: CID.parse(text) of multiformats.' : ''
  const link = isLink(value) ? value : parsed
  if (kind === 'link' || link === null || pieceLink.read(link).ok) return asLink
  if (link.code !== FIL_COMMITMENT_UNSEALED || link.multihash.code !== SHA2_256_TRUNC254_PADDED)
    return ` This is not the CID of a piece.${isAggregate ? '' : ` ${FROM_CONTENT}`}${asLink}`
  return ` This is a piece CID v1. The v2 also needs the size, which the v1 does not contain. ${
    isAggregate ? FROM_INFO : FROM_CONTENT
  }${asLink}`
}

const parseOrNull = (text: string): UnknownLink | null => {
  try {
    return parseLink(text)
  } catch {
    return null
  }
}
