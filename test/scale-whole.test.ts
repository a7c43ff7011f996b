import { expect, test } from 'vitest'
import { checkWhole } from './scale/checks.ts'
import { contentsThatFill, WHOLES } from './scale/whole.ts'

const lines: string[] = []
const print = (line: string) => lines.push(line)

test('an aggregate that is full of contents is written in parts, and fetched by providers with PDP', async () => {
  const aggregateBytes = 2 ** 27
  const contents = contentsThatFill(aggregateBytes)
  expect(await checkWhole({ ...WHOLES['1GiB'], aggregateBytes, contents }, print)).toEqual([])
  expect(lines.join('\n')).toContain(`${contents.length} pieces with a verified receipt`)
})

test('an aggregate of zeros behind some contents is fetched by a provider with Curio, and takes little space on this machine', async () => {
  expect(await checkWhole({ ...WHOLES['32GiB'], aggregateBytes: 2 ** 28 }, print)).toEqual([])
  expect(lines.join('\n')).toMatch(/which took \d\d(\.\d+)? MiB on the disk/)
})
