import { hostOf, makeApi } from './domain.ts'
import { keyOf } from './secrets.ts'
import type { ServiceName, Stage } from './stages.ts'

/** A service as the other services of its stage know it. */
export interface Peer {
  did: `did:${string}:${string}`
  url: string
  /** The `did:key`s that sign for a `did:web`. */
  keys?: `did:key:${string}`[]
}

/** A service of this stage before it has any functions: its API, its private key, and its peer for the others. */
export interface Member {
  api: sst.aws.ApiGatewayV2
  key: $util.Output<string>
  peer: $util.Output<Peer>
}

/** The four services of a stage. */
export interface Network {
  stage: Stage
  storefront: Member
  aggregator: Member
  dealer: Member
  dealTracker: Member
}

/**
 * Storefront and aggregator call each other, so the functions of each need the address of the other. Therefore the
 * four addresses are created first: they depend on no function.
 */
export const makeNetwork = (stage: Stage): Network => ({
  stage,
  storefront: makeMember('storefront', stage),
  aggregator: makeMember('aggregator', stage),
  dealer: makeMember('dealer', stage),
  dealTracker: makeMember('deal-tracker', stage),
})

const makeMember = (service: ServiceName, stage: Stage): Member => {
  const api = makeApi(service, stage)
  const key = keyOf(service)
  const host = hostOf(service, stage)
  const did = host === undefined ? key.public : $util.output<Peer['did']>(`did:web:${host}`)
  const former = stage.formerKeys?.[service] ?? []
  return {
    api,
    key: key.private,
    peer: $util.all([did, api.url, key.public]).apply(([did, url, present]) => ({
      did,
      url,
      ...(did === present ? {} : { keys: [present, ...former] }),
    })),
  }
}
