import { setTimeout as sleep } from 'node:timers/promises'

/** Polls until `ask` returns a value other than `undefined` and `false`. */
export const eventually = async <T>(
  what: string,
  ask: () => T | undefined | false | Promise<T | undefined | false>,
  { seconds = 60 } = {},
): Promise<T> => {
  const deadline = performance.now() + seconds * 1000
  while (performance.now() < deadline) {
    const answer = await ask()
    if (answer !== undefined && answer !== false) return answer
    await sleep(20)
  }
  throw new Error(`Not within ${seconds} s: ${what}`)
}
