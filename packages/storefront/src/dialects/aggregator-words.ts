import type { Signer } from '@ucanto/interface'
import {
  CapabilitySection,
  Draft1,
  Draft2,
  Draft3,
  type PieceLink,
  type Task,
  Tasks,
  type Vocabulary,
} from '@w3filecoin/capabilities'
import type { ExpectedTask, Peer } from '@w3filecoin/runtime'

/** The name of the error by which an aggregator refuses a piece for ever; drafts 2 and 3 spell it differently. */
export const INVALID_PIECE: ReadonlySet<string> = new Set(['InvalidPieceCID', 'InvaildPieceCID'])

interface Grouped {
  piece: PieceLink
  group: string
  nonce?: string | undefined
}

/** The words in which the storefront offers a piece to its aggregator, and the promise that it expects. */
export interface AggregatorWords {
  offer: (offer: Grouped) => Promise<Task>
  /** Returns the task that the aggregator promises in its answer. Its receipt names the aggregate. */
  promised: (offer: { piece: string; group: string }) => ExpectedTask
  /**
   * Whether the receipt of that task links to the `aggregate/offer` of the protocol, and so to the outcome of the aggregate. If
   * not, the deal tracker reports the outcome.
   */
  linksToOffer: boolean
}

/** Returns the words of a vocabulary. Default: those of the protocol, if the aggregator understands them. */
export const aggregatorWords = (
  id: Signer,
  aggregator: Peer,
  vocabulary: Vocabulary = aggregator.vocabulary,
): AggregatorWords => {
  const { principal, did: issuer } = aggregator
  const storefront = id.did()
  const words: Record<Vocabulary, AggregatorWords> = {
    protocol: {
      offer: offer => Tasks.pieceOffer(id, principal, offer),
      promised: ({ piece, group }) => ({ can: 'piece/accept', issuer, nb: { piece, group } }),
      linksToOffer: true,
    },
    'draft-1': {
      offer: ({ group, ...offer }) => Draft1.offerTask(id, principal, { ...offer, provider: group }),
      promised: ({ piece }) => ({ can: 'aggregate/arrange', issuer, audience: storefront, nb: { piece } }),
      linksToOffer: false,
    },
    'draft-2': {
      offer: offer => Draft2.aggregateAddTask(id, principal, { ...offer, storefront }),
      promised: ({ piece, group }) => ({ can: 'aggregate/add', issuer, nb: { piece, group, storefront } }),
      linksToOffer: false,
    },
    'draft-3': {
      offer: offer => Draft3.aggregateQueueTask(id, principal, offer),
      promised: ({ piece, group }) => ({ can: 'aggregate/add', issuer, nb: { piece, group, storefront } }),
      linksToOffer: false,
    },
    'capability-section': {
      offer: offer => CapabilitySection.aggregateOfferTask(id, principal, offer),
      promised: ({ piece, group }) => ({ can: 'aggregate/accept', issuer, nb: { piece, group } }),
      linksToOffer: false,
    },
  }
  return words[vocabulary]
}

/** Returns the offers by which an aggregator may offer an aggregate to a dealer: that of the protocol, then those of the dialects. */
export const expectedOffers = (
  aggregate: string,
  issuer: string,
  audience: string,
): [ExpectedTask, ...ExpectedTask[]] => {
  const parties = { issuer, audience }
  return [
    { can: 'aggregate/offer', ...parties, nb: { aggregate } },
    { can: 'aggregate/offer', ...parties, nb: { piece: aggregate } },
    ...['deal/add', 'deal/queue', 'deal/offer'].map(can => ({ can, ...parties, nb: { aggregate } })),
  ]
}
