import { hostOf, makeApi } from './domain.ts'
import { keyOf, makeEncryption } from './secrets.ts'
import type { ServiceName, Stage } from './stages.ts'

/** A service as the other services of its stage know it. */
export interface Peer {
  did: `did:${string}:${string}`
  url: string
  /** The `did:key`s that sign for a `did:web`. */
  keys?: `did:key:${string}`[]
}

/** A service of this stage before it has any functions: its API, the parameter with its private key, and its peer for the others. */
export interface Member {
  api: sst.aws.ApiGatewayV2
  key: aws.ssm.Parameter
  /** Encrypts that parameter. */
  encryption: aws.kms.Key
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
export const makeNetwork = (stage: Stage): Network => {
  const encryption = makeEncryption()
  return {
    stage,
    storefront: makeMember('storefront', stage, encryption),
    aggregator: makeMember('aggregator', stage, encryption),
    dealer: makeMember('dealer', stage, encryption),
    dealTracker: makeMember('deal-tracker', stage, encryption),
  }
}

const makeMember = (service: ServiceName, stage: Stage, encryption: aws.kms.Key): Member => {
  const api = makeApi(service, stage)
  const key = keyOf(service, encryption)
  const host = hostOf(service, stage)
  const did = host === undefined ? key.did : $util.output<Peer['did']>(`did:web:${host}`)
  const former = stage.formerKeys?.[service] ?? []
  return {
    api,
    key: key.parameter,
    encryption,
    peer: $util.all([did, api.url, key.did]).apply(([did, url, present]) => ({
      did,
      url,
      ...(did === present ? {} : { keys: [present, ...former] }),
    })),
  }
}
