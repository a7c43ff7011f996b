import { delegate } from '@ucanto/core'
import type { DID, Receipt } from '@ucanto/interface'
import { ed25519 } from '@ucanto/principal'
import { bind, openTables } from '@w3filecoin/aws'
import {
  type FilecoinAcceptSuccess,
  type FilecoinInfoSuccess,
  placeIn,
  toPlaceKey,
} from '@w3filecoin/capabilities'
import type { Address } from '@w3filecoin/local'
import { placesOf } from '@w3filecoin/local/provision'
import {
  type EncodedInclusion,
  encodePiece,
  toInclusionProof,
  toV1,
  verifyInclusion,
} from '@w3filecoin/piece'
import { resources } from '@w3filecoin/storefront/resources'
import { Aggregate, Piece } from '@web3-storage/data-segment'
import { base64 } from 'multiformats/bases/base64'
import { CID } from 'multiformats/cid'
import { expect, test } from 'vitest'
import { type Content, randomContent, upload } from './content.ts'
import { type Accepted, follow } from './follow.ts'
import { createAgent, invoke, offer, taskOf } from './invoke.ts'
import { readOfferDocuments } from './offer-documents.ts'
import { awaitReceipt, effectOf, fetchReceipt } from './receipts.ts'
import { useSystem } from './system.ts'

/** Padded bytes of an aggregate. */
const SIZE = 2 ** 22

const system = useSystem({
  storefronts: ['otherStorefront'],
  configure: async (role, config, { services }) => {
    const { aggregator, otherStorefront } = services as Record<string, Address>
    // The other storefront authorizes its deals itself: the aggregator may not name it.
    if (role === 'dealer')
      return {
        ...config,
        aggregators: [{ ...config.aggregators[0], tenants: [services.storefront!.did] }],
        storefronts: [{ did: otherStorefront!.did }],
      }
    if (role !== 'aggregator') return config
    const issuer = ed25519.parse(otherStorefront!.key)
    const delegation = await delegate({
      issuer,
      audience: ed25519.parse(aggregator!.key),
      capabilities: [{ can: 'aggregate/offer', with: issuer.did() }],
      expiration: Infinity,
    })
    const { ok: car } = await delegation.archive()
    return {
      ...config,
      limits: { ...config.limits, paddedBytes: SIZE, maxWaitSeconds: 1 },
      storefronts: config.storefronts.map((peer: { did: string }) =>
        peer.did === issuer.did() ? { ...peer, delegation: base64.encode(car as Uint8Array) } : peer,
      ),
    }
  },
})
const storefront = () => system.at('storefront')

/** Computes the tasks of the storefront that follow from an offer. */
const computeTasks = async ({ content, piece }: Pick<Content, 'content' | 'piece'>, nonce?: string) => {
  const own = { issuer: system.signer('storefront'), nb: { content, piece }, nonce }
  return {
    submit: await taskOf(storefront(), { ...own, can: 'filecoin/submit' }),
    accept: await taskOf(storefront(), { ...own, can: 'filecoin/accept' }),
  }
}
const pieceOfferOf = ({ piece }: Pick<Content, 'piece'>, group: string): Promise<string> =>
  taskOf(system.at('aggregator'), {
    issuer: system.signer('storefront'),
    can: 'piece/offer',
    nb: { piece, group },
  })
const effectsOf = ({ fx }: Receipt) => ({
  submit: `${fx.fork[0]?.link()}`,
  accept: `${fx.join?.link()}`,
})
const uploadRandom = async (size: number): Promise<Content> => {
  const content = await randomContent(size)
  await upload(system.local, content)
  return content
}

test.concurrent('S1, S2, S3: the receipt of an offer is ok and has the next tasks as effects, which are a function of the offer', async () => {
  const content = await randomContent(1_000)
  const receipt = await offer(storefront(), content)
  expect(receipt.out).toEqual({ ok: { piece: content.piece } })
  expect(receipt.fx.fork).toHaveLength(1)
  expect(effectsOf(receipt)).toEqual(await computeTasks(content))
  const { did } = storefront()
  const nb = { content: content.content, piece: content.piece }
  for (const [task, can] of [
    [effectOf(receipt.fx.fork[0]), 'filecoin/submit'],
    [effectOf(receipt.fx.join), 'filecoin/accept'],
  ] as const) {
    expect(task.capabilities).toEqual([{ can, with: did, nb }])
    expect([task.issuer.did(), task.audience.did()]).toEqual([did, did])
    expect([task.expiration, task.nonce, task.facts, task.proofs]).toEqual([Infinity, undefined, [], []])
  }
  const served = await fetchReceipt(storefront(), `${receipt.ran.link()}`)
  expect(`${served?.root.cid}`).toBe(`${receipt.root.cid}`)
})

