// Builds dist/, which is published: a module for Node, one for browsers and workers, and their types. They contain the packages
// of this repository that they use; packages of the registry are dependencies. `npm pack` and `npm publish` run it.
import { execFileSync } from 'node:child_process'
import { copyFileSync, existsSync, globSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { isBuiltin } from 'node:module'
import { dirname, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url))

const manifest = JSON.parse(readFileSync(path('package.json'), 'utf8'))
const dependencies: string[] = [
  ...Object.keys(manifest.dependencies),
  ...Object.keys(manifest.optionalDependencies),
]

/** Throws if a user of the package does not have a module that the build imports. */
const checkImport = (module: string, { builtIn = false } = {}): void => {
  if (dependencies.some(name => module === name || module.startsWith(`${name}/`))) return
  if (builtIn && isBuiltin(module)) return
  throw new Error(`The build imports ${module}. Make it a dependency in package.json.`)
}

rmSync(path('dist'), { recursive: true, force: true })
for (const platform of ['node', 'browser'] as const) {
  const { metafile } = await build({
    entryPoints: [path('src/index.ts')],
    outfile: path(`dist/${platform}.js`),
    bundle: true,
    format: 'esm',
    platform,
    target: 'es2023',
    external: dependencies,
    metafile: true,
  })
  for (const { imports } of Object.values(metafile.outputs))
    for (const { path: module } of imports) checkImport(module, { builtIn: platform === 'node' })
  for (const input of Object.keys(metafile.inputs))
    if (input.includes('node_modules/.pnpm')) throw new Error(`The build contains ${input}`)
}

execFileSync('tsc', ['--project', path('tsconfig.build.json')], { stdio: 'inherit' })
for (const file of globSync(path('dist/types/**/*.d.ts'))) {
  const types = readFileSync(file, 'utf8').replaceAll(/(?<=\bfrom (['"]))[^'"]+(?=\1)/g, module => {
    const own = /^@w3filecoin\/(.+)$/.exec(module)?.[1]
    if (own === undefined && !module.startsWith('.')) {
      checkImport(module)
      return module
    }
    const source = own === undefined ? resolve(dirname(file), module) : path(`dist/types/${own}/src/index.ts`)
    const target = source.replace(/\.ts$/, '')
    if (!existsSync(`${target}.d.ts`)) throw new Error(`${file} imports ${module}, which has no types`)
    return `${own === undefined ? './' : ''}${relative(dirname(file), target)}.js`
  })
  writeFileSync(file, types)
}
for (const licence of ['LICENSE-APACHE', 'LICENSE-MIT']) copyFileSync(path(`../../${licence}`), path(licence))
