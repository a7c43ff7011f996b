// Provides SST's platform: its components, its types and those of the AWS provider. `sst install` downloads them from the
// npm registry into .sst/platform (about 320 MB, once).
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
function hasPlatform() {
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

export const ensurePlatform = () =>
  ensure('sst', {
    done: hasPlatform,
    title: "Fetching SST's components and types (once, about a minute)…",
    before: () => rmSync(providers, { force: true }),
    command: () => ['sst', 'install', '--stage', 'ci'],
    // Neither types nor mocks need Pulumi or Bun, which SST would download from outside of the npm registry.
    env: { SST_SKIP_DEPENDENCY_CHECK: '1', SST_NO_BUN: '1', SST_TELEMETRY_DISABLED: '1' },
  })
