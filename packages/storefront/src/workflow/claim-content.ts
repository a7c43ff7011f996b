import { type Stored, update } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import { type PieceRecord, renewClaim } from '../domain/piece.ts'
import {
  contentLeaseId,
  crowdedId,
  isFree,
  newLease,
  type ReadingRecord,
  SHARED_OWNER,
  slotIds,
} from '../domain/reading.ts'

/** The claim of one run on the content of a piece. It ends by itself after `retryMs` without a renewal. */
export interface Claim {
  /** Takes or renews the claim. Returns false, and holds nothing, if no turn is free. */
  hold(): Promise<boolean>
  release(): Promise<void>
}

/**
 * Returns a claim on the content of a piece that is not held yet: a slot of the owner, and the right to read that content. There
 * is no turn if all slots of the owner are taken, or if another run holds the content. Two runs that read the same content in spite
 * of that, e.g. because one of them was stalled, cause no error: a claim saves work, and decides nothing.
 *
 * An owner without a free slot is marked as crowded until one is released: see {@link isCrowded}.
 */
export const claimOf = (
  { stores, timing, now }: Pick<Dependencies, 'stores' | 'timing' | 'now'>,
  record: Stored<PieceRecord>,
): Claim => {
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

  let held: readonly Stored<ReadingRecord>[] | undefined
  const takeAll = async (): Promise<boolean> => {
    const owner = await ownerOf(stores, record)
    const slot = await take(slotIds(owner))
    if (slot === undefined) {
      await stores.reading.putMany([newLease(crowdedId(owner), record, now(), timing)])
      return false
    }
    const right = await take([contentLeaseId(record)])
    if (right === undefined) {
      await release([slot])
      return false
    }
    held = [slot, right]
    await postponeCheck()
    return true
  }
  const renew = async (leases: readonly Stored<ReadingRecord>[]): Promise<void> => {
    await postponeCheck()
    const renewed: Stored<ReadingRecord>[] = []
    for (const lease of leases) {
      const { ok } = await stores.reading.replace({
        ...newLease(lease.id, record, now(), timing),
        revision: lease.revision,
      })
      if (ok) renewed.push(ok)
    }
    held = renewed
  }
  return {
    hold: async () => {
      if (held === undefined) return takeAll()
      await renew(held)
      return true
    },
    release: async () => {
      if (held === undefined) return
      await release(held)
      await stores.reading.removeMany([{ id: crowdedId(await ownerOf(stores, record)) }])
    },
  }
}

/** Whether all slots of the owner of a piece were taken when a run last needed one. */
export const isCrowded = async (
  { stores, timing, now }: Pick<Dependencies, 'stores' | 'timing' | 'now'>,
  record: PieceRecord,
): Promise<boolean> => {
  const id = crowdedId(await ownerOf(stores, record))
  return !isFree(await stores.reading.get({ id }), now(), timing)
}

/** Returns the owner that the content counts for. */
const ownerOf = async (
  { space: table }: Pick<Dependencies['stores'], 'space'>,
  { space }: PieceRecord,
): Promise<string> =>
  space !== undefined && (await table.get({ space })) !== undefined ? space : SHARED_OWNER
