import type { Block } from '@ucanto/interface'
import type {
  BlobAllocateSuccess,
  DealSummary,
  Failure,
  FilecoinInfoSuccess,
  FilecoinOfferFact,
  PieceLink,
  PlaceSummary,
  Stage,
  Workflow,
} from '@w3filecoin/capabilities'
import { type AnyLink, parsePiece } from '@w3filecoin/piece'
import { parse as parseLink } from 'multiformats/link'
import { platform } from '#platform'
import { pauseMs, sleep, spacingMs } from './back-off.ts'
import { reasonOf, toError, W3Error } from './error.ts'
import type { RetryEvent } from './http.ts'
import { Proof } from './proof.ts'
import {
  inParallel,
  invocationOf,
  openService,
  type Receipt,
  Service,
  type ServiceOptions,
  type TaskState,
  toAsync,
  viewReceipt,
} from './service.ts'
import { type HashingEvent, type Identified, identifyBlob, openSource, type Source } from './source.ts'
import { verify } from './verify.ts'

export interface ConnectOptions extends ServiceOptions {
  /**
   * How content reaches the storefront: a URL template for a `PUT` with `{cid}`, or a function that stores the content where the
   * storefront reads it. By default the client asks the storefront for an address, if it gives any, or uses the template that it
   * names at `GET /`.
   *
   * @example 'http://127.0.0.1:4005/storefront-content/{cid}'
   */
  upload?: string | Upload | undefined
}

/**
 * Stores content where the storefront reads it, under its CID.
 *
 * @param content its CIDs, its size, its bytes (`blob`), and the signal of the call
 * @example ({ content, blob }) => bucket.put(`${content}`, blob)
 */
export type Upload = (content: Identified & { blob: Blob; signal?: AbortSignal | undefined }) => Promise<void>

/** The tasks that a storefront promised for an offer, by their CIDs. */
export interface Offered {
  /** CID of the content. */
  content: AnyLink
  /** Piece CID v2 of the content. */
  piece: AnyLink
  /** The next task, `filecoin/submit`. */
  submit: string
  /** The task that ends the workflow, `filecoin/accept`. Its receipt is the proof. */
  accept: string
  /** The receipt of the offer. */
  receipt: Receipt
}

/** A workflow at the storefront, by its piece and one of its tasks. An {@link Offered} and a {@link Proof} name one. */
export interface WorkflowName {
  /** The piece that was offered. */
  piece: AnyLink
  /** CID of the promised `filecoin/submit` or `filecoin/accept`. */
  accept: string
}

/** A stage that a piece reached, or a new reason why it waits at that stage. */
export interface StageEvent {
  /** The kind of the event. */
  type: 'stage'
  /** The stage, e.g. `queued`. The last one is `accepted` or `failed`. */
  stage: Stage
  /** The time at which the piece reached the stage, ISO 8601. */
  since: string
  /** The next step, as a sentence for people. Absent at a final stage. */
  waitsFor?: string
  /** The name of the failure at the stage `failed`. */
  error?: { name: string }
}

/**
 * Progress of {@link Storefront.add}, in this order; `retry` at any time.
 *
 * @example { type: 'stage', stage: 'queued', since: '2026-11-21T13:18:44.000Z', waitsFor: '…' }
 */
export type AddEvent =
  | HashingEvent
  | ({ type: 'identified' } & Identified)
  /** `sent` bytes of `bytes` have been read for the upload. Browsers report only the beginning. */
  | { type: 'uploading'; bytes: number; sent: number }
  | { type: 'uploaded'; bytes: number }
  | { type: 'offered'; submit: string; accept: string }
  | StageEvent
  | { type: 'accepted'; proof: Proof }
  | RetryEvent

/**
 * Progress of one of many workflows: a stage that it reached, or its end.
 *
 * @example { type: 'stage', workflow: offered, stage: 'queued', since: '2026-11-21T13:18:44.000Z', waitsFor: '…' }
 */
export type WorkflowEvent<W extends WorkflowName = WorkflowName> = { workflow: W } & (
  | StageEvent
  | { type: 'accepted'; proof: Proof }
  | { type: 'failed'; error: W3Error }
)

