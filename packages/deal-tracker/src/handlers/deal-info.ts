import { dealInfo, failure, type PieceLink } from '@w3filecoin/capabilities'
import { toV1 } from '@w3filecoin/piece'
import { type Handler, provide } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import { type DealRecord, pieceKey, toDeals } from '../domain/deal.ts'

/** Deals that are read at once. */
const PAGE = 1000

/** `deal/info`: every deal that is known of a piece, as it is now. */
export const dealInfoHandler = ({
  id,
  stores,
  clients,
  now,
}: Pick<Dependencies, 'id' | 'stores' | 'clients' | 'now'>): Handler => {
  const dealsOf = async (piece: string): Promise<DealRecord[]> => {
    const deals: DealRecord[] = []
    let after: string | undefined
    do {
      const page = await stores.deal.list(piece, { limit: PAGE, after })
      deals.push(...page.items)
      after = page.next
    } while (after !== undefined)
    return deals
  }

  return provide(dealInfo, async ({ capability }) => {
    // With our own DID the one who asks holds a delegation, which has been checked; with another it must be listed.
    if (capability.with !== id.did() && !(await clients.find(capability.with)))
      return {
        out: { error: failure('UnknownClient', `${capability.with} is no client of this deal tracker`) },
      }
    const piece = capability.nb.piece as PieceLink
    const chain = toV1(piece)
    if (chain.error) return { out: { error: chain.error } }
    const deals = await dealsOf(pieceKey(chain.ok))
    if (deals.length === 0)
      return { out: { error: failure('DealNotFound', `No deal is known of ${piece}`, { piece }) } }
    return { out: { ok: { deals: toDeals(deals, chain.ok, now()) } } }
  })
}
