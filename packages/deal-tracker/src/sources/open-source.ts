import type { Fetch } from '@w3filecoin/runtime'
import type { SourceConfig } from '../config.ts'
import type { Source } from '../dependencies.ts'
import { openActiveReplicas } from './active-replicas.ts'
import { openPdp } from './pdp.ts'

/**
 * Opens a source by its kind. A kind in the configuration's schema without a case here does not compile.
 *
 * @example openSource({ name: 'spade', kind: 'active-replicas', url: 'https://spade.example/replicas.zst' }, { fetch })
 */
export const openSource = (config: SourceConfig, network: { fetch: Fetch; maxReadMs?: number }): Source => {
  switch (config.kind) {
    case 'active-replicas':
      return openActiveReplicas(config, network)
    case 'pdp':
      return openPdp(config, network)
  }
}
