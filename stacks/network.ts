import { hostOf, makeApi } from './domain.ts'
import { keyOf } from './secrets.ts'
import type { Peer, ServiceName, Stage } from './stages.ts'

/** A service of this stage before it has any functions: its address, its key, and how the others know it. */
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
 * Storefront and aggregator call each other, so the functions of each must know the address of the other. The
 * addresses come first, for all four, and depend on no function; then every function can know every address.
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
  const did = host === undefined ? key.public : $util.output(`did:web:${host}`)
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