test.concurrent('S1: the receipt of a failed offer is a signed error without effects', async () => {
  const content = await uploadRandom(1_000)
  const { issuer, with: space } = await createAgent()
  const refused: [Promise<Receipt>, string][] = [
    // The agent has no delegation from the space.
    [offer(storefront(), content, { agent: { issuer, with: space, proofs: [] } }), 'Unauthorized'],
    // The piece CID is the CID of raw content.
    [offer(storefront(), { ...content, piece: content.content as never }), 'InvalidPieceCID'],
  ]
  for (const [answer, name] of refused) {
    const { out, fx, ran } = await answer
    expect(out).toEqual({ error: expect.objectContaining({ name, message: expect.any(String) }) })
    expect(fx).toEqual({ fork: [] })
    expect(await fetchReceipt(storefront(), `${ran.link()}`)).toBeUndefined()
  }
  for (const task of Object.values(await computeTasks(content)))
    expect(await fetchReceipt(storefront(), task)).toBeUndefined()
})

test.concurrent('S4: an offer waits for its content until it is uploaded', async () => {
  const content = await randomContent(20_000)
  const { submit } = effectsOf(await offer(storefront(), content))
  // A later offer is submitted, so the storefront has tried this one too, and still waits for its content.
  const later = await uploadRandom(20_000)
  await awaitReceipt(storefront(), effectsOf(await offer(storefront(), later)).submit)
  expect(await fetchReceipt(storefront(), submit)).toBeUndefined()
  await upload(system.local, content)
  expect((await awaitReceipt(storefront(), submit)).out).toEqual({ ok: { piece: content.piece } })
})

test.concurrent('S5: content that hashes to the piece is submitted, and joins the piece/offer that the aggregator receives', async () => {
  const content = await uploadRandom(30_000)
  const offered = await offer(storefront(), content)
  const submitted = await awaitReceipt(storefront(), effectsOf(offered).submit)
  expect(submitted.out).toEqual({ ok: { piece: content.piece } })
  expect(submitted.fx.fork).toEqual([])
  const pieceOffer = effectOf(submitted.fx.join)
  expect(`${pieceOffer.cid}`).toBe(await pieceOfferOf(content, 'local'))
  expect(pieceOffer.capabilities).toEqual([
    { can: 'piece/offer', with: storefront().did, nb: { piece: content.piece, group: 'local' } },
  ])
  // The aggregator ran these bytes.
  const queued = await awaitReceipt(system.at('aggregator'), `${pieceOffer.cid}`)
  expect(queued.out).toEqual({ ok: { piece: content.piece } })
  expect(effectOf(queued.ran).bytes).toEqual(pieceOffer.bytes)
})

test.concurrent('S6: content that does not match the piece ends both tasks with an error, and nothing reaches the aggregator', async () => {
  const content = await uploadRandom(40_000)
  const { piece } = await randomContent(40_000)
  const { submit, accept } = effectsOf(await offer(storefront(), { ...content, piece }))
  const submitted = await awaitReceipt(storefront(), submit)
  expect(submitted.out).toEqual({
    error: { name: 'InvalidPieceCID', message: expect.stringContaining(`${content.piece}`), piece },
  })
  expect(submitted.fx).toEqual({ fork: [] })
  const accepted = await awaitReceipt(storefront(), accept)
  expect(accepted.out).toEqual({
    error: { name: 'InvalidContentPiece', message: expect.any(String), content: content.content },
  })
  expect(accepted.fx).toEqual({ fork: [] })

  // A later piece reaches its deal.
  const after = await uploadRandom(40_000)
  await follow(system, await offer(storefront(), after))
  expect(await fetchReceipt(system.at('aggregator'), await pieceOfferOf(after, 'local'))).toBeDefined()
  expect(await fetchReceipt(system.at('aggregator'), await pieceOfferOf({ piece }, 'local'))).toBeUndefined()
  const documents = await readOfferDocuments(system.local)
  expect(documents.flatMap(({ pieces }) => pieces)).not.toContain(`${piece}`)
})

