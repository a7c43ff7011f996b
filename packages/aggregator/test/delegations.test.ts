import { Delegation } from '@ucanto/core'
import type { Delegation as DelegationView, Signer } from '@ucanto/interface'
import type { PieceLink } from '@w3filecoin/capabilities'
import { ConfigurationError, configuredPeers, packTask, readConfig } from '@w3filecoin/runtime'
import { served, signersOf } from '@w3filecoin/testing'
import { base64, base64url } from 'multiformats/bases/base64'
import { CID } from 'multiformats/cid'
import { identity } from 'multiformats/hashes/identity'
import { describe, expect, it } from 'vitest'
import { configSchema } from '../src/config.ts'
import { type Delegations, delegationsOf, readDelegations } from '../src/delegations.ts'
import { createAggregator } from '../src/index.ts'
import {
  aggregator,
  aws,
  clock,
  dependencies,
  EIGHTH,
  freshGroup,
  HOUR,
  offerAll,
  offersOf,
  one,
  outcomeOf,
  QUARTER,
  service,
  settle,
  state,
  stranger,
  sweepAfter,
} from './setup.ts'

const { team } = await signersOf('team')

type Options = Partial<Parameters<typeof Delegation.delegate>[0]> & {
  can?: string
  with?: Signer
  nb?: object
}

const delegate = ({ can = 'aggregate/offer', with: resource = one, nb, ...options }: Options = {}) =>
  Delegation.delegate({
    issuer: one,
    audience: aggregator,
    capabilities: [{ can, with: resource.did(), ...(nb && { nb }) }] as never,
    expiration: Infinity,
    ...options,
  }) as Promise<DelegationView>

const carOf = async (delegation: DelegationView) => packTask(delegation as never)
const textOf = async (delegation: DelegationView) => Buffer.from(await carOf(delegation)).toString('base64')

/** Reads the delegation of the storefront `one` from the configuration of an aggregator. */
const read = async (delegation: string) => {
  const { storefronts } = readConfig(configSchema, {
    CONFIG: JSON.stringify({
      storefronts: [{ did: 'did:web:first.example' }, { did: one.did(), delegation }],
      dealer: { did: 'did:web:dealer.example', url: 'https://dealer.example' },
    }),
  })
  return readDelegations(storefronts, aggregator)
}

describe('K6: the delegation of a storefront in the configuration', () => {
  it.each<[string, (car: Uint8Array) => string]>([
    ['base 64', car => Buffer.from(car).toString('base64')],
    ['multibase base64', car => base64.encode(car)],
    ['multibase base64url', car => base64url.encode(car)],
    [
      'the CID that published tools print',
      car => CID.createV1(0x0202, identity.digest(car)).toString(base64.encoder),
    ],
  ])('is a CAR in %s', async (_, encode) => {
    const delegation = await delegate()
    const delegations = await read(encode(await carOf(delegation)))
    expect([...delegations.keys()]).toEqual([one.did()])
    expect(`${delegations.get(one.did())?.cid}`).toBe(`${delegation.cid}`)
  })

  it('may be absent', async () => {
    expect(await readDelegations([{ did: one.did() }], aggregator)).toEqual(new Map())
  })

  it('may be of several abilities, and may be derived from others', async () => {
    for (const can of ['aggregate/*', '*'])
      expect((await read(await textOf(await delegate({ can })))).size).toBe(1)
    const first = await delegate({ audience: team })
    const chain = await delegate({ issuer: team, proofs: [first] as never })
    expect((await read(await textOf(chain))).size).toBe(1)
  })

  const expiring = { expiration: 2_000_000_000 }
  it.each<[string, () => Promise<string>, string]>([
    ['text that is not a delegation', async () => 'hello', 'is not a CAR with a delegation in base 64'],
    ['text that is not base 64', async () => 'm***', 'is not a CAR with a delegation in base 64'],
    ['a private key', async () => 'MgCanZ/yGkUBY12eODgO4o2OzmHZGYDdTft4', 'is not a CAR with a delegation'],
    [
      'half a CAR',
      async () => (await textOf(await delegate())).slice(0, 300),
      'is not a CAR with a delegation in base 64',
    ],
    [
      'a delegation to another aggregator',
      async () => textOf(await delegate({ audience: stranger })),
      `is for ${stranger.did()}, but this aggregator is ${aggregator.did()}`,
    ],
    [
      'one of another ability',
      async () => textOf(await delegate({ can: 'piece/offer' })),
      'does not delegate aggregate/offer',
    ],
    [
      'one of another resource',
      async () => textOf(await delegate({ with: stranger })),
      `does not delegate aggregate/offer with ${one.did()}`,
    ],
    [
      'one with a caveat',
      async () => textOf(await delegate({ nb: { aggregate: (await delegate()).cid } })),
      'without caveats',
    ],
    [
      'one from a stranger',
      async () => textOf(await delegate({ issuer: stranger })),
      `is not from ${one.did()}`,
    ],
    ['one that expires', async () => textOf(await delegate(expiring)), 'delegate without expiration'],
    [
      'one derived from a delegation that expires',
      async () => {
        const first = await delegate({ audience: team, ...expiring })
        return textOf(await delegate({ issuer: team, proofs: [first] as never }))
      },
      'delegate without expiration',
    ],
    [
      'one that lacks the delegation it is derived from',
      async () => {
        const { cid } = await delegate({ audience: team })
        return textOf(await delegate({ issuer: team, proofs: [cid] as never }))
      },
      'lacks the blocks of its proofs',
    ],
  ])('cannot be %s', async (_, text, problem) => {
    const reading = read(await text())
    await expect(reading).rejects.toThrow(ConfigurationError)
    await expect(reading).rejects.toThrow('CONFIG: storefronts[1].delegation ')
    await expect(reading).rejects.toThrow(problem)
  })

  it('has at most 4096 characters', async () => {
    await expect(read('m'.repeat(4097))).rejects.toThrow('storefronts[1].delegation')
  })
})

