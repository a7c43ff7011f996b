import { refusalOf } from '@w3filecoin/chain'
import {
  readSectorStatus,
  type SectorStatus,
  STATUS_VERSION,
  saysNoSector,
  toStatusMessage,
} from '@w3filecoin/chain/sectors'
import { loggedUrl } from '@w3filecoin/runtime'
import pMap from 'p-map'
import * as z from 'zod'
import type { SourceConfig } from '../config.ts'
import type { Source } from '../dependencies.ts'
import { type ChainDeal, type DealIdentity, identify, keyOf } from '../domain/deal.ts'
import { epochSchema, hasTurn } from '../domain/epoch.ts'
import type { Report } from '../domain/report.ts'
import type { Snapshot } from '../domain/snapshot.ts'
import {
  type FilecoinNode,
  MAX_PARALLEL_CALLS,
  newUnknownAnswer,
  readFinal,
  requireType,
  stateEpochOf,
  type Tipset,
} from './filecoin.ts'
import type { Network } from './network.ts'
import { readEvents } from './sector-events.ts'

/** The greatest number of pieces in sectors of one source. The state of each sector is read once a day. */
export const MAX_SECTOR_PIECES = 100_000
/** Known sectors whose state one run reads. After a gap of a day all have their turn, and those above the limit wait for the next one. */
const MAX_TURNS = 5_000

/**
 * Opens the pieces in sectors of some storage providers. Each run reads the events since the run before, until the last final tipset,
 * and adds them to the pieces of the run before. Events show when a sector begins, but not every end: one that the chain terminates by
 * itself has none. So the state of a sector is read when it is new, at its end, and once a day.
 *
 * Nothing is skipped: `read` throws `HistoryMissing` if a node does not keep the events since the last run. A piece above
 * {@link MAX_SECTOR_PIECES} is refused, and every later report says so, because its event is not read again.
 *
 * @example { name: 'sectors', kind: 'sector', rpc: ['https://node-1.example/rpc/v1'], network: 'mainnet', miners: ['f01000'] }
 */
export const openSector = (config: SourceConfig<'sector'>, network: Network): Source => ({
  name: config.name,
  url: config.rpc.map(loggedUrl).join(', '),
  types: ['sector'],
  read: async previous => {
    requireType(previous, 'sector')
    return readFinal(config, network, (node, tipset) => readSectors(node, tipset, config, previous))
  },
})

/** A sector with the pieces that are in it. */
interface Sector {
  miner: string
  number: number
  pieces: ChainDeal[]
  /** Whether a piece of it is new, so that its end is not known. */
  isNew: boolean
}

/** The state of a sector. A faulty one counts as live. */
interface SectorState {
  endEpoch: number
  isFaulty: boolean
}

const readSectors = async (
  node: FilecoinNode,
  tipset: Tipset,
  { miners, fromEpoch }: Pick<SourceConfig<'sector'>, 'miners' | 'fromEpoch'>,
  previous: Snapshot,
): Promise<Report> => {
  // The events of the epoch of the tipset are for the next run: the state at the tipset does not have their sectors yet.
  const last = stateEpochOf(tipset)
  const first = previous.stateEpoch === 0 ? Math.min(fromEpoch ?? last, last) : previous.stateEpoch + 1
  const { events, until } = await readEvents(node, tipset, miners, { first, last })
  const stateEpoch = Math.min(until, last)

  const sectors = toSectors(previous)
  let count = [...sectors.values()].reduce((sum, { pieces }) => sum + pieces.length, 0)
  let refused = previous.refused ?? 0
  const ends = new Map<DealIdentity, string>()
  const end = ({ pieces }: Sector, reason: string) => {
    for (const piece of pieces) ends.set(identify(piece), reason)
  }
  for (const { type, miner, sector: number, epoch, pieces } of events) {
    const place = { type: 'sector' as const, miner, sector: number }
    const key = keyOf(place)
    const sector = sectors.get(key) ?? { miner, number, pieces: [], isNew: true }
    if (type === 'sector-terminated') {
      sectors.delete(key)
      end(sector, 'The sector was terminated')
      count -= sector.pieces.length
      continue
    }
    for (const piece of new Set(pieces)) {
      if (sector.pieces.some(known => known.piece === piece)) continue
      if (count >= MAX_SECTOR_PIECES) {
        refused += 1
        continue
      }
      count += 1
      sector.isNew = true
      sector.pieces.push({ place, piece, provider: miner, activationEpoch: epoch })
      sectors.set(key, sector)
    }
  }

  const states = await readStates(node, tipset, [...sectors.values()], previous.stateEpoch, stateEpoch)
  const deals = [...sectors.values()].flatMap(sector => {
    if (!states.has(sector)) return sector.pieces
    const state = states.get(sector)
    if (state === undefined)
      end(sector, 'The sector is not in the state of its provider any more: it was terminated')
    return state === undefined || state.endEpoch <= stateEpoch ? [] : sector.pieces.map(withState(state))
  })
  return {
    stateEpoch,
    deals: new Map(deals.map(deal => [identify(deal), deal])),
    malformed: 0,
    refused,
    unreadable: new Set(),
    hasSeenEnds: true,
    ends,
  }
}

