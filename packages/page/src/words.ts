import type { Stage } from '@w3filecoin/client'

/** The stages of a piece in words for its owner. */
export const STAGES: Record<Stage | 'unknown', string> = {
  offered: 'Offered',
  submitted: 'Content checked',
  queued: 'With the aggregator',
  aggregated: 'In an aggregate',
  retried: 'Offered again',
  accepted: 'Stored on Filecoin',
  failed: 'Failed',
  unknown: 'Unknown',
}

/** The tasks of a workflow: the service that runs each, the meaning of its receipt, and the stage that it begins. */
export const TASKS: Record<string, { service: string; says: string; stage?: Stage }> = {
  'filecoin/offer': { service: 'Storefront', says: 'The offer is taken', stage: 'offered' },
  'filecoin/submit': { service: 'Storefront', says: 'The content has this piece', stage: 'submitted' },
  'filecoin/accept': { service: 'Storefront', says: 'The piece is stored on Filecoin', stage: 'accepted' },
  'piece/offer': { service: 'Aggregator', says: 'The piece is queued', stage: 'queued' },
  'piece/accept': { service: 'Aggregator', says: 'The piece is in an aggregate', stage: 'aggregated' },
  'aggregate/offer': { service: 'Dealer', says: 'The aggregate is taken' },
  'aggregate/accept': { service: 'Dealer', says: 'The aggregate is stored on Filecoin' },
}
