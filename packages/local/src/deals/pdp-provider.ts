import { createHash, randomBytes } from 'node:crypto'
import { createServer, type IncomingMessage } from 'node:http'
import { createHasher, decodePiece, type PieceLink, parsePiece, payloadSizeOf } from '@w3filecoin/piece'
import { type Hex, isHex, toHex } from 'viem'
import { listen } from '../listen.ts'
import { type Chain, CONTRACTS } from './chain.ts'
import { checkAdd, TransactionRevert } from './warm-storage.ts'

/** Payload bytes of the smallest piece and of the largest one, 1 GiB padded (`PieceSizeMinLimit`, `PieceSizeMaxLimit`). */
const MIN_BYTES = 127
const MAX_BYTES = 1_065_353_216
/** Pieces of a request (`MaxAddPiecesBatchSize`). */
const MAX_PIECES = 40
const MAX_REQUEST_BYTES = 1024 * 1024
const MAX_REDIRECTS = 3
/** Attempts to fetch a piece (`pullItemMaxAttempts`). */
const MAX_ATTEMPTS = 3
const RETRY_AFTER_SECONDS = 60

/** Faults of the provider. */
export interface PdpProviderFaults {
  /** Requests whose answers are lost, by method and path: they are carried out, and the connection is cut. */
  loseAnswers?: RegExp
  /** Status that every request gets, e.g. 503. */
  status?: number
  /** The queue of pulls is full. */
  isBusy?: boolean
  /** Data sets that the provider cannot prove any more. */
  lostDataSets?: ReadonlySet<number>
  /** Transactions revert. */
  rejects?: boolean
  /** It says that it has everything and sent everything, and does nothing. */
  lies?: boolean
  /** It is gone: connections are cut, and its work rests. */
  isDead?: boolean
}

/** A stand-in for a storage provider that serves PDP. */
export interface PdpProvider {
  url: string
  faults: PdpProviderFaults
  /** Requests and the status of their answers, e.g. `POST /pdp/piece/pull 200`. */
  log: string[]
  /** Whether pulls or transactions wait for `pull` or `mine`. */
  isBusy(): boolean
  /** Makes one attempt to fetch each piece that is asked for. */
  pull(): Promise<void>
  /** Puts the transactions that wait on chain, in their order. */
  mine(): Promise<void>
  close(): Promise<void>
}

/** Work on a piece that a pull asks for. */
interface PullItem {
  piece: PieceLink
  sourceUrl: string
  status: 'pending' | 'retrying' | 'complete' | 'failed'
  attempts: number
}

interface Transaction {
  status: 'pending' | 'confirmed'
  pieces: PieceLink[]
  extraData: Hex
  /** The data set to which it adds; absent if it creates one. */
  target?: number
  /** Its effects; absent while it waits, and if it reverted. */
  added?: { dataSet: number; pieces: number[] }
}

