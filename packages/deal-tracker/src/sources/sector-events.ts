import { decodeCbor, encodeCbor } from '@w3filecoin/capabilities/codec'
import { refusalOf } from '@w3filecoin/chain'
import { ResponseBodyTooLargeError } from 'viem'
import * as z from 'zod'
import { parsePiece } from '../domain/deal.ts'
import { EPOCHS_OF_DAY, epochSchema } from '../domain/epoch.ts'
import { type FilecoinNode, newUnknownAnswer, type Tipset, tipsetSchema } from './filecoin.ts'
import { newSourceError } from './source-error.ts'

/** Epochs of one query. Nodes refuse more by default (`MaxFilterHeightRange`). */
const WINDOW_EPOCHS = EPOCHS_OF_DAY
/** A run reads no further window after so many events: a week of a provider that seals 3,000 sectors a day. */
const MAX_EVENTS = 20_000

const METHOD = 'Filecoin.GetActorEventsRaw'
/** The codec of keys and values of events: CBOR. */
const CBOR = 0x51
const TYPES = ['sector-activated', 'sector-updated', 'sector-terminated'] as const

/**
 * An event of the actor of a storage provider (FIP-0083). An updated sector had no pieces before.
 *
 * @example { type: 'sector-activated', miner: 'f01000', sector: 77, epoch: 6054221, pieces: ['baga6ea4seaqao7s…/35'] }
 */
export interface SectorEvent {
  type: (typeof TYPES)[number]
  miner: string
  sector: number
  epoch: number
  /** The keys of its pieces: see `toPieceKey`. */
  pieces: string[]
}

/**
 * Reads the events of some providers, window by window.
 *
 * @param range epochs, both inclusive; empty if the first is later than the last
 * @returns the events in the order of the chain, and the last epoch of which they have all, which may be before the last of the range
 * @throws `HistoryMissing` if the node does not keep all of them
 */
export const readEvents = async (
  node: FilecoinNode,
  tipset: Tipset,
  miners: readonly string[],
  { first, last }: { first: number; last: number },
): Promise<{ events: SectorEvent[]; until: number }> => {
  const windows: SectorEvent[][] = []
  let count = 0
  let until = first - 1
  while (until < last && count < MAX_EVENTS) {
    const to = Math.min(until + WINDOW_EPOCHS, last)
    const found = await readRange(node, miners, until + 1, to)
    windows.push(found)
    count += found.length
    until = to
  }
  if (until >= first) await requireHistory(node, tipset, miners, first)
  return { events: windows.flat(), until }
}

/** Reads a range. Halves it if it has more events, or more epochs, than the node returns in one answer. */
const readRange = async (
  node: FilecoinNode,
  miners: readonly string[],
  from: number,
  to: number,
): Promise<SectorEvent[]> => {
  try {
    return await query(node, miners, from, to)
  } catch (cause) {
    if (from === to || !isTooLarge(cause)) throw cause
    const middle = Math.floor((from + to) / 2)
    const head = await readRange(node, miners, from, middle)
    return [...head, ...(await readRange(node, miners, middle + 1, to))]
  }
}

const query = async (
  node: FilecoinNode,
  miners: readonly string[],
  from: number,
  to: number,
): Promise<SectorEvent[]> => {
  const filter = {
    addresses: miners,
    fromHeight: from,
    toHeight: to,
    fields: { $type: TYPES.map(type => ({ codec: CBOR, value: toBase64(type) })) },
  }
  const found = await nameMissing(node, from, () => node.call(METHOD, [filter], eventsSchema))
  return (found ?? [])
    .filter(({ reverted }) => !reverted)
    .map(event => {
      const decoded = decodeEvent(event)
      if (
        decoded === undefined ||
        !miners.includes(decoded.miner) ||
        decoded.epoch < from ||
        decoded.epoch > to
      )
        throw newUnknownAnswer(node, METHOD)
      return decoded
    })
}

/**
 * Checks that the node still has the events of an epoch. A range of which it has only a part returns this part: it says that events
 * are missing only if it has none of them (lotus 1.34, `GetEventsForFilter`). So ask for one epoch, and for one that has blocks.
 * Nodes drop the earliest epochs first, therefore after reading.
 */
const requireHistory = (node: FilecoinNode, tipset: Tipset, miners: readonly string[], epoch: number) =>
  nameMissing(node, epoch, async () => {
    const { Height } = await node.call('Filecoin.ChainGetTipSetByHeight', [epoch, tipset.Cids], tipsetSchema)
    await query(node, miners, Height, Height)
  })

/** Messages of lotus and its gateway about epochs that they do not have. */
const MISSING =
  /not found in index|requires backfill|index disabled|lookbacks of more than|failed to get tipset by height/
const TOO_LARGE = /too many events|is too large/

/** Runs a call, and names its failure if the node does not keep the events. */
const nameMissing = async <T>(node: FilecoinNode, epoch: number, call: () => Promise<T>): Promise<T> => {
  try {
    return await call()
  } catch (cause) {
    if (!MISSING.test(refusalOf(cause) ?? '')) throw cause
    throw newSourceError(
      'HistoryMissing',
      `${node.url} does not keep the events of epoch ${epoch}, which no run has read yet. List a node in rpc that does`,
      cause,
    )
  }
}

const isTooLarge = (cause: unknown): boolean =>
  TOO_LARGE.test(refusalOf(cause) ?? '') || cause instanceof ResponseBodyTooLargeError

/**
 * Events as a node returns them, `null` instead of an empty list. Keys and values are CBOR in base 64.
 *
 * @example { entries: [{ Flags: 3, Key: 'sector', Codec: 81, Value: 'GE0=' }], emitter: 'f01000', reverted: false, height: 6054221 }
 */
const eventsSchema = z
  .array(
    z.object({
      entries: z.array(z.object({ Key: z.string(), Codec: z.int(), Value: z.base64() })),
      emitter: z.string(),
      reverted: z.boolean(),
      height: epochSchema,
    }),
  )
  .nullable()
type RawEvent = NonNullable<z.infer<typeof eventsSchema>>[number]

const headSchema = z.object({ type: z.enum(TYPES), sector: z.int().nonnegative() })

/** Returns `undefined` if the event is not one of a sector. CIDs and sizes of its pieces are in pairs. */
const decodeEvent = ({ entries, emitter, height }: RawEvent): SectorEvent | undefined => {
  const valuesOf = (key: string) =>
    entries.filter(({ Key, Codec }) => Key === key && Codec === CBOR).map(({ Value }) => fromBase64(Value))
  const [type] = valuesOf('$type')
  const [sector] = valuesOf('sector')
  const head = headSchema.safeParse({ type, sector }).data
  if (head === undefined) return undefined
  const sizes = valuesOf('piece-size')
  const cids = valuesOf('piece-cid')
  const pieces = cids.map((cid, n) => parsePiece(`${cid}`, Math.log2(Number(sizes[n]))))
  if (sizes.length !== cids.length || pieces.includes(undefined)) return undefined
  return { ...head, miner: emitter, epoch: height, pieces: pieces as string[] }
}

/** Encodes a value as nodes expect it in filters and parameters. @example toBase64([77]) // 'gRhN' */
export const toBase64 = (value: unknown): string => Buffer.from(encodeCbor(value)).toString('base64')

/** Reverses {@link toBase64}. Returns `undefined` if the text is not of one value in CBOR. */
export const fromBase64 = (text: string): unknown => {
  try {
    return decodeCbor(Buffer.from(text, 'base64'))
  } catch {
    return undefined
  }
}
