import { dealInfo, failure } from '@w3filecoin/capabilities'
import { toV1 } from '@w3filecoin/piece'
import { type Handler, provide } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import { type DealRecord, toDeals, toPieceKey } from '../domain/deal.ts'

/** The greatest number of deals that one query reads. */
const MAX_PAGE_DEALS = 1000

/** Handles `deal/info`: reports every known deal of a piece with its present status. */
export const dealInfoHandler = ({
  id,
  stores,
  clients,
  now,
}: Pick<Dependencies, 'id' | 'stores' | 'clients' | 'now'>): Handler => {
  const listDeals = async (piece: string): Promise<DealRecord[]> => {
    const deals: DealRecord[] = []
    let after: string | undefined
    do {
      const page = await stores.deal.list(piece, { limit: MAX_PAGE_DEALS, after })
      deals.push(...page.items)
      after = page.next
    } while (after !== undefined)
    return deals
  }

  return provide(dealInfo, async ({ capability }) => {
    // The server has verified the delegation of an issuer that invokes with our DID. Any other resource is the issuer's
    // own DID, or one that delegated to it, and must be in the configuration.
    if (capability.with !== id.did() && !(await clients.find(capability.with)))
      return {
        out: {
          error: failure(
            'UnknownClient',
            `${capability.with} is not a client of this deal tracker. Add it to clients in the tracker's configuration, or invoke with ${id.did()} and a delegation from it.`,
          ),
        },
      }
    const { piece } = capability.nb
    const chain = toV1(piece)
    if (chain.error) return { out: { error: chain.error } }
    const deals = await listDeals(toPieceKey(chain.ok))
    if (deals.length === 0)
      return { out: { error: failure('DealNotFound', `No deal of ${piece} is known`, { piece }) } }
    return { out: { ok: { deals: toDeals(deals, chain.ok, now()) } } }
  })
}
