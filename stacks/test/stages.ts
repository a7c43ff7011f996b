import type { StageSettings } from '../stages.ts'

/** The stages that are checked, with their settings. A stage of another name is a development stage. */
export const STAGES = {
  development: {},
  production: {
    dealTracker: {
      sources: [
        { name: 'example', kind: 'active-replicas', url: 'https://example.com/active-replicas.json.zst' },
      ],
    },
  },
  /** A stage with a domain, which reserves the runs of one function. */
  trial: { domain: 'w3.example', reservedConcurrency: { storefront: { submit: 60 } } },
} satisfies Record<string, StageSettings>
