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
  /** A stage with a domain, which reserves the runs of one function, and whose deals another account makes. */
  trial: {
    domain: 'w3.example',
    reservedConcurrency: { storefront: { submit: 60 } },
    dealMaking: ['arn:aws:iam::999999999999:role/deals'],
  },
} satisfies Record<string, StageSettings>
