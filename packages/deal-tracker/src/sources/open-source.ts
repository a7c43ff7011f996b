import { loggedUrl } from '@w3filecoin/runtime'
import type { SourceConfig } from '../config.ts'
import type { Source } from '../dependencies.ts'
import { openActiveReplicas } from './active-replicas.ts'
import type { Network } from './network.ts'

/**
 * Opens a source by its kind. A kind in the configuration's schema without a case here does not compile.
 *
 * @example openSource({ name: 'spade', kind: 'active-replicas', url: 'https://spade.example/replicas.zst' }, { fetch })
 */
export const openSource = (config: SourceConfig, network: Network): Source => {
  switch (config.kind) {
    case 'active-replicas':
      return openActiveReplicas(config, network)
    case 'pdp':
      return loadSource(config, ['pdp'], async () => (await import('./pdp.ts')).openPdp(config, network))
    case 'sector':
      return loadSource(config, ['sector'], async () =>
        (await import('./sector.ts')).openSector(config, network),
      )
    case 'f05':
      return {
        ...loadSource(config, ['market'], async () => (await import('./f05.ts')).openF05(config, network)),
        searchesReported: true,
      }
  }
}

/** Returns a source that is loaded when it is read: only one function of the service reads sources, and their libraries are large. */
const loadSource = (
  { name, rpc }: { name: string; rpc: readonly string[] },
  types: Source['types'],
  load: () => Promise<Source>,
): Source => ({
  name,
  url: rpc.map(loggedUrl).join(', '),
  types,
  read: async (previous, watched) => (await load()).read(previous, watched),
})
