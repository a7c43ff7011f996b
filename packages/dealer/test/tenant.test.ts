import { Delegation } from '@ucanto/core'
import type { Delegation as DelegationView, Receipt, Signer } from '@ucanto/interface'
import { Tasks, type Tenant } from '@w3filecoin/capabilities'
import { ConfigurationError, readConfig } from '@w3filecoin/runtime'
import { ask, effectsOf } from '@w3filecoin/testing'
import { describe, expect, it } from 'vitest'
import { configSchema } from '../src/config.ts'
import { mayName } from '../src/domain/tenant.ts'
import {
  aggregator,
  anAggregate,
  blockOf,
  customer,
  dealer,
  errorOf,
  offer,
  recordOf,
  rival,
  service,
  stranger,
  TENANT,
} from './setup.ts'

/** The listed storefront, as the tenant of an offer. */
const CUSTOMER: Tenant = { storefront: customer.did(), group: 'did:web:free.example', label: 'free #7' }
const another = stranger

const delegate = (
  issuer: Signer,
  audience: Signer,
  {
    with: resource = issuer,
    proofs = [],
    nb,
  }: { with?: Signer; proofs?: DelegationView[]; nb?: object } = {},
) =>
  Delegation.delegate({
    issuer,
    audience,
    capabilities: [{ can: 'aggregate/offer', with: resource.did(), ...(nb && { nb }) }] as never,
    expiration: Infinity,
    proofs: proofs as never,
  }) as Promise<DelegationView>

/** Offers an aggregate with a storefront as the resource. */
const offerWith = async (
  name: string,
  {
    issuer = rival,
    storefront = customer,
    tenant = CUSTOMER,
    proofs,
  }: {
    issuer?: Signer
    storefront?: Signer
    tenant?: Partial<Tenant>
    proofs?: DelegationView[]
  } = {},
): Promise<Receipt> => {
  const { aggregate, pieces } = anAggregate(name)
  const block = await blockOf(pieces)
  const task = await Tasks.aggregateOffer(
    issuer,
    dealer,
    { aggregate, pieces: block.cid as never, tenant: tenant as Tenant, block: block as never },
    { with: storefront.did(), proofs: proofs ?? [await delegate(storefront, issuer)] },
  )
  return ask(service.api, task)
}

describe('K6: an aggregate/offer with the storefront', () => {
  it('is accepted with its delegation to a listed aggregator, and the storefront is the tenant', async () => {
    const { aggregate } = anAggregate('authorized')
    const receipt = await offerWith('authorized')
    expect(receipt.out).toEqual({ ok: { aggregate } })
    expect(await recordOf(anAggregate('authorized'))).toMatchObject({
      aggregator: rival.did(),
      storefront: customer.did(),
      group: CUSTOMER.group,
      label: CUSTOMER.label,
    })
    // The same offer in the other form, by an aggregator that may name the tenant itself, is the same workflow.
    const named = await offerWith('both forms', { issuer: aggregator })
    const again = await offer(anAggregate('both forms'), { tenant: CUSTOMER })
    expect(effectsOf(again)).toEqual(effectsOf(named))
  })

  it('needs no facts: the storefront is the default group too', async () => {
    await offerWith('no facts', { tenant: {} })
    const did = customer.did()
    expect(await recordOf(anAggregate('no facts'))).toMatchObject({ storefront: did, group: did, label: did })
  })

  it('fails with TenantMismatch if the facts name another storefront', async () => {
    const receipt = await offerWith('mismatch', { tenant: { ...CUSTOMER, storefront: TENANT.storefront } })
    expect(errorOf(receipt)).toMatchObject({
      name: 'TenantMismatch',
      message: expect.stringContaining(TENANT.storefront),
    })
    await expect(recordOf(anAggregate('mismatch'))).rejects.toThrow('no record')
  })

  it('fails with TenantNotListed if the dealer does not know the storefront, whatever it delegates', async () => {
    const receipt = await offerWith('not listed', {
      storefront: another,
      tenant: { ...CUSTOMER, storefront: another.did() },
    })
    expect(errorOf(receipt)).toMatchObject({
      name: 'TenantNotListed',
      storefront: another.did(),
      message: expect.stringContaining('Add it to `storefronts`'),
    })
  })

  it('is accepted for a storefront that the aggregator may name itself', async () => {
    const tenant = { ...CUSTOMER, storefront: another.did() }
    const receipt = await offerWith('all tenants', { issuer: aggregator, storefront: another, tenant })
    expect(receipt.out.ok).toBeDefined()
  })

  it('fails with UnknownAggregator if the dealer does not know the issuer', async () => {
    expect(errorOf(await offerWith('unknown', { issuer: another }))).toMatchObject({
      name: 'UnknownAggregator',
    })
    const own = await offerWith('own', { issuer: customer, proofs: [] })
    expect(errorOf(own)).toMatchObject({ name: 'UnknownAggregator' })
  })

  it('is accepted from an aggregator with a delegation of the dealer, beside that of the storefront', async () => {
    const ofStorefront = await delegate(customer, another)
    const proofs = [ofStorefront, await delegate(dealer, another)]
    expect((await offerWith('delegated', { issuer: another, proofs })).out.ok).toBeDefined()
    expect(await recordOf(anAggregate('delegated'))).toMatchObject({ aggregator: another.did() })
    // Delegations that do not authorize this offer do not count.
    for (const [name, invalid] of [
      ['forged', await delegate(another, another, { with: dealer })],
      ['narrower', await delegate(dealer, another, { nb: { aggregate: anAggregate('other').aggregate } })],
      ['for another', await delegate(dealer, rival)],
    ] as const) {
      const refused = await offerWith(name, { issuer: another, proofs: [ofStorefront, invalid] })
      expect(errorOf(refused), name).toMatchObject({ name: 'UnknownAggregator' })
    }
  })

  it.each([
    ['without a delegation', async () => []],
    ['with a delegation to another aggregator', async () => [await delegate(customer, aggregator)]],
    [
      'with a delegation that the storefront did not issue',
      async () => [await delegate(another, rival, { with: customer })],
    ],
    [
      'with a delegation of another aggregate',
      async () => [await delegate(customer, rival, { nb: { aggregate: anAggregate('other').aggregate } })],
    ],
    [
      'with a delegation whose caveat no ability defines',
      async () => [await delegate(customer, rival, { nb: { limit: 5 } })],
    ],
  ])('is not authorized %s', async (name, proofs) => {
    const receipt = await offerWith(name, { proofs: await proofs() })
    expect(errorOf(receipt)).toMatchObject({ name: 'Unauthorized' })
  })
})