/** Checks a finished journey: each proof against the next receipt, and the last one against the chain. */
const checkProofs = async ({ piece }: Content, { success, live, accepted, pieces }: Accepted) => {
  const { aggregate } = success
  const inclusion = success.inclusion as EncodedInclusion
  const end = accepted.out.ok as unknown as FilecoinAcceptSuccess
  expect(accepted.out).toEqual({
    ok: { piece, aggregate, inclusion, aux: { dataType: 0, dataSource: { dealID: expect.any(Number) } } },
  })
  expect(accepted.fx).toEqual({ fork: [] })
  expect(live.out).toEqual({ ok: { aggregate, ...end.aux } })

  // The published library builds the same aggregate and the same proof.
  expect(verifyInclusion({ piece, aggregate, inclusion })).toEqual({ ok: {} })
  const published = Aggregate.build({
    pieces: pieces.map(link => Piece.fromLink(link as never)),
    size: Aggregate.Size.from(BigInt(SIZE)),
  })
  expect(`${published.link}`).toBe(`${aggregate}`)
  expect(published.resolveProof(piece as never).ok).toEqual(toInclusionProof(inclusion))

  const { out } = await invoke(system.at('dealTracker'), {
    issuer: ed25519.parse(system.local.agent.key),
    can: 'deal/info',
    nb: { piece: aggregate },
  })
  expect((out.ok as { deals: object }).deals).toMatchObject({
    [toPlaceKey(placeIn(end.aux)!)]: { status: 'Active', pieceCid: `${toV1(aggregate).ok?.root}` },
  })
}

test.concurrent('S7, A4, A6: pieces of several storefronts reach their deals, with a proof for every step, and never share an aggregate', async () => {
  const contents = await Promise.all([1_000, 30_000, 250_000, 700_000, 2_000].map(randomContent))
  const journeys = ['storefront', 'otherStorefront'].flatMap(role =>
    contents.map(content => ({ role, content })),
  )
  const ends = await Promise.all(
    journeys.map(async ({ role, content }) => {
      await upload(system.local, content, role === 'storefront' ? 'storefront' : 'other-storefront')
      const end = await follow(system, await offer(system.at(role), content), role)
      await checkProofs(content, end)
      return { role, ...end }
    }),
  )
  // Both storefronts use a group of the same name.
  for (const { role, aggregateOffer } of ends)
    expect(aggregateOffer.facts).toMatchObject([{ storefront: system.at(role).did, group: 'local' }])
  const offers = (of: string) =>
    ends.filter(({ role }) => role === of).map(({ aggregateOffer }) => `${aggregateOffer.cid}`)
  expect(offers('storefront').filter(cid => offers('otherStorefront').includes(cid))).toEqual([])
})

test.concurrent('K6: the aggregates of a storefront that delegated aggregate/offer are offered with the storefront, as promised, and reach their deals', async () => {
  const content = await randomContent(3_000)
  await upload(system.local, content, 'other-storefront')
  const { did } = system.at('otherStorefront')
  const end = await follow(system, await offer(system.at('otherStorefront'), content), 'otherStorefront')
  await checkProofs(content, end)
  const { aggregateOffer, dealt } = end
  expect(aggregateOffer.capabilities[0]).toMatchObject({ can: 'aggregate/offer', with: did })
  expect(aggregateOffer.issuer.did()).toBe(system.at('aggregator').did)
  expect(aggregateOffer.proofs).toHaveLength(1)
  expect(effectOf(dealt.ran).bytes).toEqual(aggregateOffer.bytes)
  expect(
    (await readOfferDocuments(system.local)).filter(
      ({ aggregate }) => aggregate === `${end.success.aggregate}`,
    ),
  ).toMatchObject([{ tenant: did, group: 'local' }])
  // The other storefront of the system has not delegated: the aggregator offers for it by itself.
  const plain = await uploadRandom(3_000)
  const other = await follow(system, await offer(storefront(), plain))
  expect(other.aggregateOffer.capabilities[0]).toMatchObject({ with: system.at('aggregator').did })
})

test.concurrent('K8: filecoin/offer with PDP is the same workflow as without it, and its receipt says that PDP is not verified', async () => {
  const content = await randomContent(1_000)
  const agent = await createAgent()
  const { content: PDP } = await randomContent(10)
  const offerWith = (nb: Record<string, unknown>) =>
    invoke(storefront(), {
      ...agent,
      can: 'filecoin/offer',
      nb: { content: content.content, piece: content.piece, ...nb },
    })
  const receipt = await offerWith({ PDP })
  expect(receipt.out).toEqual({ ok: { piece: content.piece } })
  expect(receipt.meta).toEqual({ PDP: 'not verified' })
  expect(effectsOf(receipt)).toEqual(await computeTasks(content))
  expect((await fetchReceipt(storefront(), `${receipt.ran.link()}`))?.meta).toEqual({ PDP: 'not verified' })
  const plain = await offerWith({})
  expect(plain.meta).toEqual({})
  expect(effectsOf(plain)).toEqual(effectsOf(receipt))
  for (const invalid of ['bafy', 7, CID.parse('QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1n')])
    expect((await offerWith({ PDP: invalid })).out.error).toMatchObject({
      name: 'MalformedCapability',
      field: 'nb.PDP',
    })
})

