/**
 * A place: where an aggregate is on chain.
 *
 * - `market`: a deal of the built-in market (actor f05)
 * - `sector`: a sector of a storage provider, without such a deal
 * - `pdp`: a piece of a data set that a provider proves with PDP. `chain` is the EIP-155 id of the chain, and `verifier` the
 *   address of the contract PDPVerifier, in lower case
 *
 * @example { type: 'market', dealID: 81234567 }
 * @example { type: 'sector', miner: 'f020378', sector: 77 }
 * @example { type: 'pdp', chain: 314, verifier: '0xbadd0b92c1c71d02e7d520f64c0876538fa2557f', dataSet: 12, piece: 0 }
 */
export type Place = MarketPlace | SectorPlace | PdpPlace

interface MarketPlace {
  type: 'market'
  dealID: number
}

interface SectorPlace {
  type: 'sector'
  miner: string
  sector: number
}

interface PdpPlace {
  type: 'pdp'
  chain: number
  verifier: string
  dataSet: number
  piece: number
}

/** The kinds of places, the kind that every reader understands first. */
export const PLACE_TYPES = ['market', 'sector', 'pdp'] as const satisfies Place['type'][]

/**
 * The place of an aggregate, as receipts name it. Type 0 is that of go-data-segment (`SingletonMarketSource`). Types 1 and 2 are
 * additions of this project: they have no `dealID`, so that a reader which knows only type 0 refuses them. `epoch` is a final
 * epoch of the chain at which the place was seen.
 *
 * @example { dataType: 0, dataSource: { dealID: 81234567 } }
 * @example { dataType: 1, dataSource: { network: 'fil:f', miner: 'f020378', sector: 77, epoch: 6543210 } }
 * @example { dataType: 2, dataSource: { network: 'eip155:314', verifier: '0xbadd…557f', dataSet: 12, piece: 0, epoch: 6543210 } }
 */
export type DealMetadata =
  | { dataType: 0; dataSource: { dealID: number } }
  | { dataType: 1; dataSource: { network: string; miner: string; sector: number; epoch: number } }
  | {
      dataType: 2
      dataSource: { network: string; verifier: string; dataSet: number; piece: number; epoch: number }
    }

/** Address of an actor by its id, without leading zeros: on mainnet with `f0`, on a test network with `t0`. */
const ACTOR = /^[ft]0(?:0|[1-9]\d{0,14})$/
const VERIFIER = /^0x[0-9a-f]{40}$/
const EIP155 = /^eip155:([1-9]\d{0,15})$/

/** Returns the place in a receipt at an epoch. */
export const toMetadata = (place: Place, epoch: number): DealMetadata => {
  switch (place.type) {
    case 'market':
      return { dataType: 0, dataSource: { dealID: place.dealID } }
    case 'sector': {
      const { miner, sector } = place
      return { dataType: 1, dataSource: { network: `fil:${miner.charAt(0)}`, miner, sector, epoch } }
    }
    case 'pdp': {
      const { chain, verifier, dataSet, piece } = place
      return { dataType: 2, dataSource: { network: `eip155:${chain}`, verifier, dataSet, piece, epoch } }
    }
  }
}

/**
 * Returns the place that a receipt names; `undefined` if it names none, or a kind that this version does not know.
 *
 * @param metadata `aux` of `filecoin/accept`, or the result of `aggregate/accept`
 */
export const placeIn = (metadata: unknown): Place | undefined => {
  const { dataType, dataSource } = asMap(metadata)
  const { dealID, network, miner, sector, verifier, dataSet, piece, epoch } = asMap(dataSource)
  switch (dataType) {
    case 0:
      return isCount(dealID) ? { type: 'market', dealID: Number(dealID) } : undefined
    case 1:
      return isCount(epoch) && typeof miner === 'string' && network === `fil:${miner.charAt(0)}`
        ? checked({ type: 'sector', miner, sector: Number(sector) }, [sector])
        : undefined
    case 2: {
      const chain = typeof network === 'string' ? toCount(EIP155.exec(network)?.[1] ?? '') : undefined
      return isCount(epoch) && typeof verifier === 'string' && chain !== undefined
        ? checked({ type: 'pdp', chain, verifier, dataSet: Number(dataSet), piece: Number(piece) }, [
            dataSet,
            piece,
          ])
        : undefined
    }
    default:
      return undefined
  }
}

