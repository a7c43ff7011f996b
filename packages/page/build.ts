import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const source = (name: string) => fileURLToPath(new URL(`src/${name}`, import.meta.url))

/** Browsers that have all of the page's CSS and JavaScript. */
const TARGET = ['chrome123', 'firefox120', 'safari17.5']

/**
 * Builds a page into a directory: `index.html`, and the files that it loads. Their names contain a hash of their contents, so
 * that a browser may keep them for ever.
 *
 * @param directory is replaced
 * @param name that of the storefront's visitors, or that of the operator
 * @returns the directory
 */
export const buildPage = async (
  directory = fileURLToPath(new URL('dist', import.meta.url)),
  name: 'visitor' | 'operator' = 'visitor',
): Promise<string> => {
  const { outputFiles } = await build({
    entryPoints: [source(`${name}.ts`), source('style.css')],
    outdir: 'page',
    bundle: true,
    minify: true,
    format: 'esm',
    platform: 'browser',
    target: TARGET,
    write: false,
    logLevel: 'silent',
  })
  const files = new Map<string, Uint8Array>([['icon.svg', readFileSync(source('icon.svg'))]])
  for (const { path, contents } of outputFiles) files.set(path.replace(/^.*\//, ''), contents)

  let html = readFileSync(source(`${name}.html`), 'utf8')
  rmSync(directory, { recursive: true, force: true })
  mkdirSync(directory, { recursive: true })
  for (const [file, contents] of files) {
    const hash = createHash('sha256').update(contents).digest('hex').slice(0, 12)
    const hashed = file.replace('.', `-${hash}.`)
    html = html.replaceAll(`/page/${file}`, `/page/${hashed}`)
    writeFileSync(join(directory, hashed), contents)
  }
  writeFileSync(join(directory, 'index.html'), html)
  return directory
}
