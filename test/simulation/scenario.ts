import { Delegation } from '@ucanto/core'
import type { Signer } from '@ucanto/interface'
import { filecoinOffer, type PieceLink } from '@w3filecoin/capabilities'
import { type Content, signerOf, someContent } from '@w3filecoin/testing'
import type { Choices } from '@w3filecoin/testing/deterministic'

/** The outcome of an offer, if nothing is lost. */
export type Expected = 'accepted' | 'InvalidContentPiece' | 'ContentNotFound'

/** An offer of an agent. */
export interface Offer {
  storefront: string
  content: Content
  piece: PieceLink
  nonce?: string | undefined
  /** When it is first offered, and when its content is uploaded (never, if absent), in milliseconds from the start. */
  at: number
  uploadedAt?: number | undefined
  /** Whether reading its content starts, but never ends. */
  hangs?: boolean
  /** Whether another agent offers it again after the answer. */
  again: boolean
  expected: Expected
  space: Signer
  agent: Signer
}

export interface Scenario {
  storefronts: readonly string[]
  offers: readonly Offer[]
  /** Pieces that storage providers reject. */
  faulty: ReadonlySet<string>
  /** The providers of spaces, as the operator of every storefront configured them. */
  spaces: ReadonlyMap<string, string>
}

const HOUR = 3_600_000

/** The content is the same for every seed. Seeds vary what happens to it. */
const contents = await Promise.all(
  Array.from({ length: 12 }, (_, n) =>
    someContent(`simulated ${n}`, [120, 500, 1000, 2000, 4000, 8000][n % 6]),
  ),
)
const people = await Promise.all(
  ['agent one', 'agent two', 'space one', 'space two', 'space three'].map(name => signerOf(name)),
)
export const signers = Object.fromEntries(
  await Promise.all(
    ['storefront', 'other', 'aggregator', 'dealer', 'tracker'].map(
      async name => [name, await signerOf(`the ${name}`)] as const,
    ),
  ),
)

/** Returns the offers of a seed, with faults in some of them. */
export const randomScenario = (choices: Choices): Scenario => {
  const storefronts = choices.chance(0.4) ? ['storefront', 'other'] : ['storefront']
  const [one, two, ...spaces] = people as [Signer, Signer, ...Signer[]]
  const faulty = new Set<string>()
  const pool = choices.shuffled(contents)
  // Sometimes all offers are made at once and in one group: more pieces than fit into an aggregate.
  const burst = choices.chance(0.25)
  const offers = Array.from({ length: burst ? 11 : choices.between(2, 9) }, (_, n): Offer => {
    // Sometimes an offer repeats the first one: by another agent, at another storefront, or with a nonce.
    const content = n > 0 && choices.chance(0.15) ? (pool[0] as Content) : (pool[n] as Content)
    const kind = choices.fraction()
    const at = choices.between(0, burst ? HOUR / 12 : 20 * HOUR)
    const common = {
      storefront: burst ? storefronts[0]! : choices.one(storefronts),
      content,
      piece: content.piece,
      nonce: choices.chance(0.15) ? `n${n}` : undefined,
      at,
      uploadedAt: choices.chance(0.7) ? 0 : at + choices.between(0, 30 * HOUR),
      again: choices.chance(0.2),
      space: burst ? spaces[0]! : choices.one(spaces),
      agent: choices.one([one, two]),
      expected: 'accepted' as const,
    }
    if (content !== pool[n]) return common
    // The following kinds have content that no other offer has.
    if (n > 0 && kind < 0.1)
      return { ...common, piece: pool[11]!.piece, uploadedAt: 0, expected: 'InvalidContentPiece' }
    if (n > 0 && kind < 0.16) return { ...common, uploadedAt: undefined, expected: 'ContentNotFound' }
    if (n > 0 && kind < 0.2) return { ...common, uploadedAt: 0, hangs: true, expected: 'ContentNotFound' }
    if (n > 0 && kind < 0.3) {
      faulty.add(`${content.piece}`)
      return { ...common, uploadedAt: 0, expected: 'InvalidContentPiece' }
    }
    return common
  })
  return {
    storefronts,
    offers,
    faulty,
    spaces: new Map([[(spaces[0] as Signer).did(), 'did:web:provider.test']]),
  }
}

/**
 * Returns one fixed journey: two groups, a piece that storage providers reject (its aggregate fails, and the other pieces are
 * retried), a piece with the wrong content, and one that is offered twice. The pieces have different sizes, so that their
 * aggregates do not depend on their order.
 */
export const plannedScenario = (): Scenario => {
  const [one] = people as [Signer]
  const [, , listed, other] = people as [Signer, Signer, Signer, Signer]
  const offer = (n: number, more: Partial<Offer> = {}): Offer => {
    const content = contents[n] as Content
    return {
      storefront: 'storefront',
      content,
      piece: content.piece,
      at: n * 60_000,
      uploadedAt: 0,
      again: false,
      space: other,
      agent: one,
      expected: 'accepted',
      ...more,
    }
  }
  const faulty = offer(2, { expected: 'InvalidContentPiece' })
  return {
    storefronts: ['storefront'],
    offers: [
      offer(0),
      offer(1, { again: true }),
      faulty,
      offer(3, { space: listed }),
      offer(4, { piece: (contents[5] as Content).piece, expected: 'InvalidContentPiece' }),
    ],
    faulty: new Set([`${faulty.piece}`]),
    spaces: new Map([[listed.did(), 'did:web:provider.test']]),
  }
}

/** Returns the invocation for an offer. */
export const invocationOf = async (
  { content, piece, nonce, space, agent }: Offer,
  storefront: Signer,
  by: Signer = agent,
) =>
  filecoinOffer.invoke({
    issuer: by,
    audience: storefront,
    with: space.did(),
    nb: { content: content.content as never, piece },
    proofs: [
      await Delegation.delegate({
        issuer: space,
        audience: by,
        capabilities: [{ can: 'filecoin/*', with: space.did() }],
        expiration: Infinity,
      }),
    ],
    expiration: Infinity,
    ...(nonce === undefined ? {} : { nonce }),
  })

export const otherThan = (agent: Signer): Signer => people.find(other => other !== agent) as Signer
