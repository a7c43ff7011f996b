import type { Ability, Capability } from '@ucanto/interface'
import * as aggregator from './aggregator.ts'
import * as blob from './blob.ts'
import * as dealTracker from './deal-tracker.ts'
import * as dealer from './dealer.ts'
import { coversAbility } from './schema.ts'
import * as storefront from './storefront.ts'
import * as ucan from './ucan.ts'

/** The parts of a `capability(…)` that name its caveats. */
interface Definition {
  can: Ability
  descriptor: { nb: { shape: object } }
}

const isDefinition = (value: unknown): value is Definition =>
  typeof value === 'object' && value !== null && 'can' in value && 'descriptor' in value

/** Every ability of the four services. */
const ABILITIES: readonly Definition[] = [storefront, blob, aggregator, dealer, dealTracker, ucan].flatMap(
  definitions => Object.values<unknown>(definitions).filter(isDefinition),
)

/**
 * Returns the first caveat of a delegated capability that none of the abilities that it covers defines; `undefined` if each
 * is defined. Its issuer wants a restriction that no service can enforce, so the delegation must not authorize anything.
 *
 * An ability that is not in the protocol, e.g. one of a dialect, must define every caveat itself: a caveat of the protocol
 * may restrict the same thing under another name, as `group` does for `provider` in draft 1.
 *
 * @param claimed the ability that is invoked
 * @example `maxBytes` of a delegation `{ can: 'filecoin/*', nb: { piece, maxBytes: 5 } }`. `{ content, piece }` are defined,
 * though `filecoin/info` defines only `piece`: for it, `content` restricts nothing.
 */
export const findUnknownCaveat = (
  { can, nb }: Pick<Capability, 'can' | 'nb'>,
  claimed: object,
): string | undefined => {
  const names = Object.keys(nb ?? {})
  if (names.length === 0) return undefined
  const isProtocol = ABILITIES.includes(claimed as Definition)
  const covered = isProtocol
    ? ABILITIES.filter(ability => coversAbility(can, ability.can))
    : [claimed as Definition]
  const known = new Set(covered.flatMap(({ descriptor }) => Object.keys(descriptor.nb.shape)))
  return names.find(name => !known.has(name))
}
