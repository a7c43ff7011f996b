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

describe.each(DIALECTS)('services that understand only %s of one another', dialect => {
  const system = useSystem({
    configure: (role, config, { services }) => {
      const speaking = (peer: object) => ({ ...peer, speaks: [dialect] })
      if (role === 'aggregator') return { ...config, dealer: speaking(config.dealer) }
      // In draft 1 the dealer answers questions for deals; it asks the tracker in the protocol.
      const isDraft1 = dialect === 'draft-1'
      if (role === 'dealer')
        return {
          ...config,
          dealTracker: isDraft1 ? config.dealTracker : speaking(config.dealTracker),
          storefronts: [{ did: services.storefront!.did }],
        }
      if (role !== 'storefront') return config
      const { did, url } = services.dealer!
      return {
        ...config,
        aggregator: speaking(config.aggregator),
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
})
