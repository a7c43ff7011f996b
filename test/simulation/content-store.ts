import type { DeterministicWorld } from '@w3filecoin/testing/deterministic'
import type { Scenario } from './scenario.ts'

/** The content that storefronts read. */
export interface ContentStore {
  has(content: string): Promise<boolean>
  open(content: string): Promise<AsyncIterable<Uint8Array> | undefined>
}

/** The faults of reading content. */
export const CONTENT_FAULTS = ['damaged', 'hangs'] as const

/** Bytes that a call returns, and time from one byte to the next of slow content, in milliseconds. */
const CHUNK_BYTES = 4096
const SLOW_BYTE_MS = 60_000

/**
 * Creates the store with the content of a scenario.
 *
 * @param start when the scenario begins, in milliseconds since 1970
 * @param fault chooses the fault of a read
 */
export const createContentStore = (
  world: DeterministicWorld,
  { offers }: Pick<Scenario, 'offers'>,
  start: number,
  fault: () => (typeof CONTENT_FAULTS)[number] | undefined,
): ContentStore => {
  const elapsed = () => world.now() - start
  const find = (cid: string) =>
    offers.find(
      ({ content, uploadedAt }) =>
        `${content.content}` === cid && uploadedAt !== undefined && elapsed() >= uploadedAt,
    )
  const call = <T>(method: string, run: () => T) =>
    world.call({ port: 'content', name: 'content', method }, { run })

  return {
    has: (cid: string) => call('has', () => find(cid) !== undefined),
    open: async (cid: string) => {
      const found = await call('open', () => find(cid))
      if (found === undefined) return undefined
      const isSlow = elapsed() < (found.slowUntil ?? 0)
      const wrong = found.hangs ? 'hangs' : isSlow ? undefined : fault()
      if (wrong ?? isSlow) world.count(`content ${wrong ?? 'slow'}`)
      const whole = found.content.bytes
      const bytes =
        wrong === 'damaged' ? whole.subarray(0, world.choices.between(1, whole.byteLength - 1)) : whole
      const chunkBytes = isSlow ? 1 : CHUNK_BYTES
      return (async function* () {
        for (let at = 0; at < bytes.byteLength; at += chunkBytes) {
          yield await call('read', () => bytes.subarray(at, at + chunkBytes))
          if (wrong === 'hangs') await new Promise(() => {})
          if (isSlow) await new Promise<void>(resolve => world.timeline.after(SLOW_BYTE_MS, resolve))
        }
      })()
    },
  }
}
