import { readFileSync } from 'node:fs'

/** A block of code in a page of the documentation. */
export interface Snippet {
  /** The language after the fence, e.g. `js`; empty if there is none. */
  language: string
  code: string
  /** The line of the fence, from 1. */
  line: number
  /** Why no test runs it: the comment `<!-- not run: … -->` before the block, which readers do not see. */
  notRun: string | undefined
  /** The name of the file in the first line of the block, e.g. `offer.mjs` of `// offer.mjs`. */
  file: string | undefined
}

const BLOCK = /(?:^<!-- not run: (.+) -->\n)?^```(\w*)\n([\s\S]*?)^```$/gm
const FILE = /^(?:\/\/|#) (\w[\w.-]*\.\w+)$/m

/** Returns the blocks of code in a page, in their order. */
export const snippetsIn = (markdown: string): Snippet[] =>
  [...markdown.matchAll(BLOCK)].map(({ index, 1: notRun, 2: language = '', 3: code = '' }) => ({
    language,
    code,
    line: markdown.slice(0, index).split('\n').length + (notRun === undefined ? 0 : 1),
    notRun,
    file: FILE.exec(code.split('\n', 1)[0]!)?.[1],
  }))

const IMPORT = /^import (?:\{ (.+) \}|(\w+)) from '(.+)'\n/gm

/**
 * Joins blocks of a page to one program, as its reader would: each block continues the earlier ones. Names that several blocks
 * import are imported once.
 */
export const joinSnippets = (snippets: readonly Snippet[]): string => {
  const code = snippets.map(({ code }) => code).join('\n')
  const imports = new Set<string>()
  for (const [, names, own, module] of code.matchAll(IMPORT))
    for (const name of names?.split(', ') ?? [`default as ${own}`])
      imports.add(`import { ${name} } from '${module}'`)
  return `${[...imports].join('\n')}\n\n${code.replaceAll(IMPORT, '')}`
}

/** Reads a page by its path in the repository, e.g. `docs/store-files.md`. */
export const readPage = (path: string): string => readFileSync(new URL(`../${path}`, import.meta.url), 'utf8')
