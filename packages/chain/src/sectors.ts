/**
 * Sectors of storage providers, as nodes of Filecoin show them: the events of their actors (FIP-0083), and the status that an actor
 * computes (FIP-0112). Browsers load this module: it imports no client of the chain.
 */
import { decode, encode } from '@ipld/dag-cbor'
import { base64pad } from 'multiformats/bases/base64'

/** Epochs of one query for events. Nodes refuse more by default (`MaxFilterHeightRange` of lotus). */
export const EVENT_WINDOW_EPOCHS = 2_880

/** The codec of keys and values of events: CBOR. */
const CBOR = 0x51
const TYPES = ['sector-activated', 'sector-updated', 'sector-terminated'] as const

/**
 * An event of the actor of a storage provider. An updated sector had no pieces before.
 *
 * @example
 * {
 *   type: 'sector-activated', miner: 'f01000', sector: 77, epoch: 6054221,
 *   pieces: [{ root: 'baga6ea4seaqao7s…', paddedBytes: 34359738368 }]
 * }
 */
export interface SectorEvent {
  type: (typeof TYPES)[number]
  miner: string
  sector: number
  epoch: number
  /** Its pieces: the root is a piece CID v1. */
  pieces: { root: string; paddedBytes: number }[]
}

/** The events to ask for: those of some providers, and of all their sectors or of one, from one epoch to another, both inclusive. */
export interface EventQuery {
  miners: readonly string[]
  sector?: number
  first: number
  last: number
}

/**
 * Returns the parameter of `Filecoin.GetActorEventsRaw` for a query.
 *
 * @example { addresses: ['f01000'], fromHeight: 6054221, toHeight: 6054221, fields: { $type: [{ codec: 81, value: 'cHNlY3Rvci1…' }] } }
 */
export const toEventFilter = ({ miners, sector, first, last }: EventQuery) => {
  const wanted = (...values: unknown[]) => values.map(value => ({ codec: CBOR, value: toBase64(value) }))
  return {
    addresses: miners,
    fromHeight: first,
    toHeight: last,
    fields: { $type: wanted(...TYPES), ...(sector !== undefined && { sector: wanted(sector) }) },
  }
}

/**
 * Reads the answer of `Filecoin.GetActorEventsRaw`, which is `null` if there are no events. Returns `undefined` if it has another form,
 * or an event that the query did not ask for. Events that a reorganization reverted are dropped.
 *
 * @example [{ entries: [{ Flags: 3, Key: 'sector', Codec: 81, Value: 'GE0=' }, …], emitter: 'f01000', reverted: false, height: 6054221 }]
 */
export const readSectorEvents = (
  answer: unknown,
  { miners, sector, first, last }: EventQuery,
): SectorEvent[] | undefined => {
  if (answer === null) return []
  if (!Array.isArray(answer)) return undefined
  const events = answer.filter(event => asMap(event).reverted !== true).map(readEvent)
  const isAsked = (event: SectorEvent | undefined): event is SectorEvent =>
    event !== undefined &&
    miners.includes(event.miner) &&
    (sector ?? event.sector) === event.sector &&
    event.epoch >= first &&
    event.epoch <= last
  return events.every(isAsked) ? events : undefined
}

/** Returns `undefined` if the value is not the event of a sector. CIDs and sizes of its pieces are in pairs. */
const readEvent = (event: unknown): SectorEvent | undefined => {
  const { entries, emitter, height, reverted } = asMap(event)
  if (!Array.isArray(entries) || typeof emitter !== 'string' || !isCount(height) || reverted !== false)
    return undefined
  const valuesOf = (key: string): unknown[] =>
    entries
      .map(asMap)
      .filter(({ Key, Codec }) => Key === key && Codec === CBOR)
      .map(({ Value }) => fromBase64(Value))
  const [found] = valuesOf('$type')
  const [sector] = valuesOf('sector')
  const type = TYPES.find(known => known === found)
  const sizes = valuesOf('piece-size')
  const cids = valuesOf('piece-cid')
  if (type === undefined || !isCount(sector) || !sizes.every(isCount) || sizes.length !== cids.length)
    return undefined
  const pieces = cids.map((cid, n) => ({ root: `${cid}`, paddedBytes: sizes[n] as number }))
  return { type, miner: emitter, sector, epoch: height, pieces }
}

/** The first version of the network in which the actor of a provider computes the status of a sector (FIP-0112). */
export const STATUS_VERSION = 28
const GENERATE_SECTOR_LOCATION = 1_321_604_665
/** The statuses of a sector, by the numbers in the answer of its actor. */
const STATUSES = ['dead', 'active', 'faulty'] as const
export type SectorStatus = (typeof STATUSES)[number]

/**
 * Returns the message with which `Filecoin.StateCall` asks the actor of a provider for the status of a sector. The entry of a
 * terminated sector stays in the state until the actor compacts it, so only the status shows its end.
 */
export const toStatusMessage = (miner: string, sector: number) => ({
  To: miner,
  // The actor of the system: a message without effects needs no wallet.
  From: `${miner.charAt(0)}00`,
  Value: '0',
  Method: GENERATE_SECTOR_LOCATION,
  Params: toBase64([sector]),
})

/**
 * Reads the answer of `Filecoin.StateCall` to {@link toStatusMessage}: the status, and where the sector is in the state of its actor,
 * which is not needed. Returns `undefined` if it has another form, or the message failed.
 *
 * @example { MsgRct: { ExitCode: 0, Return: 'ggFCAwA=', GasUsed: 4107241 }, Error: '' }
 */
export const readSectorStatus = (answer: unknown): SectorStatus | undefined => {
  const { ExitCode, Return } = asMap(asMap(answer).MsgRct)
  const location = fromBase64(Return)
  if (ExitCode !== 0 || !Array.isArray(location) || location.length !== 2) return undefined
  return STATUSES.find((_, number) => number === location[0])
}

/**
 * Whether a node refused `Filecoin.StateSectorGetInfo` because the provider has no such sector: Forest does, and Lotus returns `null`.
 *
 * @example saysNoSector('Info for sector number 77 not found') // true
 */
export const saysNoSector = (refusal: string): boolean =>
  /info for sector number \d+ not found/i.test(refusal)

/** Encodes a value as nodes expect it in filters and parameters. @example toBase64([77]) // 'gRhN' */
const toBase64 = (value: unknown): string => base64pad.baseEncode(encode(value))

/** Reverses {@link toBase64}. Returns `undefined` if the value is not the text of one value in CBOR. */
const fromBase64 = (text: unknown): unknown => {
  try {
    return decode(base64pad.baseDecode(text as string))
  } catch {
    return undefined
  }
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0

const asMap = (value: unknown): Record<string, unknown> =>
  typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
