import { PAYMENTS, PROVIDERS, SERVICE, SESSION_KEYS, VERIFIER, VIEW } from '@w3filecoin/chain'
import type { AnyLink } from '@w3filecoin/piece'
import {
  type Abi,
  decodeFunctionData,
  encodeFunctionResult,
  type Hex,
  numberToHex,
  toHex,
  zeroAddress,
} from 'viem'
import {
  epochToSeconds,
  type Faults,
  forkHistories,
  type History,
  listenRpc,
  type NodePart,
  prune,
  RpcError,
  stateAt,
} from './node.ts'

export type { Faults } from './node.ts'

/** Epochs of a proving period: one day. */
const PROVING_PERIOD = 2_880

/** Calls whose methods are kept, for tests. */
const MAX_CALLS = 100_000

/** The contracts of the stand-in. */
export const CONTRACTS = {
  verifier: `0x${'a1'.repeat(20)}`,
  service: `0x${'f5'.repeat(20)}`,
  view: `0x${'f6'.repeat(20)}`,
  payments: `0x${'b1'.repeat(20)}`,
  token: `0x${'b2'.repeat(20)}`,
  sessionKeys: `0x${'c1'.repeat(20)}`,
  providers: `0x${'d1'.repeat(20)}`,
} as const satisfies Record<string, Hex>

/** A data set as of some epoch. */
interface DataSet {
  pieces: { link: AnyLink; isRemoved: boolean }[]
  removals: number[]
  /** Pieces before this one are challenged. 0 before the first proving period. */
  challenged: number
  provenEpoch: number
  deadline: number
  endEpoch: number
  isDeleted: boolean
}

/** Facts of a data set that never change. */
export interface DataSetFacts {
  payer: Hex
  providerId: number
  /** Id that the payer gave to it; default: its id. */
  clientDataSetId?: bigint
}

interface Versions extends DataSetFacts {
  /** By the epoch from which on they hold, in order. */
  history: History<DataSet>
}

/** Getters with answers beside those of data sets, and their answers while {@link Chain.record} gave them none. */
const NOTHING_RECORDED: Record<string, unknown> = {
  clientNonces: 0n,
  authorizationExpiry: 0n,
  getAccountInfoIfSettled: [0n, 0n, 0n, 0n],
  operatorApprovals: [false, 0n, 0n, 0n, 0n, 0n],
  pdpVerifierAddress: CONTRACTS.verifier,
  paymentsContractAddress: CONTRACTS.payments,
  usdfcTokenAddress: CONTRACTS.token,
  serviceProviderRegistry: CONTRACTS.providers,
  sessionKeyRegistry: CONTRACTS.sessionKeys,
}

/** A call that the contract reverted. */
export class Revert extends RpcError {
  constructor(reason: string) {
    super(3, `message execution failed (exit=[33], revert reason=[${reason}])`, '0x')
  }
}

/**
 * A stand-in for a node of the chain: JSON-RPC over a small model of the contracts of Filecoin Onchain Cloud. Its state has a history,
 * so a call at an earlier block gets the state of that time. Time is in epochs, and moves only by {@link Chain.advance}.
 */
export class Chain {
  readonly chainId: number
  head: number
  /** Epochs from the head back to the finalized block. */
  lag: number
  /** The address of the view contract: an upgrade moves it. */
  view: Hex = CONTRACTS.view
  faults: Faults = {}
  /** The methods that were called, e.g. `eth_call`. */
  readonly calls: string[] = []
  /** Other parts of the node, which answer further methods by the same clock. */
  readonly parts: NodePart[] = []
  readonly #sets = new Map<number, Versions>()
  /** Answers of getters, by name and arguments, each with the epoch from which on it holds. */
  readonly #answers = new Map<string, { epoch: number; answer: unknown }[]>()

  constructor({ chainId = 31_415_926, head = 10_000, lag = 5 } = {}) {
    this.chainId = chainId
    this.head = head
    this.lag = lag
  }

