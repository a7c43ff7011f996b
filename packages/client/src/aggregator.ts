import type {
  DealMetadata,
  Failure,
  PieceAcceptSuccess,
  PieceInfoSuccess,
  PieceLink,
} from '@w3filecoin/capabilities'
import { type AnyLink, type EncodedInclusion, parsePiece, verifyInclusion } from '@w3filecoin/piece'
import { platform } from '#platform'
import { pauseMs, sleep, spacingMs } from './back-off.ts'
import { toError, W3Error } from './error.ts'
import {
  invocationOf,
  openService,
  type Receipt,
  Service,
  type ServiceOptions,
  type Task,
  toAsync,
} from './service.ts'

/**
 * A stage that a piece reached at the aggregator. The last one is `accepted` or `failed`.
 *
 * - `queued`: the aggregator has the piece; `task` is the CID of the promised `piece/accept`
 * - `aggregated`: the piece is in `aggregate`, which `inclusion` proves
 * - `retried`: that aggregate was not stored, and the dealer offered the piece to the aggregator again
 * - `accepted`: the aggregate is stored: in the deal, or at another place on chain, that `deal` names
 * - `failed`: the piece is not stored, for the reason in `error`
 *
 * @example
 * { piece: CID(bafkzci…), stage: 'accepted', aggregate: CID(bafkzci…), inclusion, deal: { dataType: 0, dataSource: { dealID: 100001 } } }
 */
export type PieceEvent = { piece: PieceLink } & (
  | { stage: 'queued'; task: string }
  | ({ stage: 'aggregated' } & Included)
  | { stage: 'retried'; aggregate: PieceLink; error: W3Error }
  | ({ stage: 'accepted'; deal: DealMetadata } & Included)
  | { stage: 'failed'; error: W3Error }
)

type Included = Pick<PieceAcceptSuccess, 'aggregate' | 'inclusion'>

/** Options of {@link Aggregator.offerAll}. */
export interface OfferAllOptions {
  /** The name of the group, at most 128 bytes, e.g. `did:web:storage.example`. An aggregate has pieces of only one group. */
  group: string
  /** Offers pieces anew that were offered before. */
  nonce?: string | undefined
  /** The stage to follow the pieces to. Default: `accepted`, a place on chain. */
  until?: 'queued' | 'aggregated' | 'accepted'
  /** Ends the generator with the reason of the signal. */
  signal?: AbortSignal | undefined
}

/** Pieces of one message: their offers with proofs stay far below the limit of a message, 4.4 MB. */
const BATCH = 50
/** Pieces that are followed at the same time. Further ones are taken when earlier ones have ended. */
const MAX_FOLLOWED = 20_000
/** Pieces that are asked about in one round. Their events are yielded before the next round. */
const MAX_ROUND = 1_000
/** Attempts to offer a piece while the service fails. */
const MAX_ATTEMPTS = 5
const PAUSES = { firstMs: 500, maxMs: 30_000, factor: 1.5 }
/** Pauses between two questions while no piece moves. Storing takes days: after 48 hours these were 30 questions. */
const ASKING = { firstMs: 500, maxMs: 3 * 60 * 60 * 1000 }

/** The receipt that a followed piece waits for: of `piece/accept`, `aggregate/offer` or `aggregate/accept`, or of a retry. */
interface Followed {
  piece: PieceLink
  waitsFor: { can: 'piece/offer' | 'piece/accept' | 'aggregate/offer' | 'aggregate/accept'; task: string }
  /** The DID of the service that signs it. */
  signer: string
  included?: Included
}

