import { decodeCbor, encodeCbor } from '@w3filecoin/capabilities/codec'
import { type AnyLink, toV1 } from '@w3filecoin/piece'
import { Chain } from './chain.ts'
import {
  epochToSeconds,
  forkHistories,
  type History,
  type NodePart,
  prune,
  RpcError,
  stateAt,
} from './node.ts'

/** Name of the network of the stand-in. */
export const NETWORK = 'localnet'

/** Number of the method GenerateSectorLocation of the actors of providers (FIP-0112). */
const GENERATE_SECTOR_LOCATION = 1_321_604_665
const STATUSES = ['dead', 'active', 'faulty'] as const

/** A sector as of some epoch. */
interface Sector {
  /** Epoch of its activation. */
  activation: number
  /** Epoch since which its power is computed: of the activation, or of the last update or extension. */
  powerBase: number
  /** Whether its pieces are those of an update. */
  isUpdated: boolean
  expiration: number
  status: (typeof STATUSES)[number]
  /** The actor removes a terminated sector from its state some time after its end. */
  isCompacted: boolean
}

/** A deal of the built-in market as of some epoch. */
interface MarketDeal {
  link: AnyLink
  client: string
  provider: string
  label: string
  endEpoch: number
  startEpoch: number
  sectorStartEpoch: number
  slashEpoch: number
  isRemoved: boolean
}

interface Entry {
  Flags: number
  Key: string
  Codec: number
  Value: string
}

interface ActorEvent {
  entries: Entry[]
  emitter: string
  reverted: boolean
  height: number
}

/** Faults of this part of the node. Those of `chain.faults` are of all parts. */
export interface FilecoinFaults {
  /** Name of the network that the node says instead of its own. */
  network?: string
  /** Epochs of a range beyond which the node refuses a query for events. */
  maxRange?: number
  /** Events beyond which the node refuses a query of more than one epoch. */
  maxResults?: number
  /** The first epoch that the index of events has. */
  indexedFrom?: number
  /** Epochs before the head that a gateway answers about. */
  lookback?: number
  /** Answers of the node instead of its own, by method. */
  answers?: Record<string, unknown>
}

/**
 * The native methods of a node of Filecoin, over a small model of the actors of storage providers and of the built-in market. It is a
 * part of a {@link Chain}: both have one clock, one address and one history, as in a real node.
 *
 * The state at a tipset is that before its messages, and the events of an epoch are those of its messages, as in lotus.
 */
export class FilecoinNode implements NodePart {
  readonly chain: Chain
  networkVersion = 28
  /** Whether it says that it has no such sector as Forest does, by an error. */
  isForest = false
  filecoinFaults: FilecoinFaults = {}
  readonly #sectors = new Map<string, { history: History<Sector> }>()
  readonly #deals = new Map<number, { history: History<MarketDeal> }>()
  readonly #events: ActorEvent[] = []
  /** Number of the branch of the chain. A reorganization begins another one. */
  readonly #branches: History<number> = [{ epoch: 0, state: 0 }]

  constructor(chain = new Chain()) {
    this.chain = chain
    chain.parts.push(this)
  }

  /** Activates a sector with pieces, or with none. */
  activate(miner: string, sector: number, links: readonly AnyLink[], expiration: number): void {
    const { head } = this.chain
    const times = { activation: head, powerBase: head, expiration }
    this.#setSector(miner, sector, { ...times, isUpdated: false, status: 'active', isCompacted: false })
    this.#emit(miner, 'sector-activated', sector, links)
  }

