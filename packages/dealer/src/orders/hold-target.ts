import type { Failure } from '@w3filecoin/capabilities'
import type { Dependencies } from '../dependencies.ts'
import { HOLD_MS, type TargetRecord } from '../domain/policy.ts'

/** Gives a target no orders for a day after it refused one for a reason that is its own. A pause by an operator stays. */
export const holdTarget = async (
  { stores, now }: Pick<Dependencies, 'stores' | 'now'>,
  name: string,
  { name: problem, message }: Failure,
): Promise<void> => {
  const reason = `${problem}: ${message}`.slice(0, 500)
  const row: TargetRecord = { name, reason, until: now() + HOLD_MS }
  const { error } = await stores.target.insert(row)
  // After a conflict, another order has held it, or an operator has paused it.
  if (error && error.record.until !== undefined)
    await stores.target.replace({ ...row, revision: error.record.revision })
}
