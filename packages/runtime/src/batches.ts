/** Splits items, in their order, into batches of at most `size`. */
export const batchesOf = <T>(items: readonly T[], size: number): T[][] =>
  Array.from({ length: Math.ceil(items.length / size) }, (_, n) => items.slice(n * size, (n + 1) * size))

/**
 * Returns a function that handles items together: the items that arrive while a batch is handled are the next batch. So a batch
 * begins after the calls for all of its items. If it fails, these calls fail.
 */
export const inBatches = <T>(
  handle: (items: readonly T[]) => Promise<void>,
): ((item: T) => Promise<void>) => {
  let next: { items: T[]; done: Promise<void> } | undefined
  let previous: Promise<void> = Promise.resolve()
  return item => {
    if (next === undefined) {
      const items: T[] = []
      const done = previous.then(() => {
        next = undefined
        return handle(items)
      })
      next = { items, done }
      previous = done.catch(() => {})
    }
    next.items.push(item)
    return next.done
  }
}
