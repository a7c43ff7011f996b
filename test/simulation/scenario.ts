import { Delegation, invoke } from '@ucanto/core'
import type { Delegation as DelegationView, Signer } from '@ucanto/interface'
import { type Dialect, filecoinInfo, filecoinOffer, type PieceLink } from '@w3filecoin/capabilities'
import { principal } from '@w3filecoin/runtime'
import { type Content, signerOf, someContent } from '@w3filecoin/testing'
import type { Choices } from '@w3filecoin/testing/deterministic'
import type { Element } from './elements.ts'

/** The outcome of an offer, if nothing is lost. */
export type Expected = 'accepted' | 'InvalidContentPiece' | 'ContentNotFound'

/** An offer of an agent. */
export interface Offer {
  storefront: string
  /** The dialect in which it is made. Absent for the words of the protocol. */
  dialect?: OfferDialect | undefined
  content: Content
  piece: PieceLink
  nonce?: string | undefined
  /** When it is first offered, and when its content is uploaded (never, if absent), in milliseconds from the start. */
  at: number
  uploadedAt?: number | undefined
  /** Whether reading its content starts, but never ends. */
  hangs?: boolean
  /** Until when its content arrives very slowly, in milliseconds from the start. */
  slowUntil?: number
  /** Whether another agent offers it again after the answer. */
  again: boolean
  /** Whether the agent offers it again after `ContentNotFound`, once the content is uploaded. */
  persistent?: boolean
  expected: Expected
  /** Whether `ContentNotFound` is expected too: the content is uploaded about when the wait for it ends. */
  mayBeMissing?: boolean
  /** Maximum time from the answer to the receipt of `filecoin/submit`, in milliseconds. */
  submittedWithin?: number
  space: Signer
  agent: Signer
}

/** A row of the table of providers, and when the operators of all storefronts write it, in milliseconds from the start. */
export interface SpaceRow {
  at: number
  space: string
  provider: string
}

/** Many offers of one content that differ only in their nonces, in spaces that no provider has. */
export interface Flood {
  storefront: string
  content: Content
  at: number
  nonces: readonly string[]
}

export interface Scenario {
  /** The aggregator of each storefront. */
  storefronts: ReadonlyMap<string, string>
  offers: readonly Offer[]
  /** Pieces that storage providers reject. */
  faulty: ReadonlySet<string>
  spaces: readonly SpaceRow[]
  flood?: Flood
  /** Minimum size of an aggregate of the default group, in padded bytes. */
  minPaddedBytes: number
}

const SECOND = 1000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

/** The content is the same for every seed. Seeds vary what happens to it. */
const contents = await Promise.all(
  Array.from({ length: 12 }, (_, n) =>
    someContent(`simulated ${n}`, [120, 500, 1000, 2000, 4000, 8000][n % 6]),
  ),
)
/** More small contents than the queue `submit` has consumers. */
const slowContents = await Promise.all(Array.from({ length: 55 }, (_, n) => someContent(`slow ${n}`, 120)))
const floodContent = await someContent('flood', 120)
const lateContent = await someContent('late', 500)

const people = await Promise.all(
  ['agent one', 'agent two', 'space one', 'space two', 'space three'].map(name => signerOf(name)),
)
const [one, two, listed, ...unlisted] = people as [Signer, Signer, Signer, Signer, Signer]
const spaces = [listed, ...unlisted]
const floodSpaces = await Promise.all(Array.from({ length: 3 }, (_, n) => signerOf(`flood space ${n}`)))
export const stranger = await signerOf('a stranger')

export const signers = Object.fromEntries(
  await Promise.all(
    ['storefront', 'other', 'aggregator', 'another', 'dealer', 'tracker'].map(
      async name => [name, await signerOf(`the ${name}`)] as const,
    ),
  ),
)

/** The storefront that authorizes its deals itself: it has delegated `aggregate/offer` to each aggregator. */
export const DELEGATING = 'other'

/** Its delegations, by aggregator. */
export const delegations = new Map(
  await Promise.all(
    ['aggregator', 'another'].map(async name => {
      const issuer = signers[DELEGATING] as Signer
      const delegation = await Delegation.delegate({
        issuer,
        audience: signers[name] as Signer,
        capabilities: [{ can: 'aggregate/offer', with: issuer.did() }],
        expiration: Infinity,
      })
      return [name, new Map([[issuer.did() as string, delegation as DelegationView]])] as const
    }),
  ),
)

const PROVIDERS = ['did:web:provider.test', 'did:web:second.test', 'did:web:third.test'] as const
const FIRST_ROW: SpaceRow = { at: 0, space: listed.did(), provider: PROVIDERS[0] }

