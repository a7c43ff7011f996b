import type { DID, Signer } from '@ucanto/interface'
import {
  type Authority,
  COMMON_FORMATS,
  createHttpApp,
  type Fetch,
  type Handler,
  type Log,
  openStores,
  type ReceiptLog,
  Server,
  type Service,
} from '@w3filecoin/runtime'
import { COMMON_TABLES, describeResources, type Resources } from '@w3filecoin/runtime/resources'
import type { World } from './world.ts'

/** A stand-in for another service, with the handlers of a test. */
export interface StandIn {
  did: DID
  url: string
  api: Service['api']
  receipts: ReceiptLog
}

/** Describes the resources of a stand-in. */
export const standInResources = (name: string) =>
  describeResources({
    service: name,
    api: { timeout: 1, memory: 128, uses: {} },
    tables: COMMON_TABLES,
    queues: {},
    buckets: { blocks: { holds: 'large receipts' } },
    schedules: {},
  } satisfies Resources)

/** Starts a stand-in on the engines of a test. */
export const standIn = async (
  world: World,
  {
    name,
    id,
    authority,
    handlers,
    log = () => {},
  }: { name: string; id: Signer; authority: Authority; handlers: readonly Handler[]; log?: Log },
): Promise<StandIn> => {
  const aws = await world.provide(standInResources(name))
  const { receipts } = openStores(aws, COMMON_FORMATS, { now: () => 0 })
  const server = new Server({ id, authority, handlers, receipts, log })
  const api = createHttpApp({ server, receipts, name, log })
  return { did: id.did(), url: `https://${name}.test`, api, receipts }
}

/** Returns a `fetch` that calls these services directly, and fails for other hosts. */
export const networkOf =
  (services: () => readonly Pick<StandIn, 'url' | 'api'>[]): Fetch =>
  async (url, init) => {
    const service = services().find(({ url: origin }) => new URL(url).origin === origin)
    if (service === undefined) throw new TypeError(`fetch failed: ${url}`)
    return service.api.request(url, init)
  }
