import { readFileSync } from 'node:fs'
import { beforeAll, describe, expect, test } from 'vitest'
import { type ApiReference, generateApiReference, page } from '../scripts/api-reference/main.ts'

describe('the API reference of the client', () => {
  let reference: ApiReference

  beforeAll(async () => {
    reference = await generateApiReference()
  })

  test('every export, member and parameter has a docstring, and every link in one leads somewhere', () => {
    expect(reference.warnings).toEqual([])
  })

  test('packages/client/API.md equals the docstrings; npm run docs:api writes it', () => {
    expect(readFileSync(page, 'utf8')).toBe(reference.markdown)
  })
})
