import { createHttpApp, Server, type Service } from '@w3filecoin/runtime'
import { onUpdate } from './consumers/update.ts'
import type { Dependencies } from './dependencies.ts'
import { dealInfoHandler } from './handlers/deal-info.ts'
import type { messages } from './queues.ts'
import type { resources } from './resources.ts'
import { syncSources } from './sync.ts'

/** The deal tracker: it reads from its sources which deals are on chain, and tells who asks. */
export const createDealTracker = (parts: Dependencies): Service<typeof resources, typeof messages> => {
  const { id, authority, log } = parts
  const { receipts } = parts.stores
  const server = new Server({ id, authority, handlers: [dealInfoHandler(parts)], receipts, log })
  return {
    api: createHttpApp({ server, receipts, name: 'deal-tracker', log }),
    consumers: { update: onUpdate(parts) },
    schedules: { sync: syncSources(parts) },
  }
}
