import type { Choices } from './random.ts'

/** The faults of a call. */
export const FAULTS = [
  /** The call fails without an effect. */
  'refuse',
  /** The call takes effect, but fails. */
  'fail',
  /** The call takes effect twice, as when an SDK retries a call after a lost response. It returns the second result. */
  'repeat',
  /** The call takes effect in part, and fails. */
  'part',
  /** The call takes so long that its caller has timed out, or that other functions have acted in the meantime. */
  'stall',
  /** The function is killed before, or after, the call takes effect. */
  'killBefore',
  'killAfter',
] as const
export type CallFault = (typeof FAULTS)[number]

/** A call of a port. */
export interface Call {
  port: 'table' | 'queue' | 'blocks' | 'http' | 'content' | 'chain'
  /** Name of the instance, e.g. `storefront.piece`. */
  name: string
  method: string
}

/** Decides which calls have faults. */
export interface Faults {
  /**
   * @param index number of the call in the run, from 0
   * @param caller the function that makes the call, e.g. `dealer.report`
   */
  callFault(call: Call, index: number, caller: string): CallFault | undefined
  /** Whether a consumer is so slow that its message is given to another one meanwhile. */
  isSlow(): boolean
}

/** No faults. */
export const NONE: Faults = { callFault: () => undefined, isSlow: () => false }

/** Returns random faults, each kind with its own probability. */
export const randomFaults = (
  choices: Choices,
  { slow = 0, ...rates }: Partial<Record<CallFault | 'slow', number>>,
): Faults => {
  const kinds = Object.entries(rates) as [CallFault, number][]
  return {
    isSlow: () => choices.chance(slow),
    callFault: () => {
      let left = choices.fraction()
      for (const [kind, rate] of kinds) {
        if (left < rate) return kind
        left -= rate
      }
      return undefined
    },
  }
}

/** Returns one fault at one call. */
export const faultAt = (at: number, fault: CallFault): Faults => ({
  ...NONE,
  callFault: (_, index) => (index === at ? fault : undefined),
})

/** The error that a fault throws. */
export class InjectedFault extends Error {
  override readonly name = 'InjectedFault'
}
