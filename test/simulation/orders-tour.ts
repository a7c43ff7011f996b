import { signPermit } from '@w3filecoin/runtime'
import { Choices, type DeterministicWorld } from '@w3filecoin/testing/deterministic'
import { plannedCourse } from './crash-points.ts'
import type { Providers } from './providers.ts'
import type { Simulated, System } from './services.ts'
import { type Report, simulate } from './simulate.ts'

const SEED = 1
const HOUR = 3_600_000

/**
 * A tour on which the dealer orders copies: of offers that waited before there was a target, and of later ones. A target refuses once
 * for a reason that is its own, the door serves wrong bytes of one piece, providers lose all copies of an aggregate, and messages are lost.
 */
export const ordersTour = async (): Promise<Report> => {
  const planned = plannedCourse()
  const { report } = await simulate(SEED, new Choices(SEED), {
    ...planned,
    sealing: [2 * HOUR, 5 * HOUR],
    healsAt: 400 * HOUR,
    market: { ...planned.market, silence: 1, decision: [200 * HOUR, 200 * HOUR] },
    visit: (world, system, providers) => scheduleVisits(world, system, providers as Providers),
  })
  return report
}

const scheduleVisits = (world: DeterministicWorld, system: System, providers: Providers): void => {
  const start = world.now()
  const dealer = system.services.get('dealer') as Simulated
  const at = (hours: number, visit: () => unknown) =>
    world.timeline.at(start + hours * HOUR, () => void visit())
  const targets = [...providers.targets]
  providers.isDoorOpen = false
  providers.refusesNext = true
  at(1, () => {
    providers.isDoorOpen = true
  })
  // The dealer has no targets for some hours.
  at(7.5, () => providers.targets.splice(0))
  at(14, () => providers.targets.push(...targets))
  at(20, () => fetchWhole(dealer, system))
  at(100, () => {
    const [first] = providers.copies
    for (const copy of providers.copies.filter(({ piece }) => `${piece}` === `${first!.piece}`))
      providers.end(copy)
  })
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
