import type { Dependencies } from '../dependencies.ts'
import type { AggregateRecord } from '../domain/aggregate.ts'
import { planOrders } from '../domain/plan-orders.ts'
import { policyFor, targetsOf } from '../domain/policy.ts'

/**
 * Plans the first orders of an offer, and has them carried out. Without a target for it, nothing is planned: then deal making finds
 * the offer document. A repeated call plans the same orders. Returns whether it planned any: no target may store so large an aggregate.
 */
export const startOrders = async (
  {
    stores,
    queues,
    policies,
    targets,
    now,
    log,
  }: Pick<Dependencies, 'stores' | 'queues' | 'policies' | 'targets' | 'now' | 'log'>,
  record: AggregateRecord,
): Promise<boolean> => {
  const policy = policyFor(policies, record)
  if (targetsOf(policy, targets).length === 0) return false
  const plans = planOrders(record, [], policy, { targets, isPaused: () => false }, now())
  for (const { order, stuck } of plans) {
    if (order) await stores.order.insert(order)
    else log('warn', 'copy not ordered', { aggregate: record.aggregate, reason: stuck.reason })
  }
  const isPlanned = plans.some(({ order }) => order)
  if (isPlanned) await queues.order.send([{ offer: record.id }])
  return isPlanned
}
