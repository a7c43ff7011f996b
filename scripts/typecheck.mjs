// Type checks the repository: packages, tests and benches with tsconfig.json; sst.config.ts and the stacks with
// stacks/tsconfig.json. The stacks need the types of SST and of the AWS provider, which `sst install` downloads from the
// npm registry into .sst/platform (about 320 MB, once).
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { ensure, root } from './setup.mjs'

const platform = join(root, '.sst', 'platform')
/** SST writes this file after it has installed the providers. */
const providers = join(root, '.sst', 'provider-lock.json')

function read(path) {
  return existsSync(path) ? readFileSync(path, 'utf8') : ''
}

/** Whether .sst/platform has the installed version of SST and the providers that sst.config.ts names. */
function hasTypes() {
  const sst = JSON.parse(read(join(root, 'node_modules', 'sst', 'package.json'))).version
  const config = read(join(root, 'sst.config.ts'))
  const installed = JSON.parse(read(providers) || '[]')
  return (
    read(join(platform, 'version')).trim() === sst &&
    installed.length > 0 &&
    installed.every(provider => config.includes(`'${provider.version}'`)) &&
    installed.every(provider => existsSync(join(platform, 'node_modules', provider.package)))
  )
}

await ensure('sst', {
  done: hasTypes,
  title: "Fetching SST's types (once, about a minute)…",
  before: () => rmSync(providers, { force: true }),
  command: () => ['sst', 'install', '--stage', 'ci'],
  // Types need neither Pulumi nor Bun, which SST would download from outside of the npm registry.
  env: { SST_SKIP_DEPENDENCY_CHECK: '1', SST_NO_BUN: '1', SST_TELEMETRY_DISABLED: '1' },
})

let failed = false
for (const project of ['tsconfig.json', 'stacks/tsconfig.json']) {
  const { status } = spawnSync('tsc', ['--noEmit', '--project', project], { cwd: root, stdio: 'inherit' })
  failed ||= status !== 0
}
process.exit(failed ? 1 : 0)
