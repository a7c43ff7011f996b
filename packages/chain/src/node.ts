import { type Abi, type Address, BaseError, createClient } from 'viem'
import { getBlock, getChainId, readContract } from 'viem/actions'
import { openTransport, type RpcOptions } from './json-rpc.ts'

/** A block of the chain: its epoch, and its time in seconds since 1970. */
export interface Block {
  number: bigint
  timestamp: bigint
}

/** A node of the chain. */
export interface ChainNode {
  /** Returns the last final block, and the last one. Throws if the node serves another chain. */
  blocks(): Promise<{ final: Block; latest: Block }>
  /** Calls a getter of a contract as of a block. Throws if there is no answer; {@link isRevert} recognizes a "no". */
  call(address: string, abi: Abi, name: string, args: readonly unknown[], at: bigint): Promise<unknown>
}

/**
 * Opens a node by its address. It repeats no request. Calls that are made in the same turn share a request, at most 50.
 *
 * @param options.chain EIP-155 id of the chain that the node must serve, e.g. 314
 */
export const openNode = (url: string, { chain, ...options }: RpcOptions & { chain: number }): ChainNode => {
  // A public client would have all actions of viem in the bundles.
  const client = createClient({ transport: openTransport(url, options) })
  return {
    blocks: async () => {
      const [id, final, latest] = await Promise.all([
        getChainId(client),
        getBlock(client, { blockTag: 'finalized' }),
        getBlock(client, { blockTag: 'latest' }),
      ])
      if (id !== chain)
        throw Object.assign(new Error(`${url} is a node of the chain ${id}, not ${chain}`), {
          name: 'WrongChain',
        })
      return { final, latest }
    },
    call: (address, abi, functionName, args, blockNumber) =>
      readContract(client, { address: address as Address, abi, functionName, args, blockNumber }),
  }
}

/**
 * Whether a call failed because the contract reverted it. Only that is a "no": all other errors say nothing. viem gives an internal
 * error of the node this name too.
 */
export const isRevert = (cause: unknown): boolean => {
  const isIn = (name: string) =>
    cause instanceof BaseError && cause.walk(error => (error as Error).name === name) !== null
  return isIn('ContractFunctionRevertedError') && !isIn('InternalRpcError')
}
