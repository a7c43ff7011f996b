/**
 * A client of the W3 Filecoin Protocol, for Node, browsers and workers.
 *
 * @example
 * const w3 = await connect('https://storefront.example')
 * const proof = await w3.add(file)
 * await proof.save('photo.jpg.w3proof')
 * @module
 */
import type { Signer } from '@ucanto/interface'
import { platform } from '#platform'

export type {
  AggregateListSuccess,
  DealInfoSuccess,
  DealMetadata,
  DealReportSuccess,
  DealSummary,
  DealWatchSuccess,
  Failure,
  FilecoinAcceptSuccess,
  FilecoinInfoSuccess,
  Inclusion,
  OpenOffer,
  PieceInfoSuccess,
  PieceLink,
  Place,
  PlaceStatus,
  PlaceSummary,
  Result,
  Stage,
  UnknownLink,
  Workflow,
} from '@w3filecoin/capabilities'
export { describePlace, describePlaceKey, parsePlaceKey, placeIn, toPlaceKey } from '@w3filecoin/capabilities'
export { type AnyLink, type InclusionPath, inclusionPaths, verifyInclusion } from '@w3filecoin/piece'
export type { Abilities, Ability, DealFault } from './abilities.ts'
export { Aggregator, aggregator, type OfferAllOptions, type PieceEvent } from './aggregator.ts'
export { type ChainLink, followChain } from './chain.ts'
export { type ChainNode, type ChainNodeOptions, chainNode, type ShownPlace } from './chain-node.ts'
export { DealTracker, dealTracker } from './deal-tracker.ts'
export { Dealer, dealer } from './dealer.ts'
export { type DelegateOptions, decodeDelegation, delegate, encodeDelegation } from './delegation.ts'
export { type ClientErrorCode, W3Error } from './error.ts'
export type { RetryEvent } from './http.ts'
export type { Party } from './keys.ts'
export type { Fetch } from './platform.ts'
export { Proof, type ProofSource } from './proof.ts'
export { type ReceiveReceiptsOptions, receiveReceipts } from './receive-receipts.ts'
export type { About, InvokeOptions, Receipt, Service, ServiceOptions, Task, TaskState } from './service.ts'
export { type HashingEvent, type Identified, identify, type Source } from './source.ts'
export {
  type AddEvent,
  type AddOptions,
  type ConnectOptions,
  connect,
  type Offered,
  type StageEvent,
  type Status,
  Storefront,
  type Upload,
  type WorkflowEvent,
  type WorkflowName,
} from './storefront.ts'
export { type Report, type TrackedDeal, type VerifyOptions, verify } from './verify.ts'

/** Returns where the client keeps the key of this user's agent: in Node the path of a file, in a browser a name. */
export const keyPlace = (): string => platform.keyPlace()

/**
 * Returns the key that the client keeps for this user's agent, and creates it at the first call. In Node it is a file that only
 * its owner can read, e.g. `~/.config/w3filecoin/agent.key`. In a browser it is in IndexedDB, and cannot be exported.
 *
 * @param place another file; in a browser, another name
 * @throws W3Error `KeyUnavailable` if the file is not a key, cannot be read, or can be read by other users
 * @example const signer = await openSigner()
 */
export const openSigner = (place?: string): Promise<Signer> => platform.openSigner(place)