/** Functions and settings of {@link Storefront.add} and {@link Storefront.start}. */
export interface AddOptions {
  /** Called with each event. */
  onProgress?: ((event: AddEvent) => void) | undefined
  /** Ends the call with its reason; the workflow continues at the storefront. */
  signal?: AbortSignal | undefined
  /** Starts another workflow for content that was added before. */
  nonce?: string | undefined
  /**
   * An https address that gets the signed receipt of `filecoin/accept` as soon as it exists, in a request that
   * {@link receiveReceipts} handles. The delivery may arrive twice, or never: then `proof` fetches the receipt.
   *
   * @example 'https://agent.example/receipts'
   */
  receiptsTo?: string | URL | undefined
}

/** The state of a piece or a workflow. */
export interface Status {
  /** `unknown` if the storefront does not tell this agent: another space offered the piece, or the task has no outcome yet. */
  stage: Stage | 'unknown'
  /** The time at which the piece reached the stage, ISO 8601. */
  since?: string
  /** The next step, as a sentence for people. Absent at a final stage. */
  waitsFor?: string
  /** The failure at the stage `failed`. */
  error?: { name: string; message?: string }
  /** The stages in their order, with their times (ISO 8601). */
  history: { stage: Stage; at: string }[]
  /** The piece, if it is known. */
  piece?: PieceLink
  /** CID of the task `filecoin/accept`. */
  accept?: string
  /** A recent problem that the storefront retries. */
  trouble?: Workflow['trouble']
  /** The aggregates that the piece is or was in. */
  aggregates: PieceLink[]
  /** Live deals. */
  deals: DealSummary[]
  /** Other places on chain, live or not. */
  places: PlaceSummary[]
}

interface UploadCalls {
  onProgress: (event: AddEvent) => void
  signal: AbortSignal | undefined
}

/** Pauses between two questions about a workflow. They start again at each new stage. */
const POLLING = { firstMs: 300, maxMs: 30_000, factor: 1.5 }
const MAX_UPLOAD_ANSWER_BYTES = 64 * 1024
/** Workflows of one question. */
const MAX_ROUND = 1_000
/** The longest time that a timer can wait, in milliseconds: about 24 days. */
const LONG_MS = 2 ** 31 - 1

/** A storefront: it takes content, and has the proof in the end that it is stored. */
export class Storefront extends Service {
  readonly #upload: string | Upload | undefined
  /** Whether to ask the storefront for addresses. */
  readonly #asksForAddresses: boolean

  /** @internal */
  constructor(opened: Awaited<ReturnType<typeof openService>>, { upload }: ConnectOptions = {}) {
    super(opened)
    this.#upload = upload ?? opened.about.content?.upload
    this.#asksForAddresses = upload === undefined && opened.about.content?.uploads !== undefined
  }

  /**
   * Has content stored, and returns the verified proof: identifies it, uploads it unless the storefront has it, offers it,
   * and follows the workflow, which may take days. It may be interrupted at any point: adding the same content again continues
   * the same workflow, with the same tasks and the same proof.
   *
   * @param source a path (in Node), a `File` or `Blob`, bytes, or a stream
   * @param options functions and settings of this call
   * @example const proof = await w3.add('photo.jpg', { onProgress: event => console.log(event) })
   * @throws W3Error with the name of the failure that ended the workflow; `UploadUnavailable`
   */
  async add(source: Source, options: AddOptions = {}): Promise<Proof> {
    const { onProgress = () => {}, signal } = options
    const offered = await this.start(source, options)
    for await (const event of this.watch(offered, { signal, onRetry: onProgress })) onProgress(event)
    const proof = await this.proof(offered, { signal })
    onProgress({ type: 'accepted', proof })
    return proof
  }

  /**
   * The first part of `add`: identifies content, uploads it unless the storefront has it, and offers it. Returns the promised
   * tasks, which `watch` and `proof` take.
   *
   * @param source as in `add`
   * @param options functions and settings of this call; the events end with `offered`
   * @throws W3Error with the name of the failure; `UploadUnavailable`
   */
  async start(
    source: Source,
    { onProgress = () => {}, signal, nonce, receiptsTo }: AddOptions = {},
  ): Promise<Offered> {
    const blob = await openSource(source, signal)
    const identified = await identifyBlob(blob, { onProgress, signal })
    onProgress({ type: 'identified', ...identified })
    await this.#store(identified, blob, { onProgress, signal })
    const offered = await this.offer(identified, { nonce, receiptsTo, signal })
    onProgress({ type: 'offered', submit: offered.submit, accept: offered.accept })
    return offered
  }

