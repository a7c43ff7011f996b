import { DID as Dids } from '@ucanto/core'
import type { Block, Delegation, DID, Fact, Link, Principal, Signer } from '@ucanto/interface'
import type { Blob } from './blob.ts'
import { buildTask } from './build-task.ts'
import type { PieceLink, UnknownLink } from './schema.ts'

interface Offered {
  content: UnknownLink
  piece: PieceLink
  nonce?: string | undefined
}

/**
 * Distinguishes a workflow of the storefront from an earlier one whose tasks would be equal. The first workflow has neither
 * field, and its tasks have no facts.
 */
export interface Distinction {
  /** Set if a space of another group offered the same content, piece and nonce first. */
  group?: string | undefined
  /** Number of the attempt, from 2: earlier ones ended with `ContentNotFound`. */
  attempt?: number | undefined
}

/** @example `[{ group: 'did:web:b.example', attempt: 2 }]`; `[]` for the first workflow */
export const factsOf = ({ group, attempt }: Distinction): Fact[] =>
  group === undefined && attempt === undefined
    ? []
    : [{ ...(group === undefined ? {} : { group }), ...(attempt === undefined ? {} : { attempt }) }]

interface Grouped {
  piece: PieceLink
  group: string
  nonce?: string | undefined
}

interface Aggregated {
  aggregate: PieceLink
  /** Link of the DAG-CBOR block that lists the pieces. */
  pieces: Link
  nonce?: string | undefined
}

/** Builds the storefront's `filecoin/submit` task. See {@link Distinction}. */
export const filecoinSubmit = (
  storefront: Signer,
  { content, piece, nonce }: Offered,
  distinction: Distinction = {},
) =>
  buildTask({
    issuer: storefront,
    audience: storefront,
    can: 'filecoin/submit',
    nb: { content, piece },
    nonce,
    facts: factsOf(distinction),
  })

/** Builds the storefront's `filecoin/accept` task. See {@link Distinction}. */
export const filecoinAccept = (
  storefront: Signer,
  { content, piece, nonce }: Offered,
  distinction: Distinction = {},
) =>
  buildTask({
    issuer: storefront,
    audience: storefront,
    can: 'filecoin/accept',
    nb: { content, piece },
    nonce,
    facts: factsOf(distinction),
  })

/**
 * The authority by which a service invokes another one: `with` is its own DID if the other service has it as a client, or
 * the DID of the other service together with a delegation from it.
 */
export interface Authority {
  with: DID
  proofs?: readonly Delegation[]
}

/** Builds a `piece/offer` invocation. */
export const pieceOffer = (
  issuer: Signer,
  aggregator: Principal,
  { piece, group, nonce }: Grouped,
  authority?: Authority,
) =>
  buildTask({ issuer, audience: aggregator, can: 'piece/offer', nb: { piece, group }, nonce, ...authority })

/** Builds a `piece/info` invocation. The nonce is the nonce of the piece's offer, and is sent as a caveat. */
export const pieceInfo = (
  issuer: Signer,
  aggregator: Principal,
  { piece, group, nonce }: Grouped,
  authority?: Authority,
) =>
  buildTask({
    issuer,
    audience: aggregator,
    can: 'piece/info',
    nb: { piece, group, ...(nonce === undefined ? {} : { nonce }) },
    ...authority,
  })

/**
 * Returns the nonce of the `piece/offer` with which a dealer asks for another aggregate for a piece of a failed one: the
 * CID of the failed aggregate, followed by a space and the nonce of its offer if it had one. Aggregates of the same pieces
 * have the same CID and differ by that nonce.
 *
 * @example `bafkzcibcaapao7s7…` or `bafkzcibcaapao7s7… group-2`
 */
export const retryNonce = ({ aggregate, nonce }: Pick<Aggregated, 'aggregate' | 'nonce'>): string =>
  nonce === undefined ? `${aggregate}` : `${aggregate} ${nonce}`

/** Parses a {@link retryNonce}. Accepts any text: the caller must check that the aggregate exists. */
export const parseRetryNonce = (retry: string): { aggregate: string; nonce?: string | undefined } => {
  const [aggregate = '', ...nonce] = retry.split(' ')
  return { aggregate, nonce: nonce.length === 0 ? undefined : nonce.join(' ') }
}

/**
 * Builds the aggregator's `piece/accept` task.
 *
 * @param storefront set only if another storefront offered the same piece in the same group before. The facts of the later
 * task then name its storefront, because the capability has no field for it.
 */
export const pieceAccept = (
  aggregator: Signer,
  { piece, group, nonce, storefront }: Grouped & { storefront?: DID | undefined },
) =>
  buildTask({
    issuer: aggregator,
    audience: aggregator,
    can: 'piece/accept',
    nb: { piece, group },
    nonce,
    facts: storefront === undefined ? [] : [{ storefront }],
  })

/**
 * The owner of an aggregate, in the facts of `aggregate/offer`.
 *
 * @example `{ storefront: 'did:web:up.storacha.network', group: 'did:web:storacha.network',
 * label: 'did:web:storacha.network #7' }`
 */
export interface Tenant {
  storefront: DID
  group: string
  /** Describes the aggregate to the people who make deals. */
  label: string
}

