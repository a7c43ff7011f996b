import { CBOR, Delegation, invoke, Receipt as Receipts } from '@ucanto/core'
import type { Block, Delegation as DelegationView, Invocation, Signer } from '@ucanto/interface'
import { Absentee } from '@ucanto/principal'
import { CapabilitySection, Draft1, Draft2, Draft3, Tasks } from '@w3filecoin/capabilities'
import type { Address, Identity } from '@w3filecoin/local'
import { buildAggregate } from '@w3filecoin/piece'
import { parseSigner } from '@w3filecoin/runtime'
import { keyOf, p256Signer, rsaSigner, signersOf, someContent, somePiece } from '@w3filecoin/testing'

/**
 * The principals: the services, their callers, and a stranger without any delegation. `browser` has an RSA key, `phone` a
 * P-256 key, and `account` none.
 */
export type Cast = Record<
  | 'storefront'
  | 'aggregator'
  | 'dealer'
  | 'dealTracker'
  | 'agent'
  | 'space'
  | 'team'
  | 'stranger'
  | 'browser'
  | 'phone'
  | 'account',
  Signer
>
export type Role = 'storefront' | 'aggregator' | 'dealer' | 'dealTracker'

const SERVICES = ['storefront', 'aggregator', 'dealer', 'dealTracker'] as const

/**
 * Creates the keys of the services and of the agent. They are fixed, so that a seed always gives the same bytes; except in
 * the messages of `browser` and `phone`, whose keys are new in each run.
 */
export const createKeys = async (): Promise<Record<string, string>> =>
  Object.fromEntries(
    await Promise.all([...SERVICES, 'agent'].map(async role => [role, await keyOf(`fuzz ${role}`)])),
  )

export const createCast = async (services: Record<string, Address>, agent: Identity): Promise<Cast> => ({
  ...(Object.fromEntries(SERVICES.map(role => [role, parseSigner(services[role]!.key)])) as Record<
    Role,
    Signer
  >),
  agent: parseSigner(agent.key),
  ...(await signersOf('space', 'team', 'stranger')),
  browser: await rsaSigner(),
  phone: await p256Signer(),
  account: Absentee.from({ id: 'did:mailto:example.com:alice' }) as unknown as Signer,
})

/** An honest message, from which mutations are made. */
export interface Sample {
  name: string
  /** The service that receives the message. */
  to: Role
  invocation: Invocation
  /** The signer of the invocation. */
  by: Signer
}

const FOREVER = Infinity

