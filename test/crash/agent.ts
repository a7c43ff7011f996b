import { Storefront } from '@storacha/filecoin-client'
import { connect } from '@ucanto/client'
import type { IssuedInvocationView, Receipt, Signer } from '@ucanto/interface'
import { ed25519 } from '@ucanto/principal'
import { CAR, HTTP } from '@ucanto/transport'
import {
  type DealInfoSuccess,
  dealInfo,
  type FilecoinInfoSuccess,
  filecoinInfo,
} from '@w3filecoin/capabilities'
import { type Accepted, verifyAccept } from '@w3filecoin/cli/verify'
import { type Address, readIdentities, readPlaces } from '@w3filecoin/local/identity'
import { Authority, Peer, parseSigner } from '@w3filecoin/service'
import type { Content } from '@w3filecoin/testing'
import { Receipts } from './receipts.ts'

/** What is offered, and how that must end. */
export interface Offer extends Content {
  /** `wrong`: the piece is not that of the content. `faulty`: storage providers find fault with it. */
  kind: 'good' | 'wrong' | 'faulty'
  /** The promise: CID of the `filecoin/accept` task, once the offer was acknowledged. */
  accept?: string
  /** Why it was not acknowledged, the last time. */
  trouble?: string
  /** The receipt of that task, as it was served first. */
  receipt?: Receipt | undefined
}

/** Offers content to a system that may be gone any moment, and keeps what it is told where no crash reaches. */
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

  /** How many receipts were served. */
  get served(): number {
    return this.#receipts.served
  }

  /** Offers what was not acknowledged yet, as often as it takes, and asks for receipts. */
  async turn(): Promise<void> {
    await Promise.all(
      this.offers
        .filter(({ accept }) => accept === undefined)
        .map(async offer => {
          try {
            offer.accept = await this.#offer(offer)
          } catch (cause) {
            offer.trouble = `${cause}`
          }
        }),
    )
    // Whoever does not answer now is asked again.
    await this.#receipts.look(this.#urls()).catch(() => {})
    for (const offer of this.acknowledged) offer.receipt ??= this.#receipts.get(offer.accept!)
  }

  /** Stores the content, and offers it as the published client does. */
  async #offer({ bytes, content, piece }: Offer): Promise<string> {
    const stored = await fetch(readPlaces(this.#data)!.content!.url.replace('{cid}', `${content}`), {
      method: 'PUT',
      body: bytes as never,
    })
    if (!stored.ok) throw new Error(`The content is answered with ${stored.status}`)
    const { url, did } = this.#identity('storefront')
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
    if (receipt.out.error) throw new Error(`The offer is refused: ${receipt.out.error.message}`)
    this.#receipts.follow(receipt as never)
    return `${receipt.fx.join!.link()}`
  }

  /** What is not as it was promised, in sentences. */
  async losses(): Promise<string[]> {
    const losses = await this.#receipts.changed(this.#urls())
    for (const offer of this.offers) {
      const wrong = await this.#judge(offer)
      if (wrong) losses.push(`The ${offer.kind} piece ${offer.piece} of ${offer.content}: ${wrong}`)
    }
    return losses
  }

  async #judge({ kind, piece, accept, trouble, receipt }: Offer): Promise<string | undefined> {
    if (accept === undefined) return `it was never acknowledged: ${trouble}`
    if (receipt === undefined) return `there is no receipt of ${accept}`
    const { did: storefront } = this.#identity('storefront')
    const { ok, error } = await verifyAccept(receipt, { accept, piece, storefront })
    const live = await this.#liveAggregates(piece)
    if (kind !== 'good') {
      if (ok) return `it is in deal ${ok.dealID}`
      if (error.name !== 'InvalidContentPiece') return `it ended with ${error.name}: ${error.message}`
      return live.length === 0 ? undefined : `it is in the live aggregate ${live}`
    }
    if (error) return `it ended with ${error.name}: ${error.message}`
    if (live.length !== 1 || live[0] !== `${ok.aggregate}`)
      return `its receipt names ${ok.aggregate}, and it is in the live aggregates ${live.join(', ') || '(none)'}`
    return (await this.#isDeal(ok))
      ? undefined
      : `the deal tracker knows no deal ${ok.dealID} of ${ok.aggregate}`
  }

  /** The aggregates with a live deal that a piece is in. */
  async #liveAggregates(piece: Offer['piece']): Promise<string[]> {
    const { deals } = await this.#ask<FilecoinInfoSuccess>('storefront', ({ principal }) => {
      const issuer = this.#signer()
      return filecoinInfo.invoke({ issuer, audience: principal, with: issuer.did(), nb: { piece } })
    })
    return [...new Set(deals.map(({ aggregate }) => `${aggregate}`))]
  }

  async #isDeal({ aggregate, dealID }: Accepted): Promise<boolean> {
    const { deals } = await this.#ask<DealInfoSuccess>('dealTracker', ({ principal }) => {
      const issuer = this.#signer()
      return dealInfo.invoke({ issuer, audience: principal, with: issuer.did(), nb: { piece: aggregate } })
    })
    return deals[dealID] !== undefined
  }

  async #ask<T>(role: string, invoke: (peer: Peer) => IssuedInvocationView): Promise<T> {
    const peer = new Peer(this.#identity(role), { authority: new Authority([]), fetch })
    const [answer] = await peer.execute([(await invoke(peer).delegate()) as never])
    const out = answer?.error ? answer : answer!.ok.out
    if (out.error) throw new Error(`The ${role} answers ${(out.error as Error).message}`)
    return out.ok as T
  }

  /** Who acts for the agent is in the data directory, as are the addresses of the system that runs. */
  #signer(): Signer {
    return parseSigner(this.#identity('agent').key)
  }

  #identity(role: string): Address {
    return readIdentities(this.#data)[role] as Address
  }

  /** Where the services are now, by DID. */
  #urls(): ReadonlyMap<string, string> {
    const roles = ['storefront', 'aggregator', 'dealer', 'dealTracker']
    return new Map(roles.map(role => this.#identity(role)).map(({ did, url }) => [did, url]))
  }
}
