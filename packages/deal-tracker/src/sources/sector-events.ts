import { refusalOf } from '@w3filecoin/chain'
import {
  type SectorEvent as ChainEvent,
  EVENT_WINDOW_EPOCHS,
  readSectorEvents,
  toEventFilter,
} from '@w3filecoin/chain/sectors'
import { ResponseBodyTooLargeError } from 'viem'
import * as z from 'zod'
import { parsePiece } from '../domain/deal.ts'
import { type FilecoinNode, newUnknownAnswer, type Tipset, tipsetSchema } from './filecoin.ts'
import { newSourceError } from './source-error.ts'

/** A run reads no further window after so many events: a week of a provider that seals 3,000 sectors a day. */
const MAX_EVENTS = 20_000

const METHOD = 'Filecoin.GetActorEventsRaw'

/** An event of a sector, with the keys of its pieces: see `toPieceKey`. */
export interface SectorEvent extends Omit<ChainEvent, 'pieces'> {
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
    const to = Math.min(until + EVENT_WINDOW_EPOCHS, last)
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
  const question = { miners, first: from, last: to }
  const answer = await nameMissing(node, from, () =>
    node.call(METHOD, [toEventFilter(question)], z.unknown()),
  )
  const events = readSectorEvents(answer, question)
  if (events === undefined) throw newUnknownAnswer(node, METHOD)
  return events.map(event => {
    const pieces = event.pieces.map(({ root, paddedBytes }) => parsePiece(root, Math.log2(paddedBytes)))
    if (pieces.includes(undefined)) throw newUnknownAnswer(node, METHOD)
    return { ...event, pieces: pieces as string[] }
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
