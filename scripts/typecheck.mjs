// Type checks the repository: packages, tests and benches with tsconfig.json; the web page with the types
// of a browser; sst.config.ts and the stacks with
// stacks/tsconfig.json.
import { spawnSync } from 'node:child_process'
import { root } from './setup.mjs'
import { ensurePlatform } from './sst.mjs'

await ensurePlatform()

let failed = false
for (const project of ['tsconfig.json', 'packages/page/tsconfig.json', 'stacks/tsconfig.json']) {
  const { status } = spawnSync('tsc', ['--noEmit', '--project', project], { cwd: root, stdio: 'inherit' })
  failed ||= status !== 0
}
process.exit(failed ? 1 : 0)
