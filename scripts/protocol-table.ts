// `npm run docs:protocol` writes the last column of the table in docs/protocol.md: links to the tests in test/ whose titles
// begin with the id of the row. test/protocol-doc.test.ts checks that the column is up to date.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { readOptions } from '../test/options.ts'

const HELP = `Writes the last column of the table in docs/protocol.md: the tests in test/ for each row.

  npm run docs:protocol

  --help           print this
`

/**
 * A test of rows of the table.
 *
 * @example `test('S2, S3: an ok has …')` is `{ ids: ['S2', 'S3'], title: 'an ok has …', file: 'storefront.test.ts' }`
 */
export interface ProtocolTest {
  /** The ids of the rows. */
  ids: string[]
  /** The title after the ids. */
  title: string
  /** The name of the file in test/. */
  file: string
}

const tests = new URL('../test/', import.meta.url)
/** The page with the table. */
export const page = new URL('../docs/protocol.md', import.meta.url)

/** Matches the start of a test whose title begins with ids, e.g. `('S2, S3: an ok has …', async () => {`. */
const TITLE =
  /\(\s*(['"`])([A-Z]\d+(?:, [A-Z]\d+)*): ((?:\\.|(?!\1).)+)\1,\s*(?=async\b|function\b|[({]|\w+ =>)/g
/** Matches modifiers that skip a test, skip other tests, or expect a failure. */
const SKIPPED = /\.(?:skip|skipIf|runIf|todo|fails|only)\b|\b(?:skip|todo|fails|only): true\b/

const readSources = (): { file: string; source: string }[] =>
  readdirSync(tests)
    .filter(file => file.endsWith('.test.ts'))
    .sort()
    .map(file => ({ file, source: readFileSync(new URL(file, tests), 'utf8') }))
    .filter(({ source }) => source.match(TITLE))

/** Finds the tests of rows of the table, in the order of their files and lines. */
export const findProtocolTests = (): ProtocolTest[] =>
  readSources().flatMap(({ file, source }) =>
    [...source.matchAll(TITLE)].map(([, , ids = '', title = '']) => ({
      ids: ids.split(', '),
      title: title.replace(/:? %s$/, '').replaceAll(/\\(.)/g, '$1'),
      file,
    })),
  )

/** Finds the files with such tests that skip tests or expect failures. */
export const findFilesWithSkips = (): string[] =>
  readSources()
    .filter(({ source }) => SKIPPED.test(source))
    .map(({ file }) => file)

/** Matches a row of the table: id, level, requirement and tests. */
const ROW = /^\| ([A-Z]\d+) \|([^|]*)\|([^|]*)\|[^|]*\|$/gm

/** Lists the ids of the rows, in their order. */
export const listRowIds = (markdown: string): string[] => [...markdown.matchAll(ROW)].map(([, id = '']) => id)

/** Returns the page with its last column replaced by links to the given tests. */
export const linkTests = (markdown: string, shown: readonly ProtocolTest[]): string =>
  markdown.replaceAll(ROW, (_, id: string, level: string, requirement: string) => {
    const links = shown
      .filter(({ ids }) => ids.includes(id))
      .map(({ title, file }) => `[${title.replaceAll('|', '\\|')}](../test/${file})`)
    return `| ${id} |${level}|${requirement}| ${links.join('<br>')} |`
  })

if (import.meta.main) {
  readOptions({ script: 'docs:protocol', help: HELP, options: {} })
  const shown = findProtocolTests()
  if (shown.length === 0)
    throw new Error(
      'No test in test/ has a title that begins with the id of a row. Begin a title with an id, e.g. `S2: `.',
    )
  writeFileSync(page, linkTests(readFileSync(page, 'utf8'), shown))
}
