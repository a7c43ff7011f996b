import { readFileSync } from 'node:fs'
import { beforeAll, describe, expect, test } from 'vitest'
import { changedResources, listResources } from './list.ts'
import { alarmsIn, monthlyPrice } from './monitoring.ts'
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

const OPERATIONS = readFileSync(new URL('../../docs/operations.md', import.meta.url), 'utf8')

/** The names of the rows in the table of alarms: the end of the names of their alarms. */
const alarmRows = [...OPERATIONS.matchAll(/^\| `…(\w+)` \|(.*)\|$/gm)].map(([, name, cells]) => ({
  name: name!,
  cells: cells!.split(' | ').map(cell => cell.trim()),
}))

test('every alarm has a row in docs/operations.md, and every row has an alarm', () => {
  /** Of two rows, e.g. `…Errors` and `…ApiErrors`, the longer one is meant. */
  const rowOf = (alarm: string) =>
    alarmRows.filter(({ name }) => alarm.endsWith(name)).sort((a, b) => b.name.length - a.name.length)[0]
      ?.name
  const alarms = stacks.flatMap(alarmsIn).map(({ name }) => name)
  expect(alarms.filter(alarm => rowOf(alarm) === undefined)).toEqual([])
  expect(alarmRows.map(({ name }) => name).sort()).toEqual([...new Set(alarms.map(rowOf))].sort())
})

test('each row of the table of alarms says what the alarm means, how to look, and what to do', () => {
  expect(alarmRows.filter(({ cells }) => cells.length !== 3 || cells.some(cell => cell.length < 20))).toEqual(
    [],
  )
})

test('docs/operations.md states the monthly price of the alarms, the metrics and the dashboard', () => {
  const [price, ...others] = stacks.map(monthlyPrice)
  expect(others).toEqual(others.map(() => price))
  const { alarms, alarmMetrics, customMetrics, dollars } = price!
  const amounts = [dollars.alarms, dollars.metrics, dollars.dashboards]
  const format = (amount: number) => `$${amount.toFixed(2)}`
  const [, counts] = /A stage has (.* and a dashboard)\./s.exec(OPERATIONS) ?? []
  expect(counts?.replaceAll(/\s+/g, ' ')).toBe(
    `${alarms} alarms on ${alarmMetrics} metrics, about ${customMetrics} custom metrics, and a dashboard`,
  )
  const [sum] = /\$[\d.]+ \+ .*? a month/s.exec(OPERATIONS) ?? []
  expect(sum?.replaceAll(/\s+/g, ' ')).toBe(
    `${amounts.map(format).join(' + ')} = ${format(amounts.reduce((sum, amount) => sum + amount))} a month`,
  )
})

test('a deploy of production without an address for alarms prints a warning, and no other deploy does', () => {
  const warnings = Object.fromEntries(stages.map(([stage], n) => [stage, stacks[n]!.outputs.warning]))
  expect(warnings).toEqual({
    development: undefined,
    production: expect.stringMatching(/^No address receives the alarms of production\. Set alarmAddresses /),
    trial: undefined,
  })
})

test('a queue with more concurrent runs than its function has reserved is not deployed', async () => {
  await expect(
    synthesize('development', { reservedConcurrency: { storefront: { submit: 10 } } }),
  ).rejects.toThrow(
    'The queue submit of the storefront may have 50 runs at once, but reservedConcurrency has 10',
  )
})
