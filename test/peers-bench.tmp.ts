import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { resources } from '@w3filecoin/aggregator/resources'
import { bind, openTables } from '@w3filecoin/aws'
import { startLocal } from '@w3filecoin/local'
import { placesOf } from '@w3filecoin/local/provision'
const [, , mode, data, count] = process.argv
if (mode === 'fill') {
  const local = await startLocal({ data: data! })
  const env = local.engines.env
  Object.assign(process.env, env)
  const aws = bind(resources, placesOf({ resources, service: 'aggregator', sqs: local.engines.sqs }), await openTables(env))
  const rows = Array.from({ length: Number(count) }, (_, n) => ({ did: `did:web:s${n}.example`, list: 'storefronts', url: `https://s${n}.example`, addedAt: 1, v: 1 }))
  for (let n = 0; n < rows.length; n += 100) await aws.table('peer').putMany(rows.slice(n, n + 100))
  await local.stop()
  console.log('filled', rows.length)
} else {
  const t = performance.now()
  const local = await startLocal({ data: data! })
  const ms = performance.now() - t
  await fetch(local.services.aggregator!.url)
  await new Promise(r => setTimeout(r, 4000))
  console.log(JSON.stringify({ count, ms: Math.round(ms), rssMB: Math.round(process.memoryUsage().rss / 1e6) }))
  await local.stop()
}
process.exit()
