import { createServer } from 'node:http'
import { listen } from '../listen.ts'

/**
 * The parts of a stand-in for a node of the chain that the contracts of Ethereum (`chain.ts`) and the actors of Filecoin
 * (`filecoin-node.ts`) share: JSON-RPC, and states with a history.
 */

/** Time of epoch 0, in seconds since 1970, as on mainnet; and length of an epoch. */
const GENESIS_SECONDS = 1_598_306_400
const EPOCH_SECONDS = 30

/** @example epochToSeconds(1) // 1598306430 */
export const epochToSeconds = (epoch: number): number => GENESIS_SECONDS + epoch * EPOCH_SECONDS

/** Faults of the node. */
export interface Faults {
  /** Status of HTTP that requests get, and a text that a request must have to get it. */
  status?: number
  only?: string
  /** Epochs without a block. */
  nullRounds?: ReadonlySet<number>
  /** Id of the chain that the node says instead of its own. */
  chainId?: number
}

/** The states of a thing, each with the epoch from which on it holds, in order. */
export type History<T> = { epoch: number; state: T }[]

/** Returns the state as of an epoch. */
export const stateAt = <T>(history: History<T> | undefined, epoch: number): T | undefined =>
  history?.findLast(version => version.epoch <= epoch)?.state

/** Returns a function that undoes all changes of some things until it is called. */
export const forkHistories = <K>(things: Map<K, { history: History<unknown> }>): (() => void) => {
  const lengths = new Map([...things].map(([key, { history }]) => [key, history.length]))
  return () => {
    for (const [key, { history }] of things) {
      const length = lengths.get(key)
      if (length === undefined) things.delete(key)
      else history.length = length
    }
  }
}

/** Forgets the states that were replaced before an epoch. */
export const prune = (history: { epoch: number }[], epoch: number): void => {
  const first = history.findLastIndex(version => version.epoch <= epoch)
  if (first > 0) history.splice(0, first)
}

/** A part of a node: its methods, and its share of a reorganization. */
export interface NodePart {
  methods: Record<string, (params: readonly unknown[]) => unknown>
  /** Returns a function that undoes all that happens in this part until it is called. */
  fork(): () => void
  /** Forgets the states before an epoch, and returns the others, for `restore`. */
  dump(epoch: number): unknown
  restore(dumped: unknown): void
}

/** An answer that is an error. Any other error that a method throws has the code −32000. */
export class RpcError extends Error {
  readonly code: number
  readonly data: unknown

  constructor(code: number, message: string, data?: unknown) {
    super(message)
    this.code = code
    this.data = data
  }
}

interface Question {
  id: number
  method: string
  params?: unknown[]
}

/**
 * Answers requests of JSON-RPC at 127.0.0.1.
 *
 * @param port 0: the operating system chooses one
 * @param faults returns the present faults
 * @param run runs a method
 */
export const listenRpc = async (
  port: number,
  faults: () => Faults,
  run: (method: string, params: readonly unknown[]) => unknown,
): Promise<{ url: string; close: () => Promise<void> }> => {
  const answer = ({ id, method, params = [] }: Question): object => {
    try {
      return { jsonrpc: '2.0', id, result: run(method, params) }
    } catch (cause) {
      const { message } = cause as Error
      const { code, data } = cause instanceof RpcError ? cause : { code: -32_000, data: undefined }
      return { jsonrpc: '2.0', id, error: { code, message, ...(data !== undefined && { data }) } }
    }
  }
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    const body = `${Buffer.concat(chunks)}`
    const { status, only } = faults()
    if (status !== undefined && (only === undefined || body.includes(only))) {
      response.writeHead(status, { 'retry-after': '1' }).end('slow down')
      return
    }
    const question = JSON.parse(body) as Question | Question[]
    const answers = Array.isArray(question) ? question.map(answer) : answer(question)
    response.setHeader('content-type', 'application/json').end(JSON.stringify(answers))
  })
  return {
    url: `http://127.0.0.1:${await listen(server, port)}/rpc/v1`,
    close: () =>
      new Promise(resolve => {
        server.closeAllConnections()
        server.close(() => resolve())
      }),
  }
}
