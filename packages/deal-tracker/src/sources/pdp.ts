import { BATCH, type ChainNode, isRevert, openNode, SERVICE, VERIFIER, VIEW } from '@w3filecoin/chain'
import { decodePiece, toV1 } from '@w3filecoin/piece'
import { loggedUrl } from '@w3filecoin/runtime'
import { CID } from 'multiformats/cid'
import pMap from 'p-map'
import { type Hex, hexToBytes } from 'viem'
import type { SourceConfig } from '../config.ts'
import type { Source } from '../dependencies.ts'
import { type ChainDeal, type DealIdentity, identify, toPieceKey } from '../domain/deal.ts'
import { EPOCHS_OF_DAY } from '../domain/epoch.ts'
import { MAX_DEALS, type Report } from '../domain/report.ts'
import type { Snapshot } from '../domain/snapshot.ts'
import { requireSameReports } from './agreement.ts'
import { MAX_READ_MS, type Network } from './network.ts'
import { newSourceError } from './source-error.ts'

/** Data sets of a payer, and pieces of a data set, that one call returns. */
const PAGE = 100n
/** Data sets that are read at a time. */
const MAX_PARALLEL = 4

type Config = SourceConfig<'pdp'>

/**
 * Opens the pieces in the PDP data sets of some payers (Filecoin Onchain Cloud). All getters are called at one finalized block, so the
 * report is a state of the chain that does not change any more.
 *
 * With two addresses, both are read at the same block, and must agree. `read` throws if one cannot be reached, serves another chain,
 * or answers in another form: then nothing is known. Only a call that the contract reverts is a "no".
 *
 * @example { name: 'onchain-cloud', kind: 'pdp', rpc: ['https://node-1.example/rpc/v1', 'https://node-2.example/rpc/v1'],
 * chain: 314, verifier: '0xbadd0b92c1c71d02e7d520f64c0876538fa2557f', service: '0x8408502033c418e1bbc97ce9ac48e5528f371a9f',
 * payers: ['0x1234…'] }
 */
export const openPdp = (settings: Config, { fetch, maxReadMs = MAX_READ_MS }: Network): Source => {
  // viem takes letters of both cases as a checksum, which the settings do not promise.
  const lower = (address: string) => address.toLowerCase()
  const config = {
    ...settings,
    verifier: lower(settings.verifier),
    service: lower(settings.service),
    payers: settings.payers.map(lower),
  }
  return {
    name: config.name,
    url: config.rpc.map(loggedUrl).join(', '),
    types: ['pdp'],
    read: async ({ deals: known }) => {
      const signal = AbortSignal.timeout(maxReadMs)
      const nodes = config.rpc.map(url => openNode(url, { chain: config.chain, fetch, signal }))
      const heights = await Promise.all(nodes.map(async node => (await node.blocks()).final.number))
      // Both have this one: a node that is behind decides.
      const height = heights.toSorted((a, b) => Number(a - b))[0] as bigint
      return requireSameReports(
        config.rpc,
        await Promise.all(nodes.map(node => readPayers(node, config, known, height))),
      )
    },
  }
}

/** Reads all pieces of all payers at one epoch. */
const readPayers = async (
  node: ChainNode,
  config: Config,
  known: Snapshot['deals'],
  at: bigint,
): Promise<Report> => {
  const view = (await node.call(config.service, SERVICE, 'viewContractAddress', [], at)) as string
  const report = { deals: new Map<DealIdentity, ChainDeal>(), malformed: 0, refused: 0 }
  const states = new Map<number, SetReport['state']>()
  for (const payer of config.payers) {
    const sets = await readPages(0n, async offset => {
      const ids = (await node.call(view, VIEW, 'clientDataSets', [payer, offset, PAGE], at)) as bigint[]
      return { items: ids, next: BigInt(ids.length) < PAGE ? undefined : offset + PAGE }
    })
    const found = await pMap(sets, set => readSet(node, { config, view, payer, at }, set, known), {
      concurrency: MAX_PARALLEL,
    })
    for (const [n, { deals, malformed, state }] of found.entries()) {
      report.malformed += malformed
      states.set(Number(sets[n]), state)
      for (const deal of deals) {
        const identity = identify(deal)
        if (!known.has(identity) && report.deals.size >= MAX_DEALS) report.refused += 1
        else report.deals.set(identity, deal)
      }
    }
  }
  const missing = [...known].flatMap(([identity, { place, terminated }]) =>
    place.type === 'pdp' && !terminated && !report.deals.has(identity) ? [{ identity, ...place }] : [],
  )
  const isAbandoned = ({ dataSet }: { dataSet: number }) => states.get(dataSet) === 'abandoned'
  const unseen = missing.filter(place => !isAbandoned(place))
  const hasSeenEnds = unseen.length <= MAX_ENDS && !(await isAnyLive(node, unseen, at))
  const seen = hasSeenEnds ? missing : missing.filter(isAbandoned)
  return {
    ...report,
    stateEpoch: Number(at),
    unreadable: new Set(),
    ends: new Map(
      seen.map(({ identity, dataSet }) => [identity, describeEnd(dataSet, states.get(dataSet), config)]),
    ),
    ...(hasSeenEnds && { hasSeenEnds }),
  }
}

/** Says why a piece of a data set is missing, given the state of the data set. One that no payer has any more has none. */
const describeEnd = (
  dataSet: number,
  state: SetReport['state'] | undefined,
  { maxFaultDays }: Pick<Config, 'maxFaultDays'>,
): string => {
  switch (state) {
    case 'abandoned':
      return `The proofs of data set ${dataSet} are missing for more than ${maxFaultDays} days`
    case 'live':
      return `The piece was removed from data set ${dataSet}`
    case 'deleted':
    case undefined:
      return `The data set ${dataSet} is not live any more`
  }
}

