/** Time of epoch 0 of Filecoin's mainnet, since 1970: 2020-08-24T22:00:00Z. */
const GENESIS_SECONDS = 1_598_306_400
/** Length of an epoch. */
const EPOCH_SECONDS = 30

/**
 * Returns the time at which an epoch begins, in milliseconds since 1970.
 *
 * @example epochToMs(5_000_000) // 1748306400000, which is 2025-05-27T00:40:00Z
 */
export const epochToMs = (epoch: number): number => (GENESIS_SECONDS + epoch * EPOCH_SECONDS) * 1000
