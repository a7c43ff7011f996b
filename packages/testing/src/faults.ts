/** The error that a call throws if a test cut it. */
export const CUT = new Error('Cut by the test')

/** Returns the port with a method whose first calls throw without an effect, as if the process had ended before them. */
export const cut = <T extends object>(port: T, method: keyof T, times = 1): T => {
  let left = times
  return new Proxy(port, {
    get: (target, name) => {
      const value = target[name as keyof T]
      if (typeof value !== 'function') return value
      return (...given: unknown[]) => {
        if (name !== method || left === 0) return value.apply(target, given)
        left -= 1
        return Promise.reject(CUT)
      }
    },
  })
}