/**
 * Builds an `aggregate/offer` invocation.
 *
 * @param block the DAG-CBOR block that lists the pieces. Omit it if the task is only named as an effect: its CID is the same.
 */
export const aggregateOffer = (
  issuer: Signer,
  dealer: Principal,
  { aggregate, pieces, nonce, tenant, block }: Aggregated & { tenant: Tenant; block?: Block | undefined },
  authority?: Authority,
) =>
  buildTask({
    issuer,
    audience: dealer,
    can: 'aggregate/offer',
    nb: { aggregate, pieces },
    nonce,
    facts: [{ ...tenant }],
    attach: block === undefined ? [] : [block],
    ...authority,
  })

/**
 * Distinguishes the offer of an aggregate from the first offer of the same aggregate, pieces and nonce. `aggregator` is absent if
 * the same aggregator made the first one.
 *
 * @example `{ storefront: 'did:web:up.storacha.network', group: 'did:web:storacha.network' }`
 */
export interface LaterOffer {
  storefront: string
  group: string
  aggregator?: string
}

/**
 * Builds the dealer's `aggregate/accept` task.
 *
 * @param laterOffer set only if another aggregator, or the same one for another tenant, offered the same aggregate, pieces
 * and nonce before. It is the fact of the later task, because the capability has no field for it.
 */
export const aggregateAccept = (
  dealer: Signer,
  { aggregate, pieces, nonce, laterOffer }: Aggregated & { laterOffer?: LaterOffer | undefined },
) =>
  buildTask({
    issuer: dealer,
    audience: dealer,
    can: 'aggregate/accept',
    nb: { aggregate, pieces },
    nonce,
    facts: laterOffer === undefined ? [] : [{ ...laterOffer }],
  })

/** Builds a `deal/info` invocation. The nonce must be fresh, so that no earlier receipt answers it. */
export const dealInfo = (
  issuer: Signer,
  tracker: Principal,
  { piece, nonce }: { piece: PieceLink; nonce: string },
  authority?: Authority,
) => buildTask({ issuer, audience: tracker, can: 'deal/info', nb: { piece }, nonce, ...authority })

/** Builds a `deal/watch` invocation. The nonce must be fresh, as that of {@link dealInfo}. */
export const dealWatch = (
  issuer: Signer,
  tracker: Principal,
  { dealID, nonce }: { dealID: number; nonce: string },
) => buildTask({ issuer, audience: tracker, can: 'deal/watch', nb: { dealID }, nonce })

/**
 * Builds the storefront's `blob/allocate` task.
 *
 * @param cause CID of the `space/blob/add`
 */
export const blobAllocate = (
  storefront: Signer,
  { blob, space, cause }: { blob: Blob; space: DID; cause: Link },
) =>
  buildTask({
    issuer: storefront,
    audience: storefront,
    can: 'blob/allocate',
    nb: { blob, cause, space: Dids.parse(space) },
  })

/**
 * Builds the `http/put` task, which the agent runs. Its result has no other proof than the blob itself.
 *
 * @param allocate CID of the `blob/allocate`, whose receipt has the address
 * @param uploader an Ed25519 key, which the facts contain: published clients sign the receipt with it
 */
export const httpPut = (
  uploader: Signer,
  { blob, allocate }: { blob: Blob; allocate: Link },
  keys: Fact[string],
) =>
  buildTask({
    issuer: uploader,
    audience: uploader,
    can: 'http/put',
    nb: {
      body: blob,
      url: { 'ucan/await': ['.out.ok.address.url', allocate] },
      headers: { 'ucan/await': ['.out.ok.address.headers', allocate] },
    },
    facts: [{ keys }],
  })

/**
 * Builds the storefront's `blob/accept` task.
 *
 * @param put CID of the `http/put`, after which it runs
 */
export const blobAccept = (storefront: Signer, { blob, space, put }: { blob: Blob; space: DID; put: Link }) =>
  buildTask({
    issuer: storefront,
    audience: storefront,
    can: 'blob/accept',
    nb: { blob, space: Dids.parse(space), _put: { 'ucan/await': ['.out.ok', put] } },
  })

/**
 * Builds the `assert/location` in which the storefront names the location of a blob to a space.
 *
 * @param url cannot be read without permission
 */
export const assertLocation = (
  storefront: Signer,
  { digest, space, url }: { digest: Uint8Array; space: DID | Uint8Array; url: string },
) =>
  buildTask({
    issuer: storefront,
    audience: Dids.from(space as DID),
    can: 'assert/location',
    nb: { content: { digest }, location: [url], space: Dids.from(space as DID) },
  })

/**
 * Builds the `ucan/conclude` invocation that delivers a receipt to `audience`, with its root and all of its blocks. The
 * facts link to the blocks, as published services do.
 *
 * @example The facts of a receipt of two blocks: `[{ '0': bafy…, '1': bafy… }]`
 */
export const conclude = (
  issuer: Signer,
  audience: Principal,
  receipt: { root: Block; blocks: Iterable<Block> },
) => {
  const attach = [...receipt.blocks]
  const links = Object.fromEntries(attach.map((block, n) => [`${n}`, block.cid]))
  return buildTask({
    issuer,
    audience,
    can: 'ucan/conclude',
    nb: { receipt: receipt.root.cid },
    facts: [links as Fact],
    attach,
  })
}
