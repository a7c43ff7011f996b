import { CBOR, Delegation, invoke, Receipt as Receipts } from '@ucanto/core'
import type { Block, Delegation as DelegationView, Invocation, Signer } from '@ucanto/interface'
import { Tasks } from '@w3filecoin/capabilities'
import type { Address, Identity } from '@w3filecoin/local'
import { buildAggregate } from '@w3filecoin/piece'
import { parseSigner } from '@w3filecoin/runtime'
import { keyOf, signersOf, someContent, somePiece } from '@w3filecoin/testing'

/** Who takes part: the services, those who call them, and one whom nobody knows. */
export type Cast = Record<
  'storefront' | 'aggregator' | 'dealer' | 'dealTracker' | 'agent' | 'space' | 'team' | 'stranger',
  Signer
>
export type Role = 'storefront' | 'aggregator' | 'dealer' | 'dealTracker'

const SERVICES = ['storefront', 'aggregator', 'dealer', 'dealTracker'] as const

/** The keys that a system gets before it is started, so that the same seed gives the same bytes. */
export const identities = async (): Promise<Record<string, Identity>> =>
  Object.fromEntries(
    await Promise.all(
      [...SERVICES, 'agent'].map(async role => {
        const key = await keyOf(`fuzz ${role}`)
        return [role, { did: parseSigner(key).did(), key }]
      }),
    ),
  )

export const castOf = async (services: Record<string, Address>, agent: Identity): Promise<Cast> => ({
  ...(Object.fromEntries(SERVICES.map(role => [role, parseSigner(services[role]!.key)])) as Record<
    Role,
    Signer
  >),
  agent: parseSigner(agent.key),
  ...(await signersOf('space', 'team', 'stranger')),
})

/** An honest message, before anything is done to it. */
export interface Sample {
  name: string
  /** The service that it is for. */
  to: Role
  invocation: Invocation
  /** Who signed it. */
  by: Signer
}

const FOREVER = Infinity

/** From the space to its team, and on to the agent. */
const chain = async ({ space, team, agent }: Cast) => {
  const capabilities = [{ can: 'filecoin/*', with: space.did() }] as const
  const first = await Delegation.delegate({
    issuer: space,
    audience: team,
    capabilities: [...capabilities],
    expiration: FOREVER,
  })
  const second = await Delegation.delegate({
    issuer: team,
    audience: agent,
    capabilities: [...capabilities],
    expiration: FOREVER,
    proofs: [first as DelegationView],
  })
  return second as DelegationView
}

/** A message for every ability of every service. */
export const recordSamples = async (cast: Cast): Promise<Sample[]> => {
  const { storefront, aggregator, dealer, dealTracker, agent, space, stranger } = cast
  const { content, piece } = await someContent('fuzz')
  const pieces = [somePiece('fuzz a', 9), somePiece('fuzz b', 8)]
  const { ok: built } = buildAggregate({ pieces, size: 2 ** 20 })
  if (!built) throw new Error('The pieces make an aggregate')
  const list = await CBOR.write(built.pieces)
  const aggregate = built.link
  const tenant = { storefront: storefront.did(), group: 'local', label: 'fuzz' }

  const made = (name: string, to: Role, by: Signer, invocation: unknown): Sample => ({
    name,
    to,
    by,
    invocation: invocation as Invocation,
  })
  const build = async (
    options: Omit<Parameters<typeof invoke>[0], 'expiration'>,
    along: Iterable<Block> = [],
  ) => {
    const invocation = invoke({ ...options, expiration: FOREVER } as Parameters<typeof invoke>[0])
    for (const block of along) invocation.attach(block)
    return invocation.buildIPLDView()
  }

  const byAgent = async (can: `${string}/${string}`, nb: object) =>
    made(
      can,
      'storefront',
      agent,
      await build({
        issuer: agent,
        audience: storefront,
        capability: { can, with: space.did(), nb },
        proofs: [await chain(cast)],
      }),
    )

  /** Takes back a delegation that nothing else rests on, nor would if a part of it were missing. */
  const revoke = async (to: Role) => {
    const taken = await Delegation.delegate({
      issuer: space,
      audience: stranger,
      capabilities: [{ can: 'filecoin/*', with: space.did() }],
      expiration: FOREVER,
    })
    const capability = { can: 'ucan/revoke' as const, with: space.did(), nb: { ucan: taken.cid } }
    const invocation = await build({ issuer: space, audience: cast[to], capability }, [taken.root])
    return made('ucan/revoke', to, space, invocation)
  }

  /** Hands over the receipt of a task that this run of the system did not promise. */
  const conclude = async (to: Role, by: Signer, ran: Invocation, ok: object) => {
    const receipt = await Receipts.issue({ issuer: by, ran, result: { ok } })
    const blocks = [...receipt.iterateIPLDBlocks()] as Block[]
    const root = receipt.root as Block
    return made('ucan/conclude', to, by, await Tasks.conclude(by, cast[to], { root, blocks }))
  }

  const granted = await Delegation.delegate({
    issuer: aggregator,
    audience: storefront,
    capabilities: [{ can: 'piece/offer', with: aggregator.did() }],
    expiration: FOREVER,
  })
  const grouped = { piece: pieces[0]!, group: 'local' }
  const dealt = { aggregate, pieces: list.cid as never }
  const accepted = await Tasks.aggregateAccept(dealer, dealt)
  const live = { aggregate, dataType: 0, dataSource: { dealID: 1 } }

  return [
    await byAgent('filecoin/offer', { content, piece }),
    await byAgent('filecoin/info', { piece }),
    made(
      'filecoin/submit',
      'storefront',
      storefront,
      await Tasks.filecoinSubmit(storefront, { content, piece }),
    ),
    made(
      'filecoin/accept',
      'storefront',
      storefront,
      await Tasks.filecoinAccept(storefront, { content, piece }),
    ),
    await conclude('storefront', aggregator, await Tasks.pieceAccept(aggregator, grouped), {
      piece: pieces[0],
    }),
    await conclude('storefront', dealer, accepted, live),
    made('piece/offer', 'aggregator', storefront, await Tasks.pieceOffer(storefront, aggregator, grouped)),
    made(
      'piece/offer',
      'aggregator',
      storefront,
      await Tasks.pieceOffer(storefront, aggregator, grouped, {
        with: aggregator.did(),
        proofs: [granted as DelegationView],
      }),
    ),
    made('piece/accept', 'aggregator', aggregator, await Tasks.pieceAccept(aggregator, grouped)),
    await conclude('aggregator', dealer, accepted, live),
    made(
      'aggregate/offer',
      'dealer',
      aggregator,
      await Tasks.aggregateOffer(aggregator, dealer, { ...dealt, tenant, block: list as Block }),
    ),
    made('aggregate/accept', 'dealer', dealer, accepted),
    made(
      'deal/info',
      'dealTracker',
      agent,
      await Tasks.dealInfo(agent, dealTracker, { piece: aggregate, nonce: 'fuzz' }),
    ),
    ...(await Promise.all(SERVICES.map(revoke))),
  ]
}
