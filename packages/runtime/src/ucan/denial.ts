import type { Capability, Delegation, Invocation, Link } from '@ucanto/interface'
import {
  describeValue,
  escapeControls,
  type Failure,
  failure,
  findInvalidArgument,
} from '@w3filecoin/capabilities'

/**
 * Describes why `@ucanto/server` rejected an invocation. Its own messages are trees of nested causes, print some
 * capabilities as `[object Object]`, and report arguments that do not fit the schema as `Unauthorized`.
 *
 * The library checks in this order: audience, time, signature, arguments, delegations. Only the issuer itself, who has
 * signed the invocation, is answered about its arguments (see decision 0041). Nothing is verified again here.
 *
 * @param ability the capability that defines the schema
 * @param service DID of the service
 */
export const describeDenial = (
  denial: Error,
  ability: object,
  invocation: Invocation,
  service: string,
): Failure => {
  const [claim] = invocation.capabilities
  if (denial.name === 'InvalidAudience')
    return failure(
      'InvalidAudience',
      escapeControls(
        `The invocation is for ${invocation.audience.did()}, and this service is ${service}. Set its audience to ${service}, or send it to the service that it is for.`,
      ),
    )
  if (denial.name !== 'Unauthorized') return denial
  const attempt = denial as Error & Attempt
  // The library reports these errors at the top level for the invocation's own capability only.
  const invalid = attempt.delegationErrors.length > 0 ? findInvalidArgument(ability, claim) : undefined
  if (invalid) return invalid
  const issuer = invocation.issuer.did()
  const reasons = new Set<string>()
  for (const reason of reasonsIn(attempt, { ability, claim, task: `${invocation.cid}` })) {
    reasons.add(reason)
    if (reasons.size > MAX_REASONS) break
  }
  const shown = [...reasons].slice(0, MAX_REASONS)
  if (reasons.size > MAX_REASONS) shown.push('There are more reasons.')
  if (attempt.failedProofs.length > 0)
    shown.push(
      `To invoke it, ${issuer} needs a valid delegation of ${claim.can} on ${claim.with} in its proofs, from ${claim.with} or from a principal that holds one.`,
    )
  return failure(
    'Unauthorized',
    // The sender chooses DIDs and caveats. A terminal that shows the message must not obey them.
    escapeControls(
      [`${issuer} is not authorized to invoke ${claim.can} on ${claim.with}.`, ...shown].join(' '),
    ),
  )
}

/** Maximum number of reasons in a message. */
const MAX_REASONS = 5

/** The fields of the library's `Unauthorized` and `InvalidClaim`: an attempt to authorize a claim by its proofs. */
interface Attempt {
  /** Attempts with the capabilities of a delegation that covers the claim. */
  failedProofs: { info: Attempt & { match: { source: { delegation: Delegation }[] } } }[]
  /** Capabilities of delegations that do not cover the claim, because of their resource or caveats. */
  delegationErrors: (Error & { causes?: readonly Cause[] })[]
  /** Delegations that are not valid. */
  invalidProofs: Cause[]
  /** Capabilities of delegations that are for other abilities. */
  unknownCapabilities: Capability[]
}

/** An error of the library. Each kind has some of these fields. */
type Cause = Error & {
  cause?: Cause
  /** The delegation that is not valid. */
  delegation?: Delegation
  /** Of `EscalatedCapability`: the capability of the delegation. */
  delegated?: { delegation: Delegation }
  /** Of `MalformedCapability`: the capability of the delegation. */
  capability?: Capability
  /** Of a misaligned delegation: the principal that it should be for. */
  audience?: { did(): string }
  did?: string
  link?: Link
}

interface Context {
  ability: object
  claim: Capability
  /** CID of the invocation. */
  task: string
}

/** Yields the reasons of an attempt, each as a sentence. */
function* reasonsIn(attempt: Attempt, context: Context): Generator<string> {
  for (const { info } of attempt.failedProofs) {
    const { delegation } = info.match.source[0]!
    if (delegation.proofs.length === 0)
      yield isInvocation(delegation, context)
        ? 'The invocation has no proofs.'
        : `The delegation ${delegation.cid} is from ${delegation.issuer.did()}, which does not own this resource, and has no proofs.`
    yield* reasonsIn(info, context)
  }
  for (const error of attempt.delegationErrors)
    for (const cause of error.causes ?? [error as Cause]) yield describeCause(cause, context)
  for (const cause of attempt.invalidProofs) yield describeCause(cause, context)
  for (const { can, with: resource } of attempt.unknownCapabilities)
    yield `A delegation of ${describeValue(can)} on ${describeValue(resource)} does not cover ${context.claim.can}.`
}

const isInvocation = ({ cid }: Delegation, { task }: Context): boolean => `${cid}` === task

const describeCause = (error: Cause, context: Context): string => {
  const { name, delegation, delegated, capability, audience, did, link, cause } = error
  if (name === 'ProofError' && cause) return describeCause(cause, context)
  if (name === 'EscalatedCapability' && delegated && cause)
    return `The delegation ${delegated.delegation.cid} does not cover the invocation: ${cause.message}.`
  if (name === 'MalformedCapability' && capability) return describeCaveats(capability, context)
  if (name === 'DIDKeyResolutionError')
    return `This service knows no key of ${did}: it accepts signatures of other DIDs than a did:key only for principals in its configuration.`
  if (name === 'UnavailableProof')
    return cause === undefined
      ? `The block of the delegation ${link} is missing. Attach it to the invocation.`
      : `The delegation ${link} does not count: ${cause.message}.`
  // `toPublicFailure` bounds the message.
  if (delegation === undefined) return `${error.message}.`
  const subject = isInvocation(delegation, context) ? 'The invocation' : `The delegation ${delegation.cid}`
  switch (name) {
    case 'Expired':
      return `${subject} expired at ${describeTime(delegation.expiration)}.`
    case 'NotValidBefore':
      return `${subject} is not valid before ${describeTime(delegation.notBefore)}.`
    case 'Revoked':
      return `${subject} is revoked.`
    case 'InvalidSignature':
      return `${subject} has a signature that no key of ${delegation.issuer.did()} made.`
    case 'SessionEscalation':
      return `${subject} has an attestation (ucan/attest) that is not valid.`
    case 'InvalidAudience':
      return `${subject} has the audience ${delegation.audience.did()}, not ${audience?.did()}.`
    default:
      return `${subject}: ${error.message}.`
  }
}

/** Describes a delegated capability whose caveats do not fit the schema of the ability. */
const describeCaveats = (delegated: Capability, { ability, claim }: Context): string => {
  const resource = delegated.with === 'ucan:*' ? claim.with : delegated.with
  const invalid = findInvalidArgument(ability, { ...delegated, with: resource }, { partial: true })
  return `A delegation of ${describeValue(delegated.can)} does not cover the invocation, because of its own arguments: ${invalid?.message}`
}

/** @param seconds since 1970, as the sender wrote it */
const describeTime = (seconds: number | undefined): string => {
  const time = new Date((seconds ?? NaN) * 1000)
  return Number.isNaN(time.getTime()) ? `${seconds} s after 1970` : time.toISOString()
}
