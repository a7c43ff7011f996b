import { type Authority, parsePieceLink } from '@w3filecoin/capabilities'
import { getValue, packTask, type Stored } from '@w3filecoin/runtime'
import { parse as parseLink } from 'multiformats/link'
import type { Dependencies } from '../dependencies.ts'
import { dealerWords } from '../dialects/dealer-words.ts'
import { type AggregateRecord, belongsToSeal, newAggregate, sealNonce } from '../domain/aggregate.ts'
import type { GroupRecord, Seal } from '../domain/group.ts'

/**
 * Carries out a seal that was added to its group: inserts the aggregate's record, and sends the messages that offer the
 * aggregate to the dealer and include its pieces, range by range. It may run twice. Returns the aggregate's record.
 */
export const completeSeal = async (
  dependencies: Pick<Dependencies, 'id' | 'stores' | 'queues' | 'dealer' | 'delegationOf' | 'timing' | 'now'>,
  group: GroupRecord,
  seal: Seal,
): Promise<AggregateRecord> => {
  const { queues } = dependencies
  const { record, isNew } = await recordSeal(dependencies, group, seal)
  if (isNew) {
    await queues.deal.send([{ aggregate: record.id }])
    await queues.include.send(record.rangesToInclude.map(range => ({ aggregate: record.id, range })))
  }
  return record
}

/**
 * The same pieces in the same size make the same aggregate, so a second seal of them gets a nonce. The record keeps the
 * promised offer with the delegation of its storefront: it is sent as it was promised, even if the storefront was removed meanwhile.
 */
const recordSeal = async (
  {
    id,
    stores,
    dealer,
    delegationOf,
    timing,
    now,
  }: Pick<Dependencies, 'id' | 'stores' | 'dealer' | 'delegationOf' | 'timing' | 'now'>,
  group: GroupRecord,
  seal: Seal,
): Promise<{ record: Stored<AggregateRecord>; isNew: boolean }> => {
  const delegation = await delegationOf(group.storefront)
  const authority: Authority | undefined = delegation && { with: group.storefront, proofs: [delegation] }
  const ranges = await getValue<string[]>(stores.blocks, seal.ranges)
  for (const nonce of [undefined, sealNonce(group, seal)]) {
    const offer = await dealerWords(id, dealer).offer(
      {
        aggregate: parsePieceLink(seal.aggregate),
        pieces: parseLink(seal.pieces),
        nonce,
        tenant: {
          storefront: group.storefront,
          group: group.group,
          label: `${group.group} #${seal.sequence}`,
        },
      },
      authority,
    )
    const inserted = await stores.aggregate.insert(
      newAggregate(
        group,
        seal,
        { nonce, offerTask: await packTask(offer), ranges: ranges.length },
        now(),
        timing,
      ),
    )
    if (inserted.ok) return { record: inserted.ok, isNew: true }
    if (belongsToSeal(inserted.error.record, group, seal))
      return { record: inserted.error.record, isNew: false }
  }
  throw new Error(`Other seals hold both record ids of seal ${seal.sequence} of group ${group.id}`)
}
