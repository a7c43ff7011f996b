import { existsSync } from 'node:fs'
import { mkdtemp, realpath, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { FLAG, readOptions, refuseToRun } from '../options.ts'
import type { Report } from './check.ts'

const HELP = `Builds every Lambda function with SST, as a deploy does, and runs the bundles on the local engines.

  npm run check:bundles -- [options]

  --built          use the bundles of the last build, in .sst/artifacts
  --help           print this

Needs neither AWS nor Pulumi, only the npm registry. Exit code 0 if every function works, 1 if not, 2 if an option is wrong.
`

const { built } = readOptions({ script: 'check:bundles', help: HELP, options: { built: FLAG } })

// Loading the client takes a second, so wrong options are refused before it.
const { checkBundles } = await import('./check.ts')
const { buildFunctions, compareStacks, zipOf } = await import('../../stacks/test/build.ts')

/** A stage that stacks/settings.ts does not list: it has the defaults. */
const STAGE = 'bundles'

const formatTable = ({ functions, allowed, denied }: Report): string => {
  const rows = functions.map(
    ({ deployed: { name, memoryMB }, runs, errors, start, maxRssMB, bundleBytes }) => [
      name,
      `${runs}`,
      `${errors.length}`,
      start!.initMs.toFixed(0),
      start!.initCpuMs.toFixed(0),
      `${maxRssMB.toFixed(0)} of ${memoryMB}`,
      (bundleBytes / 1024).toFixed(0),
      ...[allowed, denied].map(calls => `${calls.filter(({ caller }) => caller === name).length}`),
    ],
  )
  const heading = [
    'function',
    'runs',
    'errors',
    'init ms',
    'init CPU ms',
    'max MB',
    'KB',
    'allowed',
    'denied',
  ]
  const table = [heading, ...rows]
  const widths = heading.map((_, n) => Math.max(...table.map(row => row[n]!.length)))
  return table
    .map(row =>
      row.map((cell, n) => (n === 0 ? cell.padEnd(widths[n]!) : cell.padStart(widths[n]!))).join('  '),
    )
    .join('\n')
}

const seconds = (since: number) => `${((performance.now() - since) / 1000).toFixed(0)} s`

// The processes of the functions end with this one, because their channel to it closes.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => process.exit(130))

const directory = await realpath(await mkdtemp(join(tmpdir(), 'w3filecoin-bundles-')))
const defects: string[] = []
if (built) {
  if (!existsSync(zipOf('StorefrontApi'))) refuseToRun('There are no bundles. Run it once without --built')
} else {
  const began = performance.now()
  defects.push(...(await compareStacks(await buildFunctions(STAGE))))
  console.log(`SST has built the functions in ${seconds(began)}`)
}
const began = performance.now()
const report = await checkBundles({ directory, stage: STAGE })
defects.push(...report.defects)
console.log(formatTable(report))
console.log(
  `${report.allowed.length} distinct calls allowed, ${report.denied.length} denied, in ${seconds(began)}`,
)
for (const defect of defects) console.error(defect)
if (defects.length === 0) await rm(directory, { recursive: true })
else console.error(`Data, code and logs are in ${directory}`)
process.exit(defects.length === 0 ? 0 : 1)
