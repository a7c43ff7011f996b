// Checks the resources that a deploy would register, without AWS: stacks/test/. Its arguments are those of `vitest run`;
// `--update` writes stacks/resources.txt.
import { spawnSync } from 'node:child_process'
import { root } from './setup.mjs'
import { ensurePlatform } from './sst.mjs'

await ensurePlatform()
const { status } = spawnSync(
  'vitest',
  ['run', '--config', 'stacks/vitest.config.ts', ...process.argv.slice(2)],
  {
    cwd: root,
    stdio: 'inherit',
  },
)
process.exit(status ?? 1)