/** Returns the offers of a seed, with faults in some of them. */
export const randomScenario = (choices: Choices, elements: ReadonlySet<Element>): Scenario => {
  if (elements.has('slow-content')) return slowScenario(choices)
  const speaksDialects = elements.has('dialects')
  // Equal pieces of two groups or storefronts have equal tasks in some dialects.
  const twins = elements.has('twins') || (speaksDialects && choices.chance(0.25))
  const storefronts = randomStorefronts(choices, twins)
  const faulty = new Set<string>()
  const offers = twins ? twinOffers(choices, faulty) : randomOffers(choices, [...storefronts.keys()], faulty)
  if (elements.has('late-content') || (speaksDialects && choices.chance(0.3)))
    offers.push(...lateOffers(choices))
  const spoken = speaksDialects ? inDialects(choices, offers) : offers
  const scenario = { storefronts, faulty, spaces: [FIRST_ROW], minPaddedBytes: 0 }
  const withFlood = elements.has('nonce-flood')
    ? addFlood(choices, scenario, spoken)
    : { ...scenario, offers: spoken }
  // A clock that is ahead ends the wait for content early.
  const persistent = elements.has('clocks')
    ? withFlood.offers.map(offer => ({ ...offer, persistent: true }))
    : withFlood.offers
  return {
    ...withFlood,
    offers: persistent,
    spaces: elements.has('provider-changes')
      ? [...withFlood.spaces, ...randomRows(choices)]
      : withFlood.spaces,
  }
}

const randomStorefronts = (choices: Choices, twins: boolean): ReadonlyMap<string, string> => {
  const first = ['storefront', 'aggregator'] as const
  if (!twins && !choices.chance(0.4)) return new Map([first])
  return new Map([first, ['other', twins ? choices.one(['aggregator', 'another']) : 'aggregator']])
}

