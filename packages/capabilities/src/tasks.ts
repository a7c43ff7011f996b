import { invoke } from '@ucanto/core'
import type {
  Block,
  Delegation,
  DID,
  Fact,
  Invocation,
  Link,
  Principal,
  Proof,
  Signer,
} from '@ucanto/interface'
import type { PieceLink, UnknownLink } from './schema.ts'

/**
 * Every task of the protocol is built here and nowhere else, so that a task that was promised as an effect and
 * the task that is run later are the same bytes: never expiring, without a nonce unless the offer had one. With
 * deterministic Ed25519 signatures a task's CID is a pure function of the offer.
 */
export type Task = Invocation

interface TaskOptions {
  issuer: Signer
  audience: Principal
  with?: DID
  can: `${string}/${string}`
  nb: Record<string, unknown>
  nonce?: string | undefined
  proofs?: readonly Proof[] | undefined
  facts?: Fact[]
  attach?: readonly Block[]
}

const task = async ({
  issuer,
  audience,
  can,
  nb,
  nonce,
  proofs = [],
  facts = [],
  attach = [],
  ...rest
}: TaskOptions) => {
  const invocation = invoke({
    issuer,
    audience,
    capability: { can, with: rest.with ?? issuer.did(), nb },
    expiration: Infinity,
    proofs: [...proofs],
    facts,
    ...(nonce === undefined ? {} : { nonce }),
  })
  for (const block of attach) invocation.attach(block)
  return (await invocation.buildIPLDView()) as Task
}

interface Offered {
  content: UnknownLink
  piece: PieceLink
  nonce?: string | undefined
}

interface Grouped {
  piece: PieceLink
  group: string
  nonce?: string | undefined
}

interface Aggregated {
  aggregate: PieceLink
  /** Link of the block that lists the pieces. */
  pieces: Link
  nonce?: string | undefined
}

export const filecoinSubmit = (storefront: Signer, { content, piece, nonce }: Offered) =>
  task({ issuer: storefront, audience: storefront, can: 'filecoin/submit', nb: { content, piece }, nonce })

export const filecoinAccept = (storefront: Signer, { content, piece, nonce }: Offered) =>
  task({ issuer: storefront, audience: storefront, can: 'filecoin/accept', nb: { content, piece }, nonce })

/**
 * How one service stands towards another: it invokes `with` its own DID where the other lists it, or with the
 * other's DID where it holds the other's delegation.
 */
export interface Authority {
  with: DID
  proofs?: readonly Delegation[]
}

export const pieceOffer = (
  issuer: Signer,
  aggregator: Principal,
  { piece, group, nonce }: Grouped,
  authority?: Authority,
) => task({ issuer, audience: aggregator, can: 'piece/offer', nb: { piece, group }, nonce, ...authority })

/** @param nonce the nonce that the piece was offered with */
export const pieceInfo = (
  issuer: Signer,
  aggregator: Principal,
  { piece, group, nonce }: Grouped,
  authority?: Authority,
) =>
  task({
    issuer,
    audience: aggregator,
    can: 'piece/info',
    nb: { piece, group, ...(nonce === undefined ? {} : { nonce }) },
    ...authority,
  })

/**
 * The nonce of the `piece/offer` by which a dealer has a piece of a failed aggregate tried again: the aggregate's CID;
 * with the nonce of its offer, where it had one, because the same pieces may make the same aggregate more than once.
 */
export const retryNonce = ({ aggregate, nonce }: Pick<Aggregated, 'aggregate' | 'nonce'>): string =>
  nonce === undefined ? `${aggregate}` : `${aggregate} ${nonce}`

/** The failed aggregate that a {@link retryNonce} names. What it reads may be anything. */
export const retriedFrom = (retry: string): { aggregate: string; nonce?: string | undefined } => {
  const [aggregate = '', ...nonce] = retry.split(' ')
  return { aggregate, nonce: nonce.length === 0 ? undefined : nonce.join(' ') }
}

/**
 * @param storefront set only where two storefronts offered the same piece in the same group: the later one's
 * task says in its facts whose piece it is, since the capability has no field for it.
 */
export const pieceAccept = (
  aggregator: Signer,
  { piece, group, nonce, storefront }: Grouped & { storefront?: DID | undefined },
) =>
  task({
    issuer: aggregator,
    audience: aggregator,
    can: 'piece/accept',
    nb: { piece, group },
    nonce,
    facts: storefront === undefined ? [] : [{ storefront }],
  })

/** For whom an aggregate was made; travels as a fact of `aggregate/offer`. */
export interface Tenant {
  storefront: DID
  group: string
  /** Names the aggregate for people who make deals. */
  label: string
}

/** @param block the DAG-CBOR list of pieces. Left out where the task is only shown as an effect. */
export const aggregateOffer = (
  issuer: Signer,
  dealer: Principal,
  { aggregate, pieces, nonce, tenant, block }: Aggregated & { tenant: Tenant; block?: Block | undefined },
  authority?: Authority,
) =>
  task({
    issuer,
    audience: dealer,
    can: 'aggregate/offer',
    nb: { aggregate, pieces },
    nonce,
    facts: [{ ...tenant }],
    attach: block === undefined ? [] : [block],
    ...authority,
  })

export const aggregateAccept = (dealer: Signer, { aggregate, pieces, nonce }: Aggregated) =>
  task({ issuer: dealer, audience: dealer, can: 'aggregate/accept', nb: { aggregate, pieces }, nonce })

/** @param nonce makes every question a new one, so that the answer is the present state. */
export const dealInfo = (
  issuer: Signer,
  tracker: Principal,
  { piece, nonce }: { piece: PieceLink; nonce: string },
  authority?: Authority,
) => task({ issuer, audience: tracker, can: 'deal/info', nb: { piece }, nonce, ...authority })

/** Hands `receipt` (its root and all blocks) to `audience`. The blocks are linked from the facts, as published services do. */
export const conclude = (
  issuer: Signer,
  audience: Principal,
  receipt: { root: Block; blocks: Iterable<Block> },
) => {
  const attach = [...receipt.blocks]
  const links = Object.fromEntries(attach.map((block, n) => [`${n}`, block.cid]))
  return task({
    issuer,
    audience,
    can: 'ucan/conclude',
    nb: { receipt: receipt.root.cid },
    facts: [links as Fact],
    attach,
  })
}
