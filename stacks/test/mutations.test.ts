import { expect, test } from 'vitest'
import { MUTATIONS } from './mutations.ts'
import { checkRule, RULES } from './rules.ts'
import { synthesize } from './stack.ts'
import { STAGES } from './stages.ts'

// Each edit is a defect, which the rules of stacks.test.ts must report. This shows that they can fail.
for (const { title, stage, reported, ...edit } of MUTATIONS)
  test.concurrent(`the check reports that ${title}`, async ({ expect }) => {
    const stack = await synthesize(stage, STAGES[stage], [edit])
    const rules = RULES.filter(rule => rule.in === undefined || rule.in(stack))
    expect(rules.flatMap(rule => checkRule(rule, stack).defects)).toContain(reported)
  })

test('ten or more mutations are checked', () => {
  expect(MUTATIONS.length).toBeGreaterThanOrEqual(10)
})
