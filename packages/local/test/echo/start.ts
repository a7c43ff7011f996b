import { startLocal } from '../../src/index.ts'
import { echo } from './index.ts'

/** Runs the system with the test service, in a process that a test kills. */
const [data, file] = process.argv.slice(2) as [string, string]
const local = await startLocal({ data, services: [echo(file)], everySeconds: 1 })
console.log(
  JSON.stringify({
    url: local.services.echo!.url,
    did: local.services.echo!.did,
    sqs: local.engines.sqs,
    s3: local.engines.s3,
  }),
)
