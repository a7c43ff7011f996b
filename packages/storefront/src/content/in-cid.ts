import { bytesInCid } from './content-hash.ts'
import type { ContentSource } from './source.ts'

/** Returns a source that reads content from its CID if the CID contains the bytes, and else from `source`. */
export const readInCid = (source: ContentSource): ContentSource => ({
  has: async content => bytesInCid(content) !== undefined || source.has(content),
  open: async (content, signal) => {
    const bytes = bytesInCid(content)
    return bytes === undefined ? source.open(content, signal) : once(bytes)
  },
  locate: content => source.locate(content),
})

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}
