// Builds every Lambda function with SST and runs the bundles on the local engines, without AWS: test/bundles/. Its arguments are
// those of test/bundles/main.ts.
import { spawnSync } from 'node:child_process'
import { root } from './setup.mjs'
import { ensurePlatform } from './sst.mjs'

await ensurePlatform()
const { status } = spawnSync('node', ['test/bundles/main.ts', ...process.argv.slice(2)], {
  cwd: root,
  stdio: 'inherit',
})
process.exit(status ?? 1)
