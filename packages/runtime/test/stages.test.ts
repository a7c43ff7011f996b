import { describe, expect, it } from 'vitest'
import { stageRules } from '../src/index.ts'

type Stage = 'offered' | 'accepted' | 'failed'

describe('The stages of a workflow', () => {
  const { canBecome, isFinal } = stageRules<Stage>({
    offered: ['accepted', 'failed'],
    accepted: [],
    failed: [],
  })

  it.each<[Stage, Stage, boolean]>([
    ['offered', 'accepted', true],
    ['offered', 'failed', true],
    ['offered', 'offered', false],
    ['accepted', 'failed', false],
    ['failed', 'offered', false],
  ])('%s may become %s: %s', (stage, next, allowed) => {
    expect(canBecome({ stage }, next)).toBe(allowed)
  })

  it('end at those that no stage follows', () => {
    expect((['offered', 'accepted', 'failed'] as const).filter(stage => isFinal({ stage }))).toEqual([
      'accepted',
      'failed',
    ])
  })

  it.each(['verified', 'constructor'])(
    'of a later version (%s) are not final, and nothing may follow them',
    later => {
      const record = { stage: later as Stage }
      expect(canBecome(record, 'accepted')).toBe(false)
      expect(isFinal(record)).toBe(false)
    },
  )
})