  /**
   * Offers content that the storefront can read, or will be able to. The same offer again gets the same tasks.
   *
   * @param identified the CIDs of the content, e.g. of {@link identify}
   * @param options a nonce, which makes it a new offer; an address that gets the receipt; and a signal
   * @throws W3Error with the name of the failure, e.g. `InvalidPieceCID`, `SpaceNotListed`, `TooManyOffers`,
   * `InvalidReceiptsAddress`
   * @example const offered = await w3.offer(await identify('photo.jpg'))
   */
  async offer(
    { content, piece }: { content: AnyLink; piece: AnyLink },
    { nonce, receiptsTo, signal }: Pick<AddOptions, 'nonce' | 'receiptsTo' | 'signal'> = {},
  ): Promise<Offered> {
    const fact: FilecoinOfferFact | undefined =
      receiptsTo === undefined ? undefined : { receiptsTo: `${receiptsTo}` }
    const facts = fact && [{ ...fact }]
    const receipt = await this.invoke('filecoin/offer', { content, piece }, { nonce, facts, signal })
    if (receipt.out.error) throw toError(receipt.out.error)
    const [fork] = receipt.fx.fork
    const { join } = receipt.fx
    if (fork === undefined || join === undefined)
      throw new W3Error('InvalidAnswer', `The receipt of ${this.did} for the offer promises no tasks`)
    return { content, piece, submit: `${fork.link()}`, accept: `${join.link()}`, receipt }
  }

  /**
   * Returns where a piece is: its aggregates, its deals and other places on chain, and the workflows of the agent's space (`filecoin/info`).
   *
   * @param piece its piece CID v2
   * @param options a task, a place to read on from, and a signal
   * @param options.task CID of a promised task: the answer has the state of its workflow in `task`
   * @param options.after the `next` of an earlier answer: the answer has further workflows
   * @throws W3Error `RecordNotFound` if the piece was never offered to this storefront; `TaskNotFound`
   * @example const { aggregates, deals, workflows } = await w3.info(proof.piece)
   */
  async info(
    piece: AnyLink,
    {
      task,
      after,
      signal,
    }: {
      task?: string | AnyLink | undefined
      after?: string | undefined
      signal?: AbortSignal | undefined
    } = {},
  ): Promise<FilecoinInfoSuccess> {
    const link = task === undefined ? undefined : parseLink(`${task}`)
    const { out } = await this.invoke('filecoin/info', { piece, task: link, after }, { signal })
    if (out.error) throw toError(out.error)
    return out.ok
  }

  /**
   * Returns the state of a workflow (an offer or a proof), of a piece, or of a task. CIDs may be text.
   *
   * @param subject an {@link Offered}, a {@link Proof}, or a CID
   * @param options a signal that ends the call
   * @throws W3Error `RecordNotFound`, `TaskNotFound`
   * @example await w3.status('bafkzci…')
   */
  async status(
    subject: WorkflowName | Proof | AnyLink | string,
    { signal }: { signal?: AbortSignal | undefined } = {},
  ): Promise<Status> {
    if (subject instanceof Proof) return this.#workflowStatus(subject.piece, subject.task, signal)
    if (typeof subject === 'object' && 'accept' in subject)
      return this.#workflowStatus(subject.piece, subject.accept, signal)
    const { ok } = parsePiece(`${subject}`)
    return ok ? this.#pieceStatus(ok.link, signal) : this.#taskStatus(`${subject}`, signal)
  }

