import { type Check, failing, fine } from './check.ts'

/**
 * Checks that pieces are hashed by the processor's SHA instructions. Without the native module, hashing is correct and four
 * times slower, so that large contents and aggregates exceed the time of their runs.
 *
 * @param implementation the one that this process uses
 */
export const hasherCheck = (implementation: 'native' | 'wasm', service: string): Check => ({
  name: 'hasher',
  check: 'hasher',
  run: async () =>
    implementation === 'native'
      ? fine('Pieces are hashed by the native module @chainsafe/hashtree')
      : failing(
          'HasherNotNative',
          `The ${service} hashes pieces in WebAssembly, four times slower: the module @chainsafe/hashtree did not load. Install it with its binary for the platform of the functions`,
        ),
})