const randomOffers = (choices: Choices, storefronts: readonly string[], faulty: Set<string>): Offer[] => {
  const pool = choices.shuffled(contents)
  // Sometimes all offers are made at once and in one group: more pieces than fit into an aggregate.
  const burst = choices.chance(0.25)
  return Array.from({ length: burst ? 11 : choices.between(2, 9) }, (_, n): Offer => {
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
      space: burst ? listed : choices.one(spaces),
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
}

/**
 * Returns offers of a few pieces, all made twice or three times: at another storefront, in another group, or later with a
 * nonce. So their aggregates have the same pieces.
 */
const twinOffers = (choices: Choices, faulty: Set<string>): Offer[] => {
  const pool = choices.shuffled(contents).slice(0, choices.between(1, 3))
  const isFaulty = choices.chance(0.15)
  if (isFaulty) faulty.add(`${pool[0]!.piece}`)
  const [space, otherSpace] = choices.shuffled([listed, unlisted[0]]) as [Signer, Signer]
  const offerAll = (more: Partial<Offer>, after = 0): Offer[] =>
    pool.map((content, n) => ({
      storefront: 'storefront',
      content,
      piece: content.piece,
      at: after + choices.between(0, 10 * MINUTE),
      uploadedAt: 0,
      again: choices.chance(0.1),
      space,
      agent: choices.one([one, two]),
      expected: isFaulty && n === 0 ? 'InvalidContentPiece' : 'accepted',
      ...more,
    }))
  const copies = choices
    .shuffled([
      () => offerAll({ storefront: 'other' }),
      () => offerAll({ space: otherSpace }),
      () => offerAll({ nonce: 'again' }, choices.between(HOUR, 2 * DAY)),
    ])
    .slice(0, choices.between(1, 2))
  return [...offerAll({}), ...copies.flatMap(copy => copy())]
}

/** Returns an offer whose content is uploaded days after the wait for it, sometimes after a stranger's offer of it. */
const lateOffers = (choices: Choices): Offer[] => {
  const content = lateContent
  const at = choices.between(0, 10 * HOUR)
  const uploadedAt = at + 8 * DAY + choices.between(0, 2 * DAY)
  const offer: Offer = {
    storefront: 'storefront',
    content,
    piece: content.piece,
    at,
    uploadedAt,
    again: false,
    persistent: true,
    space: listed,
    agent: one,
    expected: 'accepted',
  }
  if (choices.chance(0.5)) return [offer]
  const strangers = { space: choices.one(spaces), agent: two, persistent: false, mayBeMissing: true }
  return [
    { ...offer, ...strangers },
    { ...offer, at: uploadedAt + HOUR },
  ]
}

/**
 * Has each offer made in any vocabulary, and some of them again in others: at about the same time, up to two days later, or
 * when the workflow has ended.
 */
const inDialects = (choices: Choices, offers: readonly Offer[]): Offer[] =>
  offers.flatMap(offer => {
    const [first, ...others] = choices.shuffled(VOCABULARIES)
    const copies = others.slice(0, choices.one([0, 0, 1, 1, 3])).map((dialect): Offer => {
      const [least, most] = choices.one([
        [0, 10 * MINUTE],
        [HOUR, 2 * DAY],
        [10 * DAY, 20 * DAY],
      ] as const)
      return {
        ...offer,
        dialect,
        at: offer.at + choices.between(least, most),
        again: choices.chance(0.2),
        agent: choices.one([one, two]),
      }
    })
    return [
      { ...offer, dialect: first },
      ...copies,
      ...(choices.chance(0.15) ? [ownOffer(choices, offer)] : []),
    ]
  })

/**
 * Returns the offer of the same content that the storefront makes to itself. Its ability and arguments are also those of the
 * task that the storefront promises to others, so it has a nonce that no other offer has.
 */
const ownOffer = (choices: Choices, offer: Offer): Offer => {
  const storefront = signers[offer.storefront] as Signer
  return {
    ...offer,
    dialect: 'draft-2',
    nonce: 'own',
    at: Math.max(0, offer.at + choices.between(-10 * MINUTE, 10 * MINUTE)),
    again: false,
    space: storefront,
    agent: storefront,
  }
}

/** Returns some changes of the providers of spaces. */
const randomRows = (choices: Choices): SpaceRow[] =>
  Array.from({ length: choices.between(1, 3) }, () => ({
    at: choices.between(0, 24 * HOUR),
    space: choices.one(spaces).did(),
    provider: choices.one(PROVIDERS),
  }))

/**
 * Adds a flood, and an honest offer of the same content. The default group, in which the pieces of the flood are, has a
 * minimum that they do not reach: an aggregate has a piece once. Honest offers are in the groups of providers.
 */
const addFlood = (
  choices: Choices,
  scenario: Omit<Scenario, 'offers'>,
  offers: readonly Offer[],
): Scenario => {
  const storefront = 'storefront'
  const content = floodContent
  const victim: Offer = {
    storefront,
    content,
    piece: content.piece,
    at: choices.between(0, 5 * HOUR),
    uploadedAt: 0,
    again: false,
    space: listed,
    agent: one,
    expected: 'accepted',
  }
  return {
    ...scenario,
    // Offers of a storefront to itself are in the default group too.
    offers: [victim, ...offers.filter(({ storefront, space }) => space.did() !== signers[storefront]?.did())],
    spaces: spaces.map((space, n) => ({ at: 0, space: space.did(), provider: PROVIDERS[n % 2]! })),
    flood: {
      storefront,
      content,
      at: choices.between(0, 5 * HOUR),
      nonces: Array.from({ length: 30 }, (_, n) => `${FLOOD}${n}`),
    },
    minPaddedBytes: 2 ** 14,
  }
}

/** Whether a nonce is one of a flood. Such offers may wait for ever. */
export const isOfFlood = (nonce: unknown): boolean => typeof nonce === 'string' && nonce.startsWith(FLOOD)

const FLOOD = 'flood '

/**
 * Returns the offers of a space whose contents arrive very slowly for two hours, and one offer of another space. The slow
 * contents turn out to be wrong, which ends their workflows.
 */
const slowScenario = (choices: Choices): Scenario => {
  const common = { storefront: 'storefront', uploadedAt: 0, again: false, agent: one }
  const slow = slowContents.map(
    (content, n): Offer => ({
      ...common,
      content,
      piece: slowContents[(n + 1) % slowContents.length]!.piece,
      at: choices.between(0, 5 * MINUTE),
      slowUntil: 2 * HOUR,
      space: unlisted[0]!,
      expected: 'InvalidContentPiece',
    }),
  )
  const content = contents[1] as Content
  const honest: Offer = {
    ...common,
    content,
    piece: content.piece,
    at: choices.between(6 * MINUTE, 9 * MINUTE),
    space: choices.one([listed, unlisted[1]!]),
    expected: 'accepted',
    submittedWithin: SLOWEST_SUBMIT,
  }
  return {
    storefronts: new Map([['storefront', 'aggregator']]),
    offers: [...slow, honest],
    faulty: new Set(),
    spaces: [FIRST_ROW],
    minPaddedBytes: 0,
  }
}

/**
 * Maximum time until the storefront has read an honest content beside slow ones, in milliseconds. It is less than `retryMs`
 * of the simulation: the content must not wait for a sweep.
 */
const SLOWEST_SUBMIT = 5 * MINUTE

/**
 * Returns one fixed journey: two groups, a piece that storage providers reject (its aggregate fails, and the other pieces are
 * retried), a piece with the wrong content, one that is offered twice, and two that are offered in dialects too. The pieces
 * have different sizes, so that their aggregates do not depend on their order.
 */
export const plannedScenario = (): Scenario => {
  const [other] = unlisted as [Signer, Signer]
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
    storefronts: new Map([['storefront', 'aggregator']]),
    offers: [
      offer(0),
      offer(1, { again: true }),
      faulty,
      offer(3, { space: listed }),
      offer(4, { piece: (contents[5] as Content).piece, expected: 'InvalidContentPiece' }),
      // The first offer is also made in two dialects at once, and the second one in another when it has ended.
      offer(0, { dialect: 'draft-1', at: 20_000, agent: two }),
      offer(0, { dialect: 'draft-2', at: 40_000 }),
      offer(1, { dialect: 'draft-3', at: 30 * HOUR }),
    ],
    faulty: new Set([`${faulty.piece}`]),
    spaces: [FIRST_ROW],
    minPaddedBytes: 0,
  }
}

/**
 * Returns the planned journey, followed by an offer at another storefront with another aggregator: its aggregate has the
 * same pieces as an earlier one. It is made so late that a crash does not change their order.
 */
export const plannedTwins = (): Scenario => {
  const scenario = plannedScenario()
  const alone = scenario.offers.find(({ space }) => space === listed) as Offer
  return {
    ...scenario,
    storefronts: new Map([...scenario.storefronts, ['other', 'another']]),
    offers: [...scenario.offers, { ...alone, storefront: 'other', at: 40 * HOUR }],
  }
}

type OfferDialect = Exclude<Dialect, 'capability-section'>

/** How an agent offers content in each vocabulary. */
const WORDS = {
  protocol: { can: 'filecoin/offer', delegated: 'filecoin/*', content: 'content' },
  'draft-1': { can: 'piece/add', delegated: 'piece/*', content: 'link' },
  'draft-2': { can: 'filecoin/add', delegated: 'filecoin/*', content: 'content' },
  'draft-3': { can: 'filecoin/queue', delegated: 'filecoin/*', content: 'content' },
} as const satisfies Record<'protocol' | OfferDialect, object>

const VOCABULARIES = [undefined, 'draft-1', 'draft-2', 'draft-3'] as const satisfies (
  | OfferDialect
  | undefined
)[]

/** The address that agents name for receipts. */
const RECEIPTS_ADDRESS = 'https://agents.test/receipts'

/** Whether an offer names an address for the receipt: dialects have no such fact. */
export const namesAddress = ({ dialect }: Offer): boolean => dialect === undefined

/** Returns the invocation for an offer. */
export const invocationOf = async (offer: Offer, storefront: Signer, by: Signer = offer.agent) => {
  const { dialect = 'protocol', content, piece, nonce, space } = offer
  const words = WORDS[dialect]
  return invoke({
    issuer: by,
    audience: storefront,
    capability: {
      can: words.can,
      with: space.did(),
      nb: { [words.content]: content.content as never, piece },
    },
    proofs: [await delegate(offer, words.delegated, by)],
    expiration: Infinity,
    ...(namesAddress(offer) ? { facts: [{ receiptsTo: RECEIPTS_ADDRESS }] } : {}),
    ...(nonce === undefined ? {} : { nonce }),
  })
}

/** Returns the invocations of a flood. */
export const floodInvocations = ({ content: { content, piece }, nonces }: Flood, storefront: Signer) =>
  nonces.map((nonce, n) => {
    const space = floodSpaces[n % floodSpaces.length]!
    const nb = { content: content as never, piece }
    const audience = storefront
    return filecoinOffer.invoke({
      issuer: space,
      audience,
      with: space.did(),
      nb,
      nonce,
      expiration: Infinity,
    })
  })

/** Returns the question of an agent about its offer. */
export const questionOf = async (offer: Offer, storefront: Signer, after?: string) => {
  const { space, agent, piece } = offer
  return filecoinInfo.invoke({
    issuer: agent,
    audience: principal(storefront.did()),
    with: space.did(),
    nb: { piece, ...(after === undefined ? {} : { after }) },
    proofs: [await delegate(offer, 'filecoin/info')],
    expiration: Infinity,
  })
}

/** Delegates from the space of an offer to its agent, or to another one. */
export const delegate = (
  { space, agent }: Pick<Offer, 'space' | 'agent'>,
  can: '*' | 'filecoin/*' | 'piece/*' | 'filecoin/info',
  to: Signer = agent,
) =>
  Delegation.delegate({
    issuer: space,
    audience: to,
    capabilities: [{ can, with: space.did() }],
    expiration: Infinity,
  })

export const otherThan = (agent: Signer): Signer => people.find(other => other !== agent) as Signer