  /**
   * Yields each stage of a workflow, in order, until the last one. It asks at growing intervals, from 0.3 to 30 seconds; each new
   * stage starts them again. It waits out times at which the storefront is unreachable.
   *
   * @param workflow an {@link Offered}, or its piece and its task
   * @param options a signal, and a function that is called when a question failed and is repeated
   * @throws W3Error `TaskNotFound`
   * @example for await (const { stage } of w3.watch(offered)) console.log(stage)
   */
  async *watch(
    { piece, accept }: WorkflowName,
    {
      signal,
      onRetry,
    }: { signal?: AbortSignal | undefined; onRetry?: ((event: RetryEvent) => void) | undefined } = {},
  ): AsyncGenerator<StageEvent, void> {
    let reached = 0
    let last: string | undefined
    for (let attempt = 0; ; attempt++) {
      let askedAfterMs = 0
      let failure: string | undefined
      try {
        const { stage, since, history, waitsFor, error } = (await this.#taskInfo(piece, accept, signal)).state
        for (const passed of history.slice(reached, -1))
          yield { type: 'stage', stage: passed.stage, since: passed.at }
        const isNew = history.length > reached
        if (isNew || waitsFor !== last)
          yield { type: 'stage', stage, since, ...(waitsFor && { waitsFor }), ...(error && { error }) }
        if (stage === 'accepted' || stage === 'failed') return
        if (isNew) attempt = 0
        reached = Math.max(reached, history.length)
        last = waitsFor
      } catch (cause) {
        if (!(cause instanceof W3Error && cause.retryable)) throw cause
        askedAfterMs = cause.retryAfterMs ?? 0
        failure = cause.message
      }
      const pause = Math.max(pauseMs(attempt, POLLING), askedAfterMs)
      if (failure !== undefined)
        onRetry?.({ type: 'retry', attempt: attempt + 1, pauseMs: pause, reason: failure })
      await sleep(pause, signal)
    }
  }

  /**
   * Follows many workflows to their ends, each once, and yields the stages that it sees and each end with the verified proof or the
   * failure. It asks about up to 1,000 workflows in one request, and waits as long as the storefront says. Stages that pass
   * between two questions are not seen. It waits out times at which the storefront is unreachable.
   *
   * @param workflows an {@link Offered} for each, or its piece and its task; also from an async iterable, e.g. while files are added
   * @param options a signal, and a function that is called when a question failed and is repeated
   * @example for await (const event of w3.watchAll(offers)) if (event.type === 'accepted') await save(event.proof)
   */
  async *watchAll<W extends WorkflowName>(
    workflows: Iterable<W> | AsyncIterable<W>,
    {
      signal,
      onRetry,
    }: { signal?: AbortSignal | undefined; onRetry?: ((event: RetryEvent) => void) | undefined } = {},
  ): AsyncGenerator<WorkflowEvent<W>, void> {
    const source = toAsync(workflows)
    const arrive = () => {
      const next = source.next()
      // It may fail while a question is asked. Then the next wait for it throws.
      next.catch(() => {})
      return next
    }
    const watched = new Map<string, Watched<W>>()
    const seen = new Set<string>()
    let arriving: Promise<IteratorResult<W, void>> | undefined = arrive()
    let startedAt = 0
    let askedAt = 0
    let askAt = 0
    let attempt = 0
    try {
      for (;;) {
        if (arriving === undefined && watched.size === 0) return
        const waitMs = watched.size === 0 ? undefined : Math.max(0, askAt - platform.now())
        const arrived = await firstOf(arriving, waitMs, signal)
        const now = platform.now()
        if (arrived?.done) arriving = undefined
        else if (arrived) {
          arriving = arrive()
          const workflow = arrived.value
          if (seen.has(workflow.accept)) continue
          seen.add(workflow.accept)
          if (watched.size === 0) startedAt = now
          watched.set(workflow.accept, { workflow })
          const spacing = spacingMs(now - startedAt)
          const soon = Math.max(now + POLLING.firstMs, askedAt + spacing)
          askAt = watched.size === 1 ? soon : Math.min(askAt, soon)
        }
        if (arrived) continue

        let retryAfterMs = Number.POSITIVE_INFINITY
        let hasMoved = false
        let failure: string | undefined
        try {
          const asked = [...watched.values()]
          for (let start = 0; start < asked.length; start += MAX_ROUND) {
            const some = asked.slice(start, start + MAX_ROUND)
            const states = await this.#statesOf(some, signal)
            for (const one of some) {
              const state = states.get(one.workflow.accept)
              if (state === undefined) continue
              for await (const event of this.#eventsOf(one, state)) {
                hasMoved = true
                if (event.type !== 'stage') watched.delete(one.workflow.accept)
                yield event
              }
              if (watched.has(one.workflow.accept) && !(state instanceof W3Error))
                retryAfterMs = Math.min(retryAfterMs, state.retryAfterMs ?? Number.POSITIVE_INFINITY)
            }
          }
        } catch (cause) {
          if (!(cause instanceof W3Error && cause.retryable)) throw cause
          retryAfterMs = cause.retryAfterMs ?? Number.POSITIVE_INFINITY
          failure = cause.message
        }
        attempt = hasMoved ? 0 : attempt + 1
        askedAt = platform.now()
        const own = pauseMs(attempt, POLLING)
        const spacing = spacingMs(askedAt - startedAt)
        const pause = Number.isFinite(retryAfterMs) ? Math.max(retryAfterMs, spacing) : own
        askAt = askedAt + pause
        if (failure !== undefined) onRetry?.({ type: 'retry', attempt, pauseMs: pause, reason: failure })
      }
    } finally {
      // Not awaited: the source may wait for a file that is being added.
      source.return().catch(() => {})
    }
  }

  /** Returns the states of workflows by their tasks, or why a workflow cannot be followed. */
  async #statesOf(
    watched: readonly Watched<WorkflowName>[],
    signal: AbortSignal | undefined,
  ): Promise<Map<string, TaskState | W3Error>> {
    const tasks = watched.map(({ workflow }) => workflow.accept)
    const states: Map<string, TaskState | W3Error> = new Map(await this.stateOfMany(tasks, { signal }))
    // An earlier version answers about single workflows only. And a storefront may find an old promise only by its piece.
    const single = watched.filter(({ workflow }) => {
      const state = states.get(workflow.accept) as TaskState | undefined
      return state === undefined || (state.receipt === undefined && state.promised !== true)
    })
    await inParallel(single, async ({ workflow: { piece, accept } }) => {
      try {
        const { stage, since, waitsFor } = (await this.#taskInfo(piece, accept, signal)).state
        const isEnd = stage === 'accepted' || stage === 'failed'
        const receipt = isEnd ? await this.receipt(accept, { signal }) : undefined
        states.set(accept, { stage, since, ...(waitsFor && { waitsFor }), ...(receipt && { receipt }) })
      } catch (cause) {
        if (!(cause instanceof W3Error)) throw cause
        if (cause.retryable) states.set(accept, {})
        else states.set(accept, cause)
      }
    })
    return states
  }

  /** Yields the changes of a workflow since its last state. */
  async *#eventsOf<W extends WorkflowName>(
    watched: Watched<W>,
    state: TaskState | W3Error,
  ): AsyncGenerator<WorkflowEvent<W>> {
    const { workflow, last } = watched
    if (state instanceof W3Error) return yield { workflow, type: 'failed', error: state }
    const { receipt, stage, since, waitsFor, issued } = state
    if (receipt === undefined) {
      if (stage === undefined || since === undefined) return
      if (last?.stage === stage && last.since === since && last.waitsFor === waitsFor) return
      watched.last = { stage, since, waitsFor }
      return yield { workflow, type: 'stage', stage: stage as Stage, since, ...(waitsFor && { waitsFor }) }
    }
    const { error } = receipt.out
    const end = { workflow, type: 'stage', since: since ?? issued ?? '' } as const
    yield error ? { ...end, stage: 'failed', error: { name: error.name } } : { ...end, stage: 'accepted' }
    try {
      yield { workflow, type: 'accepted', proof: await this.#proofOf(receipt, workflow) }
    } catch (cause) {
      if (!(cause instanceof W3Error)) throw cause
      yield { workflow, type: 'failed', error: cause }
    }
  }

  /**
   * Returns the proof of a workflow that ended, and verifies it. Without `piece`, the task may be about any piece.
   *
   * @param workflow an {@link Offered}, or its piece and its task
   * @param options a signal that ends the call
   * @throws W3Error `OutcomePending` if it has not ended; the name of the failure if it failed
   */
  async proof(
    workflow: Partial<WorkflowName & Pick<Offered, 'content'>> & Pick<WorkflowName, 'accept'>,
    { signal }: { signal?: AbortSignal | undefined } = {},
  ): Promise<Proof> {
    const receipt = await this.receipt(workflow.accept, { signal })
    if (receipt === undefined)
      throw new W3Error('OutcomePending', `The task ${workflow.accept} has no outcome yet`)
    return this.#proofOf(receipt, workflow)
  }

  async #proofOf(
    receipt: Receipt,
    {
      piece,
      accept,
      content,
    }: Partial<WorkflowName & Pick<Offered, 'content'>> & Pick<WorkflowName, 'accept'>,
  ): Promise<Proof> {
    if (receipt.out.error) throw toError(receipt.out.error)
    const proof = await Proof.fromReceipt(receipt)
    await verify(proof, { storefront: await this.keys() })
    const isAbout = (claimed: AnyLink, asked: AnyLink | undefined) =>
      asked === undefined || `${claimed}` === `${asked}`
    if (!isAbout(proof.piece, piece) || !isAbout(proof.content, content))
      throw new W3Error('InvalidProof', `The task ${accept} is about ${proof.content} and ${proof.piece}`)
    return proof
  }

