import { describePlace, type Place } from '@w3filecoin/capabilities'
import {
  EVENT_WINDOW_EPOCHS,
  readSectorEvents,
  readSectorStatus,
  type SectorEvent,
  saysNoSector,
  toEventFilter,
  toStatusMessage,
} from '@w3filecoin/chain/sectors'
import { type AnyLink, decodePiece, toV1 } from '@w3filecoin/piece'
import { platform } from '#platform'
import { reasonOf, W3Error } from './error.ts'
import { request } from './http.ts'
import type { Fetch } from './platform.ts'

/** A block with the hashes of its transactions, or a tipset, has up to some 100 kB. */
const MAX_ANSWER_BYTES = 4 * 1024 * 1024

/**
 * The contract PDPVerifier by the EIP-155 id of its chain: mainnet and Calibration (FilOzone/pdp, README). Only a contract that the
 * reader trusts shows anything: any other one may name any piece.
 */
const VERIFIERS = new Map([
  [314, '0xbadd0b92c1c71d02e7d520f64c0876538fa2557f'],
  [314_159, '0x85e366cf9dd2c0ae37e963d9556f5f4718d6417c'],
])

/** Networks of Filecoin, as their nodes name them. */
const MAINNET = 'mainnet'
const CALIBRATION = 'calibrationnet'
/** How nodes say that a provider does not exist. */
const NO_PROVIDER = /actor not found/

/** Selectors of PDPVerifier: the first four bytes of the hash of `pieceLive(uint256,uint256)` and of `getPieceCid(uint256,uint256)`. */
const PIECE_LIVE = '1a271225'
const GET_PIECE_CID = '25bbbedf'
const TRUE = `0x${'1'.padStart(64, '0')}`
const FALSE = `0x${'0'.padStart(64, '0')}`

/** Windows of events that one question searches for the update of a sector: the month before its place was seen. */
const MAX_WINDOWS = 30

/** Options of {@link chainNode}. */
export interface ChainNodeOptions {
  /**
   * The contract PDPVerifier whose data sets count, `0x` and 40 hexadecimal digits. The default is that of the mainnet of Filecoin,
   * and of the test network Calibration.
   */
  verifier?: string | undefined
  /**
   * The network whose deals and sectors count, as its nodes name it, e.g. `calibrationnet`. The default is `mainnet`, and for a sector
   * at an address `t0…` the test network Calibration.
   */
  network?: string | undefined
  /** Sends the requests. The default is the global `fetch`. */
  fetch?: Fetch | undefined
}

/**
 * A place of an aggregate as a node of the chain shows it.
 *
 * @example { by: 'https://node.example', status: 'Active', epoch: 6543300 }
 * @example { by: 'https://node.example', status: 'Active', faulty: true, epoch: 6543300 }
 */
export interface ShownPlace {
  /** Origin of the node. */
  by: string
  /**
   * - `Active`: it contains the aggregate. For a deal: its sector is active. For PDP: the piece is in the data set
   * - `Pending`: the deal is not in a sector yet
   * - `Expired`, `Terminated`: the deal or the sector has ended. The contents of such a sector are not checked
   * - `NotFound`: the chain does not have it, or not any more
   * - `NotChecked`: it is of a kind that this version does not know
   * - `UnknownVerifier`: it names another contract than the PDPVerifier that counts
   */
  status: 'Active' | 'Pending' | 'Expired' | 'Terminated' | 'NotFound' | 'NotChecked' | 'UnknownVerifier'
  /** The provider misses proofs of the sector. */
  faulty?: true
  /** The finalized epoch of the answer. Absent if the node was not asked. */
  epoch?: number
}

type SectorPlace = Place & { type: 'sector' }

/** A node of the chain, which knows places without any service of this protocol. */
export class ChainNode {
  /** The address of the node. */
  readonly url: string
  readonly #verifier: string | undefined
  readonly #network: string | undefined
  readonly #fetch: Fetch

  /** @internal */
  constructor(url: string | URL, { verifier, network, fetch = platform.fetch }: ChainNodeOptions = {}) {
    this.url = new URL(url).href
    this.#verifier = verifier?.toLowerCase()
    this.#network = network
    this.#fetch = fetch
  }