  /** Number of the next sector of a miner. */
  nextSector(miner: string): number {
    return [...this.#sectors.keys()].filter(key => key.startsWith(`${miner}/`)).length + 1
  }

  /** Puts pieces in a sector that has none. */
  update(miner: string, sector: number, links: readonly AnyLink[]): void {
    this.changeSector(miner, sector, { isUpdated: true, powerBase: this.chain.head })
    this.#emit(miner, 'sector-updated', sector, links)
  }

  /** Terminates a sector by a message of its provider. */
  terminate(miner: string, sector: number): void {
    this.endByCron(miner, sector)
    this.#emit(miner, 'sector-terminated', sector)
  }

  /** Terminates a sector by cron, after too many faults: nodes keep no events of cron. */
  endByCron(miner: string, sector: number): void {
    this.changeSector(miner, sector, { status: 'dead' })
  }

  /** Extends a sector, which has no event. */
  extend(miner: string, sector: number, expiration: number): void {
    this.changeSector(miner, sector, { expiration, powerBase: this.chain.head })
  }

  /** Changes a sector without an event. */
  changeSector(miner: string, sector: number, change: Partial<Sector>): void {
    const { state } = this.#sectors.get(`${miner}/${sector}`)!.history.at(-1)!
    this.#setSector(miner, sector, { ...state, ...change })
  }

  publishDeal(
    id: number,
    deal: Pick<MarketDeal, 'link' | 'client' | 'provider' | 'endEpoch'> & { label?: string },
  ): void {
    const startEpoch = this.chain.head + 100
    const state = { label: '', startEpoch, sectorStartEpoch: -1, slashEpoch: -1, isRemoved: false, ...deal }
    this.#deals.set(id, { history: [{ epoch: this.chain.head, state }] })
  }

  /** Activates a deal. */
  startDeal(id: number): void {
    this.#changeDeal(id, { sectorStartEpoch: this.chain.head })
  }

  slashDeal(id: number): void {
    this.#changeDeal(id, { slashEpoch: this.chain.head })
  }

  /** Removes a deal: it was terminated, ended, or did not begin in time. */
  removeDeal(id: number): void {
    this.#changeDeal(id, { isRemoved: true })
  }

  fork(): () => void {
    const { head } = this.chain
    const undo = [forkHistories(this.#sectors), forkHistories(this.#deals)]
    const events = this.#events.length
    return () => {
      for (const one of undo) one()
      this.#events.length = events
      this.#branches.push({ epoch: head + 1, state: this.#branches.length })
    }
  }

  dump(epoch: number): unknown {
    for (const { history } of [...this.#sectors.values(), ...this.#deals.values()]) prune(history, epoch)
    return {
      sectors: [...this.#sectors],
      deals: [...this.#deals],
      events: this.#events,
      branches: this.#branches,
    }
  }

  restore(dumped: unknown): void {
    const { sectors, deals, events, branches } = dumped as {
      sectors: [string, { history: History<Sector> }][]
      deals: [number, { history: History<MarketDeal> }][]
      events: ActorEvent[]
      branches: History<number>
    }
    for (const [key, sector] of sectors) this.#sectors.set(key, sector)
    for (const [id, deal] of deals) this.#deals.set(id, deal)
    this.#events.splice(0, Infinity, ...events)
    this.#branches.splice(0, Infinity, ...branches)
  }

  readonly methods: NodePart['methods'] = Object.fromEntries(
    Object.entries<(...params: never[]) => unknown>({
      StateNetworkName: () => this.filecoinFaults.network ?? NETWORK,
      StateNetworkVersion: () => this.networkVersion,
      ChainHead: () => this.#tipset(this.chain.head),
      ChainGetFinalizedTipSet: () => this.#tipset(this.chain.finalized),
      ChainGetTipSetByHeight: (epoch: number, key: Key) => {
        this.#requireEpoch(epoch)
        return this.#tipset(Math.min(epoch, this.#epochOf(key)))
      },
      GetActorEventsRaw: (filter: Filter) => this.#eventsOf(filter),
      StateSectorGetInfo: (miner: string, sector: number, key: Key) => this.#sectorInfo(miner, sector, key),
      StateCall: (message: Message, key: Key) => this.#call(message, key),
      StateMarketStorageDeal: (id: number, key: Key) => this.#marketDeal(id, key),
    }).map(([name, method]) => {
      const full = `Filecoin.${name}`
      return [
        full,
        (params: readonly unknown[]) => {
          const { answers } = this.filecoinFaults
          return answers !== undefined && full in answers ? answers[full] : method(...(params as never[]))
        },
      ]
    }),
  )

  #setSector(miner: string, sector: number, state: Sector): void {
    const key = `${miner}/${sector}`
    const known = this.#sectors.get(key) ?? { history: [] }
    known.history.push({ epoch: this.chain.head, state })
    this.#sectors.set(key, known)
  }

  #changeDeal(id: number, change: Partial<MarketDeal>): void {
    const { history } = this.#deals.get(id)!
    history.push({ epoch: this.chain.head, state: { ...history.at(-1)!.state, ...change } })
  }

  #emit(emitter: string, type: string, sector: number, links?: readonly AnyLink[]): void {
    const entries = [toEntry('$type', type), toEntry('sector', sector)]
    if (links) entries.push(toEntry('unsealed-cid', null))
    for (const link of links ?? []) {
      const { root, log2Size } = toV1(link).ok!
      entries.push(toEntry('piece-cid', root), toEntry('piece-size', 2 ** log2Size))
    }
    this.#events.push({ entries, emitter, reverted: false, height: this.chain.head })
  }

  #isNullRound(epoch: number): boolean {
    return this.chain.faults.nullRounds?.has(epoch) ?? false
  }

  /** The tipset of an epoch, or the last one before it that has blocks. */
  #tipset(epoch: number): { Cids: Key; Blocks: object[]; Height: number } {
    if (this.#isNullRound(epoch)) return this.#tipset(epoch - 1)
    return {
      Cids: [{ '/': `bafy2bzacestandin${stateAt(this.#branches, epoch)}x${epoch}` }],
      Blocks: [{ Height: epoch, Timestamp: epochToSeconds(epoch) }],
      Height: epoch,
    }
  }

  #epochOf(key: Key): number {
    const cid = key[0]?.['/'] ?? ''
    const epoch = Number(cid.split('x')[1])
    if (this.#tipset(epoch).Cids[0]?.['/'] !== cid) throw new RpcError(1, `loading tipset ${cid}: not found`)
    return epoch
  }

  /** The last epoch whose messages are in the state at a tipset. */
  #stateEpoch(key: Key): number {
    return this.#epochOf(key) - 1
  }

  #requireEpoch(epoch: number): void {
    const { lookback = Infinity } = this.filecoinFaults
    if (epoch < this.chain.head - lookback)
      throw new RpcError(1, 'bad tipset height: lookbacks of more than 24h0m0s are disallowed')
  }

  #eventsOf({ addresses, fromHeight, toHeight, fields }: Filter): ActorEvent[] | null {
    const { maxRange = 2_880, maxResults = 10_000, indexedFrom = 0 } = this.filecoinFaults
    this.#requireEpoch(fromHeight)
    if (toHeight - fromHeight > maxRange)
      throw new RpcError(
        1,
        `invalid epoch range: range between to and 'from' heights is too large (maximum: ${maxRange})`,
      )
    const found = this.#events.filter(
      ({ emitter, height, entries }) =>
        height >= Math.max(fromHeight, indexedFrom) &&
        height <= toHeight &&
        !this.#isNullRound(height) &&
        addresses.includes(emitter) &&
        Object.entries(fields).every(([key, wanted]) =>
          entries.some(({ Key, Value }) => Key === key && wanted.some(({ value }) => value === Value)),
        ),
    )
    if (found.length > maxResults && new Set(found.map(({ height }) => height)).size > 1)
      throw new RpcError(
        1,
        'get events for filter: failed to get events: filter matches too many events, try a more restricted filter',
      )
    if (found.length > 0) return found
    // Only now: a node that lost a part of the range returns the other part.
    let first = fromHeight
    while (first <= toHeight && this.#isNullRound(first)) first += 1
    if (first <= toHeight && first < indexedFrom)
      throw new RpcError(1, 'get events for filter: not found in index')
    return null
  }

