import type { Fact, Link, Signer } from '@ucanto/interface'
import {
  type Authority,
  CapabilitySection,
  Draft1,
  Draft2,
  Draft3,
  type PieceLink,
  type Task,
  Tasks,
  type Tenant,
  type Vocabulary,
} from '@w3filecoin/capabilities'
import type { ExpectedTask, Peer } from '@w3filecoin/runtime'

interface AggregateOffer {
  aggregate: PieceLink
  pieces: Link
  nonce: string | undefined
  tenant: Tenant
}

/** The words in which the aggregator offers aggregates to its dealer, and the promise that it expects. */
export interface DealerWords {
  /** @param authority the delegation of the tenant, for the ability of the protocol */
  offer: (offer: AggregateOffer, authority: Authority | undefined) => Promise<Task>
  /** Returns the task that the dealer promises in its answer. Its receipt decides about the aggregate. */
  promised: (offer: Record<'aggregate' | 'pieces', string>) => ExpectedTask
}

/** Returns the words that a dealer understands: those of the protocol, if it understands them. */
export const dealerWords = (id: Signer, dealer: Peer): DealerWords => {
  const { principal, did: issuer } = dealer
  const promisedAdd = ({ aggregate, pieces }: Record<'aggregate' | 'pieces', string>) => ({
    can: 'deal/add',
    issuer,
    nb: { aggregate, pieces },
  })
  const words: Record<Vocabulary, DealerWords> = {
    protocol: {
      offer: (offer, authority) => Tasks.aggregateOffer(id, principal, offer, authority),
      promised: ({ aggregate, pieces }) => ({ can: 'aggregate/accept', issuer, nb: { aggregate, pieces } }),
    },
    'draft-1': {
      offer: ({ tenant, ...offer }) =>
        Draft1.aggregateOfferTask(id, principal, { ...offer, facts: factsOf(tenant) }),
      promised: ({ aggregate }) => ({
        can: 'offer/arrange',
        issuer,
        audience: id.did(),
        nb: { piece: aggregate },
      }),
    },
    'draft-2': {
      offer: offer => Draft2.dealAddTask(id, principal, toNamed(offer)),
      promised: promisedAdd,
    },
    'draft-3': {
      offer: offer => Draft3.dealQueueTask(id, principal, toNamed(offer)),
      promised: promisedAdd,
    },
    'capability-section': {
      offer: ({ tenant, ...offer }) =>
        CapabilitySection.dealOfferTask(id, principal, { ...offer, facts: factsOf(tenant) }),
      promised: ({ aggregate, pieces }) => ({ can: 'deal/accept', issuer, nb: { aggregate, pieces } }),
    },
  }
  return words[dealer.vocabulary]
}

/** The tenant as a fact: the dialects have no argument for the group. */
const factsOf = (tenant: Tenant): Fact[] => [{ ...tenant }]

/** Puts the tenant and its label into the arguments, as drafts 2 and 3 have them. */
const toNamed = ({ aggregate, pieces, nonce, tenant }: AggregateOffer) => ({
  nb: { aggregate, pieces, storefront: tenant.storefront, label: tenant.label },
  nonce,
  facts: factsOf(tenant),
})

/** Returns the aggregate that a dealer's task or its result names. Draft 1 calls it `piece`. */
export const aggregateIn = (values: unknown): string => {
  const { aggregate, piece } = Object(values) as { aggregate?: unknown; piece?: unknown }
  return `${aggregate ?? piece}`
}
