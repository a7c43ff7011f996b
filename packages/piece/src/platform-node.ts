import { createRequire } from 'node:module'
import { setImmediate } from 'node:timers/promises'
import type * as Hashtree from '@chainsafe/hashtree'

/** Returns the batched SHA-256 by the processor's instructions; `undefined` if the platform has no prebuilt binary. */
export const loadHashtree = (): Pick<typeof Hashtree, 'hashInto'> | undefined => {
  try {
    // Use `require`, not `import`: bundlers leave the call alone, so a bundle works with the module beside it
    // (installed for the platform that it runs on) and without it.
    return createRequire(import.meta.url)('@chainsafe/hashtree')
  } catch {
    // An optional dependency: it has no binary for this platform, or it is not installed.
    return undefined
  }
}

/** Lets the event loop run other work. */
export const yieldTurn = (): Promise<void> => setImmediate()
