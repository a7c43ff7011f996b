/** An answer is slow only if it exceeds both limits. */
export interface SlownessLimits {
  /** No answer below this is slow, whatever the machine does. */
  floorMs: number
  /** A multiple of the time that an honest message takes. */
  ratio: number
}

/**
 * Of the 107 slowest of 3,000 messages, each sent alone, none took more than 12 times an honest message (114 ms and 10 ms).
 * Without the bound on proofs, a diamond of 13 levels took 7.9 s beside 0.21 s on a busy machine: 38 times.
 */
export const SLOWNESS_LIMITS: SlownessLimits = { floorMs: 2000, ratio: 20 }

/** How often each of the two messages is sent. */
const ROUNDS = 3

export interface Suspect {
  /** Sends the message that was slow; resolves to the milliseconds until its answer. */
  sendSuspect: () => Promise<number>
  /** Sends an honest message to the same service; resolves to the milliseconds until its answer. */
  sendHonest: () => Promise<number>
  limits?: SlownessLimits
}

/**
 * Sends a message in turn with an honest one, and returns why the message is too slow; `undefined` if it is not.
 *
 * An algorithmic blow-up is slow every time, and a busy machine also slows the honest message. So even the quickest answer
 * must exceed the floor, and the ratio to the median of the honest answers. Nothing else may be sent meanwhile, and the two
 * messages never overlap: a blow-up blocks the event loop that all services share, so an honest message beside it would be
 * as slow.
 *
 * @example
 * await findSlowness({ sendSuspect, sendHonest })
 * // 'took at least 8200 ms in each of 3 tries, an honest message 31 ms'
 */
export const findSlowness = async ({
  sendSuspect,
  sendHonest,
  limits: { floorMs, ratio } = SLOWNESS_LIMITS,
}: Suspect): Promise<string | undefined> => {
  const honest: number[] = []
  let quickestMs = Infinity
  for (let round = 0; round < ROUNDS; round++) {
    honest.push(await sendHonest())
    quickestMs = Math.min(quickestMs, await sendSuspect())
    if (quickestMs <= floorMs) return undefined
  }
  const honestMs = honest.toSorted((one, other) => one - other)[Math.floor(ROUNDS / 2)]!
  return quickestMs <= ratio * honestMs
    ? undefined
    : `took at least ${quickestMs.toFixed(0)} ms in each of ${ROUNDS} tries, an honest message ${honestMs.toFixed(0)} ms`
}