/** Returns metadata with the fields of its kind alone; `undefined` where {@link placeIn} does. */
export const readMetadata = (metadata: unknown): DealMetadata | undefined => {
  const place = placeIn(metadata)
  return place && toMetadata(place, Number(asMap(asMap(metadata).dataSource).epoch))
}

/**
 * Returns the key of a place. It is unique for each place. For a deal, it is the id.
 *
 * @param place any place
 * @example toPlaceKey({ type: 'market', dealID: 81234567 }) // '81234567'
 * @example toPlaceKey({ type: 'sector', miner: 'f020378', sector: 77 }) // 'sector:f020378/77'
 * @example toPlaceKey(pdp) // 'pdp:314/0xbadd0b92c1c71d02e7d520f64c0876538fa2557f/12/0'
 */
export const toPlaceKey = (place: Place): string => {
  switch (place.type) {
    case 'market':
      return `${place.dealID}`
    case 'sector':
      return `sector:${place.miner}/${place.sector}`
    case 'pdp':
      return `pdp:${place.chain}/${place.verifier}/${place.dataSet}/${place.piece}`
  }
}

/**
 * Reverses {@link toPlaceKey}. Returns `undefined` for any other text.
 *
 * @param key e.g. `sector:f020378/77`
 */
export const parsePlaceKey = (key: string): Place | undefined => {
  const [type, rest = '', ...more] = key.split(':')
  if (more.length > 0) return undefined
  const parts = rest.split('/')
  switch (type) {
    case 'sector': {
      const [miner = '', sector = ''] = parts
      return parts.length === 2
        ? checked({ type, miner, sector: Number(sector) }, [toCount(sector)])
        : undefined
    }
    case 'pdp': {
      const [chain = '', verifier = '', dataSet = '', piece = ''] = parts
      return parts.length === 4
        ? checked(
            { type, chain: Number(chain), verifier, dataSet: Number(dataSet), piece: Number(piece) },
            [chain, dataSet, piece].map(toCount),
          )
        : undefined
    }
    default: {
      const dealID = toCount(key)
      return dealID === undefined ? undefined : { type: 'market', dealID }
    }
  }
}

/**
 * Describes a place for people.
 *
 * @param place any place
 * @example describePlace({ type: 'market', dealID: 81234567 }) // 'deal 81234567'
 * @example describePlace({ type: 'sector', miner: 'f020378', sector: 77 }) // 'sector 77 of f020378'
 * @example describePlace(pdp) // 'piece 0 of PDP data set 12 (eip155:314, 0xbadd…557f)'
 */
export const describePlace = (place: Place): string => {
  switch (place.type) {
    case 'market':
      return `deal ${place.dealID}`
    case 'sector':
      return `sector ${place.sector} of ${place.miner}`
    case 'pdp': {
      const { chain, verifier, dataSet, piece } = place
      return `piece ${piece} of PDP data set ${dataSet} (eip155:${chain}, ${verifier.slice(0, 6)}…${verifier.slice(-4)})`
    }
  }
}

/**
 * Describes a place for people.
 *
 * @param key the key of a place; any other text is a place that is not known
 */
export const describePlaceKey = (key: string): string => {
  const place = parsePlaceKey(key)
  return place ? describePlace(place) : 'a place without a deal'
}

/** Whether a text is the key of a place that can be on chain. The deal 0 cannot: some lists have it for a place without a deal. */
export const isPlaceKey = (text: string): boolean => text !== '0' && parsePlaceKey(text) !== undefined

/** Returns the place if its addresses are in their only form, the numbers are counts, and a chain has an id above 0. */
const checked = (place: SectorPlace | PdpPlace, numbers: readonly unknown[]): Place | undefined => {
  const isAddress =
    place.type === 'sector' ? ACTOR.test(place.miner) : VERIFIER.test(place.verifier) && place.chain > 0
  return isAddress && numbers.every(isCount) ? place : undefined
}

const asMap = (value: unknown): Record<string, unknown> =>
  typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}

const isCount = (value: unknown): boolean =>
  (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) ||
  (typeof value === 'bigint' && value >= 0n && value <= BigInt(Number.MAX_SAFE_INTEGER))

/** Returns a number in its only decimal form; `undefined` for other text. */
const toCount = (text: string): number | undefined => {
  const number = /^(?:0|[1-9]\d{0,15})$/.test(text) ? Number(text) : Number.NaN
  return Number.isSafeInteger(number) ? number : undefined
}
