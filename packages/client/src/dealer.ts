import { CBOR } from '@ucanto/core'
import type { Block } from '@ucanto/interface'
import {
  type AggregateListSuccess,
  type AggregateOfferSuccess,
  type DealReportSuccess,
  type Place,
  toPlaceKey,
} from '@w3filecoin/capabilities'
import type { AnyLink } from '@w3filecoin/piece'
import { CID } from 'multiformats/cid'
import { sha256 } from 'multiformats/hashes/sha2'
import type { Abilities, DealFault } from './abilities.ts'
import { toError } from './error.ts'
import { type InvokeOptions, openService, type Receipt, Service, type ServiceOptions } from './service.ts'

/** The dealer: it has storage providers store aggregates. */
export class Dealer extends Service {
  /**
   * Offers an aggregate. The receipt promises `aggregate/accept` as its join.
   *
   * @param aggregate its piece CID v2
   * @param pieces piece CIDs v2, in the order from which the aggregate was computed
   * @param options of the invocation
   * @throws W3Error `InvalidPiece` if the pieces do not form the aggregate; `UnknownAggregator`
   */
  async offer(
    aggregate: AnyLink,
    pieces: readonly AnyLink[],
    options: InvokeOptions = {},
  ): Promise<Receipt<AggregateOfferSuccess>> {
    const bytes = CBOR.encode(pieces)
    const cid = CID.createV1(CBOR.code, await sha256.digest(bytes))
    const receipt = await this.invoke(
      'aggregate/offer',
      { aggregate, pieces: cid },
      { ...options, attach: [{ cid, bytes } as unknown as Block, ...(options.attach ?? [])] },
    )
    if (receipt.out.error) throw toError(receipt.out.error)
    return receipt
  }

  /**
   * Returns a page of the offers that are not stored yet, the oldest first, to a broker. The last page has no `next`. To find later offers,
   * list from the beginning again.
   *
   * @param page which page, and a signal that ends the call
   * @param page.after `next` of the page before it. Default: the first page
   * @param page.limit at most this many offers, from 1 to 100. Default: 100
   * @throws W3Error `UnknownBroker` if the dealer does not list the agent
   * @example const { aggregates, next } = await dealer.list()
   */
  async list({
    signal,
    ...page
  }: {
    after?: string | undefined
    limit?: number | undefined
    signal?: AbortSignal | undefined
  } = {}): Promise<AggregateListSuccess> {
    return this.#ask('aggregate/list', page, signal)
  }

  /**
   * Reports a place of an offered aggregate. The offer is accepted only when the deal tracker sees the place itself. A report may be
   * repeated.
   *
   * @param offer name of the offer: `offer` in the list
   * @param place the place, or its key, e.g. `81234567` of a deal
   * @param options a signal that ends the call
   * @returns the stage of the offer, and the status of the place, if the deal tracker knows it
   * @throws W3Error `UnknownOffer`, `DealNotWatched`, `TooManyReports`
   * @example const { status } = await dealer.reportPlace(offer, { type: 'market', dealID: 81234567 })
   */
  async reportPlace(
    offer: string,
    place: Place | string,
    { signal }: { signal?: AbortSignal | undefined } = {},
  ): Promise<DealReportSuccess> {
    const key = typeof place === 'string' ? place : toPlaceKey(place)
    return this.#ask('deal/report', { offer, place: key }, signal)
  }

  /**
   * Reports that an offer is not stored. The dealer then has its pieces retried in another aggregate, except for the invalid ones. A
   * report may be repeated.
   *
   * @param offer name of the offer: `offer` in the list
   * @param fault the reason for people, and the invalid pieces with a reason for each
   * @param options a signal that ends the call
   * @returns the stage of the offer at the time of the report
   * @throws W3Error `UnknownOffer`, `UnknownPiece`
   * @example await dealer.reportFault(offer, { message: 'No provider accepted it' })
   */
  async reportFault(
    offer: string,
    fault: DealFault,
    { signal }: { signal?: AbortSignal | undefined } = {},
  ): Promise<DealReportSuccess> {
    return this.#ask('deal/report', { offer, fault }, signal)
  }

  async #ask<A extends 'aggregate/list' | 'deal/report'>(
    can: A,
    nb: Abilities[A]['nb'],
    signal: AbortSignal | undefined,
  ): Promise<Abilities[A]['ok']> {
    const { out } = await this.invoke(can, nb, { signal })
    if (out.error) throw toError(out.error)
    return out.ok
  }
}

/**
 * Connects to a dealer. The agent must be one of its aggregators or brokers, or pass a delegation in `proofs`.
 *
 * @param url the address of the dealer
 * @param options the key of the aggregator or broker in `signer`
 * @throws W3Error `Unreachable`, `InvalidAnswer`, `KeyUnavailable`
 */
export const dealer = async (url: string | URL, options?: ServiceOptions): Promise<Dealer> =>
  new Dealer(await openService(url, options))