test.concurrent('S8: a repeated offer, by any agent at any time, returns the same effects and adds no second piece', async () => {
  const content = await uploadRandom(50_000)
  const agent = await createAgent()
  const first = await offer(storefront(), content, { agent })
  const before = await Promise.all([
    offer(storefront(), content, { agent }),
    offer(storefront(), content),
    offer(storefront(), content),
  ])
  const { queued, accepted } = await follow(system, first)
  const after = [await offer(storefront(), content, { agent }), await offer(storefront(), content)]
  for (const again of [...before, ...after]) {
    expect(again.out).toEqual(first.out)
    expect(effectsOf(again)).toEqual(effectsOf(first))
  }
  expect(`${(await fetchReceipt(storefront(), effectsOf(first).accept))?.root.cid}`).toBe(
    `${accepted.root.cid}`,
  )

  // A later piece reaches its deal, so a second piece from the repetitions would be in an aggregate by now.
  await follow(system, await offer(storefront(), await uploadRandom(50_000)))
  const documents = await readOfferDocuments(system.local)
  const places = documents.flatMap(({ pieces }) => pieces).filter(piece => piece === `${content.piece}`)
  expect(places).toHaveLength(1)
  const again = await fetchReceipt(system.at('aggregator'), `${queued.ran.link()}`)
  expect(`${again?.root.cid}`).toBe(`${queued.root.cid}`)
})

test.concurrent('S8: an offer of the same piece for different content is a separate workflow', async () => {
  const content = await uploadRandom(60_000)
  const DAG_CBOR = 0x71
  const same = { ...content, content: CID.createV1(DAG_CBOR, content.content.multihash) }
  const other = { ...(await uploadRandom(60_000)), piece: content.piece }
  await upload(system.local, same)
  const offers = [
    await offer(storefront(), content),
    await offer(storefront(), same),
    await offer(storefront(), other),
  ] as const
  expect(new Set(offers.flatMap(receipt => Object.values(effectsOf(receipt)))).size).toBe(6)

  // The one entry of the piece proves both contents that hash to it.
  const [one, two] = [await follow(system, offers[0]), await follow(system, offers[1])]
  expect(two.accepted.out.ok).toEqual(one.accepted.out.ok)
  expect(`${two.accepted.ran.link()}`).not.toBe(`${one.accepted.ran.link()}`)
  const refused = await awaitReceipt(storefront(), effectsOf(offers[2]).accept)
  expect(refused.out).toMatchObject({ error: { name: 'InvalidContentPiece', content: other.content } })
})

test.concurrent('S10, A6, D6: the group of a piece is the provider of its space, and reaches the aggregator and the offer documents', async () => {
  const space = await ed25519.generate()
  await setProvider(space.did(), 'did:web:provider.example')
  const [listed, unlisted] = [await uploadRandom(70_000), await uploadRandom(70_000)]
  const ends = await Promise.all([
    follow(system, await offer(storefront(), listed, { agent: await createAgent(space) })),
    follow(system, await offer(storefront(), unlisted)),
  ])
  const groups = ends.map(({ queued }) => (effectOf(queued.ran).capabilities[0] as { nb?: object }).nb)
  expect(groups).toMatchObject([{ group: 'did:web:provider.example' }, { group: 'local' }])

  const documents = await readOfferDocuments(system.local)
  const documentOf = ({ piece }: Content) =>
    documents.filter(({ pieces }) => (pieces as string[]).includes(`${piece}`))
  const { success, pieces } = ends[0]
  expect(documentOf(listed)).toEqual([
    {
      aggregate: `${success.aggregate}`,
      pieces: pieces.map(piece => `${piece}`),
      collection: 'did:web:provider.example',
      tenant: storefront().did,
      group: 'did:web:provider.example',
      label: 'did:web:provider.example #1',
      orderID: expect.any(Number),
    },
  ])
  expect(documentOf(unlisted)).toMatchObject([{ tenant: storefront().did, group: 'local' }])
  expect(pieces.map(piece => `${piece}`)).toEqual([`${listed.piece}`])
})

