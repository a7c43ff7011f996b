import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { SERVICE, VERIFIER, VIEW } from '@w3filecoin/deal-tracker/pdp-abi'
import type { AnyLink } from '@w3filecoin/piece'
import { type Abi, decodeFunctionData, encodeFunctionResult, type Hex, numberToHex, toHex } from 'viem'

/** Time of epoch 0, in seconds since 1970, as on mainnet; and length of an epoch. */
const GENESIS_SECONDS = 1_598_306_400
const EPOCH_SECONDS = 30
/** Epochs of a proving period: one day. */
const PROVING_PERIOD = 2_880

/** The contracts of the stand-in. */
export const CONTRACTS = {
  verifier: `0x${'a1'.repeat(20)}`,
  service: `0x${'f5'.repeat(20)}`,
  view: `0x${'f6'.repeat(20)}`,
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

interface Versions {
  payer: Hex
  providerId: number
  /** By the epoch from which on they hold, in order. */
  history: { epoch: number; state: DataSet }[]
}

/** Faults of the node. */
export interface Faults {
  /** Status of HTTP that requests get, and a text that a request must have to get it. */
  status?: number
  only?: string
  /** Epochs without a block: a call at one of them is an error. */
  nullRounds?: ReadonlySet<number>
  /** Id of the chain that the node says instead of its own. */
  chainId?: number
}

/** A call that the contract reverted. */
class Revert extends Error {}

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
  readonly #sets = new Map<number, Versions>()

  constructor({ chainId = 31_415_926, head = 10_000, lag = 5 } = {}) {
    this.chainId = chainId
    this.head = head
    this.lag = lag
  }

  advance(epochs: number): void {
    this.head += epochs
  }

  createDataSet(id: number, { payer, providerId }: { payer: Hex; providerId: number }): void {
    const state: DataSet = {
      pieces: [],
      removals: [],
      challenged: 0,
      provenEpoch: this.head,
      deadline: 0,
      endEpoch: 0,
      isDeleted: false,
    }
    this.#sets.set(id, { payer, providerId, history: [{ epoch: this.head, state }] })
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
    const lengths = new Map([...this.#sets].map(([id, { history }]) => [id, history.length]))
    return () => {
      this.head = head
      for (const [id, { history }] of this.#sets) {
        const length = lengths.get(id)
        if (length === undefined) this.#sets.delete(id)
        else history.length = length
      }
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

  /** Answers requests of JSON-RPC at 127.0.0.1. */
  async listen(): Promise<{ url: string; close: () => Promise<void> }> {
    const server = createServer(async (request, response) => {
      const chunks: Buffer[] = []
      for await (const chunk of request) chunks.push(chunk)
      const body = `${Buffer.concat(chunks)}`
      const { status, only } = this.faults
      if (status !== undefined && (only === undefined || body.includes(only))) {
        response.writeHead(status, { 'retry-after': '1' }).end('slow down')
        return
      }
      const question = JSON.parse(body) as Question | Question[]
      const answer = Array.isArray(question) ? question.map(one => this.#answer(one)) : this.#answer(question)
      response.setHeader('content-type', 'application/json').end(JSON.stringify(answer))
    })
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    return {
      url: `http://127.0.0.1:${port}/rpc/v1`,
      close: () =>
        new Promise(resolve => {
          server.closeAllConnections()
          server.close(() => resolve())
        }),
    }
  }

  #answer({ id, method, params = [] }: Question): object {
    this.calls.push(method)
    try {
      return { jsonrpc: '2.0', id, result: this.#run(method, params) }
    } catch (cause) {
      const { message } = cause as Error
      return cause instanceof Revert
        ? {
            jsonrpc: '2.0',
            id,
            error: {
              code: 3,
              message: `message execution failed (exit=[33], revert reason=[${message}])`,
              data: '0x',
            },
          }
        : { jsonrpc: '2.0', id, error: { code: -32_000, message } }
    }
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
          timestamp: numberToHex(GENESIS_SECONDS + epoch * EPOCH_SECONDS),
          hash: numberToHex(epoch, { size: 32 }),
          transactions: [],
        }
      }
      case 'eth_call':
        return this.#call(params[0] as { to: Hex; data?: Hex; input?: Hex }, this.#epochOf(params[1]))
      default:
        throw new Error(`method '${method}' not found`)
    }
  }

  #epochOf(tag: unknown): number {
    switch (tag) {
      case undefined:
      case 'latest':
        return this.head
      case 'finalized':
        return this.head - this.lag
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
    return contract === this.view ? VIEW : undefined
  }

  #get(name: string, args: readonly unknown[], epoch: number): unknown {
    if (name === 'viewContractAddress') return this.view
    if (name === 'clientDataSets') {
      const [payer, offset, limit] = args as [string, bigint, bigint]
      const ids = [...this.#sets].filter(
        ([id, set]) => set.payer.toLowerCase() === payer.toLowerCase() && this.#at(id, epoch),
      )
      return ids.slice(Number(offset), Number(offset + limit)).map(([id]) => BigInt(id))
    }
    const [id, ...rest] = (args as bigint[]).map(Number) as [number, ...number[]]
    const set = this.#sets.get(id)
    const state = this.#at(id, epoch)
    const isLive = state !== undefined && !state.isDeleted
    switch (name) {
      case 'getDataSet':
        if (set === undefined || state === undefined) throw new Revert('InvalidDataSetId')
        return describeSet(id, set, state)
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
    return this.#sets.get(id)?.history.findLast(version => version.epoch <= epoch)?.state
  }
}

interface Question {
  id: number
  method: string
  params?: unknown[]
}

/** Returns the structure `Cid` of a piece; without a piece, an empty one. */
const toCid = (link: AnyLink | undefined): { data: Hex } => ({
  data: link ? toHex((link as unknown as { bytes: Uint8Array }).bytes) : '0x',
})

const describeSet = (id: number, { payer, providerId }: Versions, { endEpoch }: DataSet) => ({
  pdpRailId: BigInt(1_000 + id),
  cacheMissRailId: 0n,
  cdnRailId: 0n,
  payer,
  payee: payer,
  serviceProvider: payer,
  commissionBps: 0n,
  clientDataSetId: BigInt(id),
  pdpEndEpoch: BigInt(endEpoch),
  providerId: BigInt(providerId),
  pendingOneTimePayments: 800_000_000_000_000n,
  lifecycleReserveBalance: 0n,
  dataSetId: BigInt(id),
})