  /**
   * Asks whether a place contains an aggregate, at the last finalized epoch.
   *
   * @param place the place that a receipt names
   * @param aggregate its piece CID v2
   * @param options a signal that ends the call; the epoch in the receipt, at which the place was seen: `seenEpoch`
   * @throws W3Error `PlaceMismatch` if the place contains another piece; `WrongChain` if the node is one of another chain;
   * `NodeBehind` if it does not find the place, and knows the chain only until before the epoch in the receipt; `HistoryMissing` if it
   * does not keep the event that names the pieces of a sector; `InvalidAnswer`, `Unreachable`
   */
  async find(
    place: Place | undefined,
    aggregate: AnyLink,
    { signal, seenEpoch }: { signal?: AbortSignal | undefined; seenEpoch?: number | undefined } = {},
  ): Promise<ShownPlace> {
    const by = new URL(this.url).origin
    if (place === undefined) return { by, status: 'NotChecked' }
    const shown = await this.#find(place, aggregate, seenEpoch, signal)
    const { status, epoch = 0 } = shown
    if (status === 'NotFound' && seenEpoch !== undefined && epoch < seenEpoch)
      throw new W3Error(
        'NodeBehind',
        `${this.url} knows the chain until epoch ${epoch}, and ${describePlace(place)} was seen at epoch ${seenEpoch}`,
        { hint: 'Ask again later, or another node.', retryable: true },
      )
    return { by, ...shown }
  }