test.concurrent('S10: spaces of two providers that offer the same content have a place in both groups, and each keeps its group', async () => {
  const [one, two] = [await ed25519.generate(), await ed25519.generate()]
  await setProvider(one.did(), 'did:web:one.example')
  await setProvider(two.did(), 'did:web:two.example')
  const content = await uploadRandom(75_000)
  const first = await offer(storefront(), content, { agent: await createAgent(one) })
  const second = await offer(storefront(), content, { agent: await createAgent(two) })
  expect(effectsOf(first)).toEqual(await computeTasks(content))
  expect(effectsOf(second).accept).not.toBe(effectsOf(first).accept)
  for (const task of [effectOf(second.fx.fork[0]), effectOf(second.fx.join)])
    expect(task.facts).toEqual([{ group: 'did:web:two.example' }])
  await setProvider(one.did(), 'did:web:two.example')
  const again = await offer(storefront(), content, { agent: await createAgent(one) })
  expect(effectsOf(again)).toEqual(effectsOf(first))
  const ends = [await follow(system, first), await follow(system, second)]
  expect(ends.map(({ aggregateOffer }) => aggregateOffer.facts)).toMatchObject([
    [{ group: 'did:web:one.example' }],
    [{ group: 'did:web:two.example' }],
  ])
})

test.concurrent('S10: an agent that offers with its own DID, as published upload clients do, acts for the space in its proofs', async () => {
  const space = await ed25519.generate()
  await setProvider(space.did(), 'did:web:three.example')
  const content = await uploadRandom(76_000)
  const { issuer, proofs } = await createAgent(space)
  const offered = await offer(storefront(), content, { agent: { issuer, proofs, with: issuer.did() } })
  const submitted = await awaitReceipt(storefront(), effectsOf(offered).submit)
  expect(effectOf(submitted.fx.join).capabilities).toMatchObject([{ nb: { group: 'did:web:three.example' } }])
})

test.concurrent('S1: a piece that cannot exist is refused at once with InvalidPieceCID', async () => {
  const { content } = await uploadRandom(1_000)
  const piece = encodePiece({ root: new Uint8Array(32), height: 32, padding: 0n })
  const refused = await offer(storefront(), { content, piece })
  expect(refused.out.error).toMatchObject({ name: 'InvalidPieceCID', piece })
  expect(refused.fx).toEqual({ fork: [] })
})

test.concurrent('S9: filecoin/info shows a task to anyone who names it, and a workflow only to its own space', async () => {
  const content = await randomContent(77_000)
  const agent = await createAgent()
  const { submit, accept } = effectsOf(await offer(storefront(), content, { agent, nonce: 'mine' }))
  const ask = async (as: typeof agent, nb: object) =>
    (await invoke(storefront(), { ...as, can: 'filecoin/info', nb: { piece: content.piece, ...nb } })).out
      .ok as unknown as FilecoinInfoSuccess
  expect((await ask(agent, {})).workflows).toMatchObject([{ nonce: 'mine', group: 'local' }])
  const stranger = await createAgent()
  expect(await ask(stranger, {})).toEqual({
    piece: content.piece,
    aggregates: [],
    deals: [],
    pastDeals: [],
    places: [],
    workflows: [],
  })
  const { task } = await ask(stranger, { task: CID.parse(accept) })
  expect(Object.keys(task!).sort()).toEqual([
    ...['accept', 'history', 'since', 'stage', 'submit', 'task', 'waitsFor'],
  ])
  expect(task).toMatchObject({ stage: 'offered' })
  expect({ submit: `${task!.submit}`, accept: `${task!.accept}` }).toEqual({ submit, accept })
})

/** Sets the provider of a space in the table, like an operator. */
const setProvider = async (space: DID, provider: string) => {
  const { env, sqs } = system.local.engines
  Object.assign(process.env, env)
  const places = placesOf({ resources, service: 'storefront', sqs })
  const spaces = bind(resources, places, await openTables(env)).table<object>('space')
  await spaces.putMany([{ space, provider }])
}

test.concurrent('A3: an offer with a nonce is a separate workflow, whose tasks have the nonce, with an entry in another aggregate', async () => {
  const content = await uploadRandom(80_000)
  const [plain, again] = [
    await offer(storefront(), content),
    await offer(storefront(), content, { nonce: 'again' }),
  ]
  expect(effectsOf(again)).toEqual(await computeTasks(content, 'again'))
  expect(Object.values(effectsOf(again))).not.toEqual(Object.values(effectsOf(plain)))
  const [one, other] = await Promise.all([follow(system, plain), follow(system, again)])
  for (const { ran } of [other.submitted, other.queued, other.included, other.accepted])
    expect(effectOf(ran).nonce).toBe('again')
  expect(`${one.aggregateOffer.cid}`).not.toBe(`${other.aggregateOffer.cid}`)
})