/** An answer that is not a success. */
class Refusal extends Error {
  readonly status: number

  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

/**
 * Starts a stand-in for the API `/pdp/*` of Curio at 127.0.0.1, over the stand-in for the chain. It follows Curio e0294b0f: `pdp/handlers.go`,
 * `handlers_pull.go`, `handlers_add.go`, `handlers_create.go`, `pull_types.go`, and `tasks/pdpv0/task_pull_piece.go`.
 *
 * - It checks each request with the rules of the contract at the head of the chain, and so once more when the transaction is mined.
 * - The same signed bytes ask for the same pull. A failed pull stays failed.
 * - It fetches pieces without `Range`, follows 3 redirects, and compares size and piece CID. Only 429, 500 and a lost connection
 *   are tried again.
 * - Time stands still: {@link PdpProvider.pull} and {@link PdpProvider.mine} let it work.
 *
 * Real providers fetch from `https` and public addresses only.
 *
 * @param options.id of the provider in the registry
 * @param options.address of its wallet
 */
export const startPdpProvider = async ({
  chain,
  id,
  address,
  port = 0,
}: {
  chain: Chain
  id: number
  address: Hex
  port?: number
}): Promise<PdpProvider> => {
  const provider = { id, address }
  const faults: PdpProviderFaults = {}
  const log: string[] = []
  const pulls = new Map<string, PullItem[]>()
  /** Pieces whose bytes it has. */
  const stored = new Set<string>()
  const transactions = new Map<string, Transaction>()

  const checkSet = (set: number): void => {
    if (chain.dataSet(set)?.providerId !== id) throw new Refusal(404, 'Data set not found')
    if (faults.lostDataSets?.has(set))
      throw new Refusal(409, 'data set has been terminated due to unrecoverable proving failure')
  }

  const checkKeeper = (keeper: unknown): void => {
    if (`${keeper}`.toLowerCase() !== CONTRACTS.service)
      throw new Refusal(403, 'recordKeeper address not allowed for public service')
  }

  const pull = async (body: PullRequest): Promise<Answer> => {
    const { extraData, recordKeeper, dataSetId = 0, pieces } = body
    if (!isHex(extraData)) throw new Refusal(400, 'Validation error: extraData is required')
    if (dataSetId === 0) checkKeeper(recordKeeper)
    const items = toList(pieces, 'pull').map(({ pieceCid, sourceUrl }): PullItem => {
      const { protocol } = new URL(`${sourceUrl}`)
      if (!/^https?:$/.test(protocol)) throw new Refusal(400, 'Validation error: URL must use HTTPS scheme')
      return { piece: toPiece(pieceCid), sourceUrl: `${sourceUrl}`, status: 'pending', attempts: 0 }
    })
    const key = `${createHash('sha256').update(extraData).digest('hex')} ${dataSetId} ${recordKeeper ?? ''}`
    if (!pulls.has(key) && !faults.lies) {
      if (dataSetId > 0) checkSet(dataSetId)
      await simulate(
        { dataSet: dataSetId || undefined, pieces: items.map(({ piece }) => piece), extraData },
        message => new Refusal(400, `extraData validation failed: addPieces validation failed: ${message}`),
      )
      if (faults.isBusy) throw new Refusal(429, 'pull queue backpressure')
      pulls.set(key, items)
    }
    const known = pulls.get(key) ?? items
    const statuses = known.map(({ status }) => (faults.lies ? 'complete' : status))
    return {
      status: 200,
      json: {
        status:
          statuses.find(status => status === 'retrying' || status === 'pending') ??
          (statuses.includes('complete') ? 'complete' : 'failed'),
        pieces: known.map(({ piece }, n) => ({ pieceCid: `${piece}`, status: statuses[n] })),
      },
    }
  }

  const add = async (body: AddRequest, target?: number): Promise<Answer> => {
    const { extraData, recordKeeper, pieces } = body
    if (target === undefined) checkKeeper(recordKeeper)
    if (!isHex(extraData)) throw new Refusal(400, 'Invalid extraData format (must be hex encoded)')
    const links = toList(pieces, 'AddPieces').map(({ pieceCid, subPieces }) => {
      const piece = toPiece(pieceCid)
      if (`${subPieces?.map(part => part.subPieceCid)}` !== `${piece}`)
        throw new Refusal(400, 'Failed to process request: this stand-in has pieces of one subPiece only')
      return piece
    })
    if (!faults.lies) {
      if (target !== undefined)
        try {
          checkSet(target)
        } catch (refusal) {
          // The provider removes pieces for which there is no data set.
          for (const link of links) stored.delete(`${link}`)
          throw refusal
        }
      const missing = links.find(link => !stored.has(`${link}`))
      if (missing)
        throw new Refusal(
          400,
          `Failed to process request: failed to validate subPieces: subPiece CID ${missing} not found or does not belong to service public`,
        )
      await simulate(
        { dataSet: target, pieces: links, extraData },
        message => new Refusal(500, `Failed to send transaction: failed to estimate gas: ${message}`),
      )
    }
    const hash = toHex(randomBytes(32))
    transactions.set(hash, {
      status: 'pending',
      pieces: links,
      extraData,
      ...(target !== undefined && { target }),
    })
    return {
      status: 201,
      location:
        target === undefined
          ? `/pdp/data-sets/created/${hash}`
          : `/pdp/data-sets/${target}/pieces/added/${hash}`,
    }
  }

  /** Lets the contract check a transaction, as a node does. */
  const simulate = async (
    call: { dataSet: number | undefined; pieces: PieceLink[]; extraData: Hex },
    refuse: (message: string) => Refusal,
  ): Promise<void> => {
    try {
      await checkAdd(chain, { ...call, provider })
    } catch (cause) {
      const reason = cause instanceof TransactionRevert ? cause.data : '0x'
      throw refuse(`message execution failed (exit=[33], revert reason=[${reason}], vm error=[])`)
    }
  }

  const creationStatus = (hash: string): Answer => {
    const found = transactions.get(hash)
    if (found === undefined || found.target !== undefined)
      throw new Refusal(404, 'Data set creation not found for given txHash')
    const { status, ok, added } = resultOf(found)
    return {
      status: 200,
      json: {
        createMessageHash: hash,
        dataSetCreated: ok === true,
        service: 'public',
        txStatus: status,
        ok,
        ...(added && { dataSetId: added.dataSet, confirmedTxHash: hash }),
      },
    }
  }

  const additionStatus = (set: number, hash: string): Answer => {
    const found = transactions.get(hash)
    if (found === undefined || (found.target ?? found.added?.dataSet) !== set)
      throw new Refusal(404, 'Piece addition not found for given transaction')
    const { status, ok, added } = resultOf(found)
    return {
      status: 200,
      json: {
        txHash: hash,
        txStatus: status,
        dataSetId: set,
        pieceCount: found.pieces.length,
        addMessageOk: ok,
        piecesAdded: ok === true,
        ...(added && { confirmedPieceIds: added.pieces, confirmedTxHash: hash }),
      },
    }
  }

  const resultOf = ({ status, added }: Transaction) =>
    faults.lies
      ? { status: 'confirmed', ok: true, added: added ?? { dataSet: 1, pieces: [0] } }
      : { status, ok: status === 'pending' ? null : added !== undefined, added }

  const route = async (method: string, path: string, body: () => Promise<unknown>): Promise<Answer> => {
    if (method === 'GET') {
      if (path === '/pdp/ping') return { status: 200, text: 'curio-pdp' }
      const created = /^\/pdp\/data-sets\/created\/(0x[0-9a-f]{64})$/.exec(path)
      if (created) return creationStatus(created[1] as string)
      const added = /^\/pdp\/data-sets\/(\d+)\/pieces\/added\/(0x[0-9a-f]{64})$/.exec(path)
      if (added) return additionStatus(Number(added[1]), added[2] as string)
    }
    if (method === 'POST') {
      if (path === '/pdp/piece/pull') return pull((await body()) as PullRequest)
      if (path === '/pdp/data-sets/create-and-add') return add((await body()) as AddRequest)
      const target = /^\/pdp\/data-sets\/(\d+)\/pieces$/.exec(path)
      if (target) return add((await body()) as AddRequest, Number(target[1]))
    }
    throw new Refusal(404, '404 page not found')
  }

  const server = createServer(async (request, response) => {
    if (faults.isDead) {
      request.socket.destroy()
      return
    }
    const { method = 'GET' } = request
    const path = new URL(request.url ?? '/', 'http://provider').pathname
    const answer = await answerOf(async () => {
      if (faults.status !== undefined) throw new Refusal(faults.status, 'Service Unavailable')
      return route(method, path, () => readJson(request))
    })
    log.push(`${method} ${path} ${answer.status}`)
    if (faults.loseAnswers?.test(`${method} ${path}`)) {
      request.socket.destroy()
      return
    }
    response.writeHead(answer.status, {
      'content-type': answer.json ? 'application/json' : 'text/plain; charset=utf-8',
      ...(answer.location !== undefined && { location: answer.location }),
      ...(answer.status === 429 && { 'retry-after': `${RETRY_AFTER_SECONDS}` }),
    })
    response.end(answer.json ? JSON.stringify(answer.json) : answer.text)
  })

  return {
    url: `http://127.0.0.1:${await listen(server, port)}/`,
    faults,
    log,
    isBusy: () =>
      !faults.isDead &&
      ([...pulls.values()].flat().some(({ status }) => status === 'pending' || status === 'retrying') ||
        [...transactions.values()].some(({ status }) => status === 'pending')),
    pull: async () => {
      if (faults.isDead) return
      for (const item of [...pulls.values()].flat()) {
        if (item.status !== 'pending' && item.status !== 'retrying') continue
        item.attempts += 1
        item.status = stored.has(`${item.piece}`) ? 'complete' : await fetchPiece(item)
        if (item.status === 'complete') stored.add(`${item.piece}`)
        if (item.status === 'retrying' && item.attempts >= MAX_ATTEMPTS) item.status = 'failed'
      }
    },
    mine: async () => {
      if (faults.isDead) return
      for (const transaction of transactions.values()) {
        if (transaction.status !== 'pending') continue
        transaction.status = 'confirmed'
        if (faults.rejects || faults.lies) continue
        const { target, pieces, extraData } = transaction
        try {
          transaction.added = (await checkAdd(chain, { provider, dataSet: target, pieces, extraData }))()
        } catch (cause) {
          if (!(cause instanceof TransactionRevert)) throw cause
        }
      }
    },
    close: () =>
      new Promise(resolve => {
        server.closeAllConnections()
        server.close(() => resolve())
      }),
  }
}

interface Answer {
  status: number
  json?: object
  text?: string
  location?: string
}

interface PullRequest {
  extraData?: unknown
  recordKeeper?: unknown
  dataSetId?: number
  pieces?: { pieceCid?: unknown; sourceUrl?: unknown }[]
}

interface AddRequest {
  extraData?: unknown
  recordKeeper?: unknown
  pieces?: { pieceCid?: unknown; subPieces?: { subPieceCid?: unknown }[] }[]
}

const answerOf = async (run: () => Promise<Answer>): Promise<Answer> => {
  try {
    return await run()
  } catch (cause) {
    if (cause instanceof Refusal) return { status: cause.status, text: `${cause.message}\n` }
    return { status: 400, text: `Invalid request body: ${(cause as Error).message}\n` }
  }
}

const readJson = async (request: IncomingMessage): Promise<unknown> => {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of request) {
    bytes += chunk.length
    if (bytes > MAX_REQUEST_BYTES) throw new Refusal(400, 'request body too large')
    chunks.push(chunk)
  }
  return JSON.parse(`${Buffer.concat(chunks)}`)
}

