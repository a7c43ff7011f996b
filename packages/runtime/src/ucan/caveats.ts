import type { Match, ParsedCapability, Select, Source } from '@ucanto/interface'
import { fail } from '@ucanto/validator'
import { coversAbility, findUnknownCaveat } from '@w3filecoin/capabilities'
import type { Parser } from './ucanto.ts'

type Selected = Match<ParsedCapability>

/**
 * Returns the capability with a stricter check of its delegations: one with a caveat that no ability covered by it defines
 * does not authorize anything (see decision 0036). `@ucanto/validator` removes such caveats before it compares a claim with
 * a delegation, so `derives` does not see them.
 *
 * The validator calls `select` on the capability for the invocation, and then on each match for the delegations above it. A
 * path without such a delegation still authorizes.
 */
export const refuseUnknownCaveats = <P extends Parser>(capability: P): P => {
  const guardMatch = (match: Selected): Selected =>
    override(match, {
      select: (sources: Source[]) => {
        const refused = new Map(sources.map(source => [source, refusalOf(source, match, capability)]))
        const accepted = sources.filter(source => refused.get(source) === undefined)
        const selected = match.select(accepted) as Select<Selected>
        const errors = [...refused.values()].filter(error => error !== undefined)
        return { ...guardAll(selected), errors: [...errors, ...selected.errors] }
      },
    } as object)
  const guardAll = (selected: Select<Selected>) => ({
    ...selected,
    matches: selected.matches.map(guardMatch),
  })
  return override(capability, {
    select: (sources: Source[]) => guardAll(capability.select(sources) as Select<Selected>),
  })
}

/** Returns the object with some of its methods replaced. */
const override = <T extends object>(original: T, methods: object): T =>
  Object.assign(Object.create(original), methods)

/** Returns the reason why a delegated capability must not authorize a claim; `undefined` if it does not apply to the claim. */
const refusalOf = ({ capability, delegation }: Source, { value }: Selected, claimed: Parser) => {
  const caveat = coversAbility(capability.can, value.can) ? findUnknownCaveat(capability, claimed) : undefined
  return caveat === undefined
    ? undefined
    : fail(
        `The delegation ${delegation.cid} of ${capability.can} has the caveat ${caveat.slice(0, 100)}, which no ability that it covers defines. This service cannot enforce it. Ask ${delegation.issuer.did()} for a delegation without it`,
      ).error
}
