export * from './checks.ts'
export * from './config.ts'
export { createDealer } from './dealer.ts'
export type * from './dependencies.ts'
export {
  type AggregateRecord,
  type AggregateStage,
  aggregateId,
  isSameOwner,
  toOpenKey,
} from './domain/aggregate.ts'
export { documentName, type OfferDocument } from './domain/offer-document.ts'
export { CONDITIONS, describeOrder, isInFlight, type OrderRecord, pardon } from './domain/order.ts'
export { isPausedNow, type PolicyRule, type TargetRecord } from './domain/policy.ts'
export type { WholeRecord } from './domain/whole.ts'
export type { Maker, MakerOrder, Progress } from './makers/maker.ts'
export { messages, type Queues } from './queues.ts'
export * from './stores.ts'
