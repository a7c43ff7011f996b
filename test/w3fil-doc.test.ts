import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { page, w3filPage } from '../scripts/w3fil-reference.ts'

test('docs/w3fil.md equals the commands; npm run docs:w3fil writes it', () => {
  expect(readFileSync(page, 'utf8')).toBe(w3filPage())
})
