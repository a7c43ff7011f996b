// Stands in for the command of Pulumi that `sst diff` runs, which is not in the npm registry. It runs the program that SST has
// bundled, with SST's server beside it, under the mocks of Pulumi. So SST builds every function, and no resource is created.
// The variable STACK_FILE names the file for the recorded resources.
import { appendFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { pathToFileURL } from 'node:url'
import { recordResources } from './record.ts'

const [command, ...args] = process.argv.slice(2)
const option = (name: string) => args[args.indexOf(name) + 1]!

const fail = (error: unknown): never => {
  // SST prints this to its user.
  const message = error instanceof Error ? (error.stack ?? error.message) : String(error)
  if (command === 'preview')
    appendFileSync(
      option('--event-log'),
      `${JSON.stringify({ diagnosticEvent: { message, severity: 'error' } })}\n`,
    )
  console.error(message)
  process.exit(1)
}
// Pulumi reports an error within `apply` as an unhandled rejection, and would wait forever for the value.
process.on('unhandledRejection', fail)

/** Creates the state of a stack without resources. SST runs this in the directory of the state. */
const initStack = (stack: string) => {
  const [, app, stage] = stack.split('/')
  const file = `.pulumi/stacks/${app}/${stage}.json`
  const manifest = { time: '2024-01-01T00:00:00Z', magic: '', version: '' }
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(
    file,
    JSON.stringify({ version: 3, checkpoint: { stack, latest: { manifest, resources: [] } } }),
  )
}

const preview = async () => {
  const [, app, stage] = option('--stack').split('/')
  const [, program] = /^main: (.*)$/m.exec(readFileSync('Pulumi.yaml', 'utf8'))!
  const recorded = await recordResources(app!, stage!, () => import(pathToFileURL(program!).href))
  writeFileSync(process.env.STACK_FILE!, JSON.stringify(recorded))
  appendFileSync(
    option('--event-log'),
    `${JSON.stringify({ summaryEvent: { maybeCorrupt: false, durationSeconds: 0, resourceChanges: {} } })}\n`,
  )
}

if (command === 'version') console.log('v3.215.0')
else if (command === 'stack' && args[0] === 'init') initStack(args[1]!)
else if (command === 'preview') await preview().catch(fail)
else fail(`The stand-in for Pulumi does not know the command ${command}. Add it to stacks/test/pulumi.ts.`)
process.exit(0)