/** The aggregator: it collects pieces, and proves which aggregate contains a piece. */
export class Aggregator extends Service {
  /**
   * Offers pieces in batches, and follows each to its end through every aggregate that it is in: if an aggregate is not stored,
   * the dealer offers its pieces again. A refused piece fails, and the other ones go on. Offers of earlier runs are continued.
   *
   * Every receipt is verified, and so is every inclusion proof.
   *
   * @param pieces links, or piece CIDs v2 as text. At most 20,000 are followed at a time; further ones are taken when earlier
   * ones have ended
   * @param options the group, the stage to follow the pieces to, a nonce and a signal
   * @example
   * for await (const { piece, stage } of aggregator.offerAll(pieces, { group: 'did:web:storage.example' }))
   *   await table.update(`${piece}`, stage)
   * @throws W3Error if the aggregator stays unreachable for five attempts to offer a batch: `Unreachable`; `InvalidAnswer`,
   * `UnsignedReceipt` or `UnknownKeys` if an answer cannot be trusted
   */
  async *offerAll(
    pieces: Iterable<AnyLink | string> | AsyncIterable<AnyLink | string>,
    { until = 'accepted', signal, ...offer }: OfferAllOptions,
  ): AsyncGenerator<PieceEvent, void> {
    const source = toAsync(pieces)
    const followed: Followed[] = []
    let isOpen = true
    let pauses = 0
    let askAt = 0
    const startedAt = platform.now()
    try {
      for (;;) {
        if (isOpen && followed.length < MAX_FOLLOWED) {
          const batch: PieceLink[] = []
          while (batch.length < BATCH) {
            const { done, value } = await source.next()
            if (done) isOpen = false
            if (done) break
            const { ok, error } = parsePiece(`${value}`)
            if (ok) batch.push(ok.link)
            else yield { piece: value as PieceLink, stage: 'failed', error: toError(error as Failure) }
          }
          for await (const [event, promised] of this.#offer(batch, { ...offer, signal })) {
            if (promised && until !== 'queued') followed.push(promised)
            yield event
          }
        }
        const isFull = followed.length >= MAX_FOLLOWED
        if (!isOpen || isFull) await sleep(Math.max(0, askAt - platform.now()), signal)
        if (platform.now() >= askAt && followed.length > 0) {
          const asked = followed.splice(0)
          let hasMoved = false
          let retryAfterMs = Number.POSITIVE_INFINITY
          for (let start = 0; start < asked.length; start += MAX_ROUND) {
            const round = await this.#follow(asked.slice(start, start + MAX_ROUND), until, signal)
            followed.push(...round.waiting)
            hasMoved ||= round.events.length > 0
            retryAfterMs = Math.min(retryAfterMs, round.retryAfterMs)
            yield* round.events
          }
          pauses = hasMoved ? 0 : pauses + 1
          const now = platform.now()
          const advised = Number.isFinite(retryAfterMs) ? retryAfterMs : 0
          askAt = now + Math.max(pauseMs(pauses, ASKING), advised, spacingMs(now - startedAt))
        }
        if (!isOpen && followed.length === 0) return
      }
    } finally {
      await source.return()
    }
  }

  /**
   * Returns where a piece is: its next aggregate, or the one that it is in.
   *
   * @param piece a piece that this storefront offered
   * @param options its group, and the nonce of its offer
   * @throws W3Error `RecordNotFound` if this storefront did not offer it; `UnknownStorefront`
   */
  async info(
    piece: AnyLink,
    { group, nonce, signal }: Pick<OfferAllOptions, 'group' | 'nonce' | 'signal'>,
  ): Promise<PieceInfoSuccess> {
    const { out } = await this.invoke('piece/info', { piece, group, nonce }, { signal })
    if (out.error) throw toError(out.error)
    return out.ok
  }

  /** Offers the pieces of a batch. While the service fails, it repeats the offers that failed. */
  async *#offer(
    batch: readonly PieceLink[],
    { group, nonce, signal }: Omit<OfferAllOptions, 'until'>,
  ): AsyncGenerator<[event: PieceEvent, promised?: Followed]> {
    let remaining = batch
    for (let attempt = 1; remaining.length > 0; attempt++) {
      const tasks = remaining.map((piece): Task => ({ can: 'piece/offer', nb: { piece, group }, nonce }))
      const again: PieceLink[] = []
      let answers: Awaited<ReturnType<typeof this.invokeAll>>
      try {
        answers = await this.invokeAll(tasks, { signal })
      } catch (cause) {
        if (!(cause instanceof W3Error && cause.retryable) || attempt === MAX_ATTEMPTS) throw cause
        await sleep(Math.max(pauseMs(attempt, PAUSES), cause.retryAfterMs ?? 0), signal)
        continue
      }
      for (const [n, answer] of answers.entries()) {
        const piece = remaining[n]!
        const error = answer.error ?? (answer.ok.out.error && toError(answer.ok.out.error))
        const task = error ? undefined : answer.ok?.fx.join
        if (error?.retryable && attempt < MAX_ATTEMPTS) again.push(piece)
        else if (error) yield [{ piece, stage: 'failed', error }]
        else if (task) {
          const waitsFor = { can: 'piece/accept', task: `${task.link()}` } as const
          yield [
            { piece, stage: 'queued', task: waitsFor.task },
            { piece, waitsFor, signer: this.did },
          ]
        } else yield [{ piece, stage: 'failed', error: noPromise('piece/offer') }]
      }
      remaining = again
      if (again.length > 0) await sleep(pauseMs(attempt, PAUSES), signal)
    }
  }

  /**
   * Asks for the receipts that some pieces wait for, and for those of the tasks that they promise. Returns the events, the pieces
   * that have not ended, and when to ask again.
   */
  async #follow(
    round: readonly Followed[],
    until: OfferAllOptions['until'],
    signal: AbortSignal | undefined,
  ): Promise<{ events: PieceEvent[]; waiting: Followed[]; retryAfterMs: number }> {
    const events: PieceEvent[] = []
    const waiting: Followed[] = []
    let retryAfterMs = Number.POSITIVE_INFINITY
    let asked = round
    while (asked.length > 0) {
      // Pieces of one aggregate wait for the same receipt.
      const signers = new Map(asked.map(({ waitsFor, signer }) => [waitsFor.task, signer]))
      let states: Awaited<ReturnType<typeof this.receipts>>
      try {
        states = await this.receipts(signers.keys(), { signerOf: task => signers.get(task)!, signal })
      } catch (cause) {
        if (!(cause instanceof W3Error && cause.retryable)) throw cause
        return { events, waiting: [...waiting, ...asked], retryAfterMs: cause.retryAfterMs ?? 0 }
      }
      const moving: Followed[] = []
      for (const piece of asked) {
        const { receipt, retryAfterMs: ms } = states.get(piece.waitsFor.task) ?? {}
        const moved = receipt && advance(piece, receipt)
        if (moved?.event) events.push(moved.event)
        if (moved?.isEnd || (moved?.event?.stage === 'aggregated' && until === 'aggregated')) continue
        if (ms !== undefined) retryAfterMs = Math.min(retryAfterMs, ms)
        ;(moved ? moving : waiting).push(piece)
      }
      asked = moving
    }
    return { events, waiting, retryAfterMs }
  }
}

