import type { Stage } from '@w3filecoin/capabilities'
import type { HealthRecord } from '@w3filecoin/runtime'

/** The settings that name the parties which must act at each stage, the one that acts first before the others. */
export const WAITS_ON: Record<Stage, readonly string[]> = {
  offered: ['gateway'],
  submitted: ['aggregator'],
  queued: ['aggregator'],
  aggregated: ['dealer', 'aggregator'],
  retried: ['aggregator'],
  accepted: [],
  failed: [],
}

/** The problems of checks in words for agents. */
const WORDS: Record<string, string> = {
  PeerUnreachable: 'cannot be reached',
  NotAService: 'does not answer as a service',
  AnotherDid: 'answers under another DID',
  AliasOfPeer: 'answers under another DID',
  OtherKeys: 'has keys that this storefront does not know',
  KeysUnreadable: 'has keys that this storefront cannot read',
  NotSigned: 'has keys that this storefront does not know',
  ClockSkew: 'has another time than this storefront',
  NotListed: 'does not accept this storefront',
  GatewayUnreachable: 'does not answer',
}

/** Returns the failed check that explains why a piece does not advance at a stage; `undefined` if none does. */
export const findHindrance = (stage: Stage, health: readonly HealthRecord[]): HealthRecord | undefined =>
  WAITS_ON[stage].flatMap(party => health.find(({ ok, setting }) => !ok && setting === party) ?? [])[0]

/**
 * Describes why a piece does not advance at a stage, if a check of the storefront fails; `undefined` if none does. The sentence is
 * for the agents of a space: it has the DID of a peer and the kind of the problem, and no URL.
 *
 * @example 'The aggregator did:web:aggregator.test cannot be reached since 2026-11-26T17:40:00.000Z'
 */
export const describeHindrance = (stage: Stage, health: readonly HealthRecord[]): string | undefined => {
  const failed = findHindrance(stage, health)
  if (failed === undefined) return undefined
  const { setting, subject, problem = '', since } = failed
  const who = subject === undefined ? `The ${setting} of the content` : `The ${setting} ${subject}`
  return `${who} ${WORDS[problem] ?? 'has a problem'} since ${new Date(since).toISOString()}`
}
