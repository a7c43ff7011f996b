import { BATCH, openTransport } from '@w3filecoin/chain'
import { type Fetch, loggedUrl } from '@w3filecoin/runtime'
import { createClient } from 'viem'
import * as z from 'zod'
import type { SourceConfig } from '../config.ts'
import type { ChainPlace } from '../domain/deal.ts'
import { epochSchema } from '../domain/epoch.ts'
import type { Report } from '../domain/report.ts'
import type { Snapshot } from '../domain/snapshot.ts'
import { newDisagreement, requireSameReports } from './agreement.ts'
import { MAX_READ_MS, type Network } from './network.ts'
import { newSourceError } from './source-error.ts'

/** Calls at a time: four requests. */
export const MAX_PARALLEL_CALLS = 4 * BATCH

/** A node of Filecoin. */
export interface FilecoinNode {
  /** Its address in messages. */
  url: string
  /** Calls a method, e.g. `Filecoin.StateNetworkName`. Throws if there is no answer, or one of another form (`UnknownAnswer`). */
  call<T>(method: string, params: readonly unknown[], schema: z.ZodType<T>): Promise<T>
}

/**
 * A tipset: the blocks of an epoch. Its CIDs name the state before its own messages, at which a node answers calls.
 *
 * @example { Cids: [{ '/': 'bafy2bzacea…' }], Height: 4863283 }
 */
export type Tipset = z.infer<typeof tipsetSchema>

export const linkSchema = z.object({ '/': z.string().min(1).max(200) })
export const tipsetSchema = z.object({ Cids: z.array(linkSchema).min(1).max(100), Height: epochSchema })

/** Returns the last epoch whose messages are in the state at a tipset: the one before, because its own are not executed yet. */
export const stateEpochOf = ({ Height }: Tipset): number => Math.max(0, Height - 1)

/**
 * Throws `KindChanged` if the last run of a source has places of another type. The source would not find them, and they would count as
 * terminated.
 */
export const requireType = ({ deals }: Snapshot, type: ChainPlace['type']): void => {
  for (const { place } of deals.values())
    if (place.type !== type)
      throw newSourceError(
        'KindChanged',
        'The source was of another kind in its last run. Give it another name, under which it begins without deals',
      )
}

/**
 * Reads a report at the last final tipset that all nodes of a source have. Throws if one cannot be reached or serves another network
 * (`WrongChain`), and if they do not have the same chain or report the same (`SourcesDisagree`).
 */
export const readFinal = async (
  { rpc, network: name }: Pick<SourceConfig<'sector' | 'f05'>, 'rpc' | 'network'>,
  { fetch, maxReadMs = MAX_READ_MS }: Network,
  read: (node: FilecoinNode, tipset: Tipset) => Promise<Report>,
): Promise<Report> => {
  const signal = AbortSignal.timeout(maxReadMs)
  const nodes = rpc.map(url => openNode(url, { fetch, signal }))
  const heads = await Promise.all(
    nodes.map(async node => {
      await requireNetwork(node, name)
      return node.call('Filecoin.ChainGetFinalizedTipSet', [], tipsetSchema)
    }),
  )
  // All have this one: a node that is behind decides.
  const tipset = heads.reduce((lowest, head) => (head.Height < lowest.Height ? head : lowest))
  const reports = await Promise.all(
    nodes.map(async (node, n) => {
      const { Cids } = await node.call(
        'Filecoin.ChainGetTipSetByHeight',
        [tipset.Height, heads[n]?.Cids],
        tipsetSchema,
      )
      if (JSON.stringify(Cids) !== JSON.stringify(tipset.Cids)) throw newDisagreement(rpc, tipset.Height)
      return read(node, tipset)
    }),
  )
  return requireSameReports(rpc, reports)
}

const openNode = (url: string, network: { fetch: Fetch; signal: AbortSignal }): FilecoinNode => {
  const client = createClient({ transport: openTransport(url, network) })
  return {
    url: loggedUrl(url),
    call: async (method, params, schema) => {
      const answer: unknown = await client.request({ method, params } as never)
      const parsed = schema.safeParse(answer)
      if (parsed.success) return parsed.data
      throw newUnknownAnswer({ url: loggedUrl(url) }, method, parsed.error)
    },
  }
}

/** Returns the failure of a run in which a node answered in another form than expected. */
export const newUnknownAnswer = (
  { url }: Pick<FilecoinNode, 'url'>,
  method: string,
  cause?: unknown,
): Error => newSourceError('UnknownAnswer', `${url} answers ${method} in another form than expected`, cause)

const requireNetwork = async (node: FilecoinNode, name: string): Promise<void> => {
  const found = await node.call('Filecoin.StateNetworkName', [], z.string().max(200))
  if (found !== name)
    throw newSourceError('WrongChain', `${node.url} is a node of the network ${found}, not ${name}`)
}
