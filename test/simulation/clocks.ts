import type { Clock } from '@w3filecoin/runtime'
import type { Choices } from '@w3filecoin/testing/deterministic'

const SECOND = 1000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

/** Differences between the clocks of services and the time of the world. */
export interface Clocks {
  /** Constant difference of a clock in milliseconds, by its owner. It is negative for a clock that is behind. */
  offsets: Record<string, number>
  jumps: readonly Jump[]
}

/** A period in which some clocks are far ahead. Its times are in milliseconds from the start. */
export interface Jump {
  owners: readonly string[]
  from: number
  to: number
  aheadMs: number
}

export const CORRECT_CLOCKS: Clocks = { offsets: {}, jumps: [] }

/** Returns the clock of one owner. `now` is the time of the world, which begins at `start`. */
export const clockOf =
  (now: Clock, start: number, { offsets, jumps }: Clocks, owner: string): Clock =>
  () => {
    const at = now() - start
    const ahead = jumps
      .filter(({ owners, from, to }) => owners.includes(owner) && from <= at && at < to)
      .map(({ aheadMs }) => aheadMs)
    return now() + (offsets[owner] ?? 0) + Math.max(0, ...ahead)
  }

/**
 * Returns clocks that differ by minutes, jump, or both. A jump lasts some hours. It affects one owner, or all, as on a
 * machine that runs all services.
 *
 * @param busy times at which the services have work, in milliseconds from the start: jumps begin soon after them
 */
export const randomClocks = (
  choices: Choices,
  owners: readonly string[],
  busy: readonly number[],
): Clocks => {
  const jumps = Array.from({ length: choices.one([0, 1, 1, 2]) }, (): Jump => {
    const from = choices.one(busy) + choices.between(0, 8 * HOUR)
    return {
      owners: choices.chance(0.3) ? owners : [choices.one(owners)],
      from,
      to: from + choices.one([2 * MINUTE, HOUR, 6 * HOUR]),
      aheadMs: choices.between(4 * DAY, 10 * DAY),
    }
  })
  const differ = jumps.length === 0 || choices.chance(0.5)
  return {
    offsets: Object.fromEntries(
      owners.map(owner => [owner, differ ? choices.between(-5 * MINUTE, 5 * MINUTE) : 0]),
    ),
    jumps,
  }
}
