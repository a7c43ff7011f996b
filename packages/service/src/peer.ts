import { connect } from '@ucanto/client'
import type { DID, Principal, Receipt } from '@ucanto/interface'
import { CAR, HTTP } from '@ucanto/transport'
import { type Failure, failure, type Result, type Task } from '@w3filecoin/capabilities'
import { type Authority, type PeerConfig, principal } from './authority.ts'
import { decodeMessage } from './message.ts'
import type { Fetch } from './ports.ts'
import { readReceipt } from './receipt-log.ts'

/** How long another service may take to answer, in milliseconds. */
const TIMEOUT = 25_000

/** The most that a receipt may have, as a CAR. */
const MAX_RECEIPT = 64 * 1024 * 1024

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
   * where the peer answered without one. Throws when the peer can not be reached or answers no message.
   */
  async execute(tasks: readonly Task[]): Promise<Result<Receipt>[]> {
    const connection = connect({
      id: this.principal,
      codec: CAR.outbound,
      channel: HTTP.open<Record<string, never>>({
        url: new URL(this.#origin()),
        fetch: (url, init) =>
          this.#fetch(url, { ...(init as RequestInit), signal: AbortSignal.timeout(TIMEOUT) }),
      }),
    })
    const receipts = (await connection.execute(...(tasks as never))) as unknown as Receipt[]
    return Promise.all(receipts.map(receipt => this.#verified(receipt)))
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
    if (!response.ok) {
      await response.body?.cancel()
      throw new Error(`${this.did} answered ${response.status} to the question for the receipt of ${task}`)
    }
    const car = new Uint8Array(await response.arrayBuffer())
    const message = decodeMessage(car, { bytes: MAX_RECEIPT, blocks: Infinity, invocations: 0 })
    if (message.error)
      throw new Error(`${this.did} served an unreadable receipt of ${task}: ${message.error.message}`)
    const receipt = readReceipt(task, car)
    if (receipt === undefined) return undefined
    if (`${receipt.ran.link()}` !== task)
      throw new Error(`${this.did} served another receipt for that of ${task}`)
    const verified = await this.#verified(receipt, signer)
    if (verified.error) throw new Error(verified.error.message)
    return verified.ok
  }

  async #verified(receipt: Receipt, signer = this.principal): Promise<Result<Receipt, Failure>> {
    if (await this.#authority.signed(receipt, signer)) return { ok: receipt }
    const reason = (receipt.out.error as Failure | undefined)?.message
    return {
      error: failure(
        'UnsignedReceipt',
        `${signer.did()} signed no receipt of ${receipt.ran.link()}${reason === undefined ? '' : `: ${reason}`}`,
      ),
    }
  }

  #origin(): string {
    if (this.#url === undefined) throw new Error(`The configuration gives no URL for ${this.did}`)
    return this.#url
  }
}
