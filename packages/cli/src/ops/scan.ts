import type { Segment } from '@w3filecoin/aws'
import type { Row } from '@w3filecoin/runtime'
import pMap from 'p-map'

/** Scans a whole table in parallel segments. Handles the rows of each page before the segment goes on. */
export const scanInSegments = async (
  segments: number,
  read: (part: Segment) => AsyncIterable<Row[]>,
  handle: (rows: Row[]) => Promise<void>,
): Promise<void> => {
  await pMap(
    Array.from({ length: segments }, (_, segment) => segment),
    async segment => {
      for await (const rows of read({ segment, segments })) await handle(rows)
    },
    { concurrency: segments },
  )
}
