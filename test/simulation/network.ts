import type { Receipt } from '@ucanto/interface'
import { decodeMessage, type Fetch, MESSAGE_LIMITS, receiptsIn } from '@w3filecoin/runtime'
import type { DeterministicWorld } from '@w3filecoin/testing/deterministic'
import type { Simulated } from './services.ts'

/** Time after which a caller stops waiting for an answer, in milliseconds. */
const PATIENCE = 25_000

/** The limits of an answer. */
const LIMITS = { ...MESSAGE_LIMITS, receipts: 500 }

interface Options {
  find: (origin: string) => Simulated | undefined
  /** Whether a service is unreachable now: it refuses at once, or never answers. */
  away: (service: string) => 'refuses' | 'hangs' | undefined
  /** Called for every receipt that a service returns, whether or not the answer arrives. */
  onAnswer: (service: string, receipt: Receipt) => void
}

/**
 * HTTP between the services. A service may be unreachable for hours. A request may be lost, or arrive twice. Its function may
 * be killed. The answer may be lost, or arrive too late.
 */
export const network =
  (world: DeterministicWorld, { find, away, onAnswer }: Options): Fetch =>
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
    const patience = new Promise<{ late: true }>(resolve =>
      world.timeline.after(PATIENCE, () => resolve({ late: true })),
    )
    const absence = away(name)
    if (absence !== undefined) {
      world.count(`service ${absence}`)
      if (absence === 'hangs') await patience
      throw new TypeError(`fetch failed: ${url}`)
    }
    const run = () =>
      world.execute({ name: `${name}.api`, seconds: to.resources.api.timeout }, async () => {
        const response: Response = await to.service.api.request(pathname, init)
        if (response.ok) for (const receipt of await receiptsOf(response.clone())) onAnswer(name, receipt)
        return response
      })
    if (arrived > 1) void run()
    const ended = await Promise.race([run(), patience])
    if (!('ok' in ended)) throw new TypeError(`fetch failed: ${url}`)
    const response = ended.ok
    await world.call({ port: 'http', name, method: 'response' }, { run: () => {} })
    return response
  }

const receiptsOf = async (response: Response): Promise<Receipt[]> => {
  const message = decodeMessage(new Uint8Array(await response.arrayBuffer()), LIMITS)
  if (message.error) throw new Error(`An answer of a service cannot be read: ${message.error.message}`)
  return receiptsIn(message.ok.message)
}
