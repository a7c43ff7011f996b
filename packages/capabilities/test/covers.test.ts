import { bytesOf, linkOf, somePiece } from '@w3filecoin/testing'
import { CID } from 'multiformats/cid'
import { describe, expect, it } from 'vitest'
import {
  CapabilitySection,
  covers,
  Draft1,
  Draft2,
  dealInfo,
  dealReport,
  filecoinOffer,
  findUnknownCaveat,
  pieceOffer,
} from '../src/index.ts'

const [alice, bob] = ['did:key:zAlice', 'did:key:zBob'] as const
const [piece, other] = [somePiece(1), somePiece(2)]
const content = linkOf(bytesOf('content', 10))

describe('covers', () => {
  it.each<[string, object, object, boolean]>([
    ['the same resource, no caveats', { piece }, {}, true],
    ['the same piece', { piece, content }, { piece }, true],
    ['the same piece, as another object', { piece }, { piece: CID.parse(`${piece}`) }, true],
    ['all caveats equal', { piece, content }, { piece, content }, true],
    ['an undefined caveat', { piece }, { piece: undefined }, true],
    ['the same group', { piece, group: 'g' }, { group: 'g' }, true],
    ['another piece', { piece: other, content }, { piece }, false],
    ['another piece, the other caveats equal', { piece: other, content }, { piece, content }, false],
    ['another group', { piece, group: 'h' }, { piece, group: 'g' }, false],
    ['a group where the delegated one is empty', { piece, group: 'g' }, { group: '' }, false],
    ['no group where the delegation names one', { piece }, { group: 'g' }, false],
  ])('%s → %s from %s: %s', (_, claimed, delegated, expected) => {
    const result = covers({ with: alice, nb: claimed }, { with: alice, nb: delegated })
    expect('ok' in result).toBe(expected)
  })

  it('of deal/report covers only the fault that a delegation names', () => {
    const derives = (claimed: object, delegated: object) =>
      'ok' in
      (dealReport as unknown as { descriptor: { derives: typeof covers } }).descriptor.derives(
        { with: alice, nb: { offer: 'a', ...claimed } },
        { with: alice, nb: delegated },
      )
    const fault = (...invalid: object[]) => ({ fault: { message: 'No', invalid } })
    const wrong = { piece, message: 'wrong' }
    expect(derives(fault(wrong), fault(wrong))).toBe(true)
    expect(derives({ fault: { message: 'No' } }, fault())).toBe(true)
    expect(derives(fault(wrong), { offer: 'a' })).toBe(true)
    expect(derives(fault(wrong, { piece: other, message: 'wrong' }), fault(wrong))).toBe(false)
    expect(derives(fault({ piece: other, message: 'wrong' }), fault(wrong))).toBe(false)
    expect(derives({ place: '7' }, fault(wrong))).toBe(false)
    expect(derives({ place: '7' }, { place: '8' })).toBe(false)
  })

  it('K7: of deal/info treats `piece` and `aggregate` as two names of the aggregate', () => {
    const derives = (claimed: object, delegated: object) =>
      (dealInfo as unknown as { descriptor: { derives: typeof covers } }).descriptor.derives(
        { with: alice, nb: claimed },
        { with: alice, nb: delegated },
      )
    for (const name of ['piece', 'aggregate'])
      for (const delegated of ['piece', 'aggregate']) {
        expect(derives({ [name]: piece }, { [delegated]: piece })).toEqual({ ok: {} })
        expect(derives({ [name]: piece }, { [delegated]: other })).toHaveProperty('error')
        expect(derives({ [name]: piece }, {})).toEqual({ ok: {} })
      }
    expect(derives({}, { aggregate: piece })).toHaveProperty('error')
    // A claim that names two aggregates is refused by the handler. A delegation of one of them does not cover the other.
    expect(derives({ piece, aggregate: other }, { aggregate: piece })).toHaveProperty('error')
    expect(derives({ piece }, { piece, aggregate: other })).toHaveProperty('error')
  })

  it('K8: the caveats PDP and aggregate are defined by one ability each, and by those that cover it', () => {
    const unknownIn = (can: `${string}/${string}`, nb: object) =>
      findUnknownCaveat({ can, nb }, filecoinOffer)
    expect(unknownIn('filecoin/offer', { PDP: content })).toBeUndefined()
    expect(unknownIn('filecoin/*', { PDP: content })).toBeUndefined()
    expect(unknownIn('filecoin/accept', { PDP: content })).toBe('PDP')
    expect(unknownIn('deal/info', { aggregate: piece })).toBeUndefined()
    expect(unknownIn('deal/info', { PDP: content })).toBe('PDP')
  })

  it('an ability of a dialect must define every caveat itself', () => {
    const delegated = (can: `${string}/${string}`, nb: object) => ({ can, nb })
    // In draft 1 `provider` is the group: a delegation for one group must not allow every provider, nor the reverse.
    expect(findUnknownCaveat(delegated('piece/*', { group: 'g' }), Draft1.pieceOffer)).toBe('group')
    expect(findUnknownCaveat(delegated('piece/offer', { provider: 'g' }), pieceOffer)).toBe('provider')
    expect(findUnknownCaveat(delegated('piece/*', { provider: 'g' }), Draft1.pieceOffer)).toBeUndefined()
    expect(findUnknownCaveat(delegated('deal/*', { storefront: bob }), CapabilitySection.dealOffer)).toBe(
      'storefront',
    )
  })

  it.each([Draft2.dealAdd, Draft2.dealAddOffer])(
    'of deal/add compares the tenant in both of its forms',
    ability => {
      const { descriptor } = ability as unknown as { descriptor: { derives: typeof covers } }
      const derives = (nb: object, delegated: object) =>
        descriptor.derives({ with: alice, nb } as never, { with: alice, nb: delegated } as never)
      const tenant = { deal: { tenantId: 'a.example', label: 'l' } }
      expect(derives(tenant, { storefront: 'did:web:a.example' })).toHaveProperty('ok')
      expect(
        derives({ storefront: 'did:web:a.example' }, { deal: { tenantId: 'a.example' } }),
      ).toHaveProperty('ok')
      expect(derives(tenant, { deal: { tenantId: 'b.example' } })).toHaveProperty('error')
      expect(derives(tenant, { storefront: 'did:web:b.example' })).toHaveProperty('error')
      expect(derives(tenant, { label: 'm' })).toHaveProperty('error')
      expect(derives({}, { storefront: 'did:web:a.example' })).toHaveProperty('error')
      // The validator fills absent arguments of a delegation with those of the claim.
      const inherits = (nb: object, delegated: object) => derives(nb, { ...nb, ...delegated })
      expect(inherits({ storefront: 'did:web:a.example', label: 'l' }, tenant)).toHaveProperty('ok')
      expect(inherits(tenant, { storefront: 'a.example' })).toHaveProperty('ok')
      expect(inherits({ storefront: 'did:web:b.example', label: 'l' }, tenant)).toHaveProperty('error')
      expect(inherits({ storefront: 'did:web:a.example', label: 'm' }, tenant)).toHaveProperty('error')
      expect(inherits({ storefront: 'did:web:b.example', ...tenant }, tenant)).toHaveProperty('error')
      expect(inherits({ label: 'm', ...tenant }, tenant)).toHaveProperty('error')
    },
  )

  it('never covers another resource', () => {
    const result = covers({ with: alice, nb: { piece } }, { with: bob, nb: {} })
    expect(result).toMatchObject({
      error: { message: `it is for the resource ${bob}, not for ${alice}` },
    })
  })

  it('names the violated caveat', () => {
    const result = covers({ with: alice, nb: { piece: other } }, { with: alice, nb: { piece } })
    expect(result).toMatchObject({
      error: { message: `it allows only ${piece} as piece, and the invocation has ${other}` },
    })
  })
})
