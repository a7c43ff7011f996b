/** Splits items, in their order, into batches of at most `size`. */
export const batchesOf = <T>(items: readonly T[], size: number): T[][] =>
  Array.from({ length: Math.ceil(items.length / size) }, (_, n) => items.slice(n * size, (n + 1) * size))

/**
 * Returns a function that handles items together: the items that arrive while a batch is handled are the next batch. So a batch
 * begins after the calls for all of its items. These calls return what it returns, and fail if it fails.
 */
export const inBatches = <T, R = void>(
  handle: (items: readonly [T, ...T[]]) => Promise<R>,
): ((item: T) => Promise<R>) => {
  let next: { items: T[]; done: Promise<R> } | undefined
  let previous: Promise<unknown> = Promise.resolve()
  return item => {
    if (next === undefined) {
      const items: T[] = []
      const done = previous.then(() => {
        next = undefined
        return handle(items as [T, ...T[]])
      })
      next = { items, done }
      previous = done.catch(() => {})
    }
    next.items.push(item)
    return next.done
  }
}

/**
 * Returns a function that handles items of one message together, if they have the same key: see {@link inBatches}. `message` is
 * the same object for all of them. Items of other messages are handled apart, so a run that is killed delays no other run.
 */
export const inBatchesOfMessage = <T, R = void>(
  handle: (items: readonly [T, ...T[]]) => Promise<R>,
): ((message: object, key: string, item: T) => Promise<R>) => {
  const messages = new WeakMap<object, Map<string, (item: T) => Promise<R>>>()
  return (message, key, item) => {
    const keys = messages.get(message) ?? new Map<string, (item: T) => Promise<R>>()
    messages.set(message, keys)
    const add = keys.get(key) ?? inBatches(handle)
    keys.set(key, add)
    return add(item)
  }
}
