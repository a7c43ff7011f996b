import { refusalOf } from '@w3filecoin/chain'
import { loggedUrl } from '@w3filecoin/runtime'
import pMap from 'p-map'
import * as z from 'zod'
import type { SourceConfig } from '../config.ts'
import type { Source } from '../dependencies.ts'
import { type ChainDeal, type DealIdentity, hasEnded, type KnownDeal, parsePiece } from '../domain/deal.ts'
import { epochSchema, hasTurn, MAX_EPOCH } from '../domain/epoch.ts'
import type { Report } from '../domain/report.ts'
import type { Snapshot } from '../domain/snapshot.ts'
import type { Watched } from '../domain/watch.ts'
import {
  type FilecoinNode,
  linkSchema,
  MAX_PARALLEL_CALLS,
  newUnknownAnswer,
  readFinal,
  requireType,
  stateEpochOf,
  type Tipset,
} from './filecoin.ts'
import type { Network } from './network.ts'
import { textSchema } from './replica-parser.ts'

/** Known deals that one run asks for: see `MAX_TURNS` of sectors. */
const MAX_TURNS = 5_000

/**
 * Opens the deals of the built-in market (actor f05) whose ids were reported to the tracker. A run asks for each deal that is not live
 * yet, and once a day for each that is.
 *
 * The chain removes a deal when it is terminated, or does not begin in time. So a known deal that the node does not find is gone, and an
 * unknown one may still come. Any other refusal says nothing: `read` throws.
 *
 * @example { name: 'market', kind: 'f05', rpc: ['https://node-1.example/rpc/v1'], network: 'mainnet' }
 */
export const openF05 = (config: SourceConfig<'f05'>, network: Network): Source => ({
  name: config.name,
  url: config.rpc.map(loggedUrl).join(', '),
  types: ['market'],
  read: async (previous, watched) => {
    requireType(previous, 'market')
    return readFinal(config, network, (node, tipset) => readDeals(node, tipset, previous, watched))
  },
})

const readDeals = async (
  node: FilecoinNode,
  tipset: Tipset,
  previous: Snapshot,
  watched: Watched,
): Promise<Report> => {
  const stateEpoch = stateEpochOf(tipset)
  const known = [...previous.deals].filter(([, { terminated }]) => !terminated)
  const isDue = (id: DealIdentity, deal: KnownDeal): boolean =>
    deal.condition !== undefined ||
    hasEnded(deal, stateEpoch) ||
    hasTurn(Number(id), previous.stateEpoch, stateEpoch)
  const due = known.filter(([id, deal]) => isDue(id, deal)).slice(0, MAX_TURNS)
  const asked = new Set([
    ...due.map(([id]) => Number(id)),
    ...watched.dealIDs.filter(id => previous.deals.get(id)?.terminated ?? !previous.deals.has(id)),
  ])
  const found = await pMap(
    asked,
    async (id): Promise<[number, ChainDeal | EndedDeal]> => [id, await readDeal(node, tipset, id)],
    { concurrency: MAX_PARALLEL_CALLS },
  )
  return {
    stateEpoch,
    deals: new Map<DealIdentity, ChainDeal>([
      ...known.filter(([id]) => !asked.has(Number(id))),
      ...found.flatMap(([id, deal]) => ('reason' in deal ? [] : [[id, deal] as const])),
    ]),
    malformed: 0,
    refused: watched.refused,
    unreadable: new Set(),
    hasSeenEnds: true,
    ends: new Map(found.flatMap(([id, deal]) => ('reason' in deal ? [[id, deal.reason]] : []))),
  }
}

const METHOD = 'Filecoin.StateMarketStorageDeal'

/** An epoch, or −1 if the event is not yet. */
const pastEpoch = z.int().min(-1).max(MAX_EPOCH)

/**
 * A deal as a node returns it. A label that is not text is dropped, because it is informative only.
 *
 * @example { Proposal: { PieceCID: { '/': 'baga6ea4seaqao7s…' }, PieceSize: 34359738368, Client: 'f01131298', Provider: 'f020378',
 * Label: '', EndEpoch: 6012345, … }, State: { SectorStartEpoch: 4499000, SlashEpoch: -1, … } }
 */
const dealSchema = z.object({
  Proposal: z.object({
    PieceCID: linkSchema,
    PieceSize: z.int().positive(),
    Client: textSchema,
    Provider: z.string().regex(/^[ft]0\d{1,15}$/),
    Label: textSchema.optional().catch(undefined),
    EndEpoch: epochSchema,
  }),
  State: z.object({ SectorStartEpoch: pastEpoch, SlashEpoch: pastEpoch }),
})

/** Why the chain has no such deal, in a sentence. */
interface EndedDeal {
  reason: string
}

/** Reads a deal. Returns the reason if the chain does not have it, or it was slashed. */
const readDeal = async (
  node: FilecoinNode,
  tipset: Tipset,
  dealID: number,
): Promise<ChainDeal | EndedDeal> => {
  const answer = await orNotFound(dealID, () => node.call(METHOD, [dealID, tipset.Cids], dealSchema))
  if (answer === undefined)
    return {
      reason: 'The chain does not have the deal any more: it was terminated, or did not begin in time',
    }
  if (answer.State.SlashEpoch > 0)
    return { reason: `The deal was slashed at epoch ${answer.State.SlashEpoch}` }
  const { PieceCID, PieceSize, Client: client, Provider: provider, Label: label, EndEpoch } = answer.Proposal
  const { SectorStartEpoch: start } = answer.State
  const piece = parsePiece(PieceCID['/'], Math.log2(PieceSize))
  if (piece === undefined) throw newUnknownAnswer(node, METHOD)
  return {
    place: { type: 'market', dealID },
    piece,
    provider,
    client,
    endEpoch: EndEpoch,
    ...(label !== undefined && { label }),
    ...(start > 0 ? { activationEpoch: start } : { condition: 'pending' as const }),
  }
}

/** Runs a call for a deal. Returns `undefined` if the node says that the chain does not have it (lotus, `GetStorageDeal`). */
const orNotFound = async <T>(dealID: number, call: () => Promise<T>): Promise<T | undefined> => {
  try {
    return await call()
  } catch (cause) {
    if (refusalOf(cause)?.includes(`deal ${dealID} not found`)) return undefined
    throw cause
  }
}
