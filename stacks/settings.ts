import type { StageSettings } from './stages.ts'

/**
 * The settings of each stage of this deployment, by name of the stage, as in `sst deploy --stage production`. A stage that is
 * not listed has the defaults of stages.ts. docs/configuration.md lists all settings.
 *
 * @example { domain: 'w3.example', aggregator: { limits: { maxWaitSeconds: 3600 } } }
 */
export const STAGES: Record<string, StageSettings> = {
  production: {},
}
