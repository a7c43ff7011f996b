import type { Fetch } from '@w3filecoin/runtime'

/**
 * The time limit for reading one source: all requests, decompression and parsing. Four sources take at most 400 of the 600
 * seconds of a run, which leaves 50 seconds for comparing and storing each.
 */
export const MAX_READ_MS = 100_000

/** The network of a source. */
export interface Network {
  fetch: Fetch
  /** Time for reading the source once. The default is {@link MAX_READ_MS}. */
  maxReadMs?: number
}
