import { startLocal } from '../../src/index.ts'
import { echo } from './index.ts'

/** The system with the test service, in a process of its own, to be killed. */
const [data, file] = process.argv.slice(2) as [string, string]
const local = await startLocal({ data, services: [echo(file)], everySeconds: 1 })
console.log(
  JSON.stringify({ url: local.services.echo!.url, did: local.services.echo!.did, sqs: local.engines.sqs }),
)
