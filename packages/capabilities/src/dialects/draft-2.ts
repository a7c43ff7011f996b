import type { DID, Principal, Signer } from '@ucanto/interface'
import { capability, Schema } from '@ucanto/validator'
import { buildTask, type Distinguished } from '../build-task.ts'
import { covers, type PieceLink, pieceLink, type UnknownLink } from '../schema.ts'
import { toTenantDid } from './vocabulary.ts'

/**
 * Draft 2 of the protocol, which `@web3-storage/filecoin-client` 1.1.0 speaks. Each ability is both an offer and the task that
 * the service promises: it is the service's own task if the service is issuer and resource.
 */

const offered = Schema.struct({
  /** CID of the content. */
  content: Schema.link(),
  /** Piece CID of the content. */
  piece: pieceLink,
})

/** An agent asks a storefront to store content in Filecoin; or the storefront's own task: check the content. */
export const filecoinAdd = capability({
  can: 'filecoin/add',
  /** The space that holds the content; or the storefront. */
  with: Schema.did(),
  nb: offered,
  derives: covers,
})

/** A storefront asks an aggregator to put a piece into an aggregate; or the aggregator's own task: include it. */
export const aggregateAdd = capability({
  can: 'aggregate/add',
  /** The storefront; or the aggregator. */
  with: Schema.did(),
  nb: Schema.struct({
    piece: pieceLink,
    /** The storefront that offers the piece. */
    storefront: Schema.text(),
    group: Schema.text(),
  }),
  derives: covers,
})

const deal = Schema.struct({ tenantId: Schema.text(), label: Schema.text().optional() })

const tenant = {
  /** The storefront whose pieces the aggregate has. Published clients send it, and the label. */
  storefront: Schema.text().optional(),
  label: Schema.text().optional(),
  /** The same in the draft's text. */
  deal: deal.optional(),
}

/** The tenant of an aggregate, in one of the two forms of draft 2. */
export interface TenantArguments {
  storefront?: string | undefined
  label?: string | undefined
  deal?: { tenantId: string; label?: string | undefined } | undefined
}

/**
 * Returns the tenant and label in the arguments of `deal/add` or `deal/queue`.
 *
 * @example readTenantArguments({ deal: { tenantId: 'web3.storage' } }) // { storefront: 'did:web:web3.storage' }
 */
export const readTenantArguments = ({ storefront, label, deal }: TenantArguments) => {
  const tenantId = storefront ?? deal?.tenantId
  return {
    storefront: tenantId === undefined ? undefined : toTenantDid(tenantId),
    label: label ?? deal?.label,
  }
}

type Claim = { with: DID; nb: TenantArguments }

/**
 * Compares the tenant of a claim with that of a delegation, whichever form each of them has. The validator fills absent
 * arguments of the delegation with those of the claim, so the delegation may have both forms: the claim must fit each.
 */
const coversTenant = (claim: Claim, delegated: Claim) => {
  const { deal: _, ...claimed } = claim.nb
  const plain = { with: claim.with, nb: { ...claimed, ...readTenantArguments(claim.nb) } }
  const { deal, ...others } = delegated.nb
  const { storefront, label } = others
  const forms = [
    { ...others, ...readTenantArguments({ storefront, label }) },
    ...(deal ? [readTenantArguments({ deal })] : []),
  ]
  const results = forms.map(nb => covers(plain, { with: delegated.with, nb }))
  return results.find(result => 'error' in result) ?? { ok: {} }
}

/** An aggregator asks a dealer to make deals for an aggregate; or the dealer's own task: make them. */
export const dealAdd = capability({
  can: 'deal/add',
  /** The aggregator; or the dealer. */
  with: Schema.did(),
  nb: Schema.struct({
    aggregate: pieceLink,
    /** Link of the attached block that lists the pieces: a DAG-CBOR array of piece links. */
    pieces: Schema.link({ version: 1 }),
    ...tenant,
  }),
  derives: coversTenant,
})

/** The same with the names that an example of the draft has. */
export const dealAddOffer = capability({
  can: 'deal/add',
  with: Schema.did(),
  nb: Schema.struct({
    offer: Schema.link({ version: 1 }),
    piece: pieceLink,
    ...tenant,
  }),
  derives: coversTenant,
})

const question = Schema.struct({ piece: pieceLink })

/** A client asks the deal tracker for the deals of an aggregate. */
export const chainTrackerInfo = capability({
  can: 'chain-tracker/info',
  /** The issuer; or the tracker, with a delegation to the issuer. */
  with: Schema.did(),
  nb: question,
  derives: covers,
})

/** The same with the name that an example of the draft has. */
export const chainInfo = capability({
  can: 'chain/info',
  with: Schema.did(),
  nb: question,
  derives: covers,
})

/** Builds the storefront's own `filecoin/add`. */
export const filecoinAddTask = (
  storefront: Signer,
  { content, piece, ...options }: { content: UnknownLink; piece: PieceLink } & Distinguished,
) =>
  buildTask({
    issuer: storefront,
    audience: storefront,
    can: 'filecoin/add',
    nb: { content, piece },
    ...options,
  })

interface Grouped {
  piece: PieceLink
  storefront: string
  group: string
}

/** Builds an `aggregate/add`: an offer, or the aggregator's own task. */
export const aggregateAddTask = (
  issuer: Signer,
  aggregator: Principal,
  { piece, storefront, group, ...options }: Grouped & Distinguished,
) =>
  buildTask({
    issuer,
    audience: aggregator,
    can: 'aggregate/add',
    nb: { piece, storefront, group },
    ...options,
  })

/**
 * Builds a `deal/add`: an offer, or the dealer's own task, whose arguments are those of the offer. The caller of an offer
 * attaches the block that lists the pieces.
 *
 * @param nb the arguments, as {@link dealAdd} or {@link dealAddOffer} has them
 */
export const dealAddTask = (
  issuer: Signer,
  dealer: Principal,
  { nb, ...options }: { nb: object } & Distinguished,
) => buildTask({ issuer, audience: dealer, can: 'deal/add', nb: withoutAbsent(nb), ...options })

const withoutAbsent = (nb: object): Record<string, unknown> =>
  Object.fromEntries(Object.entries(nb).filter(([, value]) => value !== undefined))

/** Builds a question to a deal tracker. */
export const infoTask = (
  issuer: Signer,
  tracker: Principal,
  { piece, nonce }: { piece: PieceLink; nonce: string },
) => buildTask({ issuer, audience: tracker, can: 'chain-tracker/info', nb: { piece }, nonce })