/** Returns the sectors of the last accepted run, by the key of their place. */
const toSectors = ({ deals }: Snapshot): Map<string, Sector> => {
  const sectors = new Map<string, Sector>()
  for (const deal of deals.values()) {
    const { place, terminated } = deal
    if (terminated || place.type !== 'sector') continue
    const key = keyOf(place)
    const sector = sectors.get(key) ?? { miner: place.miner, number: place.sector, pieces: [], isNew: false }
    sector.pieces.push(deal)
    sectors.set(key, sector)
  }
  return sectors
}

const withState =
  ({ endEpoch, isFaulty }: SectorState) =>
  ({ condition: _, ...piece }: ChainDeal): ChainDeal => ({
    ...piece,
    endEpoch,
    ...(isFaulty && { condition: 'faulty' as const }),
  })

/**
 * Reads the states of the sectors that are new, that are at their end, or whose daily turn it is. A sector with `undefined` is gone.
 * One that is not in the map was not read.
 */
const readStates = async (
  node: FilecoinNode,
  tipset: Tipset,
  sectors: readonly Sector[],
  previousEpoch: number,
  epoch: number,
): Promise<Map<Sector, SectorState | undefined>> => {
  const isEnding = ({ pieces }: Sector) => (pieces[0]?.endEpoch ?? 0) <= epoch
  const due = sectors
    .filter(sector => !sector.isNew && (isEnding(sector) || hasTurn(sector.number, previousEpoch, epoch)))
    .slice(0, MAX_TURNS)
  const hasStatuses =
    due.length > 0 &&
    (await node.call('Filecoin.StateNetworkVersion', [tipset.Cids], z.int())) >= STATUS_VERSION
  const read = [...sectors.filter(({ isNew }) => isNew), ...due]
  return new Map(
    await pMap(
      read,
      async (sector): Promise<[Sector, SectorState | undefined]> => [
        sector,
        await readState(node, tipset, sector, hasStatuses),
      ],
      { concurrency: MAX_PARALLEL_CALLS },
    ),
  )
}

const infoSchema = z.object({ SectorNumber: z.int(), Expiration: epochSchema }).nullable()

const readState = async (
  node: FilecoinNode,
  tipset: Tipset,
  { miner, number, isNew }: Sector,
  hasStatuses: boolean,
): Promise<SectorState | undefined> => {
  const method = 'Filecoin.StateSectorGetInfo'
  const info = await node.call(method, [miner, number, tipset.Cids], infoSchema).catch((cause: unknown) => {
    if (saysNoSector(refusalOf(cause) ?? '')) return null
    throw cause
  })
  if (info === null) return undefined
  if (info.SectorNumber !== number) throw newUnknownAnswer(node, method)
  // One that is new was live a moment ago. The search of the actor is expensive.
  const status = !isNew && hasStatuses ? await readStatus(node, tipset, miner, number) : 'active'
  return status === 'dead' ? undefined : { endEpoch: info.Expiration, isFaulty: status === 'faulty' }
}

const readStatus = async (
  node: FilecoinNode,
  tipset: Tipset,
  miner: string,
  sector: number,
): Promise<SectorStatus> => {
  const method = 'Filecoin.StateCall'
  const answer = await node.call(method, [toStatusMessage(miner, sector), tipset.Cids], z.unknown())
  const status = readSectorStatus(answer)
  if (status === undefined) throw newUnknownAnswer(node, method)
  return status
}
