import type { Fetch } from '@w3filecoin/service'
import type { DeterministicWorld } from '@w3filecoin/testing/deterministic'
import type { Simulated } from './services.ts'

/** Milliseconds after which nobody waits for an answer any more. */
const PATIENCE = 25_000

/**
 * HTTP between the services: one may be away for hours; a request may not arrive, or arrive twice; its function may be killed; the answer may be lost,
 * or come too late.
 */
export const network =
  (
    world: DeterministicWorld,
    find: (origin: string) => Simulated | undefined,
    isAway: (service: string) => boolean,
  ): Fetch =>
  async (url, { signal: _, ...init } = {}) => {
    const { origin, pathname } = new URL(url)
    const to = find(origin)
    if (to === undefined) throw new TypeError(`fetch failed: ${url}`)
    const { name } = to
    let arrived = 0
    await world.call(
      { port: 'http', name, method: `${init.method ?? 'GET'} request` },
      {
        run: () => {
          arrived += 1
        },
      },
    )
    if (isAway(name)) {
      world.count('service away')
      throw new TypeError(`fetch failed: ${url}`)
    }
    const run = () =>
      world.execute({ name: `${name}.api`, seconds: to.resources.api.timeout }, async () =>
        to.service.api.request(pathname, init),
      )
    if (arrived > 1) void run()
    const ended = await Promise.race([
      run(),
      new Promise<{ late: true }>(resolve => world.timeline.after(PATIENCE, () => resolve({ late: true }))),
    ])
    if (!('ok' in ended)) throw new TypeError(`fetch failed: ${url}`)
    const response = ended.ok
    await world.call({ port: 'http', name, method: 'response' }, { run: () => {} })
    return response
  }
