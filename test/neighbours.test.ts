import type { FilecoinAcceptSuccess } from '@w3filecoin/capabilities'
import { DIALECTS } from '@w3filecoin/capabilities/vocabulary'
import { type EncodedInclusion, verifyInclusion } from '@w3filecoin/piece'
import { describe, expect, test } from 'vitest'
import { randomContent, upload } from './content.ts'
import { offer } from './invoke.ts'
import { awaitReceipt, effectOf } from './receipts.ts'
import { useSystem } from './system.ts'

/** The ability of the offer of a piece in each dialect, and that of the task that the receipt of the aggregate links to. */
const ABILITIES = {
  'draft-1': ['piece/offer', 'offer/arrange'],
  'draft-2': ['aggregate/add', undefined],
  'draft-3': ['aggregate/queue', undefined],
  'capability-section': ['aggregate/offer', 'deal/offer'],
} as const

/** The ability of the offer of an aggregate in each dialect. */
const AGGREGATE_OFFERS = {
  'draft-1': 'aggregate/offer',
  'draft-2': 'deal/add',
  'draft-3': 'deal/queue',
  'capability-section': 'deal/offer',
} as const

describe.each(DIALECTS)('services that understand only %s of one another', dialect => {
  const system = useSystem({
    // A storefront that offers its pieces in the protocol to the same aggregator.
    storefronts: ['inProtocol'],
    configure: (role, config, { services }) => {
      const speaking = (peer: object) => ({ ...peer, speaks: [dialect] })
      if (role === 'aggregator') return { ...config, dealer: speaking(config.dealer) }
      // In draft 1 the dealer answers questions for deals; it asks the tracker in the protocol.
      const isDraft1 = dialect === 'draft-1'
      if (role === 'dealer')
        return {
          ...config,
          dealTracker: isDraft1 ? config.dealTracker : speaking(config.dealTracker),
          storefronts: ['storefront', 'inProtocol'].map(name => ({ did: services[name]!.did })),
        }
      if (role !== 'storefront' && role !== 'inProtocol') return config
      const { did, url } = services.dealer!
      return {
        ...config,
        aggregator: role === 'inProtocol' ? config.aggregator : speaking(config.aggregator),
        dealTracker: speaking(isDraft1 ? { did, url } : config.dealTracker),
      }
    },
  })
  const { at } = system

  test('L6: a piece that is offered in the protocol ends with a proof', async () => {
    const [offers, linked] = ABILITIES[dialect]
    const content = await randomContent(10_000)
    await upload(system.local, content)
    const offered = await offer(at('storefront'), content)
    const submitted = await awaitReceipt(at('storefront'), `${effectOf(offered.fx.fork[0]).cid}`)
    expect(effectOf(submitted.fx.join).capabilities[0]?.can).toBe(offers)

    const accepted = await awaitReceipt(at('storefront'), `${effectOf(offered.fx.join).cid}`)
    const { piece, aggregate, inclusion, aux } = accepted.out.ok as unknown as FilecoinAcceptSuccess
    expect(`${piece}`).toBe(`${content.piece}`)
    expect(verifyInclusion({ piece, aggregate, inclusion: inclusion as EncodedInclusion })).toEqual({
      ok: {},
    })
    expect(aux).toEqual({ dataType: 0, dataSource: { dealID: expect.any(Number) } })

    const queued = await awaitReceipt(at('aggregator'), `${effectOf(submitted.fx.join).cid}`)
    const included = await awaitReceipt(at('aggregator'), `${effectOf(queued.fx.join).cid}`)
    const link = included.fx.join && effectOf(included.fx.join)
    expect(link?.capabilities[0]?.can).toBe(linked)
  })

  test('L6: a piece whose aggregator offers the aggregate in a dialect ends with a proof, by the deal that the deal tracker reports', async () => {
    const storefront = at('inProtocol')
    const content = await randomContent(10_000)
    await upload(system.local, content, 'in-protocol')
    const offered = await offer(storefront, content)
    const submitted = await awaitReceipt(storefront, `${effectOf(offered.fx.fork[0]).cid}`)
    const queued = await awaitReceipt(at('aggregator'), `${effectOf(submitted.fx.join).cid}`)
    const included = await awaitReceipt(at('aggregator'), `${effectOf(queued.fx.join).cid}`)
    expect(effectOf(included.ran).capabilities[0].can).toBe('piece/accept')
    expect(effectOf(included.fx.join).capabilities[0].can).toBe(AGGREGATE_OFFERS[dialect])

    const accepted = await awaitReceipt(storefront, `${effectOf(offered.fx.join).cid}`)
    const { piece, aggregate, inclusion, aux } = accepted.out.ok as unknown as FilecoinAcceptSuccess
    expect(verifyInclusion({ piece, aggregate, inclusion: inclusion as EncodedInclusion })).toEqual({
      ok: {},
    })
    expect(aux).toEqual({ dataType: 0, dataSource: { dealID: expect.any(Number) } })
  })
})
