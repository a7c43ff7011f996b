import { open } from 'node:fs/promises'

/** Bytes that are written, or left out, at a time. */
const STEP_BYTES = 64 * 1024
const ZEROS = Buffer.alloc(STEP_BYTES)

/**
 * Writes chunks to a new file, and flushes it to the disk. Long stretches of zeros are left out: such a hole takes no space. The payload
 * of an aggregate of 32 GiB may be zeros but for some megabytes.
 */
export const writeSparseFile = async (path: string, chunks: AsyncIterable<Uint8Array>): Promise<void> => {
  await using file = await open(path, 'w')
  let end = 0
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.byteLength; at += STEP_BYTES) {
      const bytes = chunk.subarray(at, at + STEP_BYTES)
      if (ZEROS.compare(bytes, 0, bytes.byteLength, 0, bytes.byteLength) === 0) continue
      for (let done = 0; done < bytes.byteLength; )
        done += (await file.write(bytes, done, bytes.byteLength - done, end + at + done)).bytesWritten
    }
    end += chunk.byteLength
  }
  // Also a hole at the end belongs to the file.
  await file.truncate(end)
  await file.sync()
}