/** Delegates from a space to its team, and from the team to an agent. */
const delegateChain = async (
  { space, team, agent }: Pick<Cast, 'space' | 'team' | 'agent'>,
  can: 'filecoin/*' | 'piece/*' = 'filecoin/*',
) => {
  const capabilities = [{ can, with: space.did() }] as const
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

/** Delegates from the space to the account, and from there to the agent, with the attestation of the storefront. */
const delegateSession = async ({ storefront, space, account, agent }: Cast) => {
  const session = await Delegation.delegate({
    issuer: account,
    audience: agent,
    capabilities: [{ can: '*', with: 'ucan:*' }],
    expiration: FOREVER,
    proofs: [
      await Delegation.delegate({
        issuer: space,
        audience: account,
        capabilities: [{ can: '*', with: space.did() }],
        expiration: FOREVER,
      }),
    ],
  })
  const attestation = await Delegation.delegate({
    issuer: storefront,
    audience: agent,
    capabilities: [{ can: 'ucan/attest', with: storefront.did(), nb: { proof: session.cid } }],
    expiration: FOREVER,
  })
  return [session, attestation] as DelegationView[]
}

/** Builds an honest message for every ability of every service. */
export const recordSamples = async (cast: Cast): Promise<Sample[]> => {
  const { storefront, aggregator, dealer, dealTracker, agent, space, team, stranger, browser, phone } = cast
  const { content, piece } = await someContent('fuzz')
  const pieces = [somePiece('fuzz a', 9), somePiece('fuzz b', 8)]
  const { ok: built } = buildAggregate({ pieces, size: 2 ** 20 })
  if (!built) throw new Error('The sample pieces do not fit an aggregate of 1 MiB')
  const list = await CBOR.write(built.pieces)
  const aggregate = built.link
  const tenant = { storefront: storefront.did(), group: 'local', label: 'fuzz' }

  const toSample = (name: string, to: Role, by: Signer, invocation: unknown): Sample => ({
    name,
    to,
    by,
    invocation: invocation as Invocation,
  })
  const build = async (
    options: Omit<Parameters<typeof invoke>[0], 'expiration'>,
    attached: Iterable<Block> = [],
  ) => {
    const invocation = invoke({ ...options, expiration: FOREVER } as Parameters<typeof invoke>[0])
    for (const block of attached) invocation.attach(block)
    return invocation.buildIPLDView()
  }

  const byAgent = async (
    can: `${string}/${string}`,
    nb: object,
    {
      issuer = agent,
      owner = space,
      proofs,
    }: { issuer?: Signer; owner?: Signer; proofs?: DelegationView[] } = {},
  ) =>
    toSample(
      can,
      'storefront',
      issuer,
      await build({
        issuer,
        audience: storefront,
        capability: { can, with: owner.did(), nb },
        proofs: proofs ?? [await delegateChain({ space: owner, team, agent: issuer })],
      }),
    )

  /** Revokes a delegation that no other sample uses as a proof, whichever part of it a mutation removes. */
  const revoke = async (to: Role) => {
    const revoked = await Delegation.delegate({
      issuer: space,
      audience: stranger,
      capabilities: [{ can: 'filecoin/*', with: space.did() }],
      expiration: FOREVER,
    })
    const capability = { can: 'ucan/revoke' as const, with: space.did(), nb: { ucan: revoked.cid } }
    const invocation = await build({ issuer: space, audience: cast[to], capability }, [revoked.root])
    return toSample('ucan/revoke', to, space, invocation)
  }

  /** Delivers the receipt of a task that this system did not promise. */
  const conclude = async (to: Role, by: Signer, ran: Invocation, ok: object) => {
    const receipt = await Receipts.issue({ issuer: by, ran, result: { ok } })
    const blocks = [...receipt.iterateIPLDBlocks()] as Block[]
    const root = receipt.root as Block
    return toSample('ucan/conclude', to, by, await Tasks.conclude(by, cast[to], { root, blocks }))
  }

  const grant = await Delegation.delegate({
    issuer: aggregator,
    audience: storefront,
    capabilities: [{ can: 'piece/offer', with: aggregator.did() }],
    expiration: FOREVER,
  })
  const dealGrant = await Delegation.delegate({
    issuer: storefront,
    audience: aggregator,
    capabilities: [{ can: 'aggregate/offer', with: storefront.did() }],
    expiration: FOREVER,
  })
  const pieceTask = { piece: pieces[0]!, group: 'local' }
  const aggregateTask = { aggregate, pieces: list.cid as never }
  const aggregateAccept = await Tasks.aggregateAccept(dealer, aggregateTask)
  const dealtAggregate = { aggregate, dataType: 0, dataSource: { dealID: 1 } }

  /** The offers, promised tasks and questions of all dialects. */
  const dialectSamples = async (): Promise<Sample[]> => {
    const tenantId = storefront.did()
    const grouped = { ...pieceTask, storefront: tenantId }
    const dealt = { ...aggregateTask, storefront: tenantId, label: 'fuzz' }
    const linked = { offer: list.cid, piece: aggregate, deal: { tenantId, label: 'fuzz' } }
    const question = { piece: aggregate, nonce: 'fuzz' }
    const pieceAdd = [await delegateChain({ space, team, agent }, 'piece/*')]
    const tasks: [to: Role, by: Signer, task: Promise<Invocation>, attached?: Block][] = [
      ['storefront', storefront, Draft1.verifyTask(storefront, { link: content, piece })],
      ['storefront', storefront, Draft2.filecoinAddTask(storefront, { content, piece })],
      ['aggregator', storefront, Draft1.offerTask(storefront, aggregator, { ...grouped, provider: 'local' })],
      ['aggregator', storefront, Draft2.aggregateAddTask(storefront, aggregator, grouped)],
      ['aggregator', storefront, Draft3.aggregateQueueTask(storefront, aggregator, pieceTask)],
      ['aggregator', storefront, CapabilitySection.aggregateOfferTask(storefront, aggregator, pieceTask)],
      ['aggregator', aggregator, Draft1.arrangeTask(aggregator, storefront, pieceTask)],
      ['aggregator', aggregator, Draft1.arrangeTask(aggregator, aggregator, pieceTask)],
      ['aggregator', aggregator, Draft2.aggregateAddTask(aggregator, aggregator, grouped)],
      ['aggregator', aggregator, CapabilitySection.aggregateAcceptTask(aggregator, pieceTask)],
      ['dealer', aggregator, Draft1.aggregateOfferTask(aggregator, dealer, aggregateTask), list as Block],
      ['dealer', aggregator, Draft2.dealAddTask(aggregator, dealer, { nb: dealt }), list as Block],
      ['dealer', aggregator, Draft2.dealAddTask(aggregator, dealer, { nb: linked }), list as Block],
      ['dealer', aggregator, Draft3.dealQueueTask(aggregator, dealer, { nb: dealt }), list as Block],
      [
        'dealer',
        aggregator,
        CapabilitySection.dealOfferTask(aggregator, dealer, aggregateTask),
        list as Block,
      ],
      ['dealer', dealer, Draft1.offerArrangeTask(dealer, aggregator, { aggregate })],
      ['dealer', dealer, Draft1.offerArrangeTask(dealer, dealer, { aggregate })],
      ['dealer', dealer, Draft2.dealAddTask(dealer, dealer, { nb: dealt })],
      ['dealer', dealer, CapabilitySection.dealAcceptTask(dealer, aggregateTask)],
      ['dealer', storefront, Draft1.infoTask(storefront, dealer, question)],
      ['dealTracker', agent, Draft2.infoTask(agent, dealTracker, question)],
      ['dealTracker', agent, Draft3.infoTask(agent, dealTracker, question)],
      ['dealTracker', agent, CapabilitySection.infoTask(agent, dealTracker, question)],
    ]
    return [
      await byAgent('piece/add', { link: content, piece }, { proofs: pieceAdd }),
      await byAgent('filecoin/add', { content, piece }),
      await byAgent('filecoin/queue', { content, piece }),
      ...(await Promise.all(
        tasks.map(async ([to, by, building, attached]) => {
          const task = await building
          if (attached) task.attach(attached)
          return toSample(task.capabilities[0].can, to, by, task)
        }),
      )),
    ]
  }

  return [
    await byAgent('filecoin/offer', { content, piece }),
    await byAgent('filecoin/offer', { content, piece, PDP: list.cid }),
    await byAgent('filecoin/info', { piece }),
    await byAgent('filecoin/offer', { content, piece }, { issuer: browser, owner: phone }),
    await byAgent('filecoin/info', { piece }, { issuer: phone, owner: browser }),
    await byAgent('filecoin/offer', { content, piece }, { proofs: await delegateSession(cast) }),
    toSample(
      'filecoin/submit',
      'storefront',
      storefront,
      await Tasks.filecoinSubmit(storefront, { content, piece }),
    ),
    toSample(
      'filecoin/accept',
      'storefront',
      storefront,
      await Tasks.filecoinAccept(storefront, { content, piece }),
    ),
    await conclude('storefront', aggregator, await Tasks.pieceAccept(aggregator, pieceTask), {
      piece: pieces[0],
    }),
    await conclude('storefront', dealer, aggregateAccept, dealtAggregate),
    toSample(
      'piece/offer',
      'aggregator',
      storefront,
      await Tasks.pieceOffer(storefront, aggregator, pieceTask),
    ),
    toSample(
      'piece/offer',
      'aggregator',
      storefront,
      await Tasks.pieceOffer(storefront, aggregator, pieceTask, {
        with: aggregator.did(),
        proofs: [grant as DelegationView],
      }),
    ),
    toSample('piece/accept', 'aggregator', aggregator, await Tasks.pieceAccept(aggregator, pieceTask)),
    await conclude('aggregator', dealer, aggregateAccept, dealtAggregate),
    toSample(
      'aggregate/offer',
      'dealer',
      aggregator,
      await Tasks.aggregateOffer(aggregator, dealer, { ...aggregateTask, tenant, block: list as Block }),
    ),
    toSample(
      'aggregate/offer',
      'dealer',
      aggregator,
      await Tasks.aggregateOffer(
        aggregator,
        dealer,
        { ...aggregateTask, tenant, block: list as Block },
        { with: storefront.did(), proofs: [dealGrant as DelegationView] },
      ),
    ),
    toSample('aggregate/accept', 'dealer', dealer, aggregateAccept),
    toSample(
      'deal/info',
      'dealTracker',
      agent,
      await Tasks.dealInfo(agent, dealTracker, { piece: aggregate, nonce: 'fuzz' }),
    ),
    toSample(
      'deal/info',
      'dealTracker',
      aggregator,
      await build({
        issuer: aggregator,
        audience: dealTracker,
        capability: { can: 'deal/info', with: aggregator.did(), nb: { aggregate } },
      }),
    ),
    ...(await Promise.all(SERVICES.map(revoke))),
    ...(await dialectSamples()),
  ]
}