/** The aggregator after a deploy with these delegations. Its tables and queues stay. */
const deploy = (delegations: Delegations) =>
  aws.host(
    createAggregator({ ...dependencies, delegationOf: delegationsOf(delegations, configuredPeers([])) }),
  )

describe('K6: an aggregate of a storefront that delegated aggregate/offer', () => {
  it('is offered with the storefront, as its receipts promised, also after the delegation has changed', async () => {
    const [delegation, changed] = [await delegate(), await delegate({ nonce: 'changed' })]
    const before = deploy(new Map([[one.did(), delegation]]))
    const group = freshGroup('delegated')
    const [piece] = (await offerAll([QUARTER, EIGHTH], group)) as [PieceLink]
    await aws.settle(before.consumers)
    clock.now += HOUR
    state.down = true
    await before.schedules.sweep!()
    await aws.settle(before.consumers)

    const promised = (await outcomeOf(piece, group))!.receipt.fx.join as DelegationView
    expect(promised.capabilities[0]).toMatchObject({ can: 'aggregate/offer', with: one.did() })
    expect(promised.issuer.did()).toBe(aggregator.did())
    expect(promised.proofs.map(proof => `${(proof as DelegationView).cid}`)).toEqual([`${delegation.cid}`])
    expect(promised.facts).toMatchObject([{ storefront: one.did(), group }])
    expect(offersOf(group)).toEqual([])

    // Other functions run with the next configuration: another delegation, or none.
    state.down = false
    for (const delegations of [new Map([[one.did(), changed]]), new Map()] as Delegations[]) {
      clock.now += HOUR
      const after = deploy(delegations)
      await after.schedules.sweep!()
      await aws.settle(after.consumers)
    }
    expect(offersOf(group).map(({ cid }) => `${cid}`)).toEqual([`${promised.cid}`])
    expect(`${(await served(service.api, promised.cid))?.ran.link()}`).toBe(`${promised.cid}`)
  })

  it('is offered with the aggregator if it is of another storefront', async () => {
    const { consumers, schedules } = deploy(new Map([[stranger.did(), await delegate()]]))
    const group = freshGroup('not delegated')
    await offerAll([QUARTER, EIGHTH], group)
    await aws.settle(consumers)
    clock.now += HOUR
    await schedules.sweep!()
    await aws.settle(consumers)
    const [offer] = offersOf(group)
    expect(offer?.capabilities[0]).toMatchObject({ with: aggregator.did() })
    expect(offer?.proofs).toEqual([])
  })
})

it('K6: a record of earlier code, whose offer has no delegation, is offered as it was promised', async () => {
  const group = freshGroup('earlier')
  state.down = true
  const [piece] = (await offerAll([QUARTER, EIGHTH], group)) as [PieceLink]
  await settle()
  await sweepAfter(HOUR)
  const promised = (await outcomeOf(piece, group))!.receipt.fx.join as DelegationView
  expect(promised.capabilities[0]).toMatchObject({ with: aggregator.did() })
  state.down = false
  const after = deploy(new Map([[one.did(), await delegate()]]))
  clock.now += HOUR
  await after.schedules.sweep!()
  await aws.settle(after.consumers)
  expect(offersOf(group).map(({ cid }) => `${cid}`)).toEqual([`${promised.cid}`])
})
