import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import {
  findFilesWithSkips,
  findProtocolTests,
  linkTests,
  listRowIds,
  page,
} from '../scripts/protocol-table.ts'

const markdown = readFileSync(page, 'utf8')
const shown = findProtocolTests()

const rows = (letter: string, count: number) => Array.from({ length: count }, (_, n) => `${letter}${n + 1}`)
const IDS = [
  ...rows('S', 10),
  ...rows('A', 7),
  ...rows('D', 6),
  ...rows('T', 3),
  ...rows('U', 3),
  ...rows('R', 1),
  ...rows('K', 14),
  ...rows('L', 7),
]

test('docs/protocol.md has every row', () => {
  expect(listRowIds(markdown)).toEqual(IDS)
})

test.each(IDS)('%s has a test', id => {
  expect(shown.filter(({ ids }) => ids.includes(id))).not.toEqual([])
})

test('no test names a row that does not exist', () => {
  expect(shown.flatMap(({ ids }) => ids).filter(id => !IDS.includes(id))).toEqual([])
})

test('no file with these tests skips a test', () => {
  expect(findFilesWithSkips()).toEqual([])
})

test('docs/protocol.md links the present tests; npm run docs:protocol updates the links', () => {
  expect(linkTests(markdown, shown)).toBe(markdown)
})
