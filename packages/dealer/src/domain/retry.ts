import type { Failure } from '@w3filecoin/capabilities'

/** What an aggregator refuses a piece of a failed aggregate for, and files: asked again, it says the same. */
const FINAL = new Set(['InvalidPieceCID', 'ProofNotFound', 'UnknownAggregate'])

/**
 * Whether the refusal of a piece that is tried again stays one; whoever waits for the piece reads why in its receipt. All
 * else is about who asks, how or when: a key that is not known there yet, an ability that is not deployed yet.
 */
export const isFinal = ({ name }: Failure): boolean => FINAL.has(name)
