import { createHash } from 'node:crypto'
import { type Failure, failure, type Place } from '@w3filecoin/capabilities'
import {
  type Block,
  type ChainNode,
  isRevert,
  joinCreateAndAdd,
  openNode,
  PAYMENTS,
  PERMISSIONS,
  PROVIDERS,
  REVERTS,
  SERVICE,
  SESSION_KEYS,
  signAdd,
  signCreate,
  VIEW,
} from '@w3filecoin/chain'
import { type Fetch, loggedUrl, readBody, reasonOf } from '@w3filecoin/runtime'
import { decodeErrorResult, type Hex } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import * as z from 'zod'
import type { Maker, MakerOrder, Progress } from './maker.ts'
import { judgeFunds } from './pdp-funds.ts'

/** Time for all calls of the chain of one step, and for one request to the provider, in milliseconds. */
const MAX_CHAIN_MS = 30_000
const MAX_REQUEST_MS = 60_000
/** Bytes of an answer of the provider. */
const MAX_ANSWER_BYTES = 64 * 1024
/** Characters of an answer that are quoted. */
const MAX_QUOTE = 300
/** Data sets of a group, one after the other: the next one begins when the one before has ended. */
const MAX_DATA_SETS = 16
/** Bounds of the pause that a provider demands, in milliseconds. */
const MIN_PAUSE_MS = 1_000
const MAX_PAUSE_MS = 3_600_000
/** The low half of a stored nonce is a data set. */
const DATA_SET_BITS = 128n

/**
 * A provider of PDP, and the wallet that pays it. Addresses may have letters of both cases.
 *
 * @example { rpc: 'https://node.example/rpc/v1', chain: 314, service: '0x8408502033c418e1bbc97ce9ac48e5528f371a9f',
 * payer: '0x1234…', provider: { id: 3, url: 'https://pdp.example/' } }
 */
export interface PdpMakerConfig {
  /** Address of a node of the chain that answers JSON-RPC. */
  rpc: string
  /** EIP-155 id of the chain: 314 is the mainnet of Filecoin. */
  chain: number
  /** Address of the contract FilecoinWarmStorageService. It knows the other contracts. */
  service: string
  /** Address of the wallet that pays. Its key is not needed here. */
  payer: string
  provider: {
    /** Id in the registry of providers. */
    id: number
    /** Base URL of its API, as the registry has it (`serviceURL`). */
    url: string
  }
}

/**
 * The funds of the payer at a final block, and the rights of the session key. Amounts are in the smallest unit of the token: USDFC has
 * 18 decimals.
 */
export interface PdpFunds {
  /** The epoch of the block, and its time in seconds since 1970. */
  epoch: number
  timestampSeconds: number
  /** The epoch until which all agreements of the payer are paid. Without payments, far in the future. */
  fundedUntilEpoch: bigint
  funds: bigint
  /** Funds that are not locked for agreements. */
  availableFunds: bigint
  /** Amount that all agreements cost in an epoch. */
  ratePerEpoch: bigint
  /** Whether the payer lets the service make agreements, and within which limits. */
  approval: {
    isApproved: boolean
    rateAllowance: bigint
    rateUsage: bigint
    lockupAllowance: bigint
    lockupUsage: bigint
  }
  /** Until when the session key may sign, in seconds since 1970. 0 if it may not. */
  sessionKey: { address: string; createDataSetUntilSeconds: bigint; addPiecesUntilSeconds: bigint }
}

export interface PdpMaker extends Maker {
  /** Reads the funds of the payer. Throws if the chain cannot be read. */
  readFunds(): Promise<PdpFunds>
}

/**
 * Values of `MakerOrder.remote` before there is a transaction. Without one, the provider accepted nothing.
 * - `pull`: it accepted to fetch the piece
 * - `add`: it has the piece. From here on a transaction of the order may exist: it is never refused
 * Then it is the path of the status of a transaction, e.g. `/pdp/data-sets/created/0x2406…`.
 */
const PULL = 'pull'
const ADD = 'add'

const TRANSACTION = /^\/pdp\/data-sets\/(?:created|\d{1,15}\/pieces\/added)\/0x[0-9a-f]{64}$/

