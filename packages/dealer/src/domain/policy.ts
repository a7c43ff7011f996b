import type { Place } from '@w3filecoin/capabilities'
import { parsePiece } from '@w3filecoin/piece'
import { isFromWrongClock } from '@w3filecoin/runtime'
import type { AggregateRecord } from './aggregate.ts'

/** A provider that stores copies of aggregates on order. */
export interface Target {
  name: string
  /** The provider as the deal tracker names it, e.g. `pdp:3` or `f020378`. */
  provider: string
  /** The kind of place in which it stores. */
  place: Place['type']
  /** Labels that the operator chose, e.g. `eu-west` and `Example Storage Ltd`. */
  region?: string | undefined
  org?: string | undefined
  /** The largest aggregate that it stores, in padded bytes. Absent: any. */
  maxPaddedBytes?: number | undefined
  /** Copies that it may be storing at the same time. */
  maxInFlight: number
  /** Time within which a copy must be live, in milliseconds. */
  deadlineMs: number
}

/**
 * A target that takes no orders now: an operator paused it, or it refused orders for a reason that is its own.
 *
 * @example { name: 'example-pdp', reason: 'SessionKeyExpired: …', until: 1767312000000 }
 */
export interface TargetRecord {
  name: string
  reason: string
  /** In milliseconds since 1970. Absent if an operator paused it. */
  until?: number | undefined
}

/** Time for which a target gets no orders after it refused one for a reason that is its own. */
export const HOLD_MS = 24 * 60 * 60 * 1000

export const isPausedNow = ({ until }: TargetRecord, now: number): boolean =>
  until === undefined || (now < until && !isFromWrongClock(until, now, HOLD_MS))

/** How many copies of an aggregate are made, and where. */
export interface Policy {
  /** Kinds of places with which an aggregate is accepted. */
  places: readonly Place['type'][]
  /** Copies that the dealer orders from targets. */
  copies: number
  /** Live copies with which an aggregate is accepted. */
  minLive: number
  /** Names of the targets that may store. Absent: all. Empty: none. */
  targets?: readonly string[] | undefined
  /** Copies of one aggregate are at different providers, organizations or regions. */
  distinct: 'provider' | 'org' | 'region'
  /** Orders without success, one after the other, after which an operator must decide. */
  attempts: number
  /** Time before the end of a place at which another copy is ordered, in milliseconds. */
  renewBeforeMs: number
  /** Whether an aggregate fails by itself when no order is left. */
  giveUp: 'operator' | 'automatic'
}

/** A policy, and the tenant that it is for. Without a storefront or group, it is for all. */
export type PolicyRule = Policy & { storefront?: string | undefined; group?: string | undefined }

/** Returns the first policy that is for a tenant. The last one must be for all. */
export const policyFor = (
  rules: readonly PolicyRule[],
  { storefront, group }: Pick<AggregateRecord, 'storefront' | 'group'>,
): Policy => {
  const rule = rules.find(
    rule => (rule.storefront ?? storefront) === storefront && (rule.group ?? group) === group,
  )
  if (rule === undefined) throw new TypeError('No policy is for all tenants')
  return rule
}

/** Returns the targets that may store aggregates by a policy. */
export const targetsOf = <T extends Target>(policy: Policy, targets: readonly T[]): T[] =>
  targets.filter(
    ({ name, place }) => (policy.targets?.includes(name) ?? true) && policy.places.includes(place),
  )

/** Whether a target stores aggregates of this size. */
export const canHold = ({ maxPaddedBytes = Number.POSITIVE_INFINITY }: Target, aggregate: string): boolean =>
  (parsePiece(aggregate).ok?.size ?? 0) <= maxPaddedBytes

/** Returns the label in which the targets of the copies of an aggregate must differ. */
export const labelOf = (target: Target, { distinct }: Pick<Policy, 'distinct'>): string =>
  distinct === 'provider' ? target.provider : (target[distinct] ?? target.provider)
