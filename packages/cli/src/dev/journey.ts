import { setTimeout as sleep } from 'node:timers/promises'
import type { S3Client } from '@aws-sdk/client-s3'
import type { Receipt, Signer } from '@ucanto/interface'
import {
  type DealInfoSuccess,
  dealInfo,
  type FilecoinInfoSuccess,
  filecoinInfo,
  filecoinOffer,
  type Task,
} from '@w3filecoin/capabilities'
import type { Local } from '@w3filecoin/local'
import { s3Client } from '@w3filecoin/local/engines'
import type { PieceLink } from '@w3filecoin/piece'
import { Authority, type Failure, Peer, parseSigner, type Result } from '@w3filecoin/service'
import type { CID } from 'multiformats/cid'
import pMap from 'p-map'
import { type ContentFile, identify, store } from './content.ts'
import { reasonOf, verifyAccept } from './verify.ts'

/** How far a file has come. */
export type Stage = 'found' | 'hashing' | 'stored' | 'offered' | 'submitted' | 'aggregated' | 'accepted'

/** A file on its way from the disk to a deal. */
export interface Trip {
  readonly file: ContentFile
  stage: Stage
  /** When it was asked about last, counted in questions. */
  turn: number
  /** Bytes hashed so far. */
  hashed: number
  content?: CID
  piece?: PieceLink
  /** The tasks that the storefront promised. */
  submit?: string
  accept?: string
  aggregate?: string
  dealID?: number
  /** What the storefront knew when the piece was offered: nothing, the piece, or its end. */
  before: 'nothing' | 'piece' | 'end'
  offeredAt?: number
  /** Milliseconds from the offer to the end. */
  took?: number
  /** Why it comes no further than this stage. */
  failure?: string
  /** What went wrong lately, and may go right yet. */
  trouble?: string | undefined
}

export interface JourneyOptions {
  files: readonly ContentFile[]
  local: Pick<Local, 'services' | 'agent' | 'engines'>
  /** Told whenever a file comes further. */
  onProgress: (trip: Trip) => void
  /** Milliseconds for which nothing may move. */
  patience: number
  signal: AbortSignal
}

/** Files that are read at a time. */
const READERS = 2
/** Questions that are asked at a time, and invocations in one message. */
const REQUESTS = 8
const BATCH = 50
/** Milliseconds between two rounds of questions, and the most files of one stage that are asked about in one. */
const PAUSE = 400
const ROUND = 100

type Deals = Promise<Result<DealInfoSuccess['deals']>>

/**
 * Takes files all the way: stores each as content, computes its piece CID, has an agent offer it to the
 * storefront, follows the receipts, and verifies the last one.
 */
export class Journey {
  readonly trips: readonly Trip[]
  readonly #options: JourneyOptions
  readonly #agent: Signer
  readonly #storefront: Peer
  readonly #dealTracker: Peer
  readonly #s3: S3Client
  /** The deals of an aggregate, asked for once. */
  readonly #deals = new Map<string, Deals>()
  #movedAt = 0
  #turn = 0

  constructor(options: JourneyOptions) {
    const { services, agent, engines } = options.local
    const authority = new Authority([])
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

  /** Resolves when every file has arrived or failed; throws only what is a bug, or the signal's reason. */
  async travel(): Promise<void> {
    const { signal, patience } = this.#options
    const givingUp = new AbortController()
    const reading = AbortSignal.any([signal, givingUp.signal])
    this.#movedAt = performance.now()
    const prepared = pMap(this.trips, trip => this.#prepare(trip, reading), { concurrency: READERS })
    while (this.trips.some(isUnderWay)) {
      await this.#round()
      if (performance.now() - this.#movedAt > patience) {
        this.#giveUp()
        givingUp.abort()
      }
      await sleep(PAUSE, undefined, { signal })
    }
    await prepared
  }

  /** From the disk into the storefront's bucket. */
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
    } catch (cause) {
      if (!signal.aborted) this.#fail(trip, cause)
    }
  }

