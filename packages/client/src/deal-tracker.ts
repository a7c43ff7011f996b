import type { DealInfoSuccess, DealNotFound, DealWatchSuccess } from '@w3filecoin/capabilities'
import type { AnyLink } from '@w3filecoin/piece'
import { toError } from './error.ts'
import { openService, Service, type ServiceOptions } from './service.ts'

/** The deal tracker: it knows which deals are on chain. */
export class DealTracker extends Service {
  /**
   * Returns the deals of an aggregate, and how recent this knowledge is.
   *
   * @param aggregate its piece CID v2
   * @param options a signal that ends the call
   * @throws W3Error `DealNotFound` if neither a deal nor a place is known
   */
  async info(
    aggregate: AnyLink,
    options: { signal?: AbortSignal | undefined } = {},
  ): Promise<DealInfoSuccess> {
    const { ok, error } = await this.#ask(aggregate, options)
    if (error) throw toError(error)
    return ok
  }

  /**
   * Returns the known deals of an aggregate by their ids, and its other places, of which there may be none.
   *
   * @param aggregate its piece CID v2
   * @param options a signal that ends the call
   * @throws W3Error `UnknownClient` if the deal tracker does not list the agent
   * @example Object.values((await tracker.find(proof.aggregate)).deals).map(({ status }) => status) // ['Active']
   */
  async find(
    aggregate: AnyLink,
    options: { signal?: AbortSignal | undefined } = {},
  ): Promise<Pick<DealInfoSuccess, 'deals' | 'places' | 'asOf'>> {
    const { ok, error } = await this.#ask(aggregate, options)
    if (error?.name === 'DealNotFound')
      return { deals: {}, places: [], asOf: (error as DealNotFound).asOf ?? [] }
    if (error) throw toError(error)
    return { deals: ok.deals, places: ok.places ?? [], asOf: ok.asOf ?? [] }
  }

  /**
   * Reports a deal of the built-in market by its id, so that sources which know deals only by their ids search it for two weeks. A
   * report may be repeated.
   *
   * @param dealID the id of the deal
   * @param options the source, and a signal that ends the call
   * @param options.source name of the source. Default: every source that searches reported deals
   * @returns the names of the sources that search the deal
   * @throws W3Error `NoSource` if no source searches reported deals; `TooManyDeals` if a source searches too many already
   */
  async watch(
    dealID: number,
    { source, signal }: { source?: string | undefined; signal?: AbortSignal | undefined } = {},
  ): Promise<DealWatchSuccess> {
    const { out } = await this.invoke('deal/watch', { dealID, source }, { signal })
    if (out.error) throw toError(out.error)
    return out.ok
  }

  async #ask(piece: AnyLink, { signal }: { signal?: AbortSignal | undefined }) {
    const { out } = await this.invoke('deal/info', { piece }, { signal })
    return out
  }
}

/**
 * Connects to a deal tracker. The agent must be one of its clients, or pass its delegation in `proofs` and its DID in `with`.
 *
 * @param url the address of the deal tracker
 * @param options the agent's key in `signer`
 * @throws W3Error `Unreachable`, `InvalidAnswer`, `KeyUnavailable`
 */
export const dealTracker = async (url: string | URL, options?: ServiceOptions): Promise<DealTracker> =>
  new DealTracker(await openService(url, options))
