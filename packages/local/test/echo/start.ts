import { startLocal } from '../../src/index.ts'
import type { TableEngine } from '../../src/table-engine.ts'
import { echo } from './index.ts'

/** Runs the system with the test service, in a process that a test kills. */
const [data, file, engine] = process.argv.slice(2) as [string, string, TableEngine]
const local = await startLocal({ data, engine, services: [echo(file)], everySeconds: 1 })
console.log(
  JSON.stringify({
    url: local.services.echo!.url,
    did: local.services.echo!.did,
    sqs: local.engines.sqs,
    s3: local.engines.s3,
  }),
)
