import type { Choices } from './random.ts'

/** What can go wrong with a call. */
export const FAULTS = [
  /** Fails without an effect. */
  'refuse',
  /** Takes effect, and fails. */
  'fail',
  /** Takes effect twice, as when an SDK tries again what it thought had failed; the answer is the second one's. */
  'repeat',
  /** A part of it takes effect, and it fails. */
  'part',
  /** Takes so long that whoever waits for it has gone, or goes on with what others have done meanwhile. */
  'stall',
  /** The function ends here: before the call takes effect, or after. */
  'killBefore',
  'killAfter',
] as const
export type CallFault = (typeof FAULTS)[number]

/** A call of a port. */
export interface Call {
  port: 'table' | 'queue' | 'blocks' | 'http' | 'content' | 'chain'
  /** Of the instance: `storefront.piece`. */
  name: string
  method: string
}

/** Decides what goes wrong. */
export interface Faults {
  /**
   * @param index number of the call in the run, from 0
   * @param caller the function that makes the call, e.g. `dealer.report`
   */
  callFault(call: Call, index: number, caller: string): CallFault | undefined
  /** Whether a consumer is so slow that its message is given to another one meanwhile. */
  isSlow(): boolean
}

export const NONE: Faults = { callFault: () => undefined, isSlow: () => false }

/** Faults at random, each with a probability of its own. */
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

/** One fault, at one call. */
export const faultAt = (at: number, fault: CallFault): Faults => ({
  ...NONE,
  callFault: (_, index) => (index === at ? fault : undefined),
})

/** What an injected failure throws. */
export class InjectedFault extends Error {
  override readonly name = 'InjectedFault'
}
