import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { type AnyLink, parsePiece } from '@w3filecoin/piece'
import { jsonLog, type Log } from '@w3filecoin/runtime'
import { UserError } from '@w3filecoin/runtime/user-error'
import type { LogFile } from '../log-file.ts'
import { writePrivateFile } from '../private-files.ts'
import { Chain, CONTRACTS } from './chain.ts'
import type { DealMaking } from './deal-making.ts'
import { FilecoinNode, NETWORK } from './filecoin-node.ts'
import { epochToSeconds } from './node.ts'

/** Pause between two steps of the providers. */
const STEP_MS = 200
/** The chain begins this many epochs behind the clock, half a day, and runs fast while there is work: an epoch in each step. */
const BEHIND_EPOCHS = 1_440
/** Steps that the chain runs fast after a change: until it is final, challenged, proven and seen. */
const BUSY_STEPS = 25
/** Earlier states than this are forgotten. */
const KEPT_EPOCHS = 100

/**
 * A chain for the local system. Its time runs fast while something happens, and else with the clock. Its state is in a file, so that
 * places stay where they are after a restart.
 */
export interface LocalChain {
  chain: Chain
  node: FilecoinNode
  /** Its address, and the names under which a reader finds its data sets and sectors. */
  facts: Required<Pick<DealMaking, 'url' | 'rpc' | 'verifier' | 'network'>>
  log: Log
  /**
   * Restores the state, and lets the providers work until `stop`.
   *
   * @param options.step lets the providers make a step. Resolves with whether something happened.
   */
  start(options: { file: string; step: () => Promise<boolean>; onChange: () => void }): void
  stop(): Promise<void>
}

export const openLocalChain = async ({
  port,
  log: file,
}: {
  port: number
  log: LogFile
}): Promise<LocalChain> => {
  const log = jsonLog(line => file.write(`${line}\n`), { service: 'market', now: Date.now })
  const chain = new Chain({ head: epochNow() - BEHIND_EPOCHS, lag: 1 })
  const node = new FilecoinNode(chain)
  const server = await chain.listen(port)
  const stopping = new AbortController()
  let running: Promise<void> | undefined

  const run = async ({ file, step, onChange }: Parameters<LocalChain['start']>[0]): Promise<void> => {
    let busy = 0
    while (!stopping.signal.aborted) {
      try {
        if (await step()) busy = BUSY_STEPS
        const behind = epochNow() - BEHIND_EPOCHS - chain.head
        if (busy > 0 || behind > 0) {
          chain.advance(Math.max(1, behind))
          for (const { id, isUnchallenged } of chain.dataSets()) {
            if (isUnchallenged || behind > 0) chain.beginPeriod(id)
            else chain.prove(id)
          }
          const state = chain.dump(chain.head - KEPT_EPOCHS)
          writePrivateFile(file, JSON.stringify(state, encode))
        }
        if (busy > 0) {
          busy -= 1
          onChange()
        }
      } catch (cause) {
        if (!stopping.signal.aborted) log('error', 'step of the providers failed', { cause })
      }
      await sleep(STEP_MS, undefined, { signal: stopping.signal }).catch(() => {})
    }
  }

  return {
    chain,
    node,
    facts: { url: server.url, rpc: server.url, verifier: CONTRACTS.verifier, network: NETWORK },
    log,
    start: options => {
      const state = read(options.file)
      if (state) chain.restore(state)
      running = run(options)
    },
    stop: async () => {
      stopping.abort()
      await running
      await server.close()
    },
  }
}

const epochNow = (): number =>
  Math.floor((Date.now() / 1000 - epochToSeconds(0)) / (epochToSeconds(1) - epochToSeconds(0)))

const read = (file: string): unknown => {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new UserError(`Cannot read ${file}: ${(cause as Error).message}. Check its permissions.`)
  }
  try {
    return JSON.parse(text, decode)
  } catch {
    throw new UserError(
      `${file}, which holds the chain of this system, is not valid. Restore it, or remove the data directory to start from scratch.`,
    )
  }
}

/** JSON has neither links nor large integers. */
const encode = (_: string, value: unknown): unknown =>
  typeof value === 'bigint' ? { integer: `${value}` } : value

const decode = (_: string, value: unknown): unknown => {
  const { integer, '/': link } = (value ?? {}) as { integer?: string; '/'?: string }
  if (integer !== undefined) return BigInt(integer)
  const piece = link === undefined ? undefined : parsePiece(link).ok
  return piece ? (piece.link as AnyLink) : value
}
