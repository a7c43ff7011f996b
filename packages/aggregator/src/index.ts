export { createAggregator } from './aggregator.ts'
export * from './checks.ts'
export * from './config.ts'
export { checkDelegation, delegationsOf } from './delegations.ts'
export type * from './dependencies.ts'
export { type AggregateRecord, type AggregateStage, aggregateId } from './domain/aggregate.ts'
export { type GroupRecord, MAX_OPEN_SEALS, type Seal } from './domain/group.ts'
export {
  groupId,
  type PendingRecord,
  type PieceRecord,
  type PieceStage,
  pieceId,
} from './domain/piece.ts'
export { quotaKey } from './domain/quota.ts'
export { messages, type Queues } from './queues.ts'
export { findMember, readMembers } from './sealing/members.ts'
export { type Stores, tables } from './stores.ts'
