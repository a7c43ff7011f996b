import type { DealInfoSuccess, PlaceStatus } from './deal-tracker.ts'
import { epochToMs } from './epoch.ts'
import { PLACE_TYPES, type Place, parsePlaceKey, placeIn, toMetadata } from './place.ts'

/** A place where an aggregate is live on chain. */
export interface LivePlace {
  place: Place
  /** Key of the place: see `toPlaceKey`. */
  key: string
  /** The text that a deal carries on chain. */
  label?: string | undefined
  /** Time of the chain state in which the tracker saw the place first, in milliseconds since 1970. `NaN` if unknown. */
  seenAt: number
  /** Epoch of the chain state in which the tracker saw the place last. 0 for a deal: its receipt has none. */
  epoch: number
}

/**
 * Returns the live places of some kinds: deals first, the lowest id first, then the others by their keys. An entry of `deals`
 * without a market id, or with id 0, is not a deal of the market. A place without an epoch was in no good run yet. A place
 * that no receipt can name is skipped: a dealer that accepts an aggregate with it issues a receipt that every reader refuses.
 *
 * @param types default: all kinds
 */
export const findLivePlaces = (
  { deals, places }: Pick<DealInfoSuccess, 'deals' | 'places'>,
  types: readonly Place['type'][] = PLACE_TYPES,
): LivePlace[] =>
  [...Object.entries(deals).flatMap(toLiveDeal), ...places.flatMap(toLivePlace)]
    .filter(
      ({ place, epoch }) => types.includes(place.type) && placeIn(toMetadata(place, epoch)) !== undefined,
    )
    .toSorted(byKind)

const toLiveDeal = ([id, { status, label, seen, created }]: [
  string,
  DealInfoSuccess['deals'][string],
]): LivePlace[] => {
  const place = parsePlaceKey(id)
  if (place?.type !== 'market' || place.dealID === 0 || status !== 'Active') return []
  const seenAt = seen === undefined ? Date.parse(created) : epochToMs(seen.epoch)
  return [{ place, key: id, label, seenAt, epoch: 0 }]
}

const toLivePlace = ({ key, status, epoch, seen }: PlaceStatus): LivePlace[] => {
  const place = parsePlaceKey(`${key}`)
  if (place === undefined || place.type === 'market' || status !== 'Active' || epoch === undefined) return []
  return [{ place, key, seenAt: seen === undefined ? Number.NaN : epochToMs(seen.epoch), epoch }]
}

const byKind = ({ place: a, key }: LivePlace, { place: b, key: other }: LivePlace): number => {
  if (a.type === 'market' && b.type === 'market') return a.dealID - b.dealID
  return PLACE_TYPES.indexOf(a.type) - PLACE_TYPES.indexOf(b.type) || (key < other ? -1 : 1)
}
