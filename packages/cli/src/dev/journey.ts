import { mkdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { S3Client } from '@aws-sdk/client-s3'
import type { Receipt, Signer } from '@ucanto/interface'
import {
  type DealInfoSuccess,
  dealInfo,
  describePlace,
  type FilecoinInfoSuccess,
  filecoinInfo,
  filecoinOffer,
  type Place,
  placeIn,
  type Task,
  toPlaceKey,
} from '@w3filecoin/capabilities'
import { chainNode, Proof, verify } from '@w3filecoin/client'
import type { Local } from '@w3filecoin/local'
import { s3Client } from '@w3filecoin/local/engines'
import type { PieceLink } from '@w3filecoin/piece'
import { Authority, batchesOf, type Failure, Peer, parseSigner, type Result } from '@w3filecoin/runtime'
import type { CID } from 'multiformats/cid'
import pMap from 'p-map'
import { formatReason } from '../text.ts'
import { type ContentFile, identify, store } from './content.ts'

/** The last stage that a file has reached. */
export type Stage = 'found' | 'hashing' | 'stored' | 'offered' | 'submitted' | 'aggregated' | 'accepted'

/** A file on the journey from the disk to a place on chain. */
export interface Trip {
  readonly file: ContentFile
  stage: Stage
  /** Number of the last selection that included the file; files with a lower turn are queried first. */
  turn: number
  /** Bytes hashed so far. */
  hashed: number
  content?: CID
  piece?: PieceLink
  /** CIDs of the tasks that the storefront promised: `filecoin/submit` and `filecoin/accept`. */
  submit?: string
  accept?: string
  aggregate?: string
  /** Where the aggregate is on chain. */
  place?: Place
  /** Path of the file with the proof. */
  proof?: string
  /** The storefront's state before the offer: `nothing`, the `piece`, or also its last receipt (`end`). */
  before: 'nothing' | 'piece' | 'end'
  offeredAt?: number
  /** Milliseconds from the offer to the last receipt. */
  tookMs?: number
  /** Why the file failed after this stage. */
  failure?: string
  /** The last error; the request is repeated. */
  lastError?: string | undefined
}

export interface JourneyOptions {
  files: readonly ContentFile[]
  /** The directory for proofs. A proof has the name of its file, and the ending `.w3proof`. */
  proofs: string
  local: Pick<Local, 'services' | 'agent' | 'engines' | 'market'>
  /** Called when a file makes progress or fails. */
  onProgress: (trip: Trip) => void
  /** The journey fails its remaining files after this long without progress. */
  patienceMs: number
  signal: AbortSignal
}

/** Files that are read concurrently. */
const MAX_READERS = 2
/** Concurrent requests, and invocations in one message. */
const MAX_REQUESTS = 8
const MAX_BATCH = 50
/** Invocations of `filecoin/info` that a storefront runs for one message. */
const MAX_INFOS = 10
/** Pause between two rounds of requests, and the files of one stage in a round. */
const PAUSE_MS = 400
const MAX_ROUND = 100

/** The keys of the places of an aggregate. */
type Deals = Promise<Result<ReadonlySet<string>>>

/**
 * Takes files from the disk to a place on chain: computes each piece CID, stores the content, offers it to the storefront as an
 * agent, follows the receipts, and verifies the last one.
 */
export class Journey {
  readonly trips: readonly Trip[]
  readonly #options: JourneyOptions
  readonly #agent: Signer
  readonly #storefront: Peer
  readonly #dealTracker: Peer
  readonly #s3: S3Client
  /** The deals by aggregate, requested once each. */
  readonly #deals = new Map<string, Deals>()
  #movedAt = 0
  /** Ends the pause between two rounds: a file is ready to be offered. */
  #wake = () => {}
  /** Whether a file became ready since the last round began. */
  #hasNews = false
  #turn = 0

  constructor(options: JourneyOptions) {
    const { services, agent, engines } = options.local
    const authority = new Authority()
    const peer = (role: string) => new Peer(services[role]!, { authority, fetch })
    this.#options = options
    this.#agent = parseSigner(agent.key)
    this.#storefront = peer('storefront')
    this.#dealTracker = peer('dealTracker')
    this.#s3 = s3Client(engines)
    this.trips = options.files.map(file => ({
      file,
      stage: 'found',
      turn: 0,
      hashed: 0,
      before: 'nothing',
    }))
  }

  /** Resolves when every file has arrived or failed. Rejects only with a bug, or with the signal's reason. */
  async travel(): Promise<void> {
    const { signal, patienceMs } = this.#options
    const timeout = new AbortController()
    const reading = AbortSignal.any([signal, timeout.signal])
    this.#movedAt = performance.now()
    const prepared = pMap(this.trips, trip => this.#prepare(trip, reading), { concurrency: MAX_READERS })
    for (;;) {
      this.#hasNews = false
      await this.#round()
      if (performance.now() - this.#movedAt > patienceMs) {
        this.#failRemaining()
        timeout.abort()
      }
      if (!this.trips.some(isUnderWay)) break
      await this.#pause()
    }
    await prepared
  }

  /** Waits until the next round. If every file waits to be read, the first one that is stored ends the pause. */
  async #pause(): Promise<void> {
    const { signal } = this.#options
    const isOffered = this.trips.some(trip => isUnderWay(trip) && trip.accept !== undefined)
    const stored = new Promise<void>(resolve => {
      this.#wake = isOffered ? () => {} : resolve
    })
    // A file that was ready before the last round could not be offered: that is tried again after the pause.
    if (this.#hasNews && !isOffered) return signal.throwIfAborted()
    await Promise.race([sleep(PAUSE_MS, undefined, { signal }), stored])
  }

  /** Identifies a file and stores it in the storefront's bucket. */
  async #prepare(trip: Trip, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return
    try {
      this.#move(trip, 'hashing')
      const { content, piece } = await identify(trip.file, {
        signal,
        onProgress: hashed => {
          trip.hashed = hashed
          this.#move(trip, 'hashing')
        },
      })
      await store(trip.file, { s3: this.#s3, bucket: 'storefront-content', content, signal })
      Object.assign(trip, { content, piece })
      this.#move(trip, 'stored')
      this.#hasNews = true
      this.#wake()
    } catch (cause) {
      if (!signal.aborted) this.#fail(trip, cause)
    }
  }

  /** Sends one request for every file that waits for a result. A failed request is repeated in the next round. */
  async #round(): Promise<void> {
    const each = (trips: Trip[], request: (trip: Trip) => Promise<unknown>) =>
      pMap(trips, trip => this.#try([trip], () => request(trip)), { concurrency: MAX_REQUESTS })
    const batches = async (trips: Trip[], request: (trips: Trip[]) => Promise<void>) => {
      for (const batch of batchesOf(trips, MAX_BATCH)) await this.#try(batch, () => request(batch))
    }
    await batches(this.#next('stored'), async trips => {
      const known = await this.#info(trips)
      await this.#offer(trips)
      // No deal takes less than a moment: a receipt that exists now existed before this offer.
      await each(
        trips.filter((trip, n) => known[n] && trip.stage === 'offered' && isUnderWay(trip)),
        async trip => {
          trip.before = 'piece'
          if (await this.#finish(trip)) trip.before = 'end'
        },
      )
    })
    await each(this.#next('offered'), trip => this.#fetchSubmit(trip))
    await batches(this.#next('submitted'), trips => this.#fetchAggregates(trips))
    await each(this.#next('submitted', 'aggregated'), trip => this.#finish(trip))
  }

  async #offer(trips: readonly Trip[]): Promise<void> {
    const receipts = await this.#invoke(this.#storefront, trips, ({ content, piece }) =>
      filecoinOffer
        .invoke({
          issuer: this.#agent,
          audience: this.#storefront.principal,
          with: this.#agent.did(),
          nb: { content: content as never, piece: piece! },
        })
        .buildIPLDView(),
    )
    for (const [n, trip] of trips.entries()) {
      const { out, fx } = receipts[n]!
      if (out.error) {
        // The service failed, not the offer: repeat it.
        if ((out.error as Failure).name === 'HandlerExecutionError') trip.lastError = formatReason(out.error)
        else this.#fail(trip, out.error)
        continue
      }
      const [fork] = fx.fork
      if (!fork || !fx.join) {
        this.#fail(trip, new Error('The receipt of filecoin/offer promises no tasks'))
        continue
      }
      Object.assign(trip, {
        submit: `${fork.link()}`,
        accept: `${fx.join.link()}`,
        offeredAt: performance.now(),
      })
      this.#move(trip, 'offered')
    }
  }

  async #fetchSubmit(trip: Trip): Promise<void> {
    const receipt = await this.#storefront.receipt(trip.submit!)
    if (receipt?.out.error) this.#fail(trip, receipt.out.error)
    else if (receipt) this.#move(trip, 'submitted')
  }

  async #fetchAggregates(trips: readonly Trip[]): Promise<void> {
    for (const [n, info] of (await this.#info(trips)).entries()) {
      const [aggregated] = info?.aggregates ?? []
      if (!aggregated) continue
      const trip = trips[n]!
      trip.aggregate = `${aggregated.aggregate}`
      this.#move(trip, 'aggregated')
    }
  }

  /** Fetches the last receipt and verifies it. Returns whether there is one. */
  async #finish(trip: Trip): Promise<boolean> {
    const receipt = await this.#storefront.receipt(trip.accept!)
    if (!receipt) return false
    const verified = await this.#verify(trip, receipt)
    if (verified.error) {
      this.#fail(trip, verified.error)
      return true
    }
    const { proof, place } = verified.ok
    const { aggregate } = proof
    const { ok: known, error } = await this.#dealsOf(aggregate)
    if (error) this.#fail(trip, error)
    else if (!known.has(toPlaceKey(place)))
      this.#fail(trip, new Error(`The deal tracker does not know ${describePlace(place)} of ${aggregate}`))
    else if (!(await this.#isOnChain(place, aggregate)))
      this.#fail(trip, new Error(`The chain does not have ${aggregate} as ${describePlace(place)}`))
    else {
      Object.assign(trip, {
        aggregate: `${aggregate}`,
        place,
        proof: await this.#keep(trip, proof),
        tookMs: performance.now() - trip.offeredAt!,
      })
      this.#move(trip, 'accepted')
    }
    return true
  }

  /** Verifies that the receipt proves a deal of the file. It trusts only the key of the storefront. */
  async #verify(trip: Trip, receipt: Receipt): Promise<Result<{ proof: Proof; place: Place }>> {
    if (receipt.out.error) return { error: receipt.out.error as Failure }
    try {
      const proof = await Proof.fromReceipt(receipt as never)
      const { task, piece, deal } = await verify(proof, { storefront: this.#storefront.did })
      if (task !== trip.accept || piece !== `${trip.piece}`)
        throw new Error(
          `The receipt is for ${piece} and the task ${task}, not for the promised ${trip.accept}`,
        )
      return { ok: { proof, place: placeIn(deal) as Place } }
    } catch (cause) {
      return { error: cause as Error }
    }
  }

  /** Asks the chain itself about a place. That of this system has no deals: one is of an earlier start with `--deals offers`. */
  async #isOnChain(place: Place, aggregate: PieceLink): Promise<boolean> {
    const { rpc, verifier, network } = this.#options.local.market
    if (rpc === undefined || place.type === 'market') return true
    const { status } = await chainNode(rpc, { verifier, network }).find(place, aggregate)
    return status === 'Active'
  }

  /** Writes the proof of a file, and returns its path. */
  async #keep({ file }: Trip, proof: Proof): Promise<string> {
    const path = join(this.#options.proofs, `${file.name}.w3proof`)
    await mkdir(dirname(path), { recursive: true })
    await proof.save(path)
    return path
  }

  #dealsOf(aggregate: PieceLink): Deals {
    const known = this.#deals.get(`${aggregate}`)
    if (known) return known
    const request = this.#invoke(this.#dealTracker, [aggregate], piece =>
      dealInfo
        .invoke({
          issuer: this.#agent,
          audience: this.#dealTracker.principal,
          with: this.#agent.did(),
          nb: { piece },
          nonce: crypto.randomUUID(),
        })
        .buildIPLDView(),
    ).then(([receipt]): Awaited<Deals> => {
      const { ok, error } = receipt!.out
      if (error) return { error: error as Failure }
      const { deals, places } = ok as DealInfoSuccess
      return { ok: new Set([...Object.keys(deals), ...places.map(({ key }) => key)]) }
    })
    this.#deals.set(`${aggregate}`, request)
    request.catch(() => this.#deals.delete(`${aggregate}`))
    return request
  }

  async #info(trips: readonly Trip[]): Promise<(FilecoinInfoSuccess | undefined)[]> {
    const receipts = await pMap(
      batchesOf(trips, MAX_INFOS),
      batch =>
        this.#invoke(this.#storefront, batch, ({ piece }) =>
          filecoinInfo
            .invoke({
              issuer: this.#agent,
              audience: this.#storefront.principal,
              with: this.#agent.did(),
              nb: { piece: piece! },
            })
            .buildIPLDView(),
        ),
      { concurrency: MAX_REQUESTS },
    )
    return receipts.flat().map(({ out }) => out.ok as FilecoinInfoSuccess | undefined)
  }

  /** Sends one message with an invocation for each subject. */
  async #invoke<T>(peer: Peer, subjects: readonly T[], task: (subject: T) => unknown): Promise<Receipt[]> {
    const answers = await peer.execute((await Promise.all(subjects.map(task))) as Task[])
    return answers.map(answer => {
      if (answer.error) throw new Error(formatReason(answer.error))
      return answer.ok
    })
  }

  /** Runs a request and records its error: the service may be busy, and the next round repeats it. */
  async #try(trips: readonly Trip[], request: () => Promise<unknown>): Promise<void> {
    try {
      await request()
    } catch (cause) {
      this.#options.signal.throwIfAborted()
      for (const trip of trips) trip.lastError = formatReason(cause)
    }
  }

  /** Selects files at these stages, the longest waiting first. */
  #next(...stages: Stage[]): Trip[] {
    this.#turn++
    const next = this.trips
      .filter(trip => isUnderWay(trip) && stages.includes(trip.stage))
      .sort((a, b) => a.turn - b.turn)
      .slice(0, MAX_ROUND)
    for (const trip of next) trip.turn = this.#turn
    return next
  }

  #move(trip: Trip, stage: Stage): void {
    if (!isUnderWay(trip)) return
    trip.stage = stage
    trip.lastError = undefined
    this.#report(trip)
  }

  #fail(trip: Trip, cause: unknown): void {
    if (!isUnderWay(trip)) return
    trip.failure = formatReason(cause)
    this.#report(trip)
  }

  #report(trip: Trip): void {
    this.#movedAt = performance.now()
    this.#options.onProgress(trip)
  }

  #failRemaining(): void {
    const seconds = Math.round(this.#options.patienceMs / 1000)
    for (const trip of this.trips.filter(isUnderWay)) {
      const lastError = trip.lastError === undefined ? '' : ` (${trip.lastError})`
      this.#fail(trip, new Error(`No progress for ${seconds} s after it was ${trip.stage}${lastError}`))
    }
  }
}

const isUnderWay = ({ stage, failure }: Trip): boolean => stage !== 'accepted' && failure === undefined
