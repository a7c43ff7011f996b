import {
  type DealInfoSuccess,
  describePlace,
  epochToMs,
  type Place,
  type PlaceStatus,
  parsePlaceKey,
  type SourceState,
} from '@w3filecoin/capabilities'
import { type AggregateRecord, CHAIN_TOLERANCE_MS, type Timing } from './aggregate.ts'
import { type Claims, findPossibleDeal } from './credit.ts'

/** The deal tracker's knowledge besides deals. Both lists are empty in the answers of earlier versions. */
export type Knowledge = Pick<DealInfoSuccess, 'places' | 'asOf'>

/** Returns the time after which an offer without a deal may fail, in milliseconds since 1970. */
const deadlineOf = ({ offeredAt }: AggregateRecord, { dealWaitMs }: Timing): number => offeredAt + dealWaitMs

export const isOverdue = (record: AggregateRecord, now: number, timing: Timing): boolean =>
  now >= deadlineOf(record, timing)

/**
 * Returns the reason why an offer without a deal waits; `undefined` if it has failed. It has failed only if its deadline is
 * over, every source of the deal tracker that could see it had a good run with a chain state later than the deadline, and none of
 * them reports a deal or a place that may be the offer's. A chain state in the future is not knowledge: the clock of that run
 * was wrong.
 */
export const explainWait = (
  record: AggregateRecord,
  claims: Claims,
  { places, asOf }: Knowledge,
  placeTypes: readonly Place['type'][],
  now: number,
  timing: Timing,
): string | undefined => {
  if (!isOverdue(record, now, timing)) return 'a copy of it must be live on chain'
  const place = places.find(
    ({ key, status }) =>
      status === 'Pending' || (status === 'Active' && !claims.deals.some(deal => deal.key === key)),
  )
  if (place) return describeOtherPlace(place)
  const deal = findPossibleDeal(record, claims, now)
  if (deal)
    return `${describePlace(deal.place)} is live, and may be for this offer or for another one: report a failure if it is not for this one`
  if (asOf.length === 0) return 'the deal tracker does not say how recent its knowledge is'
  if (ableSources({ asOf }, placeTypes).length === 0)
    return `no source of the deal tracker sees places of the accepted kinds: ${placeTypes.join(', ')}`
  const deadline = deadlineOf(record, timing)
  const blind = blindSources({ asOf }, placeTypes, deadline, now)
  if (blind.length === 0) return undefined
  const time = new Date(deadline).toISOString()
  const runs = blind.map(({ source, at }) => `${source} (last: ${at ?? 'never'})`)
  return `the deal tracker cannot say that there is no deal: no good run later than ${time} of ${runs.join(', ')}`
}

/** Returns the sources that see places of some kinds. Those of earlier deal trackers do not say what they see. */
const ableSources = (
  { asOf }: Pick<Knowledge, 'asOf'>,
  placeTypes: readonly Place['type'][],
): SourceState[] => asOf.filter(({ types = placeTypes }) => types.some(type => isAccepted(type, placeTypes)))

/**
 * Returns the sources that see places of some kinds, and had no good run with a chain state later than a deadline. If there is
 * none, the tracker knows of every such place until then.
 */
const blindSources = (
  knowledge: Pick<Knowledge, 'asOf'>,
  placeTypes: readonly Place['type'][],
  deadline: number,
  now: number,
): SourceState[] =>
  ableSources(knowledge, placeTypes).filter(({ epoch }) => {
    const time = epoch === undefined ? 0 : epochToMs(epoch)
    return !(deadline < time && time <= now + CHAIN_TOLERANCE_MS)
  })

/** Whether the tracker knows of every place of some kinds that was on chain at a time. */
export const isKnownUntil = (
  knowledge: Pick<Knowledge, 'asOf'>,
  placeTypes: readonly Place['type'][],
  time: number,
  now: number,
): boolean =>
  ableSources(knowledge, placeTypes).length > 0 && blindSources(knowledge, placeTypes, time, now).length === 0

/** Whether a source that sees such places may see one that is accepted. A provider without a place may have any. */
const isAccepted = (type: Place['type'] | 'provider', accepted: readonly Place['type'][]): boolean =>
  type === 'provider' || accepted.includes(type)

/** Describes a place with which the offer is not accepted: now, or by the settings of the dealer. */
const describeOtherPlace = ({ key, type, status, provider, epoch }: PlaceStatus): string => {
  // Earlier deal trackers name only the provider.
  const place = type === 'provider' ? undefined : parsePlaceKey(`${key}`)
  if (place === undefined) return `it is on chain at ${provider}, without a deal of the built-in market`
  const where = `it is on chain as ${describePlace(place)}`
  if (status === 'Pending') return `${where}, and not proven yet`
  return epoch === undefined
    ? `${where}, and no source of the deal tracker had a complete run yet`
    : `${where}, which its policy does not accept`
}
