import type { DID, Principal, Receipt } from '@ucanto/interface'
import { type Failure, failure, type Result, type Task, type Vocabulary } from '@w3filecoin/capabilities'
import pMap from 'p-map'
import { loggedUrl } from '../log.ts'
import type { Fetch, Log } from '../ports.ts'
import { isReadable, MAX_RECEIPT_BYTES } from '../receipts/receipt.ts'
import { type Authority, principal } from './authority.ts'
import { CAR, decodeMessage, encodeMessage, MESSAGE_LIMITS, type MessageLimits } from './message.ts'
import type { PeerConfig } from './peers.ts'
import { readBody } from './read-body.ts'
import { type Message, receiptIn } from './ucanto.ts'

/** Maximum time for the response of another service. */
const TIMEOUT_MS = 25_000

/** Limits of a response to invocations: those of a Lambda function's response. */
const RESPONSE_LIMITS: MessageLimits = {
  ...MESSAGE_LIMITS,
  bytes: 6 * 1024 * 1024,
  blocks: 20_000,
  invocations: 0,
  receipts: 500,
}

/** Limits of a fetched receipt: it has up to one effect for each piece of an aggregate. */
const RECEIPT_LIMITS: MessageLimits = {
  ...RESPONSE_LIMITS,
  bytes: MAX_RECEIPT_BYTES,
  blocks: 200_000,
  receipts: 1,
  chain: { depth: 10, checks: 200_000 },
}

/** The statuses by which a peer says that it does not answer about many tasks. */
const NOT_SERVED: ReadonlySet<number> = new Set([400, 404, 405, 415, 501])

const MAX_PARALLEL_REQUESTS = 10

/** Another service, which is called over HTTP. */
export class Peer {
  readonly did: DID
  readonly principal: Principal
  /** The vocabularies that the peer understands. */
  readonly speaks: readonly Vocabulary[]
  /** Names the peer in log lines. `url` is absent if the configuration has none. */
  readonly address: { peer: DID; url: string | undefined }
  readonly #url: string | undefined
  readonly #authority: Authority
  readonly #fetch: Fetch

  constructor(
    { did, url, speaks = ['protocol'] }: PeerConfig,
    { authority, fetch }: { authority: Authority; fetch: Fetch },
  ) {
    this.did = did
    this.principal = principal(did)
    this.speaks = speaks
    this.address = { peer: did, url: url && loggedUrl(url) }
    this.#url = url
    this.#authority = authority
    this.#fetch = fetch
  }

  /** The vocabulary in which the peer is asked: the protocol, if it understands it. */
  get vocabulary(): Vocabulary {
    return this.speaks.includes('protocol') ? 'protocol' : (this.speaks[0] ?? 'protocol')
  }

  /** Returns the URL of the receipt of a task at the peer, or at the services after it. */
  chainUrl(task: string): string | undefined {
    return this.reachable ? `${this.#receiptUrl(task)}?chain` : undefined
  }

  /** Whether the configuration has a URL to call. */
  get reachable(): boolean {
    return this.#url !== undefined
  }

