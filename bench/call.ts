import type { Call } from './measure.ts'

// The process that `callInFreshProcess` starts: makes one call, and sends the result.
process.once('message', async ({ module, name, args }: Call) => {
  const exported = (await import(module)) as Record<string, (...args: readonly unknown[]) => unknown>
  const value = await exported[name]!(...args)
  process.send!({ value }, undefined, {}, () => process.exit(0))
})