const pullAnswer = z.object({
  pieces: z.array(z.object({ pieceCid: z.string(), status: z.string() })).max(100),
})
const transactionAnswer = z.object({ txStatus: z.string() })

/** Reverts that concern every order at the target: its keys, its funds, its registration. */
const BLAMES_TARGET = new Set<string>([
  'InsufficientLockupAllowance',
  'InsufficientLockupFunds',
  'InsufficientMaxLockupPeriod',
  'InsufficientRateAllowance',
  'InvalidSignature',
  'OperatorNotApproved',
  'ProviderNotRegistered',
])
/** Reverts because the provider's node is ahead of ours. */
const WILL_BE_KNOWN = new Set<string>([
  'ClientDataSetAlreadyRegistered',
  'DataSetPaymentAlreadyTerminated',
  'InvalidDataSetId',
])

/**
 * Opens a maker for a provider that proves pieces with PDP (Filecoin Onchain Cloud; Curio's `/pdp/*`).
 *
 * A step reads the chain first: the contract stores which data set and piece a nonce of the payer led to, and accepts each nonce once.
 * The nonce of an order is a hash of its id, so an order has at most one copy, whichever requests and answers are lost. Nothing of the
 * provider's answers is a proof: they only decide which request is next.
 *
 * 1. `POST pdp/piece/pull`, until the provider has the piece.
 * 2. `POST pdp/data-sets/create-and-add` for the first order of a group, `POST pdp/data-sets/{id}/pieces` for later ones.
 * 3. The status of the transaction, until it is on chain; if it fails, step 2 again.
 *
 * An order is refused in step 1 only. Later, a transaction for it may exist, and could still succeed.
 *
 * @param options.sessionKey private key that the payer let sign, 0x and 64 hexadecimal digits; never the key of the payer
 */
