import type { Stage, StageEvent } from '@w3filecoin/client'

/** The stages of a workflow, for people. */
export const STAGE_WORDS: Record<Stage | 'unknown', string> = {
  offered: 'offered',
  submitted: 'checked by the storefront',
  queued: 'waits for an aggregate',
  aggregated: 'in an aggregate, waits to be stored',
  retried: 'waits for another aggregate',
  accepted: 'stored on Filecoin',
  failed: 'failed',
  unknown: 'not known yet',
}

/** Describes a stage in one line. While a piece waits for an aggregate, the storefront says how full it is. */
export const describeStage = ({ stage, waitsFor }: Pick<StageEvent, 'stage' | 'waitsFor'>): string =>
  stage === 'queued' && waitsFor ? `${STAGE_WORDS.queued}. ${waitsFor}` : STAGE_WORDS[stage]
