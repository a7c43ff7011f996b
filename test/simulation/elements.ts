import type { Choices } from '@w3filecoin/testing/deterministic'

/** The elements that only some seeds have, and the share of the seeds that have each. */
export const ELEMENTS = {
  /** The clocks of services differ, and jump. */
  clocks: 0.2,
  /** The deal tracker sees no deals for longer than the dealer waits. */
  'blind-chain': 0.12,
  /** Two storefronts, at one aggregator or two, offer the same pieces; or a storefront does in two groups. */
  twins: 0.2,
  /** A deal is on chain for hours before it has a market id. */
  'late-market-ids': 0.15,
  /** A process with the key of an aggregator delivers receipts that nothing waits for. */
  lies: 0.15,
  /** Content is uploaded after the wait for it, and then offered again. */
  'late-content': 0.1,
  /** The operator changes the providers of spaces. */
  'provider-changes': 0.15,
  /** Agents offer in the dialects of the protocol: the same content in several ones, early, late, and after the end. */
  dialects: 0.25,
  /** A stranger offers one content with many nonces. */
  'nonce-flood': 0.03,
  /** The dealer orders copies from providers that refuse, forget, lose copies, and lose answers. An operator intervenes. */
  orders: 0.33,
  /** Many contents of one space arrive very slowly. Such a seed has no faults, so that delays can be measured. */
  'slow-content': 0.02,
} as const
export type Element = keyof typeof ELEMENTS

/** Returns the elements of a seed. With `only`, every seed has this element and no other. */
export const randomElements = (choices: Choices, only?: Element): ReadonlySet<Element> => {
  const found = (Object.keys(ELEMENTS) as Element[]).filter(name => choices.chance(ELEMENTS[name]))
  if (only !== undefined) return new Set([only])
  return new Set(found.includes('slow-content') ? ['slow-content'] : found)
}