/** Applies the receipt that a piece waits for: changes what it waits for, and returns the stage that it reached, if any. */
const advance = (followed: Followed, receipt: Receipt): { event?: PieceEvent; isEnd?: true } => {
  const { piece, waitsFor } = followed
  const fail = (error: W3Error) => ({
    event: { piece, stage: 'failed', error } as PieceEvent,
    isEnd: true as const,
  })
  const join = invocationOf(receipt.fx.join)
  const { ok, error } = receipt.out

  if (error && (waitsFor.can === 'aggregate/offer' || waitsFor.can === 'aggregate/accept')) {
    const retry = receipt.fx.fork.map(invocationOf).find(effect => isOfferOf(effect, piece))
    if (retry === undefined) return fail(toError(error))
    // The dealer signed the task, and the aggregator signs its receipt.
    followed.waitsFor = { can: 'piece/offer', task: `${retry.cid}` }
    followed.signer = retry.audience.did()
    return {
      event: { piece, stage: 'retried', aggregate: followed.included!.aggregate, error: toError(error) },
    }
  }
  if (error) return fail(toError(error))
  if (waitsFor.can === 'aggregate/accept') {
    const { dataType, dataSource } = ok as DealMetadata
    const deal = { dataType, dataSource } as DealMetadata
    return { event: { piece, stage: 'accepted', deal, ...followed.included! }, isEnd: true }
  }
  const next = NEXT[waitsFor.can]
  if (join === undefined || join.capabilities[0]?.can !== next) return fail(noPromise(waitsFor.can))
  followed.waitsFor = { can: next, task: `${join.cid}` }
  followed.signer = join.audience.did()
  if (waitsFor.can !== 'piece/accept') return {}
  const { aggregate, inclusion } = ok as PieceAcceptSuccess
  const verified = verifyInclusion({ piece, aggregate, inclusion: inclusion as EncodedInclusion })
  if (verified.error) return fail(toError(verified.error))
  followed.included = { aggregate, inclusion }
  return { event: { piece, stage: 'aggregated', aggregate, inclusion } }
}

/** The task that the receipt of an earlier one promises. */
const NEXT = {
  'piece/offer': 'piece/accept',
  'piece/accept': 'aggregate/offer',
  'aggregate/offer': 'aggregate/accept',
} as const

const isOfferOf = (task: ReturnType<typeof invocationOf>, piece: PieceLink): boolean => {
  const [capability] = task?.capabilities ?? []
  return (
    capability?.can === 'piece/offer' && `${(capability.nb as { piece: PieceLink }).piece}` === `${piece}`
  )
}

const noPromise = (can: string): W3Error =>
  new W3Error('InvalidAnswer', `The receipt of ${can} does not promise the next task`)

/**
 * Connects to an aggregator, as a storefront. The signer must be a storefront that the aggregator lists. Or it has a delegation
 * of the aggregator in `proofs`, and the aggregator's DID in `with`.
 *
 * @param url the address of the aggregator
 * @param options the storefront's key in `signer`
 * @throws W3Error `Unreachable`, `InvalidAnswer`, `KeyUnavailable`
 * @example const w3 = await aggregator('https://aggregator.example', { signer: process.env.STOREFRONT_KEY })
 */
export const aggregator = async (url: string | URL, options?: ServiceOptions): Promise<Aggregator> =>
  new Aggregator(await openService(url, options))