  /** Uploads the content, unless the storefront has it. */
  async #store(
    identified: Identified,
    blob: Blob,
    { onProgress, signal }: { onProgress: (event: AddEvent) => void; signal: AbortSignal | undefined },
  ): Promise<void> {
    const allocated = this.#asksForAddresses ? await this.#allocate(identified, signal) : undefined
    const upload = this.#upload
    if (allocated === undefined && upload === undefined) throw this.#uploadUnavailable(identified)
    const { bytes } = identified
    const calls = { onProgress, signal }
    onProgress({ type: 'uploading', bytes, sent: 0 })
    if (allocated) {
      if (allocated.address) await this.#put(allocated.address.url, blob, allocated.address.headers, calls)
    } else if (typeof upload === 'function') await upload({ ...identified, blob, signal })
    else await this.#putUnlessStored(upload!.replace('{cid}', `${identified.content}`), blob, calls)
    onProgress({ type: 'uploaded', bytes })
  }

  /**
   * Asks for an address for the content. Without one, the storefront has the content. Returns `undefined` if the content is too
   * large for an address, and can be uploaded by other means.
   */
  async #allocate(
    { content, bytes }: Identified,
    signal: AbortSignal | undefined,
  ): Promise<BlobAllocateSuccess | undefined> {
    const blob = { digest: content.multihash.bytes, size: bytes }
    // For itself: a delegation to offer pieces need not cover uploads. If one covers them, they count for its space.
    const { out, fx } = await this.invoke('space/blob/add', { blob }, { with: this.agent, signal })
    const failure = out.error as Failure | undefined
    if (failure?.name === 'BlobSizeOutsideOfSupportedRange' && this.#upload !== undefined) return undefined
    if (failure) throw toError(failure)
    for (const effect of fx.fork) {
      const conclusion = invocationOf(effect)
      const { can, nb } = conclusion?.capabilities[0] ?? {}
      if (can !== 'ucan/conclude') continue
      const blocks = new Map(
        [...conclusion!.iterateIPLDBlocks()].map(block => [`${block.cid}`, block as Block]),
      )
      const receipt = viewReceipt((nb as { receipt: AnyLink }).receipt, blocks)
      if (invocationOf(receipt.ran)?.capabilities[0]?.can === 'blob/allocate')
        return receipt.out.ok as BlobAllocateSuccess
    }
    throw new W3Error('InvalidAnswer', `The receipt of ${this.did} for the blob has no address`)
  }

  async #putUnlessStored(url: string, blob: Blob, calls: UploadCalls): Promise<void> {
    const options = { signal: calls.signal, onRetry: calls.onProgress, maxBytes: MAX_UPLOAD_ANSWER_BYTES }
    const { status, headers } = await this.request(url, { ...options, method: 'HEAD' })
    if (status === 200 && Number(headers.get('content-length')) === blob.size) return
    await this.#put(url, blob, {}, calls)
  }

  async #put(
    url: string,
    blob: Blob,
    headers: Readonly<Record<string, string>>,
    { onProgress, signal }: UploadCalls,
  ): Promise<void> {
    let answer: Awaited<ReturnType<typeof this.request>>
    try {
      answer = await this.request(url, {
        signal,
        onRetry: onProgress,
        maxBytes: MAX_UPLOAD_ANSWER_BYTES,
        method: 'PUT',
        body: platform.observe(blob, sent => onProgress({ type: 'uploading', bytes: blob.size, sent })),
        headers: { 'content-type': 'application/octet-stream', ...headers },
        timeoutMs: 0,
      })
    } catch (cause) {
      signal?.throwIfAborted()
      throw new W3Error('UploadFailed', `The content cannot be uploaded: ${reasonOf(cause)}`, {
        hint: 'Check that the file has not changed, and add it again.',
        cause,
      })
    }
    if (answer.status >= 200 && answer.status < 300) return
    const text = new TextDecoder().decode(answer.body.subarray(0, 300))
    throw new W3Error(
      'UploadFailed',
      `${new URL(url).origin} refused the content: ${answer.status} ${text}`,
      {
        retryable: false,
        hint: 'Check the upload address of the storefront.',
      },
    )
  }

  #uploadUnavailable({ content }: Identified): W3Error {
    const from = this.about.content?.from
    const place =
      from === 'gateway' ? 'a gateway' : from === 'bucket' ? 'its bucket' : 'its bucket or a gateway'
    return new W3Error(
      'UploadUnavailable',
      `${this.did} takes no uploads from agents: it reads content from ${place}, under its CID`,
      {
        hint: `Store the file as ${content} where the storefront reads it, and call offer(). Or pass \`upload\` to connect().`,
      },
    )
  }

  async #taskInfo(piece: AnyLink, task: string, signal: AbortSignal | undefined) {
    const info = await this.info(piece, { task, signal })
    if (info.task === undefined)
      throw new W3Error('InvalidAnswer', `${this.did} does not report the state of single tasks`, {
        hint: 'Ask for the receipt of the task with receipt(), until there is one.',
      })
    return { info, state: info.task }
  }

  async #workflowStatus(piece: AnyLink, task: string, signal: AbortSignal | undefined): Promise<Status> {
    const { info, state } = await this.#taskInfo(piece, task, signal)
    const { stage, since, history, waitsFor, error } = state
    return {
      stage,
      since,
      history,
      ...(waitsFor && { waitsFor }),
      ...(error && { error }),
      accept: task,
      ...placesIn(info),
    }
  }

  /** The latest workflow of the agent's space, or what is public about the piece. */
  async #pieceStatus(piece: AnyLink, signal: AbortSignal | undefined): Promise<Status> {
    const info = await this.info(piece, { signal })
    const [workflow] = info.workflows.toSorted((a, b) => (a.since < b.since ? 1 : -1))
    if (workflow === undefined) {
      const isOnChain = info.deals.length > 0 || (info.places ?? []).some(({ status }) => status === 'Active')
      const stage = isOnChain ? 'accepted' : info.aggregates.length > 0 ? 'aggregated' : 'unknown'
      return { stage, history: [], ...placesIn(info) }
    }
    const { stage, since, history, waitsFor, error, accept, trouble } = workflow
    return {
      stage,
      since,
      history,
      ...(waitsFor && { waitsFor }),
      ...(error && { error }),
      ...(trouble && { trouble }),
      accept: `${accept}`,
      ...placesIn(info),
    }
  }

  /** The outcome of a task. Before the end, only the piece leads to more. */
  async #taskStatus(task: string, signal: AbortSignal | undefined): Promise<Status> {
    const receipt = await this.receipt(task, { signal })
    const capability = receipt && invocationOf(receipt.ran)?.capabilities[0]
    const { piece } = (capability?.nb ?? {}) as { piece?: PieceLink }
    if (piece !== undefined && /^filecoin\/(submit|accept)$/.test(capability!.can))
      return this.#workflowStatus(piece, task, signal)
    return {
      stage: 'unknown',
      history: [],
      aggregates: [],
      deals: [],
      places: [],
      ...(receipt?.out.error && { error: receipt.out.error }),
    }
  }
}