  /** Asks once about every file that waits for something. What can not be asked now is asked in the next round. */
  async #round(): Promise<void> {
    const each = (trips: Trip[], ask: (trip: Trip) => Promise<unknown>) =>
      pMap(trips, trip => this.#try([trip], () => ask(trip)), { concurrency: REQUESTS })
    const batches = async (trips: Trip[], ask: (trips: Trip[]) => Promise<void>) => {
      for (let at = 0; at < trips.length; at += BATCH) {
        const batch = trips.slice(at, at + BATCH)
        await this.#try(batch, () => ask(batch))
      }
    }
    await batches(this.#next('stored'), async trips => {
      const known = await this.#info(trips)
      await this.#offer(trips)
      // Nothing comes from an offer to a deal in a moment: what has its last receipt now, had it before.
      await each(
        trips.filter((trip, n) => known[n] && trip.stage === 'offered' && isUnderWay(trip)),
        async trip => {
          trip.before = 'piece'
          if (await this.#finish(trip)) trip.before = 'end'
        },
      )
    })
    await each(this.#next('offered'), trip => this.#lookForSubmit(trip))
    await batches(this.#next('submitted'), trips => this.#lookForAggregates(trips))
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
        // The service had a problem, not the offer.
        if ((out.error as Failure).name === 'HandlerExecutionError') trip.trouble = reasonOf(out.error)
        else this.#fail(trip, out.error)
        continue
      }
      const [fork] = fx.fork
      if (!fork || !fx.join) {
        this.#fail(trip, new Error('The receipt of filecoin/offer promises nothing'))
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

  async #lookForSubmit(trip: Trip): Promise<void> {
    const receipt = await this.#storefront.receipt(trip.submit!)
    if (receipt?.out.error) this.#fail(trip, receipt.out.error)
    else if (receipt) this.#move(trip, 'submitted')
  }

  async #lookForAggregates(trips: readonly Trip[]): Promise<void> {
    for (const [n, info] of (await this.#info(trips)).entries()) {
      const [aggregated] = info?.aggregates ?? []
      if (!aggregated) continue
      const trip = trips[n]!
      trip.aggregate = `${aggregated.aggregate}`
      this.#move(trip, 'aggregated')
    }
  }

  /** Looks for the receipt that ends the way, and verifies it. */
  async #finish(trip: Trip): Promise<boolean> {
    const receipt = await this.#storefront.receipt(trip.accept!)
    if (!receipt) return false
    const verified = await verifyAccept(receipt, {
      accept: trip.accept!,
      piece: trip.piece!,
      storefront: this.#storefront.did,
    })
    if (verified.error) {
      this.#fail(trip, verified.error)
      return true
    }
    const { aggregate, dealID } = verified.ok
    const { ok: deals, error } = await this.#dealsOf(aggregate)
    if (error) this.#fail(trip, error)
    else if (!deals[dealID])
      this.#fail(trip, new Error(`The deal tracker knows no deal ${dealID} of ${aggregate}`))
    else {
      Object.assign(trip, { aggregate: `${aggregate}`, dealID, took: performance.now() - trip.offeredAt! })
      this.#move(trip, 'accepted')
    }
    return true
  }

  #dealsOf(aggregate: PieceLink): Deals {
    const known = this.#deals.get(`${aggregate}`)
    if (known) return known
    const asking = this.#invoke(this.#dealTracker, [aggregate], piece =>
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
      return error ? { error: error as Failure } : { ok: (ok as DealInfoSuccess).deals }
    })
    this.#deals.set(`${aggregate}`, asking)
    asking.catch(() => this.#deals.delete(`${aggregate}`))
    return asking
  }

  async #info(trips: readonly Trip[]): Promise<(FilecoinInfoSuccess | undefined)[]> {
    const receipts = await this.#invoke(this.#storefront, trips, ({ piece }) =>
      filecoinInfo
        .invoke({
          issuer: this.#agent,
          audience: this.#storefront.principal,
          with: this.#agent.did(),
          nb: { piece: piece! },
        })
        .buildIPLDView(),
    )
    return receipts.map(({ out }) => out.ok as FilecoinInfoSuccess | undefined)
  }

  /** One message with an invocation for each subject. */
  async #invoke<T>(peer: Peer, subjects: readonly T[], task: (subject: T) => unknown): Promise<Receipt[]> {
    const answers = await peer.execute((await Promise.all(subjects.map(task))) as Task[])
    return answers.map(answer => {
      if (answer.error) throw new Error(reasonOf(answer.error))
      return answer.ok
    })
  }

  /** What can not be asked may be asked later: a service can be busy. The reason is kept in case it stays so. */
  async #try(trips: readonly Trip[], ask: () => Promise<unknown>): Promise<void> {
    try {
      await ask()
    } catch (cause) {
      this.#options.signal.throwIfAborted()
      for (const trip of trips) trip.trouble = reasonOf(cause)
    }
  }

  /** Those at these stages, each when it is its turn. */
  #next(...stages: Stage[]): Trip[] {
    this.#turn++
    const next = this.trips
      .filter(trip => isUnderWay(trip) && stages.includes(trip.stage))
      .sort((a, b) => a.turn - b.turn)
      .slice(0, ROUND)
    for (const trip of next) trip.turn = this.#turn
    return next
  }

  #move(trip: Trip, stage: Stage): void {
    if (!isUnderWay(trip)) return
    trip.stage = stage
    trip.trouble = undefined
    this.#tell(trip)
  }

  #fail(trip: Trip, cause: unknown): void {
    if (!isUnderWay(trip)) return
    trip.failure = reasonOf(cause)
    this.#tell(trip)
  }

  #tell(trip: Trip): void {
    this.#movedAt = performance.now()
    this.#options.onProgress(trip)
  }

  #giveUp(): void {
    const seconds = Math.round(this.#options.patience / 1000)
    for (const trip of this.trips.filter(isUnderWay)) {
      const trouble = trip.trouble === undefined ? '' : ` (${trip.trouble})`
      this.#fail(trip, new Error(`Nothing happened for ${seconds} s after it was ${trip.stage}${trouble}`))
    }
  }
}

const isUnderWay = ({ stage, failure }: Trip): boolean => stage !== 'accepted' && failure === undefined
