import { Storefront } from '@storacha/filecoin-client'
import { connect } from '@ucanto/client'
import type { IssuedInvocationView, Receipt, Signer } from '@ucanto/interface'
import { ed25519 } from '@ucanto/principal'
import { CAR, HTTP } from '@ucanto/transport'
import {
  type DealInfoSuccess,
  dealInfo,
  type Failure,
  type FilecoinInfoSuccess,
  filecoinInfo,
  placeIn,
  toPlaceKey,
} from '@w3filecoin/capabilities'
import { Proof, type Report, verify } from '@w3filecoin/client'
import { type Places, readIdentities, readPlaces } from '@w3filecoin/local/identity'
import { parsePiece } from '@w3filecoin/piece'
import { Authority, Peer, parseSigner } from '@w3filecoin/runtime'
import type { Content } from '@w3filecoin/testing'
import { Receipts } from './receipts.ts'

/** Offered content, and how its offer must end. */
export interface Offer extends Content {
  /** `wrong`: the piece is not the piece of the content. `faulty`: storage providers reject the piece. */
  kind: 'good' | 'wrong' | 'faulty'
  /** The CID of the promised `filecoin/accept` task, e.g. `bafyrei…`; set when the offer is acknowledged. */
  accept?: string
  /** Why the last attempt was not acknowledged. */
  lastError?: string
  /** The receipt of that task, as it was first served. */
  receipt?: Receipt | undefined
}

/** Offers content to a system that may be killed at any time, and keeps all answers outside that system. */
export class Agent {
  readonly offers: Offer[] = []
  readonly #data: string
  readonly #receipts = new Receipts()

  constructor({ data }: { data: string }) {
    this.#data = data
  }

  get acknowledged(): Offer[] {
    return this.offers.filter(({ accept }) => accept !== undefined)
  }

  get ended(): Offer[] {
    return this.offers.filter(({ receipt }) => receipt !== undefined)
  }

  get accepted(): Offer[] {
    return this.offers.filter(({ receipt }) => receipt?.out.ok)
  }

  /** The number of receipts that were served. */
  get served(): number {
    return this.#receipts.served
  }

  /** Offers again all content that is not acknowledged, and asks for the missing receipts. */
  async act(): Promise<void> {
    await Promise.all(
      this.offers
        .filter(({ accept }) => accept === undefined)
        .map(async offer => {
          try {
            offer.accept = await this.#offer(offer)
          } catch (cause) {
            offer.lastError = `${cause}`
          }
        }),
    )
    // A service that does not answer is asked again in the next call.
    await this.#receipts.fetchMissing(this.#urls()).catch(() => {})
    for (const offer of this.acknowledged) offer.receipt ??= this.#receipts.get(offer.accept!)
  }

  /** Stores the content, offers it with the published client, and returns the CID of the promised `filecoin/accept`. */
  async #offer({ bytes, content, piece }: Offer): Promise<string> {
    const stored = await fetch(this.#places().content.url.replace('{cid}', `${content}`), {
      method: 'PUT',
      body: bytes as never,
    })
    if (!stored.ok) throw new Error(`Storing the content failed with status ${stored.status}`)
    const { url, did } = this.#address('storefront')
    const issuer = this.#signer()
    const audience = ed25519.Verifier.parse(did)
    const receipt = await Storefront.filecoinOffer(
      { issuer, with: issuer.did(), audience },
      content as never,
      piece as never,
      {
        connection: connect({
          id: audience,
          codec: CAR.outbound,
          channel: HTTP.open<Record<string, never>>({ url: new URL(url) }),
        }) as never,
      },
    )
    if (receipt.out.error) throw new Error(`The offer was refused: ${receipt.out.error.message}`)
    this.#receipts.follow(receipt as never)
    return `${receipt.fx.join!.link()}`
  }

  /** Returns a sentence for every broken promise. */
  async findLosses(): Promise<string[]> {
    const losses = await this.#receipts.findChanges(this.#urls())
    for (const offer of this.offers) {
      const wrong = await this.#findLoss(offer)
      if (wrong) losses.push(`The ${offer.kind} piece ${offer.piece} of ${offer.content}: ${wrong}`)
    }
    return losses
  }

  async #findLoss({ kind, piece, accept, lastError, receipt }: Offer): Promise<string | undefined> {
    if (accept === undefined) return `it was never acknowledged: ${lastError}`
    if (receipt === undefined) return `${accept} has no receipt`
    const { did: storefront } = this.#address('storefront')
    const error = receipt.out.error as Failure | undefined
    const live = await this.#findLiveAggregates(piece)
    if (kind !== 'good') {
      if (!error) return 'it was accepted'
      if (error.name !== 'InvalidContentPiece') return `it ended with ${error.name}: ${error.message}`
      return live.length === 0 ? undefined : `it is in the live aggregate ${live}`
    }
    if (error) return `it ended with ${error.name}: ${error.message}`
    let report: Report
    try {
      report = await verify(await Proof.fromReceipt(receipt as never), { storefront })
    } catch (cause) {
      return `its receipt proves nothing: ${(cause as Error).message}`
    }
    if (report.task !== accept || report.piece !== `${piece}`)
      return `its receipt is for the piece ${report.piece} and the task ${report.task}`
    if (live.length !== 1 || live[0] !== report.aggregate)
      return `its receipt names ${report.aggregate}, and it is in the live aggregates ${live.join(', ') || '(none)'}`
    return (await this.#isDeal(report))
      ? undefined
      : `the deal tracker does not know ${report.place} of ${report.aggregate}`
  }

  /** Returns the aggregates with a live deal that contain the piece. */
  async #findLiveAggregates(piece: Offer['piece']): Promise<string[]> {
    const { deals } = await this.#ask<FilecoinInfoSuccess>('storefront', ({ principal }) => {
      const issuer = this.#signer()
      return filecoinInfo.invoke({ issuer, audience: principal, with: issuer.did(), nb: { piece } })
    })
    return [...new Set(deals.map(({ aggregate }) => `${aggregate}`))]
  }

  async #isDeal({ aggregate, deal }: Report): Promise<boolean> {
    const { deals } = await this.#ask<DealInfoSuccess>('dealTracker', ({ principal }) => {
      const issuer = this.#signer()
      return dealInfo.invoke({
        issuer,
        audience: principal,
        with: issuer.did(),
        nb: { piece: parsePiece(aggregate).ok!.link },
      })
    })
    return deals[toPlaceKey(placeIn(deal)!)] !== undefined
  }

  async #ask<T>(role: string, invoke: (peer: Peer) => IssuedInvocationView): Promise<T> {
    const peer = new Peer(this.#address(role), { authority: new Authority(), fetch })
    const [answer] = await peer.execute([(await invoke(peer).delegate()) as never])
    const out = answer?.error ? answer : answer!.ok.out
    if (out.error) throw new Error(`The ${role} answers ${(out.error as Error).message}`)
    return out.ok as T
  }

  /** Returns the agent's signer. Its key is in the data directory. */
  #signer(): Signer {
    return parseSigner(readIdentities(this.#data).agent!.key)
  }

  #places(): Places {
    const places = readPlaces(this.#data)
    if (places === undefined) throw new Error(`No system was started on ${this.#data}`)
    return places
  }

  #address(role: string): Places['services'][string] {
    return this.#places().services[role]!
  }

  /** Returns the current URLs of the services by DID. */
  #urls(): ReadonlyMap<string, string> {
    const roles = ['storefront', 'aggregator', 'dealer', 'dealTracker']
    return new Map(roles.map(role => this.#address(role)).map(({ did, url }) => [did, url]))
  }
}