  #sectorInfo(miner: string, sector: number, key: Key): object | null {
    const state = this.#sectorAt(miner, sector, key)
    if (state === undefined || state.isCompacted) {
      if (this.isForest) throw new RpcError(-32_603, `Info for sector number ${sector} not found`)
      return null
    }
    return {
      SectorNumber: sector,
      SealProof: 8,
      SealedCID: SEALED_CID,
      Activation: state.activation,
      Expiration: state.expiration,
      DealWeight: '0',
      PowerBaseEpoch: state.powerBase,
      SectorKeyCID: state.isUpdated ? SEALED_CID : null,
      Flags: 1,
    }
  }

  /** The state of a sector at a tipset. Throws if the provider does not exist: one exists from its first sector on. */
  #sectorAt(miner: string, sector: number, key: Key): Sector | undefined {
    const epoch = this.#stateEpoch(key)
    const isKnown = [...this.#sectors].some(
      ([name, { history }]) => name.startsWith(`${miner}/`) && stateAt(history, epoch) !== undefined,
    )
    if (!isKnown) throw new RpcError(1, '(get sset) failed to load miner actor: actor not found')
    return stateAt(this.#sectors.get(`${miner}/${sector}`)?.history, epoch)
  }

  #call({ To, Method, Params }: Message, key: Key): object {
    const isKnown = Method === GENERATE_SECTOR_LOCATION && this.networkVersion >= 28
    if (!isKnown) return { MsgRct: { ExitCode: 22, Return: null, GasUsed: 1 }, Error: 'unhandled message' }
    const [sector] = decodeCbor(Buffer.from(Params, 'base64')) as [number]
    const state = this.#sectorAt(To, sector, key)
    const status = state === undefined || state.isCompacted ? 'dead' : state.status
    const location = encodeCbor(status === 'dead' ? [-1, -1] : [3, 0])
    return {
      MsgRct: { ExitCode: 0, Return: toBase64([STATUSES.indexOf(status), location]), GasUsed: 1 },
      Error: '',
    }
  }

  #marketDeal(id: number, key: Key): object {
    const state = stateAt(this.#deals.get(id)?.history, this.#stateEpoch(key))
    if (state === undefined || state.isRemoved)
      throw new RpcError(
        1,
        `deal ${id} not found - deal may not have completed sealing before deal proposal start epoch, or deal may have been slashed`,
      )
    const { root, log2Size } = toV1(state.link).ok!
    return {
      Proposal: {
        PieceCID: { '/': `${root}` },
        PieceSize: 2 ** log2Size,
        VerifiedDeal: false,
        Client: state.client,
        Provider: state.provider,
        Label: state.label,
        StartEpoch: state.startEpoch,
        EndEpoch: state.endEpoch,
        StoragePricePerEpoch: '0',
        ProviderCollateral: '0',
        ClientCollateral: '0',
      },
      State: {
        SectorNumber: 0,
        SectorStartEpoch: state.sectorStartEpoch,
        LastUpdatedEpoch: -1,
        SlashEpoch: state.slashEpoch,
      },
    }
  }
}

/** CIDs of the blocks of a tipset. */
type Key = { '/': string }[]

interface Filter {
  addresses: string[]
  fromHeight: number
  toHeight: number
  fields: Record<string, { codec: number; value: string }[]>
}

interface Message {
  To: string
  Method: number
  Params: string
}

/** The commitment to the sealed bytes of every sector: the stand-in seals nothing. */
const SEALED_CID = { '/': 'bagboea4b5abcstandin' }

/** Whether nodes index the key and the value, only the key, or none. */
const FLAGS = { indexed: 3, key: 1 }

const toEntry = (key: string, value: unknown): Entry => ({
  Flags: key === 'piece-size' ? FLAGS.key : FLAGS.indexed,
  Key: key,
  Codec: 0x51,
  Value: toBase64(value),
})

const toBase64 = (value: unknown): string => Buffer.from(encodeCbor(value)).toString('base64')