describe('K6: a tenant that an aggregator names by itself', () => {
  it('must be one that the configuration allows for this aggregator', async () => {
    const mine: Tenant = { ...TENANT, storefront: 'did:web:other.example' }
    expect((await offer(anAggregate('in the list'), { issuer: rival })).out.ok).toBeDefined()
    expect((await offer(anAggregate('all'), { tenant: mine })).out.ok).toBeDefined()
    expect((await offer(anAggregate('itself'), { issuer: rival, tenant: {} as Tenant })).out.ok).toBeDefined()
    // The dealer lists the customer, but the offer lacks its delegation.
    for (const tenant of [mine, CUSTOMER]) {
      const refused = await offer(anAggregate('refused'), { issuer: rival, tenant })
      expect(errorOf(refused)).toMatchObject({
        name: 'TenantNotListed',
        storefront: tenant.storefront,
        message: expect.stringContaining('add it to `tenants` of this aggregator'),
      })
    }
    await expect(recordOf(anAggregate('refused'))).rejects.toThrow('no record')
  })

  it.each([
    ['all', 'did:web:any.example', true],
    [['did:web:any.example'], 'did:web:any.example', true],
    [['did:web:any.example'], 'did:web:other.example', false],
    [[], 'did:web:other.example', false],
    [undefined, 'did:web:other.example', false],
    [[], 'did:web:aggregator.example', true],
    [undefined, 'did:web:aggregator.example', true],
  ] as const)('with %j may be %s: %s', (tenants, storefront, expected) => {
    expect(mayName('did:web:aggregator.example', storefront, tenants && { tenants })).toBe(expected)
  })
})

describe('K6: the configuration', () => {
  const read = (aggregators: object[], rest: object = {}) =>
    readConfig(configSchema, {
      CONFIG: JSON.stringify({
        aggregators,
        dealTracker: { did: 'did:web:tracker.example', url: 'https://tracker.example' },
        ...rest,
      }),
    })
  const did = 'did:web:aggregator.example'

  it('of version 0.1.0 is read: its aggregators may name only themselves, and no storefront is listed', () => {
    const { aggregators, storefronts } = read([{ did }])
    expect({ aggregators, storefronts }).toEqual({ aggregators: [{ did, tenants: [] }], storefronts: [] })
  })

  it('names the tenants of each aggregator', () => {
    const tenants = ['did:web:a.example', 'did:key:z6MkndP2']
    expect(
      read([
        { did, tenants },
        { did: 'did:web:b.example', tenants: 'all' },
      ]).aggregators,
    ).toMatchObject([{ tenants }, { tenants: 'all' }])
  })

  it.each([
    [{ did, tenants: 'any' }, 'aggregators[0].tenants'],
    [{ did, tenants: ['a.example'] }, 'aggregators[0].tenants'],
    [{ did, tenant: 'all' }, 'aggregators[0].tenant is not a setting'],
    [{ did: 'did:web:a.example:path' }, 'list them in "keys"'],
  ])('rejects %j', (aggregator, problem) => {
    expect(() => read([aggregator])).toThrow(ConfigurationError)
    expect(() => read([aggregator])).toThrow(problem)
  })

  it('lists an aggregator once', () => {
    expect(() => read([{ did }, { did, tenants: 'all' }])).toThrow('has this DID too')
  })
})
