import { readFileSync } from 'node:fs'
import { describe, expect, it, test } from 'vitest'
import { z } from 'zod'
import { configurationPage, page, SECTIONS, settingsOf } from '../scripts/configuration-table.ts'

test('docs/configuration.md equals the schemas; npm run docs:configuration writes it', () => {
  expect(readFileSync(page, 'utf8')).toBe(configurationPage())
})

test('a setting without description is listed, so that the tests below find it', () => {
  const schema = z.object({ a: z.object({ b: z.array(z.object({ c: z.number() })) }) })
  expect(settingsOf(schema)).toMatchObject([
    { path: 'a.b[].c', type: 'number', required: true, description: undefined, isLeaf: true },
  ])
})

describe.each(SECTIONS)('$title', ({ settings }) => {
  it.each(settings.filter(({ isLeaf }) => isLeaf))('$path has a description and an example', setting => {
    expect(setting.description).toMatch(/^[A-Z`].+\.$/s)
    expect(setting.example).toBeDefined()
  })

  it.each(settings.filter(({ path }) => /Seconds$|Bytes$|Share$/.test(path)))('$path has a unit', setting => {
    expect(setting.unit).toMatch(/^seconds$|bytes$|^share/)
  })
})