const toList = <T>(pieces: T[] | undefined, call: string): T[] => {
  if (!Array.isArray(pieces) || pieces.length === 0)
    throw new Refusal(400, 'At least one piece must be provided')
  if (pieces.length > MAX_PIECES)
    throw new Refusal(
      400,
      `piece count (${pieces.length}) exceeds the maximum allowed per ${call} call (${MAX_PIECES})`,
    )
  return pieces
}

const toPiece = (text: unknown): PieceLink => {
  const { ok: piece, error } = parsePiece(`${text}`)
  if (error) throw new Refusal(400, `Invalid pieceCid: ${error.message}`)
  const bytes = payloadBytes(piece.link)
  if (bytes < MIN_BYTES) throw new Refusal(400, `pieceCid: size ${bytes} is below minimum ${MIN_BYTES}`)
  if (bytes > MAX_BYTES) throw new Refusal(400, `pieceCid: size ${bytes} exceeds maximum ${MAX_BYTES}`)
  return piece.link
}

const payloadBytes = (link: PieceLink): number => {
  const { height, padding } = decodePiece(link).ok as NonNullable<ReturnType<typeof decodePiece>['ok']>
  return payloadSizeOf(height) - Number(padding)
}

/** Fetches the bytes of a piece, and compares them. */
const fetchPiece = async ({ piece, sourceUrl }: PullItem): Promise<'complete' | 'retrying' | 'failed'> => {
  let url = sourceUrl
  for (let hop = 0; hop <= MAX_REDIRECTS; hop++) {
    let response: Response
    try {
      response = await fetch(url, { redirect: 'manual' })
    } catch {
      return 'retrying'
    }
    const location = response.headers.get('location')
    if (response.status >= 300 && response.status < 400 && location !== null) {
      await response.body?.cancel()
      url = new URL(location, url).href
      continue
    }
    if (response.status !== 200) {
      await response.body?.cancel()
      return response.status === 429 || response.status === 500 ? 'retrying' : 'failed'
    }
    const hasher = createHasher()
    try {
      for await (const chunk of response.body ?? []) {
        hasher.write(chunk)
        if (hasher.bytes > payloadBytes(piece)) return 'failed'
      }
    } catch {
      return 'retrying'
    }
    return `${hasher.digest()}` === `${piece}` ? 'complete' : 'failed'
  }
  return 'failed'
}
