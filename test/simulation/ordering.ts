import type { Place } from '@w3filecoin/capabilities'
import type { PolicyRule } from '@w3filecoin/dealer'
import type { Choices } from '@w3filecoin/testing/deterministic'

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

/** A storage provider that is a target of the dealer. */
export interface Provider {
  /** As the deal tracker names it, e.g. `f0101` or `pdp:3`. */
  name: string
  place: Exclude<Place['type'], 'market'>
  org: string
}

/** The fate of an order at its provider, decided when the order arrives there first. Times are in milliseconds. */
export interface Fate {
  /** The provider refuses the order, and blames it or itself. */
  refuses?: 'order' | 'target'
  /** The number of requests that it answers with "later", and of those that it carries out without an answer. */
  busy?: number
  lostAnswers?: number
  /** Time from the order to the copy on chain. Absent: no copy is made. */
  sealsAfterMs?: number
  /** Whether the copy is in a sector with copies of other aggregates. */
  sharesSector?: boolean
  /** Time until the chain is reorganized: the copy is not there any more, and in another place an hour later. */
  forksAfterMs?: number
  /** Time until the provider loses the copy. */
  losesAfterMs?: number
  /** Time until the end of the copy, which the chain names in advance. */
  lastsMs?: number
}

/** Acts of an operator: the commands `w3fil ops target pause` and `resume`, and `w3fil ops order retry` and `drop`. */
export const ACTS = ['pause', 'resume', 'retry', 'drop', 'drop --force'] as const
export type Act = (typeof ACTS)[number]

/** A stage whose dealer orders copies, and the behaviour of providers, sources and operator. Times are in milliseconds. */
export interface Ordering {
  policy: PolicyRule
  providers: readonly Provider[]
  maxInFlight: number
  deadlineMs: number
  /** Time after which an aggregate without a deal and without orders fails, if the policy says so. */
  dealWaitMs: number
  /**
   * Returns the fate of an order.
   *
   * @param at when it arrives, in milliseconds from the start
   * @param earlier the number of orders of the aggregate that the provider had before
   */
  fateOf: (provider: Provider, at: number, earlier: number) => Fate
  /** Time from a change on chain until the sources see it, because they read final epochs only. */
  finalityMs: number
  /** The settings have no targets before, from the start. */
  targetsFrom: number
  /** When the settings lack the first target, and when the doors of storefronts are closed. */
  withdrawn: readonly Period[]
  closed: readonly Period[]
  acts: readonly { at: number; act: Act }[]
}

/** A period, in milliseconds from the start. */
interface Period {
  from: number
  to: number
}

export const isWithin = (periods: readonly Period[], at: number): boolean =>
  periods.some(({ from, to }) => from <= at && at < to)

/** Returns the ordering of a seed. When the world has healed, providers make every copy, and keep it. */
export const randomOrdering = (choices: Choices, healsAt: number): Ordering => {
  const copies = choices.between(1, 3)
  const orgs = choices.between(copies, 5)
  const kinds = choices.one([['sector'], ['pdp'], ['sector', 'pdp']] as const)
  const providers = Array.from({ length: choices.between(orgs, 5) }, (_, n): Provider => {
    const place = kinds[n % kinds.length] as Provider['place']
    return { name: place === 'pdp' ? `pdp:${n + 1}` : `f010${n + 1}`, place, org: `org ${n % orgs}` }
  })
  const rates = {
    refusals: choices.one([0, 0.1, 0.4]),
    silence: choices.one([0, 0.1, 0.3]),
    losses: choices.one([0, 0.2, 0.5]),
    ends: choices.one([0, 0.3]),
    forks: choices.one([0, 0.3]),
    shares: choices.one([0, 0.5]),
    trouble: choices.one([0, 0.3]),
  }
  const slowest = choices.one([6 * HOUR, 30 * HOUR, 3 * DAY])
  const fateOf = (_: Provider, at: number): Fate => {
    if (at >= healsAt) return { sealsAfterMs: choices.between(HOUR, 20 * HOUR) }
    if (choices.chance(rates.refusals))
      return { busy: choices.between(0, 4), refuses: choices.one(['order', 'target']) }
    return {
      busy: choices.chance(rates.trouble) ? choices.between(1, 3) : 0,
      lostAnswers: choices.chance(rates.trouble) ? choices.between(1, 3) : 0,
      sharesSector: choices.chance(rates.shares),
      ...(!choices.chance(rates.silence) && { sealsAfterMs: choices.between(HOUR, slowest) }),
      ...(choices.chance(rates.forks) && { forksAfterMs: choices.between(MINUTE, DAY) }),
      ...(choices.chance(rates.losses) && { losesAfterMs: choices.between(HOUR, 4 * DAY) }),
      ...(choices.chance(rates.ends) && { lastsMs: choices.between(DAY, 8 * DAY) }),
    }
  }
  const periods = (count: number): Period[] =>
    Array.from({ length: count }, () => {
      const from = choices.between(0, healsAt)
      return { from, to: Math.min(from + choices.between(HOUR, 2 * DAY), healsAt) }
    })
  return {
    policy: {
      places: ['market', 'sector', 'pdp'],
      copies,
      minLive: choices.between(1, copies),
      distinct: choices.one(['provider', 'org']),
      attempts: choices.between(1, 3),
      renewBeforeMs: 3 * DAY,
      giveUp: choices.one(['operator', 'automatic']),
    },
    providers,
    maxInFlight: choices.one([1, 2, 100]),
    deadlineMs: choices.one([DAY, 3 * DAY]),
    dealWaitMs: choices.one([2 * DAY, 5 * DAY]),
    fateOf,
    finalityMs: choices.one([0, 15 * MINUTE, 15 * HOUR]),
    targetsFrom: choices.chance(0.2) ? choices.between(HOUR, 30 * HOUR) : 0,
    withdrawn: periods(choices.one([0, 0, 0, 1])),
    closed: periods(choices.one([0, 0, 1, 2])),
    acts: Array.from({ length: choices.one([0, 2, 6]) }, () => ({
      at: choices.between(0, healsAt),
      act: choices.one(ACTS),
    })),
  }
}