/** A workflow that is followed, and its state that was reported last. */
interface Watched<W> {
  workflow: W
  last?: { stage: string; since: string; waitsFor: string | undefined }
}

/** Resolves with a value, or with `undefined` after some time. Rejects with the reason of the signal as soon as it aborts. */
const firstOf = async <T>(
  value: Promise<T> | undefined,
  ms: number | undefined,
  signal: AbortSignal | undefined,
): Promise<T | undefined> => {
  const ended = new AbortController()
  const signals = AbortSignal.any([ended.signal, ...(signal ? [signal] : [])])
  // Without a time, it waits for the value only.
  const timer = sleep(ms ?? LONG_MS, signals).then(() => undefined)
  timer.catch(() => {})
  try {
    return await Promise.race([...(value ? [value] : []), timer])
  } finally {
    ended.abort()
  }
}

const placesIn = ({ piece, aggregates, deals, places = [] }: FilecoinInfoSuccess) => ({
  piece,
  aggregates: aggregates.map(({ aggregate }) => aggregate),
  deals,
  places,
})

/**
 * Connects to a storefront.
 *
 * @param url the address of the storefront
 * @param options the agent's key, its space and proofs, and how content is uploaded
 * @throws W3Error `Unreachable`; `InvalidAnswer` if the address is not that of a service; `KeyUnavailable`
 * @example const w3 = await connect('https://storefront.example')
 */
export const connect = async (url: string | URL, options: ConnectOptions = {}): Promise<Storefront> =>
  new Storefront(await openService(url, options), options)
