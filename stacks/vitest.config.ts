import { availableParallelism } from 'node:os'
import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    root: import.meta.dirname,
    include: ['test/**/*.test.ts'],
    testTimeout: 300_000,
    hookTimeout: 300_000,
    // Each synthesis is a process of about 5 s and 500 MB.
    fileParallelism: false,
    maxConcurrency: availableParallelism(),
  },
})