  #find(
    place: Place,
    aggregate: AnyLink,
    seenEpoch: number | undefined,
    signal: AbortSignal | undefined,
  ): Promise<Omit<ShownPlace, 'by'>> {
    switch (place.type) {
      case 'market':
        return this.#findDeal(place, aggregate, signal)
      case 'pdp':
        return this.#findPiece(place, aggregate, signal)
      case 'sector':
        return this.#findSector(place, aggregate, seenEpoch, signal)
    }
  }

  async #findDeal(
    place: Place & { type: 'market' },
    aggregate: AnyLink,
    signal: AbortSignal | undefined,
  ): Promise<Omit<ShownPlace, 'by'>> {
    const { Cids, epoch } = await this.#readFinal(this.#network ?? MAINNET, signal)
    const { result, error } = await this.#call(
      'Filecoin.StateMarketStorageDeal',
      [place.dealID, Cids],
      signal,
    )
    if (error?.includes(`deal ${place.dealID} not found`)) return { status: 'NotFound', epoch }
    if (error !== undefined) throw this.#invalid(error)
    const proposal = mapOf(mapOf(result).Proposal)
    const state = mapOf(mapOf(result).State)
    const [size, end] = this.#integers(proposal.PieceSize, proposal.EndEpoch)
    const [start, slashed] = this.#integers(state.SectorStartEpoch, state.SlashEpoch)
    if (!isPiece(aggregate, mapOf(proposal.PieceCID)['/'], size)) throw this.#mismatch(place, aggregate)
    if (slashed >= 0) return { status: 'Terminated', epoch }
    if (end <= epoch) return { status: 'Expired', epoch }
    return { status: start > 0 ? 'Active' : 'Pending', epoch }
  }

  async #findSector(
    place: SectorPlace,
    aggregate: AnyLink,
    seenEpoch: number | undefined,
    signal: AbortSignal | undefined,
  ): Promise<Omit<ShownPlace, 'by'>> {
    const { miner, sector } = place
    const network = this.#network ?? (miner.startsWith('f') ? MAINNET : CALIBRATION)
    const { Cids, epoch } = await this.#readFinal(network, signal)
    const method = 'Filecoin.StateSectorGetInfo'
    const { result, error } = await this.#call(method, [miner, sector, Cids], signal)
    const isUnknown = error === undefined ? result === null : saysNoSector(error) || NO_PROVIDER.test(error)
    if (isUnknown) return { status: 'NotFound', epoch }
    if (error !== undefined) throw this.#invalid(`${method} fails: ${error}`)
    const { SectorNumber, Activation, PowerBaseEpoch, Expiration, SectorKeyCID } = mapOf(result)
    const [number, activation, powerBase, end] = this.#integers(
      SectorNumber,
      Activation,
      PowerBaseEpoch,
      Expiration,
    )
    if (number !== sector || SectorKeyCID === undefined)
      throw this.#invalid(`${method} does not return this sector, or not all of it`)
    if (end <= epoch) return { status: 'Expired', epoch }
    // The entry of a terminated sector stays in the state for a time.
    const message = toStatusMessage(miner, sector)
    const status = readSectorStatus(await this.#ask('Filecoin.StateCall', [message, Cids], signal))
    if (status === undefined)
      throw this.#invalid(
        'the actor of the provider returns no status, which it does from network version 28 on',
      )
    if (status === 'dead') return { status: 'Terminated', epoch }

    // The state does not name the pieces of a sector. An event of the time when it got them does.
    const isUpdated = SectorKeyCID !== null
    const filled = isUpdated
      ? await this.#findUpdate(place, { activation, powerBase, seenEpoch }, signal)
      : (await this.#eventsOf(place, activation, activation, signal)).find(
          ({ type }) => type === 'sector-activated',
        )
    if (filled === undefined)
      throw this.#missing(
        place,
        `it has no event of the time when the sector was ${isUpdated ? 'updated' : 'activated'}`,
      )
    if (!filled.pieces.some(({ root, paddedBytes }) => isPiece(aggregate, root, paddedBytes)))
      throw this.#mismatch(place, aggregate)
    return { status: 'Active', ...(status === 'faulty' && { faulty: true as const }), epoch }
  }

  /**
   * Searches the update in which a sector got its pieces, after its activation. Its power is computed since then, unless it was extended
   * later: then search back from the epoch at which its place was seen.
   */
  async #findUpdate(
    place: SectorPlace,
    {
      activation,
      powerBase,
      seenEpoch = powerBase,
    }: { activation: number; powerBase: number; seenEpoch: number | undefined },
    signal: AbortSignal | undefined,
  ): Promise<SectorEvent | undefined> {
    const findLast = async (first: number, last: number) =>
      (await this.#eventsOf(place, first, last, signal)).findLast(({ type }) => type === 'sector-updated')
    const atBase = await findLast(powerBase, powerBase)
    if (atBase) return atBase
    let last = Math.min(seenEpoch, powerBase - 1)
    for (let n = 0; n < MAX_WINDOWS && last > activation; n++) {
      const first = Math.max(activation + 1, last - EVENT_WINDOW_EPOCHS + 1)
      const found = await findLast(first, last)
      if (found) return found
      last = first - 1
    }
    return undefined
  }

  /** Reads the events of a sector from one epoch to another, both inclusive. */
  async #eventsOf(
    place: SectorPlace,
    first: number,
    last: number,
    signal: AbortSignal | undefined,
  ): Promise<SectorEvent[]> {
    const method = 'Filecoin.GetActorEventsRaw'
    const query = { miners: [place.miner], sector: place.sector, first, last }
    const { result, error } = await this.#call(method, [toEventFilter(query)], signal)
    if (error !== undefined) throw this.#missing(place, `${method} of epoch ${first} fails: ${error}`)
    const events = readSectorEvents(result, query)
    if (events === undefined) throw this.#invalid(`${method} returns another form, or other events`)
    return events
  }

  async #findPiece(
    place: Place & { type: 'pdp' },
    aggregate: AnyLink,
    signal: AbortSignal | undefined,
  ): Promise<Omit<ShownPlace, 'by'>> {
    const { chain, verifier, dataSet, piece } = place
    if (verifier !== (this.#verifier ?? VERIFIERS.get(chain))) return { status: 'UnknownVerifier' }
    const id = Number(await this.#ask('eth_chainId', [], signal))
    if (id !== chain)
      throw new W3Error('WrongChain', `${this.url} is a node of the chain ${id}, not ${chain}`, {
        hint: `Ask a node of the chain ${chain}.`,
      })
    const block = mapOf(await this.#ask('eth_getBlockByNumber', ['finalized', false], signal))
    const [epoch] = this.#integers(Number(block.number ?? Number.NaN))
    const call = (selector: string) => {
      const data = `0x${selector}${toWord(dataSet)}${toWord(piece)}`
      return this.#ask('eth_call', [{ to: verifier, data }, block.number], signal)
    }
    const isLive = await call(PIECE_LIVE)
    if (isLive !== TRUE && isLive !== FALSE) throw this.#invalid(`\`pieceLive\` returns ${isLive}`)
    if (isLive === FALSE) return { status: 'NotFound', epoch }
    if ((await call(GET_PIECE_CID)) !== encodeCid(aggregate)) throw this.#mismatch(place, aggregate)
    return { status: 'Active', epoch }
  }

  /** Reads the last finalized tipset, at which the node answers further calls. Throws if the node serves another network. */
  async #readFinal(
    network: string,
    signal: AbortSignal | undefined,
  ): Promise<{ Cids: unknown[]; epoch: number }> {
    const found = await this.#ask('Filecoin.StateNetworkName', [], signal)
    if (typeof found !== 'string') throw this.#invalid('the network has no name')
    if (found !== network)
      throw new W3Error('WrongChain', `${this.url} is a node of the network ${found}, not of ${network}`, {
        hint: `Ask a node of ${network}. If the proof is of ${found}, pass this name in \`network\` (--network).`,
      })
    const { Cids, Height } = mapOf(await this.#ask('Filecoin.ChainGetFinalizedTipSet', [], signal))
    const [epoch] = this.#integers(Height)
    // Without a tipset, the node would answer for a block that may not be final.
    if (!Array.isArray(Cids) || Cids.length === 0) throw this.#invalid('the tipset has no `Cids`')
    return { Cids, epoch }
  }

  /** Calls a method of JSON-RPC. Throws if its answer is an error. */
  async #ask(method: string, params: unknown[], signal: AbortSignal | undefined): Promise<unknown> {
    const { result, error } = await this.#call(method, params, signal)
    if (error !== undefined) throw this.#invalid(`${method} fails: ${error}`)
    return result
  }

  /** Calls a method of JSON-RPC. Returns its result, or the message of its error. */
  async #call(
    method: string,
    params: unknown[],
    signal: AbortSignal | undefined,
  ): Promise<{ result?: unknown; error?: string }> {
    const { body } = await request(this.url, {
      fetch: this.#fetch,
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ jsonrpc: '2.0', id: 1, method, params }),
      maxBytes: MAX_ANSWER_BYTES,
      signal,
    })
    try {
      const { result, error } = mapOf(JSON.parse(new TextDecoder().decode(body)))
      return error ? { error: `${mapOf(error).message}` } : { result }
    } catch (cause) {
      throw this.#invalid(reasonOf(cause), cause)
    }
  }

  /** Returns the values if they are integers. */
  #integers<T extends unknown[]>(...values: T): { [N in keyof T]: number } {
    if (!values.every(Number.isSafeInteger)) throw this.#invalid('a number is missing')
    return values as { [N in keyof T]: number }
  }

  #invalid(reason: string, cause?: unknown): W3Error {
    return new W3Error('InvalidAnswer', `The answer of ${this.url} cannot be used: ${reason}`, {
      hint: 'Ask a node of Filecoin, e.g. Lotus or Forest, with JSON-RPC at `/rpc/v1`.',
      cause,
    })
  }

  #missing(place: SectorPlace, reason: string): W3Error {
    return new W3Error(
      'HistoryMissing',
      `${this.url} shows that ${describePlace(place)} is live, but not which pieces it contains: ${reason}`,
      {
        hint: 'Ask a node that keeps the events of that time: Lotus does with EnableActorEventsAPI and its chain index. Or ask a deal tracker.',
      },
    )
  }

  #mismatch(place: Place, aggregate: AnyLink): W3Error {
    return new W3Error(
      'PlaceMismatch',
      `The statement of the proof is wrong: ${this.url} shows that ${describePlace(place)} does not contain the aggregate ${aggregate}`,
    )
  }
}

