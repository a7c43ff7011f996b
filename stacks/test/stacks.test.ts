import { readFileSync } from 'node:fs'
import { beforeAll, describe, expect, test } from 'vitest'
import { changedResources, listResources } from './list.ts'
import { checkRule, RULES } from './rules.ts'
import { type Stack, synthesize } from './stack.ts'
import { STAGES } from './stages.ts'

const LIST = new URL('../resources.txt', import.meta.url)

const stages = Object.entries(STAGES)
const stacks: Stack[] = []

beforeAll(async () => {
  stacks.push(...(await Promise.all(stages.map(([stage, settings]) => synthesize(stage, settings)))))
})

for (const [n, [stage]] of stages.entries())
  describe(`the stage ${stage}`, () => {
    for (const rule of RULES)
      test(rule.title, ({ skip }) => {
        const stack = stacks[n]!
        if (rule.in && !rule.in(stack)) skip()
        const { count, defects } = checkRule(rule, stack)
        expect(count, 'The rule applies to no resource').toBeGreaterThan(0)
        expect(defects).toEqual([])
      })
  })

test('every rule applies to a stage', () => {
  const unused = RULES.filter(rule => !stacks.some(stack => rule.in === undefined || rule.in(stack)))
  expect(unused.map(({ title }) => title)).toEqual([])
})

test('the resources are those in stacks/resources.txt', async () => {
  const list = listResources(stacks)
  const changed = changedResources(readFileSync(LIST, 'utf8'), list)
  await expect(
    list,
    `${changed.join(', ')} changed. If this is intended, run: npm run check:stacks -- --update`,
  ).toMatchFileSnapshot(LIST.pathname)
})

test('a queue with more concurrent runs than its function has reserved is not deployed', async () => {
  await expect(
    synthesize('development', { reservedConcurrency: { storefront: { submit: 10 } } }),
  ).rejects.toThrow(
    'The queue submit of the storefront may have 50 runs at once, but reservedConcurrency has 10',
  )
})
