import { Message } from '@ucanto/core'
import type { Invocation, Signer } from '@ucanto/interface'
import { ed25519 } from '@ucanto/principal'
import { CAR } from '@ucanto/transport'
import { failure, type Place, toMetadata, toPlaceKey } from '@w3filecoin/capabilities'
import { type AnyLink, toV1 } from '@w3filecoin/piece'
import { issueReceipt, type Outcome } from '@w3filecoin/runtime'
import { somePiece } from '@w3filecoin/testing'
import { beforeAll, describe, expect, it } from 'vitest'
import { DealTracker, type Proof, verify } from '../src/index.ts'
import { createWorld, type World } from './world.ts'

const asOf = [{ source: 'chain', at: '2026-11-27T10:00:00.000Z', epoch: 6_543_300 }]
const places: Place[] = [
  { type: 'market', dealID: 42 },
  { type: 'sector', miner: 'f01001', sector: 77 },
  { type: 'pdp', chain: 314, verifier: `0x${'ab'.repeat(20)}`, dataSet: 12, piece: 0 },
]

/** The answer of a deal tracker that knows one place of an aggregate. */
const knowing = (place: Place, aggregate: AnyLink, more: object = {}) => {
  const known = {
    provider: 'f01001',
    storageProvider: 'f01001',
    status: 'Active',
    pieceCid: `${toV1(aggregate).ok!.root}`,
    ...more,
  }
  const key = toPlaceKey(place)
  return {
    asOf,
    ...(place.type === 'market'
      ? { deals: { [key]: known }, places: [] }
      : { deals: {}, places: [{ type: place.type, key, epoch: 6_543_300, ...known }] }),
  }
}

describe.each(places)('verify with a deal tracker, a proof that names a place of type $type,', place => {
  let world: World
  let tracker: Signer
  let proof: Proof
  let aggregate: AnyLink

  beforeAll(async () => {
    world = await createWorld()
    tracker = (await ed25519.generate()) as Signer
    proof = await world.issue({ out: { ok: { ...world.ok, aux: toMetadata(place, 6_543_210) } } })
    aggregate = proof.aggregate
  })

  /** Verifies the proof with a deal tracker that signs an outcome of a task: by default, its own key signs that of the question. */
  const ask = (
    out: Outcome['out'],
    {
      key = tracker,
      ran = async task => task,
    }: { key?: Signer; ran?: (task: Invocation) => Promise<Invocation> } = {},
  ) => {
    const fetch = async (_: unknown, init?: RequestInit) => {
      const request = { headers: {}, body: init?.body as Uint8Array }
      const { invocations } = await CAR.request.decode(request as never)
      const receipt = await issueReceipt(key, (await ran(invocations[0] as Invocation)) as never, { out })
      const { body } = CAR.response.encode(await Message.build({ receipts: [receipt] as never }))
      return new Response(body as Uint8Array<ArrayBuffer>, { headers: { 'content-type': CAR.contentType } })
    }
    const opened = {
      url: 'http://tracker.example/',
      about: {},
      party: tracker.did(),
      signer: world.storefront,
    }
    const dealTracker = new DealTracker({ ...opened, options: { fetch: fetch as never } })
    return verify(proof, { storefront: world.storefront.did(), dealTracker })
  }

  it('reports the state of the place', async () => {
    const by = tracker.did()
    const report = await ask({ ok: knowing(place, aggregate) })
    expect(report.tracker).toEqual({ by, status: 'Active', provider: 'f01001', asOf })
    expect(report.proves.at(-1)).toBe(`${by} states that ${report.place} is Active now.`)
    const expiration = '2026-01-01T00:00:00.000Z'
    expect(
      (await ask({ ok: knowing(place, aggregate, { status: 'Expired', expiration }) })).tracker,
    ).toMatchObject({
      status: 'Expired',
      expiration,
    })
  })

  it('says that the deal tracker does not list the place for the aggregate', async () => {
    const error = { ...failure('DealNotFound', 'No deal is known'), asOf }
    const none = { deals: {}, places: [], asOf }
    // Other places of the same aggregate, also of the same kind.
    const others = places
      .filter(({ type }) => type !== place.type)
      .map(other => ({ ok: knowing(other, aggregate) }))
    const next =
      place.type === 'market'
        ? { ...place, dealID: 43 }
        : place.type === 'sector'
          ? { ...place, sector: 78 }
          : { ...place, piece: 1 }
    for (const out of [{ error }, { ok: none }, { ok: knowing(next, aggregate) }, ...others]) {
      const { tracker: answer, doesNotProve } = await ask(out as Outcome['out'])
      expect(answer).toEqual({ by: tracker.did(), status: 'NotFound', asOf })
      expect(doesNotProve.join()).toContain('does not know it')
    }
  })

  it('rejects an answer in which the place contains another aggregate', async () => {
    await expect(ask({ ok: knowing(place, somePiece('another', 30)) })).rejects.toMatchObject({
      code: 'InvalidAnswer',
      message: expect.stringContaining(`${toV1(aggregate).ok!.root}`),
    })
    expect((await ask({ ok: knowing(place, aggregate, { pieceCid: undefined }) })).tracker?.status).toBe(
      'Active',
    )
  })

  it('rejects an answer that another key signed, and one to another question', async () => {
    const other = (await ed25519.generate()) as Signer
    const ok = knowing(place, aggregate)
    const unsigned = { code: 'UnsignedReceipt' }
    await expect(ask({ ok }, { key: other })).rejects.toMatchObject(unsigned)
    await expect(
      ask({ ok }, { key: other.withDID('did:web:tracker.example') as Signer }),
    ).rejects.toMatchObject(unsigned)
    const foreign = async () => (await createWorld()).task as Invocation
    await expect(ask({ ok }, { ran: foreign })).rejects.toMatchObject(unsigned)
  })
})
