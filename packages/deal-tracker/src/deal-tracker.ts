import { createHttpApp, runChecks, Server, type Service } from '@w3filecoin/runtime'
import { runOf } from './checks.ts'
import { onUpdate } from './consumers/update.ts'
import type { Dependencies } from './dependencies.ts'
import { questionsIn } from './dialects/questions.ts'
import { dealInfoHandler } from './handlers/deal-info.ts'
import { dealWatchHandler } from './handlers/deal-watch.ts'
import type { messages } from './queues.ts'
import { resources } from './resources.ts'
import { syncSources } from './sync.ts'

/** Creates the deal tracker. It reads the deals on chain from its sources, and answers `deal/info` with them. */
export const createDealTracker = (dependencies: Dependencies): Service<typeof resources, typeof messages> => {
  const { id, authority, sources, dialects, log } = dependencies
  if (sources.length === 0)
    log('warn', 'no source of deals: no deal is ever known, and no aggregate fails for want of one', {
      setting: 'sources',
    })
  const { receipts } = dependencies.stores
  const handlers = [
    ...[undefined, ...questionsIn(dialects)].map(question => dealInfoHandler(dependencies, question)),
    dealWatchHandler(dependencies),
  ]
  const server = new Server({ id, authority, handlers, receipts, log })
  return {
    api: createHttpApp({ server, receipts, name: 'deal-tracker', log }),
    consumers: { update: onUpdate(dependencies) },
    schedules: {
      sync: syncSources(dependencies),
      check: runChecks({
        ...dependencies,
        service: resources.service,
        table: dependencies.stores.health,
        elsewhere: sources.map(({ name }) => runOf(name).name),
      }),
    },
  }
}
