/** When the chain began, in seconds since 1970, and how long its epochs are. */
const GENESIS = 1_598_306_400
const EPOCH = 30

/** The last epoch that is believed: some 950 years after the first. */
export const LAST_EPOCH = 1_000_000_000

/** When an epoch begins, in milliseconds since 1970. */
export const timeOf = (epoch: number): number => (GENESIS + epoch * EPOCH) * 1000