  /** The epoch of the finalized block. */
  get finalized(): number {
    return this.head - this.lag
  }

  advance(epochs: number): void {
    this.head += epochs
  }

  /**
   * Lets a getter return an answer from the head on.
   *
   * @example chain.record('clientNonces', [payer, 7n], (1n << 128n) | 12n)
   */
  record(name: string, args: readonly unknown[], answer: unknown): void {
    const key = toAnswerKey(name, args)
    this.#answers.set(key, [...(this.#answers.get(key) ?? []), { epoch: this.head, answer }])
  }

  /** Returns the answer of a getter that {@link record} gave it, or that it has without one; `undefined` for other getters. */
  recorded(name: string, args: readonly unknown[], epoch = this.head): unknown {
    const versions = this.#answers.get(toAnswerKey(name, args))
    return versions?.findLast(version => version.epoch <= epoch)?.answer ?? NOTHING_RECORDED[name]
  }

  /** The data set with an id, as of the head; `undefined` if there is none, or no more. */
  dataSet(id: number): (DataSetFacts & { endEpoch: number }) | undefined {
    const state = this.#at(id, this.head)
    return state && !state.isDeleted ? { ...this.#sets.get(id)!, endEpoch: state.endEpoch } : undefined
  }

  /** The pieces of a data set, as of the head, without those that were removed. */
  pieces(id: number): AnyLink[] {
    return (this.#at(id, this.head)?.pieces ?? []).filter(piece => !piece.isRemoved).map(({ link }) => link)
  }

  /** Id of the next data set. */
  get nextDataSetId(): number {
    return Math.max(0, ...this.#sets.keys()) + 1
  }

  /** Time of the head, in seconds since 1970. */
  get timestampSeconds(): number {
    return epochToSeconds(this.head)
  }

  createDataSet(id: number, facts: DataSetFacts): void {
    const state: DataSet = {
      pieces: [],
      removals: [],
      challenged: 0,
      provenEpoch: this.head,
      deadline: 0,
      endEpoch: 0,
      isDeleted: false,
    }
    this.#sets.set(id, { ...facts, history: [{ epoch: this.head, state }] })
  }

  /** Adds pieces to a data set. Returns their ids. */
  addPieces(id: number, links: readonly AnyLink[]): number[] {
    let first = 0
    this.#change(id, state => {
      first = state.pieces.length
      state.pieces.push(...links.map(link => ({ link, isRemoved: false })))
    })
    return links.map((_, n) => first + n)
  }

  /** Begins a proving period, in which all pieces are challenged. */
  beginPeriod(id: number): void {
    this.#change(id, state => {
      state.challenged = state.pieces.length
      state.deadline = this.head + PROVING_PERIOD
    })
  }

  prove(id: number): void {
    this.#change(id, state => {
      state.provenEpoch = this.head
    })
  }

  scheduleRemoval(id: number, piece: number): void {
    this.#change(id, state => void state.removals.push(piece))
  }

  remove(id: number, piece: number): void {
    this.#change(id, state => {
      state.pieces[piece]!.isRemoved = true
    })
  }

  /** Ends the payments of a data set at an epoch. */
  terminate(id: number, endEpoch: number): void {
    this.#change(id, state => {
      state.endEpoch = endEpoch
    })
  }

  deleteDataSet(id: number): void {
    this.#change(id, state => {
      state.isDeleted = true
    })
  }

  /** Returns a function that undoes all that happens until it is called: a reorganization of the chain. */
  fork(): () => void {
    const { head } = this
    const answers = new Map(this.#answers)
    const undo = [forkHistories(this.#sets), ...this.parts.map(part => part.fork())]
    return () => {
      this.head = head
      for (const key of this.#answers.keys()) this.#answers.set(key, answers.get(key) ?? [])
      for (const one of undo) one()
    }
  }

  #change(id: number, change: (state: DataSet) => void): void {
    const { history } = this.#sets.get(id)!
    const { state } = history.at(-1)!
    const next: DataSet = {
      ...state,
      pieces: state.pieces.map(piece => ({ ...piece })),
      removals: [...state.removals],
    }
    change(next)
    history.push({ epoch: this.head, state: next })
  }

  /** Forgets the states before an epoch, and returns the others, for {@link restore}. */
  dump(epoch: number): unknown {
    const parts = this.parts.map(part => part.dump(epoch))
    return {
      head: this.head,
      sets: [...this.#sets].map(([id, { history, ...facts }]) => {
        prune(history, epoch)
        return [id, facts, history]
      }),
      answers: [...this.#answers].map(([key, versions]) => {
        prune(versions, epoch)
        return [key, versions]
      }),
      parts,
    }
  }

  /** Replaces all states by those that {@link dump} returned. */
  restore(dumped: unknown): void {
    const { head, sets, answers, parts } = dumped as {
      head: number
      sets: [number, DataSetFacts, History<DataSet>][]
      answers: [string, { epoch: number; answer: unknown }[]][]
      parts: unknown[]
    }
    this.head = head
    for (const [id, facts, history] of sets) this.#sets.set(id, { ...facts, history })
    for (const [key, versions] of answers) this.#answers.set(key, versions)
    for (const [n, part] of this.parts.entries()) part.restore(parts[n])
  }

  /** The data sets that are not deleted, as of the head, each with whether it has pieces that were never challenged. */
  dataSets(): { id: number; isUnchallenged: boolean }[] {
    return [...this.#sets.keys()].flatMap(id => {
      const state = this.#at(id, this.head)
      if (state === undefined || state.isDeleted) return []
      return [{ id, isUnchallenged: state.challenged < state.pieces.length }]
    })
  }

  /** Answers requests of JSON-RPC at 127.0.0.1. With port 0, the operating system chooses one. */
  listen(port = 0): Promise<{ url: string; close: () => Promise<void> }> {
    return listenRpc(
      port,
      () => this.faults,
      (method, params) => {
        if (this.calls.length < MAX_CALLS) this.calls.push(method)
        return this.#run(method, params)
      },
    )
  }

  #run(method: string, params: readonly unknown[]): unknown {
    switch (method) {
      case 'eth_chainId':
        return numberToHex(this.faults.chainId ?? this.chainId)
      case 'eth_blockNumber':
        return numberToHex(this.head)
      case 'eth_getBlockByNumber': {
        const epoch = this.#epochOf(params[0])
        return {
          number: numberToHex(epoch),
          timestamp: numberToHex(epochToSeconds(epoch)),
          hash: numberToHex(epoch, { size: 32 }),
          transactions: [],
        }
      }
      case 'eth_call':
        return this.#call(params[0] as { to: Hex; data?: Hex; input?: Hex }, this.#epochOf(params[1]))
      default: {
        const run = this.parts.map(part => part.methods[method]).find(found => found !== undefined)
        if (run === undefined) throw new Error(`method '${method}' not found`)
        return run(params)
      }
    }
  }

  #epochOf(tag: unknown): number {
    switch (tag) {
      case undefined:
      case 'latest':
        return this.head
      case 'finalized':
        return this.finalized
      default:
        return Number(tag)
    }
  }

  #call({ to, data, input }: { to: Hex; data?: Hex; input?: Hex }, epoch: number): Hex {
    if (epoch > this.head) throw new Error('requested a future epoch (beyond latest)')
    if (this.faults.nullRounds?.has(epoch)) throw new Error(`requested epoch was a null round (${epoch})`)
    const abi = this.#abiOf(to.toLowerCase())
    if (abi === undefined) return '0x'
    const { functionName, args = [] } = decodeFunctionData({ abi, data: (data ?? input) as Hex })
    const result = this.#get(functionName, args, epoch)
    return encodeFunctionResult({ abi, functionName, result })
  }

  #abiOf(contract: string): Abi | undefined {
    if (contract === CONTRACTS.verifier) return VERIFIER
    if (contract === CONTRACTS.service) return SERVICE
    if (contract === CONTRACTS.payments) return PAYMENTS
    if (contract === CONTRACTS.sessionKeys) return SESSION_KEYS
    if (contract === CONTRACTS.providers) return PROVIDERS
    return contract === this.view ? VIEW : undefined
  }

  #get(name: string, args: readonly unknown[], epoch: number): unknown {
    if (name === 'viewContractAddress') return this.view
    const answer = this.recorded(name, args, epoch)
    if (answer !== undefined) return answer
    if (name === 'clientDataSets') {
      const [payer, offset, limit] = args as [string, bigint, bigint]
      const ids = [...this.#sets].filter(
        ([id, set]) =>
          set.payer.toLowerCase() === payer.toLowerCase() && this.#at(id, epoch)?.isDeleted === false,
      )
      return ids.slice(Number(offset), Number(offset + limit)).map(([id]) => BigInt(id))
    }
    if (name === 'getProviderPayee') throw new Revert('Provider does not exist')
    const [id, ...rest] = (args as bigint[]).map(Number) as [number, ...number[]]
    const set = this.#sets.get(id)
    const state = this.#at(id, epoch)
    const isLive = state !== undefined && !state.isDeleted
    switch (name) {
      case 'getDataSet':
        return describeSet(id, isLive ? set : undefined, state)
      case 'provingDeadline':
        return BigInt(state?.deadline ?? 0)
      case 'dataSetLive':
        return isLive
      case 'pieceLive':
        return isLive && state.pieces[rest[0] as number]?.isRemoved === false
      default:
    }
    if (!isLive) throw new Revert('DataSetNotLive')
    const pieces = state.pieces.map((piece, n) => ({ ...piece, id: n })).filter(({ isRemoved }) => !isRemoved)
    const [first = 0, limit = 0] = rest
    switch (name) {
      case 'getPieceCid':
        return toCid(pieces.find(({ id }) => id === first)?.link)
      case 'getDataSetLastProvenEpoch':
        return BigInt(state.provenEpoch)
      case 'getScheduledRemovals':
        return state.removals.map(BigInt)
      case 'pieceChallengable':
        if (state.challenged === 0) throw new Revert('arithmetic underflow')
        return first < state.challenged && pieces.some(piece => piece.id === first)
      case 'getActivePiecesByCursor': {
        const all = pieces.filter(piece => piece.id >= first)
        const page = all.slice(0, limit)
        return [
          page.map(({ link }) => toCid(link)),
          page.map(piece => BigInt(piece.id)),
          all.length > page.length,
        ]
      }
      default:
        throw new Error(`The stand-in has no ${name}`)
    }
  }

  /** The state of a data set as of an epoch. */
  #at(id: number, epoch: number): DataSet | undefined {
    return stateAt(this.#sets.get(id)?.history, epoch)
  }
}

/** The structure of a data set. One that never was, or is deleted, has zeros, and its id. */
const describeSet = (id: number, set?: Versions, state?: DataSet) => {
  const payer = set?.payer ?? zeroAddress
  return {
    pdpRailId: set ? BigInt(1_000 + id) : 0n,
    cacheMissRailId: 0n,
    cdnRailId: 0n,
    payer,
    payee: payer,
    serviceProvider: payer,
    commissionBps: 0n,
    clientDataSetId: set ? (set.clientDataSetId ?? BigInt(id)) : 0n,
    pdpEndEpoch: set ? BigInt(state?.endEpoch ?? 0) : 0n,
    providerId: BigInt(set?.providerId ?? 0),
    pendingOneTimePayments: set ? 800_000_000_000_000n : 0n,
    lifecycleReserveBalance: 0n,
    dataSetId: BigInt(id),
  }
}

const toAnswerKey = (name: string, args: readonly unknown[]): string =>
  [name, ...args].join(' ').toLowerCase()
/** Returns the structure `Cid` of a piece; without a piece, an empty one. */
const toCid = (link: AnyLink | undefined): { data: Hex } => ({
  data: link ? toHex((link as unknown as { bytes: Uint8Array }).bytes) : '0x',
})
