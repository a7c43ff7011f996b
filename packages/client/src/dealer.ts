import { CBOR } from '@ucanto/core'
import type { Block } from '@ucanto/interface'
import type { AggregateOfferSuccess } from '@w3filecoin/capabilities'
import type { AnyLink } from '@w3filecoin/piece'
import { CID } from 'multiformats/cid'
import { sha256 } from 'multiformats/hashes/sha2'
import { toError } from './error.ts'
import { type InvokeOptions, openService, type Receipt, Service, type ServiceOptions } from './service.ts'

/** The dealer: it has storage providers make deals for aggregates. */
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
}

/**
 * Connects to a dealer. The agent must be one of its aggregators, or pass a delegation in `proofs`.
 *
 * @param url the address of the dealer
 * @param options the aggregator's key in `signer`
 * @throws W3Error `Unreachable`, `InvalidAnswer`, `KeyUnavailable`
 */
export const dealer = async (url: string | URL, options?: ServiceOptions): Promise<Dealer> =>
  new Dealer(await openService(url, options))
