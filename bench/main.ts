import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { cpus, totalmem } from 'node:os'
import { parseOptions, refuseToRun, TEXT, UsageError, wholeNumber } from '../test/options.ts'
import { callInFreshProcess } from './measure.ts'
import type { Table } from './table.ts'

const HELP = `Measures how fast this repository does its work, beside the published packages where there are any.

  npm run bench [NAME…] [-- options]

  NAME…            benchmarks to run, e.g. hash aggregate (default: all)
  --json FILE      also write all figures to this file
  --pieces N       pieces of the larger run of pipeline (default: 1500)
  --help           print this

docs/performance.md explains the benchmarks. Nothing fails because of a time: the exit code is 1 only if a benchmark ends with
an error, e.g. because a result differs from the published one.
`

/** Packages that the benchmarks compare with, or that do most of the work of ours. */
const PACKAGES = [
  '@storacha/filecoin-api',
  '@web3-storage/data-segment',
  'fr32-sha2-256-trunc254-padded-binary-tree-multihash',
  '@ucanto/server',
  '@ucanto/client',
]

const folder = new URL('.', import.meta.url)
const sourceOf = (name: string) => readFileSync(new URL(`${name}.ts`, folder), 'utf8')

/** Returns the names of the modules of this directory that have a benchmark. */
const findBenchmarks = (): string[] =>
  readdirSync(folder)
    .filter(file => file.endsWith('.ts'))
    .map(file => file.slice(0, -3))
    .filter(name => /^export const run = /m.test(sourceOf(name)))

const versionOf = (name: string): string | undefined => {
  try {
    return JSON.parse(readFileSync(new URL(`node_modules/${name}/package.json`, folder), 'utf8')).version
  } catch {
    return undefined
  }
}

const describeCommit = (): string => {
  try {
    const git = (...args: string[]) => execFileSync('git', args, { cwd: folder, encoding: 'utf8' }).trim()
    return `${git('rev-parse', 'HEAD')}${git('status', '--porcelain') === '' ? '' : ', with changes'}`
  } catch {
    return 'unknown: this is not a clone'
  }
}

const format = ({ title, columns, rows, aims, notes }: Table): string => {
  const texts = [columns, ...rows].map(row => row.map(cell => `${cell}`))
  const widths = columns.map((_, n) => Math.max(...texts.map(row => row[n]?.length ?? 0)))
  const isText = columns.map((_, n) => rows.every(row => Number.isNaN(Number.parseFloat(`${row[n]}`))))
  const line = (row: string[]) =>
    row.map((cell, n) => (isText[n] ? cell.padEnd(widths[n]!) : cell.padStart(widths[n]!))).join('  ')
  const [head, ...body] = texts.map(row => `  ${line(row)}`.trimEnd())
  return [
    title,
    '',
    head,
    ...body,
    '',
    ...aims.map(
      ({ name, aim, seen, met }) => `  ${met ? 'met   ' : 'MISSED'}  ${name}: ${seen} (aim ${aim})`,
    ),
    ...notes.map(note => `  - ${note}`),
    '',
  ].join('\n')
}

const readCommandLine = () => {
  const args = process.argv.slice(2)
  if (args.includes('--help')) {
    process.stdout.write(HELP)
    process.exit(0)
  }
  const firstOption = args.findIndex(arg => arg.startsWith('-'))
  const names = firstOption === -1 ? args : args.slice(0, firstOption)
  const all = findBenchmarks()
  try {
    const options = parseOptions(args.slice(names.length), {
      json: TEXT.optional(),
      pieces: wholeNumber(1, 100_000).optional(),
    })
    const unknown = names.find(name => !all.includes(name))
    if (unknown !== undefined)
      throw new UsageError(`There is no benchmark ${JSON.stringify(unknown)}, but ${all.join(', ')}`)
    return { names: names.length > 0 ? names : all, ...options }
  } catch (cause) {
    if (!(cause instanceof UsageError)) throw cause
    return refuseToRun(cause.message)
  }
}

const { names, json, pieces } = readCommandLine()
const environment = {
  date: new Date().toISOString(),
  processor: cpus()[0]?.model,
  cores: cpus().length,
  memoryGb: Math.round(totalmem() / 1e9),
  node: process.version,
  commit: describeCommit(),
  packages: Object.fromEntries(PACKAGES.map(name => [name, versionOf(name)])),
}
console.log(
  `${environment.processor}, ${environment.cores} cores, ${environment.memoryGb} GB; Node ${environment.node}; commit ${environment.commit}`,
)
for (const [name, version] of Object.entries(environment.packages))
  if (version !== undefined) console.log(`  ${name} ${version}`)
console.log()

const benchmarks: ({ name: string; seconds: number } & (Table | { error: string }))[] = []
for (const name of names) {
  const start = performance.now()
  const secondsSoFar = () => Math.round((performance.now() - start) / 1000)
  try {
    const module = new URL(`${name}.ts`, folder).href
    const table = await callInFreshProcess<Table>(module, 'run', { pieces })
    benchmarks.push({ name, seconds: secondsSoFar(), ...table })
    console.log(`${name}: ${format(table)}`)
  } catch (cause) {
    benchmarks.push({ name, seconds: secondsSoFar(), error: (cause as Error).message })
    console.log(`${name}: FAILED: ${(cause as Error).message}\n`)
    process.exitCode = 1
  }
  if (json !== undefined) writeFileSync(json, `${JSON.stringify({ ...environment, benchmarks }, null, 2)}\n`)
}
