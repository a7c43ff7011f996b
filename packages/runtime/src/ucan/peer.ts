import type { AgentMessage, DID, Principal, Receipt } from '@ucanto/interface'
import { type Failure, failure, type Result, type Task } from '@w3filecoin/capabilities'
import { parse as parseLink } from 'multiformats/link'
import type { Fetch, Log } from '../ports.ts'
import { isReadable, MAX_RECEIPT_BYTES } from '../receipts/receipt.ts'
import { type Authority, principal } from './authority.ts'
import { CAR, decodeMessage, encodeMessage, MESSAGE_LIMITS, type MessageLimits } from './message.ts'
import type { PeerConfig } from './peers.ts'

/** How long another service may take to answer, in milliseconds. */
const TIMEOUT = 25_000

/** What the answer to a message may have: no more than Lambda can give. */
const ANSWER: MessageLimits = {
  ...MESSAGE_LIMITS,
  bytes: 6 * 1024 * 1024,
  blocks: 20_000,
  invocations: 0,
  receipts: 500,
}

/** What a receipt may have: as many effects as an aggregate has pieces. */
const RECEIPT: MessageLimits = {
  ...ANSWER,
  bytes: MAX_RECEIPT_BYTES,
  blocks: 200_000,
  receipts: 1,
  chain: { depth: 10, checks: 200_000 },
}

/** Another service, reached over HTTP. */
export class Peer {
  readonly did: DID
  readonly principal: Principal
  readonly #url: string | undefined
  readonly #authority: Authority
  readonly #fetch: Fetch

  constructor({ did, url }: PeerConfig, { authority, fetch }: { authority: Authority; fetch: Fetch }) {
    this.did = did
    this.principal = principal(did)
    this.#url = url
    this.#authority = authority
    this.#fetch = fetch
  }

  /** Whether it can be called at all. */
  get reachable(): boolean {
    return this.#url !== undefined
  }

  /**
   * Runs tasks in one message. Answers each with its receipt, signed by the peer, or with `UnsignedReceipt`
   * where the peer answered without one. Throws when the peer can not be reached, or answers no message within limits.
   */
  async execute(tasks: readonly Task[]): Promise<Result<Receipt>[]> {
    const response = await this.#fetch(new URL('/', this.#origin()).href, {
      method: 'POST',
      headers: { 'content-type': CAR, accept: CAR },
      body: (await encodeMessage({ invocations: tasks })) as never,
      signal: AbortSignal.timeout(TIMEOUT),
    })
    const message = await this.#read(response, ANSWER, `${tasks.length} tasks`)
    return Promise.all(
      tasks.map(({ cid }) => this.#verified(`${cid}`, receiptIn(message, `${cid}`), this.principal)),
    )
  }

  /**
   * Fetches the receipt of a task; `undefined` when there is none yet.
   *
   * @param signer who ran the task, where it is not the peer itself: it keeps receipts of others too
   */
  async receipt(task: string, signer: Principal = this.principal): Promise<Receipt | undefined> {
    const response = await this.#fetch(new URL(`/receipt/${task}`, this.#origin()).href, {
      signal: AbortSignal.timeout(TIMEOUT),
    })
    if (response.status === 404) {
      await response.body?.cancel()
      return undefined
    }
    const message = await this.#read(response, RECEIPT, `the question for the receipt of ${task}`)
    const receipt = receiptIn(message, task)
    if (receipt === undefined) return undefined
    const verified = await this.#verified(task, receipt, signer)
    if (verified.error) throw new Error(verified.error.message)
    return verified.ok
  }

  /** The message in an answer, which is read no further than its limits. */
  async #read(response: Response, limits: MessageLimits, question: string): Promise<AgentMessage> {
    if (!response.ok) {
      await response.body?.cancel()
      throw new Error(`${this.did} answered ${response.status} to ${question}`)
    }
    const chunks: Uint8Array[] = []
    let size = 0
    for await (const chunk of response.body ?? []) {
      size += chunk.byteLength
      if (size > limits.bytes)
        throw new Error(`${this.did} answered more than ${limits.bytes} bytes to ${question}`)
      chunks.push(chunk)
    }
    const message = decodeMessage(Buffer.concat(chunks), limits)
    if (message.error)
      throw new Error(`${this.did} gave an unreadable answer to ${question}: ${message.error.message}`)
    return message.ok
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

  #origin(): string {
    if (this.#url === undefined) throw new Error(`The configuration gives no URL for ${this.did}`)
    return this.#url
  }
}

/**
 * What a peer says; a failure where it can not be reached, or answers what is no message. That is no reason to try the
 * message again that asked: every record says when it is looked at again, and what waits for a peer that is away for hours
 * is not for people to look at.
 */
export const reach = async <T>(
  { did }: Pick<Peer, 'did'>,
  ask: () => Promise<T>,
  log: Log,
): Promise<Result<T, Failure>> => {
  try {
    return { ok: await ask() }
  } catch (cause) {
    log('warn', 'peer not reached', { peer: did, cause })
    return { error: failure('PeerUnreachable', `${did} can not be reached`) }
  }
}

/** What a message gives for the receipt of a task. */
const receiptIn = (message: AgentMessage, task: string): Receipt | undefined =>
  (message.get(parseLink(task) as never, null as never) ?? undefined) as Receipt | undefined
