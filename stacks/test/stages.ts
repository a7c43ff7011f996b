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
  /**
   * A stage with a domain, which reserves the runs of one function, whose deals another account makes, and whose alarms two
   * addresses receive.
   */
  trial: {
    domain: 'w3.example',
    reservedConcurrency: { storefront: { submit: 60 } },
    dealMaking: ['arn:aws:iam::999999999999:role/deals'],
    alarmAddresses: ['ops@w3.example', 'night-shift@w3.example'],
    alarms: { dealSeconds: 86_400 },
  },
} satisfies Record<string, StageSettings>
