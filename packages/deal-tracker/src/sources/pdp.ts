import { decodePiece, toV1 } from '@w3filecoin/piece'
import { type Fetch, loggedUrl } from '@w3filecoin/runtime'
import { CID } from 'multiformats/cid'
import pMap from 'p-map'
import { type Abi, type Address, BaseError, createPublicClient, type Hex, hexToBytes, http } from 'viem'
import type { SourceConfig } from '../config.ts'
import type { Source } from '../dependencies.ts'
import { type ChainDeal, type DealIdentity, identify, toPieceKey } from '../domain/deal.ts'
import { MAX_DEALS, type Report } from '../domain/report.ts'
import type { Snapshot } from '../domain/snapshot.ts'
import { SERVICE, VERIFIER, VIEW } from './pdp-abi.ts'

/** Time for all calls of one run, in milliseconds: see `MAX_READ_MS` of the files of active replicas. */
const MAX_READ_MS = 100_000
/** Data sets of a payer, and pieces of a data set, that one call returns. */
const PAGE = 100n
/** Calls that share a request, and requests at a time. */
const BATCH = 50
const MAX_PARALLEL = 4
/** A day. Data sets prove once in such a period. */
const EPOCHS_OF_DAY = 2_880

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
export const openPdp = (
  settings: Config,
  { fetch, maxReadMs = MAX_READ_MS }: { fetch: Fetch; maxReadMs?: number },
): Source => {
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
    read: async known => {
      const signal = AbortSignal.timeout(maxReadMs)
      const nodes = config.rpc.map(url => openNode(url, config, { fetch, signal }))
      const heights = await Promise.all(nodes.map(node => node.finalized()))
      // Both have this one: a node that is behind decides.
      const height = heights.toSorted((a, b) => Number(a - b))[0] as bigint
      const [first, ...others] = await Promise.all(nodes.map(node => readPayers(node, config, known, height)))
      const report = first as Report
      for (const [n, other] of others.entries())
        if (!isSameReport(report, other))
          throw Object.assign(
            new Error(
              `${config.rpc[0]} and ${config.rpc[n + 1]} do not agree about the chain at epoch ${height}`,
            ),
            { name: 'SourcesDisagree' },
          )
      return report
    },
  }
}

/** A node of the chain. */
interface Node {
  finalized(): Promise<bigint>
  /** Calls a getter. Throws if there is no answer. */
  call(address: Address, abi: Abi, name: string, args: readonly unknown[], at: bigint): Promise<unknown>
}

const openNode = (
  url: string,
  { chain }: Config,
  { fetch, signal }: { fetch: Fetch; signal: AbortSignal },
): Node => {
  const client = createPublicClient({
    transport: http(url, {
      batch: { batchSize: BATCH },
      retryCount: 0,
      timeout: 0,
      fetchFn: (input, init) => fetch(`${input}`, { ...init, signal }),
    }),
  })
  return {
    finalized: async () => {
      const id = await client.getChainId()
      if (id !== chain)
        throw Object.assign(new Error(`${url} is a node of the chain ${id}, not ${chain}`), {
          name: 'WrongChain',
        })
      const { number } = await client.getBlock({ blockTag: 'finalized' })
      return number
    },
    call: (address, abi, functionName, args, blockNumber) =>
      client.readContract({ address, abi, functionName, args, blockNumber }),
  }
}

/** Reads all pieces of all payers at one epoch. */
const readPayers = async (
  node: Node,
  config: Config,
  known: Snapshot['deals'],
  at: bigint,
): Promise<Report> => {
  const view = (await node.call(config.service as Address, SERVICE, 'viewContractAddress', [], at)) as Address
  const report = { deals: new Map<DealIdentity, ChainDeal>(), malformed: 0, refused: 0 }
  for (const payer of config.payers) {
    const sets = await readPages(0n, async offset => {
      const ids = (await node.call(view, VIEW, 'clientDataSets', [payer, offset, PAGE], at)) as bigint[]
      return { items: ids, next: BigInt(ids.length) < PAGE ? undefined : offset + PAGE }
    })
    const found = await pMap(sets, set => readSet(node, { config, view, payer, at }, set, known), {
      concurrency: MAX_PARALLEL,
    })
    for (const { deals, malformed } of found) {
      report.malformed += malformed
      for (const deal of deals) {
        const identity = identify(deal)
        if (!known.has(identity) && report.deals.size >= MAX_DEALS) report.refused += 1
        else report.deals.set(identity, deal)
      }
    }
  }
  return { ...report, stateEpoch: Number(at), unreadable: new Set() }
}

interface DataSet {
  payer: Address
  providerId: bigint
  pdpEndEpoch: bigint
  dataSetId: bigint
}

/** Reads the pieces of a data set. One that is not live has none: the tracker then knows that its pieces are gone. */
const readSet = async (
  node: Node,
  { config, view, payer, at }: { config: Config; view: Address; payer: string; at: bigint },
  set: bigint,
  known: Snapshot['deals'],
): Promise<{ deals: ChainDeal[]; malformed: number }> => {
  const verifier = config.verifier as Address
  const ask = (name: string, ...args: readonly unknown[]) =>
    node.call(verifier, VERIFIER, name, [set, ...args], at)
  const [info, isLive] = (await Promise.all([
    node.call(view, VIEW, 'getDataSet', [set], at),
    ask('dataSetLive'),
  ])) as [DataSet, boolean]
  // A struct of another release decodes to other values.
  if (info.dataSetId !== set || info.payer.toLowerCase() !== payer)
    throw Object.assign(new Error(`The view contract ${view} answers in another form than expected`), {
      name: 'UnknownContract',
    })
  if (!isLive) return { deals: [], malformed: 0 }
  const [proven, removals, deadline] = (await Promise.all([
    ask('getDataSetLastProvenEpoch'),
    ask('getScheduledRemovals'),
    node.call(view, VIEW, 'provingDeadline', [set], at),
  ])) as [bigint, bigint[], bigint]
  const missedDays = deadline > 0n && at > deadline ? Number(at - deadline) / EPOCHS_OF_DAY : 0
  if (missedDays > config.maxFaultDays) return { deals: [], malformed: 0 }
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
  return { deals: deals.filter(deal => deal !== undefined), malformed }
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

/** Whether the contract reverted the call. viem names an internal error of the node so too. */
const isRevert = (cause: unknown): boolean => {
  const isIn = (name: string) =>
    cause instanceof BaseError && cause.walk(error => (error as Error).name === name) !== null
  return isIn('ContractFunctionRevertedError') && !isIn('InternalRpcError')
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

const isSameReport = (a: Report, b: Report): boolean => a.malformed === b.malformed && toText(a) === toText(b)

const toText = ({ deals }: Report): string =>
  JSON.stringify([...deals].toSorted(([x], [y]) => (x < y ? -1 : 1)))