/** Missing pieces that are asked for one by one. If there are more, the share of losses is limited instead. */
const MAX_ENDS = 5_000

/** Whether any of these pieces is still in its data set, although the lists of the payers do not have it. */
const isAnyLive = async (
  node: ChainNode,
  places: readonly { verifier: string; dataSet: number; piece: number }[],
  at: bigint,
): Promise<boolean> => {
  const answers = await pMap(
    places,
    ({ verifier, dataSet, piece }) =>
      node.call(verifier, VERIFIER, 'pieceLive', [BigInt(dataSet), BigInt(piece)], at),
    { concurrency: BATCH },
  )
  return answers.includes(true)
}

interface DataSet {
  payer: Hex
  providerId: bigint
  pdpEndEpoch: bigint
  dataSetId: bigint
}

/** The pieces of a data set. It is abandoned if proofs are missed for so long that its pieces count as gone. */
interface SetReport {
  deals: ChainDeal[]
  malformed: number
  state: 'live' | 'deleted' | 'abandoned'
}

/** Reads the pieces of a data set. One that is not live has none: the tracker then knows that its pieces are gone. */
const readSet = async (
  node: ChainNode,
  { config, view, payer, at }: { config: Config; view: string; payer: string; at: bigint },
  set: bigint,
  known: Snapshot['deals'],
): Promise<SetReport> => {
  const { verifier } = config
  const ask = (name: string, ...args: readonly unknown[]) =>
    node.call(verifier, VERIFIER, name, [set, ...args], at)
  const [info, isLive] = (await Promise.all([
    node.call(view, VIEW, 'getDataSet', [set], at),
    ask('dataSetLive'),
  ])) as [DataSet, boolean]
  // A struct of another release decodes to other values.
  if (info.dataSetId !== set || info.payer.toLowerCase() !== payer)
    throw newSourceError('UnknownContract', `The view contract ${view} answers in another form than expected`)
  if (!isLive) return { deals: [], malformed: 0, state: 'deleted' }
  const [proven, removals, deadline] = (await Promise.all([
    ask('getDataSetLastProvenEpoch'),
    ask('getScheduledRemovals'),
    node.call(view, VIEW, 'provingDeadline', [set], at),
  ])) as [bigint, bigint[], bigint]
  const missedDays = deadline > 0n && at > deadline ? Number(at - deadline) / EPOCHS_OF_DAY : 0
  if (missedDays > config.maxFaultDays) return { deals: [], malformed: 0, state: 'abandoned' }
  const leaving = new Set(removals)
  const pieces = await readPages(0n, async from => {
    const [links, ids, hasMore] = (await ask('getActivePiecesByCursor', from, PAGE)) as [
      { data: Hex }[],
      bigint[],
      boolean,
    ]
    const last = ids.at(-1)
    return {
      items: links.map(({ data }, n) => ({ data, id: ids[n] as bigint })),
      next: hasMore && last !== undefined ? last + 1n : undefined,
    }
  })
  let malformed = 0
  const deals = await pMap(
    pieces,
    async ({ data, id }): Promise<ChainDeal | undefined> => {
      const piece = toKey(data)
      if (piece === undefined) {
        malformed += 1
        return undefined
      }
      const place = {
        type: 'pdp' as const,
        chain: config.chain,
        verifier,
        dataSet: Number(set),
        piece: Number(id),
      }
      const before = known.get(identify({ place, piece }))
      const challenged =
        before?.activationEpoch ?? ((await isChallengeable(ask, id)) ? Number(at) : undefined)
      // One proof before that may be without this piece.
      const isProven = challenged !== undefined && Number(proven) > challenged
      const condition = leaving.has(id)
        ? 'leaving'
        : !isProven
          ? 'pending'
          : missedDays > config.graceDays
            ? 'faulty'
            : undefined
      return {
        place,
        piece,
        provider: `pdp:${info.providerId}`,
        ...(condition && { condition }),
        ...(challenged !== undefined && { activationEpoch: challenged }),
        ...(isProven && { provenEpoch: Number(proven) }),
        ...(info.pdpEndEpoch > 0n && { endEpoch: Number(info.pdpEndEpoch) }),
      }
    },
    { concurrency: BATCH },
  )
  return { deals: deals.filter(deal => deal !== undefined), malformed, state: 'live' }
}

/** Whether a piece is challenged by now. The contract reverts before the first proving period of its data set. */
const isChallengeable = async (
  ask: (name: string, ...args: readonly unknown[]) => Promise<unknown>,
  piece: bigint,
): Promise<boolean> => {
  try {
    return (await ask('pieceChallengable', piece)) as boolean
  } catch (cause) {
    if (isRevert(cause)) return false
    throw cause
  }
}

/** Reads pages until the last one. */
const readPages = async <T>(
  first: bigint,
  read: (from: bigint) => Promise<{ items: readonly T[]; next: bigint | undefined }>,
): Promise<T[]> => {
  const items: T[] = []
  for (let from: bigint | undefined = first; from !== undefined; ) {
    const page: { items: readonly T[]; next: bigint | undefined } = await read(from)
    items.push(...page.items)
    from = page.next
  }
  return items
}

/** Returns the key of a piece by the bytes of its piece CID v2; `undefined` if they are not one. */
const toKey = (data: Hex): string | undefined => {
  try {
    const { ok } = decodePiece(CID.decode(hexToBytes(data)))
    const chain = ok && toV1(ok.link).ok
    return chain && toPieceKey(chain)
  } catch {
    return undefined
  }
}
