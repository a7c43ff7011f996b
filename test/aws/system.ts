import { hash } from 'node:crypto'
import type { Signer } from '@ucanto/interface'
import type { AggregatorSettings } from '@w3filecoin/aggregator/config'
import { resources as aggregatorResources } from '@w3filecoin/aggregator/resources'
import { filecoinOffer } from '@w3filecoin/capabilities'
import type { DealTrackerSettings } from '@w3filecoin/deal-tracker/config'
import { resources as dealTrackerResources } from '@w3filecoin/deal-tracker/resources'
import type { OfferDocument } from '@w3filecoin/dealer'
import type { DealerSettings } from '@w3filecoin/dealer/config'
import { resources as dealerResources } from '@w3filecoin/dealer/resources'
import { parsePiece, toV1 } from '@w3filecoin/piece'
import { Authority, Peer } from '@w3filecoin/runtime'
import type { Resources } from '@w3filecoin/runtime/resources'
import type { StorefrontSettings } from '@w3filecoin/storefront/config'
import { resources as storefrontResources } from '@w3filecoin/storefront/resources'
import { type Content, keyOf, signerOf } from '@w3filecoin/testing'
import { Cloud, type CloudOptions } from './cloud.ts'

const SERVICES = ['storefront', 'aggregator', 'dealer', 'deal-tracker'] as const
type ServiceName = (typeof SERVICES)[number]

export const RESOURCES: Record<ServiceName, Resources> = {
  storefront: storefrontResources,
  aggregator: aggregatorResources,
  dealer: dealerResources,
  'deal-tracker': dealTrackerResources,
}

/** Start of the chain in seconds since 1970, and length of an epoch in seconds. */
const GENESIS = 1_598_306_400
const EPOCH_SECONDS = 30

interface Options extends CloudOptions {
  limits?: AggregatorSettings['limits']
  groups?: AggregatorSettings['groups']
  /** Whether storage providers make the deals that the dealer offers at once. Default: true. */
  makesDeals?: boolean
}

/** The four services on the simulated AWS, with an agent, a market and a chain. */
export class CloudSystem implements Disposable {
  readonly cloud: Cloud
  readonly #agent: Signer
  readonly #storefront: Peer
  /** Aggregates in the order in which the dealer offered them. */
  readonly offered: OfferDocument[] = []
  /** Those that have a deal, which the chain shows. */
  readonly #live: OfferDocument[] = []
  readonly #stages = new Map<string, number>()

  private constructor(cloud: Cloud, agent: Signer, storefront: Peer) {
    this.cloud = cloud
    this.#agent = agent
    this.#storefront = storefront
  }

  static async open({
    limits = {},
    groups = {},
    makesDeals = true,
    ...options
  }: Options = {}): Promise<CloudSystem> {
    const signers = Object.fromEntries(
      await Promise.all([...SERVICES, 'agent'].map(async name => [name, await signerOf(name)] as const)),
    ) as Record<ServiceName | 'agent', Signer>
    const peer = (name: ServiceName) => ({ did: signers[name].did(), url: urlOf(name) })
    const cloud = new Cloud(options)
    const system = new CloudSystem(
      cloud,
      signers.agent,
      new Peer(peer('storefront'), {
        authority: new Authority(),
        fetch: (url, init) => cloud.fetch(url, init),
      }),
    )
    cloud.onObject = (bucket, _key, bytes) => {
      if (bucket !== 'dealer-offers') return
      system.offered.push(JSON.parse(`${Buffer.from(bytes)}`))
      if (makesDeals) system.makeDeals()
    }
    cloud.dynamodb.onWrite = (table, before, item) => {
      if (table === 'storefront-piece') system.#countStage(before?.stage, item?.stage)
    }
    cloud.hosts.set('https://chain.test', () => system.#chain())
    const settings = {
      storefront: {
        aggregator: peer('aggregator'),
        dealer: { did: signers.dealer.did() },
        dealTracker: peer('deal-tracker'),
        defaultGroup: 'free',
        offersPerDay: { shared: 1_000_000 },
      } satisfies StorefrontSettings,
      aggregator: {
        storefronts: [peer('storefront')],
        dealer: peer('dealer'),
        limits: { minPaddedBytes: 0, ...limits },
        groups,
      } satisfies AggregatorSettings,
      dealer: {
        aggregators: [{ ...peer('aggregator'), tenants: 'all' as const }],
        dealTracker: peer('deal-tracker'),
      } satisfies DealerSettings,
      'deal-tracker': {
        clients: [peer('storefront'), peer('aggregator'), peer('dealer')],
        sources: [{ name: 'chain', kind: 'active-replicas', url: 'https://chain.test/' }],
      } satisfies DealTrackerSettings,
    }
    for (const name of SERVICES)
      await cloud.deploy({
        name,
        url: urlOf(name),
        resources: RESOURCES[name],
        functions: `@w3filecoin/${name}/functions`,
        env: { SERVICE_KEY: await keyOf(name), CONFIG: JSON.stringify(settings[name]) },
      })
    return system
  }

  /** Lists a space with its provider, which becomes the group of its pieces. */
  listSpace(space: string, provider: string): void {
    this.cloud.dynamodb.seed('storefront-space', { space, provider })
  }

  /** Stores contents, and offers them to the storefront in messages of so many. Resolves when all are answered. */
  async offer(
    contents: readonly Content[],
    { each = 50, by = this.#agent }: { each?: number; by?: Signer } = {},
  ) {
    for (let n = 0; n < contents.length; n += each) {
      const offers = await Promise.all(
        contents.slice(n, n + each).map(async ({ bytes, content, piece }) => {
          this.cloud.store('storefront-content', `${content}`, bytes)
          return filecoinOffer
            .invoke({
              issuer: by,
              audience: this.#storefront.principal,
              with: by.did(),
              nb: { content, piece },
              expiration: Infinity,
            })
            .delegate()
        }),
      )
      for (const { error } of await this.#storefront.execute(offers as never)) if (error) throw error
    }
  }

  /** Number of the storefront's pieces by stage. */
  stages(): Record<string, number> {
    return Object.fromEntries(this.#stages)
  }

  #countStage(before: unknown, after: unknown): void {
    for (const [stage, change] of [
      [before, -1],
      [after, 1],
    ] as const)
      if (typeof stage === 'string') this.#stages.set(stage, (this.#stages.get(stage) ?? 0) + change)
  }

  /** Storage providers make the deals of all aggregates that were offered. From now on, the chain shows them. */
  makeDeals(): void {
    this.#live.push(...this.offered.slice(this.#live.length))
  }

  [Symbol.dispose](): void {
    this.cloud[Symbol.dispose]()
  }

  /** The file of active replicas: the aggregates that have a deal. */
  #chain(): Response {
    const epoch = Math.floor((this.cloud.timeline.now / 1000 - GENESIS) / EPOCH_SECONDS)
    return Response.json({
      state_epoch: epoch,
      active_replicas: this.#live.map(({ aggregate }) => {
        const { root, log2Size } = toV1(parsePiece(aggregate).ok!.link).ok!
        return {
          contracts: [
            {
              provider_id: 7,
              legacy_market_id: hash('sha256', aggregate, 'buffer').readUInt32BE(0),
              legacy_market_end_epoch: epoch + 1_000_000,
            },
          ],
          piece_cid: `${root}`,
          piece_log2_size: log2Size,
        }
      }),
    })
  }
}

const urlOf = (service: ServiceName): string => `https://${service}.test`
