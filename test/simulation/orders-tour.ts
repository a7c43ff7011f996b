import { signPermit } from '@w3filecoin/runtime'
import { Choices, type DeterministicWorld } from '@w3filecoin/testing/deterministic'
import { plannedOrders } from './crash-points.ts'
import type { Simulated, System } from './services.ts'
import { type Report, simulate } from './simulate.ts'

const SEED = 1
const HOUR = 3_600_000

/**
 * A tour on which the functions of the dealer do everything with orders that they may do: the planned journey of orders, on which
 * deal making also fails aggregates, the door of storefronts is closed, a whole is fetched with a permit, and messages are lost.
 */
export const ordersTour = async (): Promise<Report> => {
  const planned = plannedOrders()
  const { report } = await simulate(SEED, new Choices(SEED), {
    ...planned,
    healsAt: 400 * HOUR,
    losses: [HOUR, 30 * HOUR],
    ordering: { ...planned.ordering!, closed: [{ from: 0, to: HOUR }] },
    visit: scheduleVisits,
  })
  return report
}

const scheduleVisits = (world: DeterministicWorld, system: System): void => {
  const dealer = system.services.get('dealer') as Simulated
  world.timeline.after(20 * HOUR, () => void fetchWhole(dealer, system))
}

/** A provider fetches a whole aggregate. */
const fetchWhole = async ({ id, url, tables }: Simulated, { fetch }: System): Promise<void> => {
  for (const { id: aggregate } of tables.whole!.items.values()) {
    const permit = await signPermit(id, {
      storefront: id.did(),
      aggregate: `${aggregate}`,
      expires: 2 ** 33,
    })
    await fetch(`${url}/${permit}/piece/${aggregate}`, { redirect: 'manual' })
  }
}
