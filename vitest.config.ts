import { availableParallelism } from 'node:os'
import { defineConfig } from 'vitest/config'
import { BaseSequencer, type TestSpecification } from 'vitest/node'

/** Files that start the whole system, or simulate it: most of them run for longer than all files of a package. */
const WHOLE_SYSTEM = /^(test|packages\/(local|cli)\/test)\//

/** Starts the long files first, also in the first run, when Vitest has no durations to sort by. */
class LongFilesFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files)
    const { root } = this.ctx.config
    const isLong = ({ moduleId }: TestSpecification) => WHOLE_SYSTEM.test(moduleId.slice(root.length + 1))
    return [...sorted.filter(isLong), ...sorted.filter(file => !isLong(file))]
  }
}

export default defineConfig({
  test: {
    include: ['packages/*/test/**/*.test.ts', 'test/**/*.test.ts'],
    testTimeout: 180_000,
    hookTimeout: 180_000,
    // The whole system spends most of its time waiting, e.g. for a deal. Vitest's default is one file per spare core.
    maxWorkers: 2 * availableParallelism(),
    sequence: { sequencer: LongFilesFirst },
  },
})