  /**
   * Invokes tasks in one message. Returns for each task the receipt that the peer signed, or `UnsignedReceipt` if the peer
   * signed none. Throws if the peer is unreachable, or if its response is not a message within the limits.
   */
  async execute(tasks: readonly Task[]): Promise<Result<Receipt>[]> {
    const response = await this.#fetch(new URL('/', this.#origin()).href, {
      method: 'POST',
      // A redirect could lead from the public address of a listed peer to a private one.
      redirect: 'manual',
      headers: { 'content-type': CAR, accept: CAR },
      body: await encodeMessage({ invocations: tasks }),
      signal: AbortSignal.timeout(TIMEOUT_MS),
    })
    const message = await this.#read(response, RESPONSE_LIMITS, `${tasks.length} tasks`)
    return Promise.all(
      tasks.map(({ cid }) => this.#verified(`${cid}`, receiptIn(message, `${cid}`), this.principal)),
    )
  }

  /**
   * Fetches the receipt of a task; `undefined` if it does not exist yet.
   *
   * @param signer the service that ran the task. The peer also serves receipts that other services signed.
   */
  async receipt(task: string, signer: Principal = this.principal): Promise<Receipt | undefined> {
    const response = await this.#fetch(this.#receiptUrl(task), {
      signal: AbortSignal.timeout(TIMEOUT_MS),
    })
    if (response.status === 404) {
      await response.body?.cancel()
      return undefined
    }
    const message = await this.#read(response, RECEIPT_LIMITS, `the question for the receipt of ${task}`)
    const receipt = receiptIn(message, task)
    if (receipt === undefined) return undefined
    const verified = await this.#verified(task, receipt, signer)
    if (verified.error) throw new Error(verified.error.message)
    return verified.ok
  }

  /**
   * Fetches the receipts of up to 1,000 tasks, with one request if the peer answers that. The answer has those that exist, by the
   * CID of their task. A receipt that is not signed by the peer, or for which an answer has no room, is left out.
   */
  async receipts(tasks: readonly string[]): Promise<Map<string, Receipt>> {
    const response = await this.#fetch(new URL('/receipts', this.#origin()).href, {
      method: 'POST',
      redirect: 'manual',
      headers: { 'content-type': 'application/json', accept: CAR },
      body: JSON.stringify({ tasks }),
      signal: AbortSignal.timeout(TIMEOUT_MS),
    })
    if (NOT_SERVED.has(response.status)) {
      await response.body?.cancel()
      return this.#receiptsOneByOne(tasks)
    }
    const message = await this.#read(response, RESPONSE_LIMITS, `the question for ${tasks.length} receipts`)
    const found = await Promise.all(
      tasks.map(async task => {
        const receipt = receiptIn(message, task)
        return receipt && (await this.#verified(task, receipt, this.principal)).ok
      }),
    )
    return new Map(tasks.flatMap((task, n) => (found[n] ? [[task, found[n]] as const] : [])))
  }

  /** Other implementations, and earlier versions, answer about one task at a time. Throws if no question is answered. */
  async #receiptsOneByOne(tasks: readonly string[]): Promise<Map<string, Receipt>> {
    const answers = await pMap(
      tasks,
      task =>
        this.receipt(task).then(
          ok => ({ ok }),
          (error: Error) => ({ error }),
        ),
      { concurrency: MAX_PARALLEL_REQUESTS },
    )
    const [first] = answers
    if (first && 'error' in first && answers.every(answer => 'error' in answer)) throw first.error
    return new Map(
      answers.flatMap((answer, n) =>
        'ok' in answer && answer.ok ? [[tasks[n] as string, answer.ok] as const] : [],
      ),
    )
  }

  /** Reads the message in a response, and stops at its limits. */
  async #read(response: Response, limits: MessageLimits, question: string): Promise<Message> {
    if (!response.ok) {
      await response.body?.cancel()
      throw new Error(`${this.did} answered ${response.status} to ${question}`)
    }
    const bytes = await readBody(response.body, limits.bytes)
    if (bytes === undefined)
      throw new Error(`${this.did} answered more than ${limits.bytes} bytes to ${question}`)
    const message = decodeMessage(bytes, limits)
    if (message.error)
      throw new Error(`${this.did} gave an unreadable answer to ${question}: ${message.error.message}`)
    return message.ok.message
  }

  async #verified(
    task: string,
    receipt: Receipt | undefined,
    signer: Principal,
  ): Promise<Result<Receipt, Failure>> {
    const own = receipt && isReadable(receipt) && `${receipt.ran.link()}` === task
    if (own && (await this.#authority.signed(receipt, signer))) return { ok: receipt }
    const reason = (receipt?.out.error as Failure | undefined)?.message
    return {
      error: failure(
        'UnsignedReceipt',
        `${signer.did()} signed no receipt of ${task}${reason === undefined ? '' : `: ${reason}`}`,
      ),
    }
  }

  #receiptUrl(task: string): string {
    return new URL(`/receipt/${task}`, this.#origin()).href
  }

  #origin(): string {
    if (this.#url === undefined) throw new Error(`The configuration has no URL for ${this.did}`)
    return this.#url
  }
}

/**
 * Returns the answer of a peer, or `PeerUnreachable` if it cannot be reached or its response is not a message. The consumer
 * must not retry its own message for that: the record has a time for the next check, and a peer that is down for hours
 * must not fill the dead-letter queue.
 */
export const reach = async <T>(
  { did, address }: Pick<Peer, 'did' | 'address'>,
  ask: () => Promise<T>,
  log: Log,
): Promise<Result<T, Failure>> => {
  try {
    return { ok: await ask() }
  } catch (cause) {
    log('warn', 'peer not reached', { ...address, cause })
    return { error: failure('PeerUnreachable', `${did} cannot be reached`) }
  }
}
