import { type Stored, update } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import { type PieceRecord, renewClaim } from '../domain/piece.ts'
import {
  contentLeaseId,
  isFree,
  newLease,
  type ReadingRecord,
  SHARED_OWNER,
  slotIds,
} from '../domain/reading.ts'

/** The claim of one run on the content of a piece. It ends by itself after `retryMs` without a renewal. */
export interface Claim {
  renew(): Promise<void>
  release(): Promise<void>
}

/**
 * Claims the content of a piece for this run: a slot of the owner, and the right to read that content. `undefined` if all
 * slots of the owner are taken, or if a run reads the content already. Two runs that read the same content in spite of that,
 * e.g. because one of them was stalled, cause no error: a claim saves work, and decides nothing.
 */
export const claimContent = async (
  { stores, timing, now }: Pick<Dependencies, 'stores' | 'timing' | 'now'>,
  record: Stored<PieceRecord>,
): Promise<Claim | undefined> => {
  /** Takes the first free one of some rights. */
  const take = async (ids: readonly string[]): Promise<Stored<ReadingRecord> | undefined> => {
    const leases = await stores.reading.getMany(ids.map(id => ({ id })))
    for (const [n, id] of ids.entries()) {
      const lease = leases[n]
      if (!isFree(lease, now(), timing)) continue
      const next = newLease(id, record, now(), timing)
      const taken = lease
        ? await stores.reading.replace({ ...next, revision: lease.revision })
        : await stores.reading.insert(next)
      if (taken.ok) return taken.ok
    }
    return undefined
  }
  const release = (leases: readonly ReadingRecord[]) =>
    // Another run may have taken a right that has ended.
    stores.reading.removeMany(leases.filter(({ until }) => now() < until).map(({ id }) => ({ id })))
  const postponeCheck = () =>
    update(stores.piece, { id: record.id }, current => renewClaim(current, now(), timing))

  const slot = await take(slotIds(await ownerOf(stores, record)))
  if (slot === undefined) return undefined
  const right = await take([contentLeaseId(record)])
  if (right === undefined) {
    await release([slot])
    return undefined
  }
  await postponeCheck()
  let held = [slot, right]
  return {
    renew: async () => {
      await postponeCheck()
      const renewed: Stored<ReadingRecord>[] = []
      for (const lease of held) {
        const { ok } = await stores.reading.replace({
          ...newLease(lease.id, record, now(), timing),
          revision: lease.revision,
        })
        if (ok) renewed.push(ok)
      }
      held = renewed
    },
    release: () => release(held),
  }
}

/** Returns the owner that the content counts for. */
const ownerOf = async (
  { space: table }: Pick<Dependencies['stores'], 'space'>,
  { space }: PieceRecord,
): Promise<string> =>
  space !== undefined && (await table.get({ space })) !== undefined ? space : SHARED_OWNER
