import { type DealWatchSuccess, dealWatch, failure } from '@w3filecoin/capabilities'
import { type Handler, provide } from '@w3filecoin/runtime'
import { refuseUnlessClient } from '../authorize-client.ts'
import type { Dependencies } from '../dependencies.ts'
import { watchDeal } from '../watch-deal.ts'

/** Maximum number of invocations in one message: each may read thousands of rows. */
const MAX_PER_MESSAGE = 10

/** `deal/watch`: has sources that know deals only by their ids search a deal. Repeating it changes nothing. */
export const dealWatchHandler = (
  dependencies: Pick<Dependencies, 'id' | 'stores' | 'clients' | 'sources' | 'now'>,
): Handler =>
  provide(
    dealWatch,
    async input => {
      const stranger = await refuseUnlessClient(dependencies, input)
      if (stranger) return { out: { error: stranger } }
      const { dealID, source } = input.capability.nb
      const names = dependencies.sources
        .filter(({ searchesReported }) => searchesReported)
        .map(({ name }) => name)
      const sources = source === undefined ? names : names.filter(name => name === source)
      if (sources.length === 0) {
        const found = source === undefined ? 'None of its sources' : `Not ${source}`
        const message = `${found} searches deals that are reported. Those that do: ${names.join(', ') || 'none'}`
        return { out: { error: failure('NoSource', message) } }
      }
      for (const name of sources) {
        const watched = await watchDeal(dependencies, name, dealID)
        if (watched.error) return { out: watched }
      }
      return { out: { ok: { sources } satisfies DealWatchSuccess } }
    },
    { maxPerMessage: MAX_PER_MESSAGE },
  )