export const openPdpMaker = (
  settings: PdpMakerConfig,
  {
    fetch,
    sessionKey,
    maxChainMs = MAX_CHAIN_MS,
    maxRequestMs = MAX_REQUEST_MS,
  }: { fetch: Fetch; sessionKey: Hex; maxChainMs?: number; maxRequestMs?: number },
): PdpMaker => {
  const config = {
    ...settings,
    // viem takes letters of both cases as a checksum, which the settings do not promise.
    service: settings.service.toLowerCase(),
    payer: settings.payer.toLowerCase(),
  }
  const account = privateKeyToAccount(sessionKey)
  const signer = account.address.toLowerCase()
  if (signer === config.payer)
    throw new Error(
      `The session key is the key of the payer ${config.payer}: log a separate key in, which can do less`,
    )
  const openChain = () =>
    readChain(
      openNode(config.rpc, { chain: config.chain, fetch, signal: AbortSignal.timeout(maxChainMs) }),
      config.service,
    )

  /** Sends a request to the provider. Returns a text if there is no answer. */
  const ask = async (path: string, body?: object): Promise<Answer | string> => {
    try {
      const response = await fetch(new URL(path, config.provider.url).href, {
        method: body ? 'POST' : 'GET',
        redirect: 'manual',
        ...(body && { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
        signal: AbortSignal.timeout(maxRequestMs),
      })
      const bytes = await readBody(response.body, MAX_ANSWER_BYTES)
      if (bytes === undefined) return `The provider answered more than ${MAX_ANSWER_BYTES} bytes`
      return { status: response.status, text: `${bytes}`, headers: response.headers }
    } catch (cause) {
      return `${loggedUrl(config.provider.url)} did not answer: ${reasonOf(cause)}`
    }
  }

  /** Asks how a transaction stands. Its success is no news: the chain has it. */
  const follow = async (path: string): Promise<Progress> => {
    const answer = await ask(path)
    if (typeof answer === 'string') return { state: 'storing', message: answer, remote: path }
    const { txStatus } = parse(transactionAnswer, answer) ?? {}
    if (txStatus === 'pending')
      return { state: 'storing', message: 'The transaction is pending', remote: path }
    if (txStatus === undefined && answer.status !== 404)
      return { state: 'storing', message: quote(answer), remote: path }
    // Confirmed but not on chain: it was reverted, or a reorganization of the chain removed it. It can be repeated at any time.
    return {
      state: 'storing',
      message: `The provider calls the transaction ${txStatus ?? 'unknown'}, and the chain does not have it`,
      remote: ADD,
    }
  }

  const advance = async (order: MakerOrder, sourceUrl: string | undefined): Promise<Progress> => {
    const nonce = toUint256(order.id)
    let signed: SignedOrder
    try {
      const chain = await openChain()
      const stored = await readNonce(chain, config.payer, nonce)
      if (stored.final !== 0n)
        return {
          state: 'storing',
          message: `The chain has the aggregate in data set ${toDataSet(stored.final)}`,
          remote: order.remote ?? ADD,
          place: await toPlace(chain, config, stored.final),
        }
      if (stored.latest !== 0n)
        return { state: 'storing', message: 'The transaction is not final yet', remote: order.remote ?? ADD }
      if (order.remote !== undefined && TRANSACTION.test(order.remote)) return await follow(order.remote)
      if (sourceUrl === undefined) return unknown(order, 'The chain does not have the aggregate')
      if (!maySend(order)) {
        const error = await findKeyFault(chain, config, signer)
        if (error) return { state: 'refused', error, blames: 'target' }
      }
      const set = await findDataSet(chain, config, order.group)
      if ('error' in set)
        return maySend(order)
          ? unknown(order, set.error.message)
          : { state: 'refused', error: set.error, blames: 'target' }
      if ('waits' in set) return unknown(order, set.waits)
      signed = await sign(order, nonce, set)
    } catch (cause) {
      return unknown(order, `The chain cannot be read: ${reasonOf(cause)}`)
    }
    return pull(order, signed, sourceUrl)
  }

  /** Signs the addition of an aggregate, and the creation of its data set if that is missing. The same order has the same bytes. */
  const sign = async ({ aggregate }: MakerOrder, nonce: bigint, set: DataSet): Promise<SignedOrder> => {
    const { clientDataSetId } = set
    const piece = (aggregate as unknown as { bytes: Uint8Array }).bytes
    const add = await signAdd(account, config, { clientDataSetId, nonce, piece })
    if (set.dataSet !== undefined) return { extraData: add, dataSet: set.dataSet }
    const create = await signCreate(account, config, {
      clientDataSetId,
      payer: config.payer,
      payee: set.payee,
    })
    return { extraData: joinCreateAndAdd(create, add) }
  }

  const pull = async (order: MakerOrder, signed: SignedOrder, sourceUrl: string): Promise<Progress> => {
    const { extraData, dataSet } = signed
    const piece = `${order.aggregate}`
    const answer = await ask('pdp/piece/pull', {
      extraData,
      recordKeeper: config.service,
      ...(dataSet !== undefined && { dataSetId: dataSet }),
      pieces: [{ pieceCid: piece, sourceUrl }],
    })
    if (typeof answer === 'string') return unknown(order, answer)
    if (answer.status !== 200) return judge(order, signed, answer)
    const status = parse(pullAnswer, answer)?.pieces.find(({ pieceCid }) => pieceCid === piece)?.status
    switch (status) {
      case 'complete':
        // Stored before the first request for a transaction, so that an order without it certainly has none.
        return order.remote === ADD
          ? await add(order, signed)
          : { state: 'storing', message: 'The provider has the aggregate', remote: ADD }
      case 'failed': {
        // The URL may hold a token.
        const message = `The provider failed to fetch ${piece}`
        if (maySend(order)) return unknown(order, message)
        return { state: 'refused', error: failure('PullFailed', message), blames: 'order' }
      }
      case 'pending':
      case 'inProgress':
      case 'retrying':
        return {
          state: 'storing',
          message: `The provider fetches the aggregate (${status})`,
          remote: order.remote ?? PULL,
        }
      default:
        return unknown(order, quote(answer))
    }
  }

  /** Asks for the transaction. The answer names its status; every other answer leaves the order as it is. */
  const add = async (order: MakerOrder, { extraData, dataSet }: SignedOrder): Promise<Progress> => {
    const piece = `${order.aggregate}`
    const pieces = [{ pieceCid: piece, subPieces: [{ subPieceCid: piece }] }]
    const answer =
      dataSet === undefined
        ? await ask('pdp/data-sets/create-and-add', { recordKeeper: config.service, extraData, pieces })
        : await ask(`pdp/data-sets/${dataSet}/pieces`, { extraData, pieces })
    if (typeof answer === 'string') return unknown(order, answer)
    const path = toPath(answer.headers.get('location'), config.provider.url)
    if (answer.status !== 201 || path === undefined) return unknown(order, quote(answer))
    return { state: 'storing', message: 'The provider sent a transaction', remote: path }
  }

  const readFunds = async (): Promise<PdpFunds> => {
    const chain = await openChain()
    const key = { payer: config.payer, signer }
    const names = ['paymentsContractAddress', 'usdfcTokenAddress', 'sessionKeyRegistry'] as const
    const [payments, token, keys] = (await Promise.all(
      names.map(name => chain.call(config.service, SERVICE, name, [])),
    )) as [string, string, string]
    const [account, approval, createDataSetUntilSeconds, addPiecesUntilSeconds] = (await Promise.all([
      chain.call(payments, PAYMENTS, 'getAccountInfoIfSettled', [token, config.payer]),
      chain.call(payments, PAYMENTS, 'operatorApprovals', [token, config.payer, config.service]),
      readExpiry(chain, keys, { ...key, permission: PERMISSIONS.createDataSet }),
      readExpiry(chain, keys, { ...key, permission: PERMISSIONS.addPieces }),
    ])) as [
      [bigint, bigint, bigint, bigint],
      [boolean, bigint, bigint, bigint, bigint, bigint],
      bigint,
      bigint,
    ]
    const [fundedUntilEpoch, funds, availableFunds, ratePerEpoch] = account
    const [isApproved, rateAllowance, lockupAllowance, rateUsage, lockupUsage] = approval
    return {
      epoch: Number(chain.final.number),
      timestampSeconds: Number(chain.final.timestamp),
      fundedUntilEpoch,
      funds,
      availableFunds,
      ratePerEpoch,
      approval: { isApproved, rateAllowance, rateUsage, lockupAllowance, lockupUsage },
      sessionKey: { address: signer, createDataSetUntilSeconds, addPiecesUntilSeconds },
    }
  }

  return {
    advance,
    readFunds,
    check: async () => {
      let funds: PdpFunds
      try {
        funds = await readFunds()
      } catch (cause) {
        const message = `The chain cannot be read at ${loggedUrl(config.rpc)}: ${reasonOf(cause)}`
        return { error: failure('ChainUnreadable', message) }
      }
      const judged = judgeFunds(funds, config)
      if (judged.error) return judged
      const answer = await ask('pdp/ping')
      if (typeof answer !== 'string' && answer.status < 500) return judged
      return { error: failure('TargetUnreachable', typeof answer === 'string' ? answer : quote(answer)) }
    },
  }
}

/** A data set for orders of a group: its id on chain, or the payee of the provider for which the first order creates it. */
type DataSet = { clientDataSetId: bigint } & (
  | { dataSet: number; payee?: undefined }
  | { dataSet?: undefined; payee: string }
)

/** The signed bytes for an order. With `dataSet`, they add to it; else they create a data set. */
interface SignedOrder {
  extraData: Hex
  dataSet?: number
}

interface Answer {
  status: number
  text: string
  headers: Headers
}

/** The chain at its last final block, and at its last one. */
interface ChainView {
  final: Block
  latest: Block
  /** Address of the view contract. */
  view: string
  /** Calls a getter; default: at the final block. */
  call(
    address: string,
    abi: Parameters<ChainNode['call']>[1],
    name: string,
    args: readonly unknown[],
    at?: Block,
  ): Promise<unknown>
}

const readChain = async (node: ChainNode, service: string): Promise<ChainView> => {
  const { final, latest } = await node.blocks()
  const call: ChainView['call'] = (address, abi, name, args, at = final) =>
    node.call(address, abi, name, args, at.number)
  return { final, latest, view: (await call(service, SERVICE, 'viewContractAddress', [])) as string, call }
}

/** Reads the result of a nonce: 0 while it is unused. */
const readNonce = async (
  { call, view, final, latest }: ChainView,
  payer: string,
  nonce: bigint,
): Promise<{ final: bigint; latest: bigint }> => {
  const [atFinal, atLatest] = await Promise.all(
    [final, latest].map(at => call(view, VIEW, 'clientNonces', [payer, nonce], at)),
  )
  return { final: atFinal as bigint, latest: atLatest as bigint }
}

/** Returns the place in the result of an order's nonce. The contract stores the id of the piece after the one that was added. */
const toPlace = async (chain: ChainView, config: PdpMakerConfig, stored: bigint): Promise<Place> => {
  const next = stored >> DATA_SET_BITS
  if (next === 0n) throw unknownContract(chain, 'a nonce of an order is that of a data set')
  const verifier = (await chain.call(config.service, SERVICE, 'pdpVerifierAddress', [])) as string
  return {
    type: 'pdp',
    chain: config.chain,
    verifier: verifier.toLowerCase(),
    dataSet: toDataSet(stored),
    piece: Number(next - 1n),
  }
}

const toDataSet = (stored: bigint): number => Number(BigInt.asUintN(Number(DATA_SET_BITS), stored))

/**
 * Finds the data set for a group at a provider: the first of its sets that has not ended, or the next one. The ids that the payer gives
 * to them are hashes, and each is a nonce: so two orders that create the same one at once cannot both succeed.
 */
const findDataSet = async (
  chain: ChainView,
  { chain: chainId, service, payer, provider }: PdpMakerConfig,
  group: string,
): Promise<DataSet | { waits: string } | { error: Failure }> => {
  for (let n = 0; n < MAX_DATA_SETS; n++) {
    const clientDataSetId = toUint256(JSON.stringify(['data set', chainId, payer, provider.id, group, n]))
    const stored = await readNonce(chain, payer, clientDataSetId)
    if (stored.final === 0n && stored.latest !== 0n)
      return { waits: `The data set ${stored.latest} of the group is not final yet` }
    if (stored.final === 0n) {
      const payee = await findPayee(chain, service, provider.id)
      return payee === undefined
        ? { error: failure('ProviderNotRegistered', `The registry has no provider ${provider.id}`) }
        : { clientDataSetId, payee }
    }
    const info = (await chain.call(chain.view, VIEW, 'getDataSet', [stored.final])) as {
      dataSetId: bigint
      pdpRailId: bigint
      pdpEndEpoch: bigint
      payer: string
      providerId: bigint
    }
    // The contract deletes a data set, and keeps its id in the structure.
    const isDeleted = info.pdpRailId === 0n
    // A struct of another release decodes to other values.
    if (info.dataSetId !== stored.final || (!isDeleted && info.payer.toLowerCase() !== payer))
      throw unknownContract(chain, `data set ${stored.final} is not one of the payer`)
    if (isDeleted || info.pdpEndEpoch > 0n) continue
    if (info.providerId !== BigInt(provider.id))
      return {
        error: failure(
          'OtherProvider',
          `The data set ${stored.final} is at the provider ${info.providerId}, not ${provider.id}`,
        ),
      }
    return { clientDataSetId, dataSet: Number(stored.final) }
  }
  return {
    error: failure('NoDataSet', `All ${MAX_DATA_SETS} data sets of the group at this provider have ended`),
  }
}

/** Returns the address to which payments to a provider go, as the contract will compare it; `undefined` if there is no such provider. */
const findPayee = async (chain: ChainView, service: string, id: number): Promise<string | undefined> => {
  const registry = (await chain.call(service, SERVICE, 'serviceProviderRegistry', [])) as string
  try {
    return (await chain.call(registry, PROVIDERS, 'getProviderPayee', [BigInt(id)], chain.latest)) as string
  } catch (cause) {
    if (isRevert(cause)) return undefined
    throw cause
  }
}

/** Returns why the session key cannot sign at the head of the chain; `undefined` if it can. */
const findKeyFault = async (
  chain: ChainView,
  { service, payer }: PdpMakerConfig,
  signer: string,
): Promise<Failure | undefined> => {
  const registry = (await chain.call(service, SERVICE, 'sessionKeyRegistry', [])) as string
  const expiries = await Promise.all(
    Object.values(PERMISSIONS).map(permission =>
      readExpiry(chain, registry, { payer, signer, permission }, chain.latest),
    ),
  )
  return expiries.every(seconds => seconds >= chain.latest.timestamp)
    ? undefined
    : failure('SessionKeyExpired', `The key ${signer} may not sign for the payer ${payer}. Log it in again`)
}

/** Until when a key may sign requests of a kind, in seconds since 1970. 0 if it may not. */
const readExpiry = (
  chain: ChainView,
  registry: string,
  { payer, signer, permission }: { payer: string; signer: string; permission: Hex },
  at?: Block,
): Promise<bigint> =>
  chain.call(
    registry,
    SESSION_KEYS,
    'authorizationExpiry',
    [payer, signer, permission],
    at,
  ) as Promise<bigint>

/** Judges an answer to a pull that is not a success. */
const judge = (order: MakerOrder, signed: SignedOrder, answer: Answer): Progress => {
  const message = quote(answer)
  const pause = pauseOf(answer)
  if (maySend(order)) return unknown(order, message)
  switch (answer.status) {
    case 400: {
      const reason = revertIn(answer.text)
      if (reason !== undefined && WILL_BE_KNOWN.has(reason)) return unknown(order, message)
      const blames = reason !== undefined && BLAMES_TARGET.has(reason) ? 'target' : 'order'
      return { state: 'refused', error: failure(reason ?? 'PullRefused', message), blames }
    }
    case 401:
    case 403:
      return { state: 'refused', error: failure('Unauthorized', message), blames: 'target' }
    case 404:
      // The provider may not know a new data set yet. Without one, it does not serve PDP.
      return signed.dataSet === undefined
        ? { state: 'refused', error: failure('ServiceNotFound', message), blames: 'target' }
        : unknown(order, message)
    // The provider gave the data set up, and will end it on chain. Then the group gets the next one.
    case 409:
    case 408:
      return unknown(order, message)
    case 429:
      return {
        state: 'asked',
        message,
        ...(order.remote !== undefined && { remote: order.remote }),
        ...(pause !== undefined && { retryAfterMs: pause }),
      }
    default:
      return answer.status >= 400 && answer.status < 500
        ? { state: 'refused', error: failure('PullRefused', message), blames: 'order' }
        : unknown(order, message)
  }
}

/** Whether a transaction of the order may exist. */
const maySend = ({ remote }: MakerOrder): boolean => remote !== undefined && remote !== PULL

/** Nothing new is known. */
const unknown = ({ remote }: MakerOrder, message: string): Progress =>
  remote === undefined ? { state: 'asked', message } : { state: 'storing', message, remote }

/** Returns the error of the contract that an answer quotes, by its selector or its name. */
const revertIn = (text: string): string | undefined => {
  for (const [data] of text.matchAll(/0x(?:[0-9a-f]{2}){4,}/gi))
    try {
      return decodeErrorResult({ abi: REVERTS, data: data as Hex }).errorName
    } catch {
      // An address or a hash, or the error of another contract.
    }
  return REVERTS.find(({ name }) => text.includes(name))?.name
}

/** Returns the pause that an answer demands, in milliseconds, within bounds. A date counts as none. */
const pauseOf = ({ headers }: Answer): number | undefined => {
  const seconds = Number(headers.get('retry-after') ?? Number.NaN)
  return Number.isFinite(seconds)
    ? Math.min(Math.max(seconds * 1_000, MIN_PAUSE_MS), MAX_PAUSE_MS)
    : undefined
}

/** Returns the path of the status of a transaction; `undefined` if it is not one of this provider. */
const toPath = (location: string | null, base: string): string | undefined => {
  if (location === null || !URL.canParse(location, base)) return undefined
  const { origin, pathname } = new URL(location, base)
  return origin === new URL(base).origin && TRANSACTION.test(pathname) ? pathname : undefined
}

/** Parses the answer of a success; `undefined` if it has another form. */
const parse = <S extends z.ZodType>(schema: S, { status, text }: Answer): z.infer<S> | undefined => {
  if (status !== 200) return undefined
  try {
    return schema.safeParse(JSON.parse(text)).data
  } catch {
    return undefined
  }
}

const quote = ({ status, text }: Answer): string =>
  `The provider answered ${status}: ${text.slice(0, MAX_QUOTE).trim()}`

/** Returns the SHA-256 of a text as a number. */
const toUint256 = (text: string): bigint => BigInt(`0x${createHash('sha256').update(text).digest('hex')}`)

const unknownContract = ({ view }: ChainView, reason: string): Error =>
  Object.assign(new Error(`The view contract ${view} answers in another form than expected: ${reason}`), {
    name: 'UnknownContract',
  })
