// `npm run docs:protocol` writes the last column of the table in docs/protocol.md: the tests in test/ whose titles begin
// with the id of the row. A test in test/ checks that it is so.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { readOptions } from '../test/options.ts'

const HELP = `Writes the last column of the table in docs/protocol.md: the tests in test/ for each row.

  npm run docs:protocol

  --help           print this
`

export interface ProtocolTest {
  /** The rows that it shows. */
  ids: string[]
  /** What its title says behind them. */
  title: string
  /** Name of its file in test/. */
  file: string
}

const tests = new URL('../test/', import.meta.url)
export const page = new URL('../docs/protocol.md', import.meta.url)

/** What a test begins with: a title that begins with ids, as in `('S2, S3: an ok has …', async () => {`. */
const TITLE =
  /\(\s*(['"`])([A-Z]\d+(?:, [A-Z]\d+)*): ((?:\\.|(?!\1).)+)\1,\s*(?=async\b|function\b|[({]|\w+ =>)/g
/** What keeps a test from being run, or from failing. */
const LEFT_OUT = /\.(?:skip|skipIf|runIf|todo|fails|only)\b|\b(?:skip|todo|fails|only): true\b/

const sources = (): { file: string; source: string }[] =>
  readdirSync(tests)
    .filter(file => file.endsWith('.test.ts'))
    .sort()
    .map(file => ({ file, source: readFileSync(new URL(file, tests), 'utf8') }))
    .filter(({ source }) => source.match(TITLE))

/** The tests that show rows of the table, in the order in which they stand in their files. */
export const protocolTests = (): ProtocolTest[] =>
  sources().flatMap(({ file, source }) =>
    [...source.matchAll(TITLE)].map(([, , ids = '', title = '']) => ({
      ids: ids.split(', '),
      title: title.replace(/:? %s$/, '').replaceAll(/\\(.)/g, '$1'),
      file,
    })),
  )

/** The files with such tests that leave some out, or want them to fail. */
export const filesThatLeaveOut = (): string[] =>
  sources()
    .filter(({ source }) => LEFT_OUT.test(source))
    .map(({ file }) => file)

/** The rows of the table: the id, and what stands behind it in four cells. */
const ROW = /^\| ([A-Z]\d+) \|([^|]*)\|([^|]*)\|[^|]*\|$/gm

export const idsOf = (markdown: string): string[] => [...markdown.matchAll(ROW)].map(([, id = '']) => id)

/** The page with the tests that there are. */
export const withTests = (markdown: string, shown: readonly ProtocolTest[]): string =>
  markdown.replaceAll(ROW, (_, id: string, level: string, what: string) => {
    const links = shown
      .filter(({ ids }) => ids.includes(id))
      .map(({ title, file }) => `[${title.replaceAll('|', '\\|')}](../test/${file})`)
    return `| ${id} |${level}|${what}| ${links.join('<br>')} |`
  })

if (import.meta.main) {
  readOptions({ script: 'docs:protocol', help: HELP, options: {} })
  const shown = protocolTests()
  if (shown.length === 0)
    throw new Error('No test in test/ has a title that begins with the id of a row, e.g. S2')
  writeFileSync(page, withTests(readFileSync(page, 'utf8'), shown))
}