/**
 * Returns a node of the chain to ask about places. It sends nothing before the first question.
 *
 * @param url the address of its JSON-RPC, e.g. `https://node.example/rpc/v1`
 * @param options the contract and the network that count, and `fetch`
 * @example const report = await verify(proof, { storefront, node: chainNode('https://node.example/rpc/v1') })
 */
export const chainNode = (url: string | URL, options?: ChainNodeOptions): ChainNode =>
  new ChainNode(url, options)

/** Whether a piece CID v1 and a size in padded bytes are those of an aggregate. */
const isPiece = (aggregate: AnyLink, root: unknown, paddedBytes: number): boolean =>
  root === `${toV1(aggregate).ok?.root}` && paddedBytes === decodePiece(aggregate).ok?.size

/** Encodes an unsigned integer as the ABI of Ethereum does: a word of 32 bytes, in hexadecimal digits. */
const toWord = (value: number): string => value.toString(16).padStart(64, '0')

/**
 * Encodes a piece as the result of `getPieceCid`: a structure with the bytes of its CID. It has one encoding, so results can be
 * compared as text.
 */
const encodeCid = (link: AnyLink): string => {
  const { bytes } = link as unknown as { bytes: Uint8Array }
  const digits = Array.from(bytes, byte => byte.toString(16).padStart(2, '0')).join('')
  const padded = digits.padEnd(Math.ceil(digits.length / 64) * 64, '0')
  return `0x${toWord(32)}${toWord(32)}${toWord(bytes.byteLength)}${padded}`
}

const mapOf = (value: unknown): Record<string, unknown> =>
  typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
