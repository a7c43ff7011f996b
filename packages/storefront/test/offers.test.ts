import type { Delegation, Receipt, Signer } from '@ucanto/interface'
import { type PieceLink, Tasks } from '@w3filecoin/capabilities'
import { encodePiece } from '@w3filecoin/piece'
import { Authority } from '@w3filecoin/runtime'
import { ask, type Content, call, cut, effectsOf, served, signerOf, someContent } from '@w3filecoin/testing'
import { CID } from 'multiformats/cid'
import { create as createDigest } from 'multiformats/hashes/digest'
import { afterEach, describe, expect, it } from 'vitest'
import { createStorefront, type Dependencies } from '../src/index.ts'
import {
  ADMISSION,
  agent,
  aws,
  clock,
  contents,
  delegate,
  dependencies,
  errorOf,
  GROUP,
  offer,
  offers,
  recordOf,
  service,
  settle,
  space,
  storefront,
  stranger,
  sweepAfter,
  timing,
  upload,
} from './setup.ts'

const other = await signerOf('another space')
const mailbox = await signerOf('account')
const [PROVIDER, OTHER_PROVIDER] = ['did:web:provider', 'did:web:other-provider']

const setProvider = (of: Signer, provider: string) =>
  dependencies.stores.space.putMany([{ space: of.did(), provider }])
afterEach(() =>
  aws.table('space').removeMany([space, other, agent, stranger].map(of => ({ space: of.did() }))),
)

const offerTo = async (api: typeof service.api, ...args: Parameters<typeof offer>) =>
  ask(api, await offer(...args))
const offerNow = (...args: Parameters<typeof offer>) => offerTo(service.api, ...args)

/** The task that the storefront promises to run, with facts that distinguish its workflow. */
const promisesOf = async (content: Content, facts?: Parameters<typeof Tasks.filecoinSubmit>[2]) => ({
  fork: [`${(await Tasks.filecoinSubmit(storefront, content, facts)).cid}`],
  join: `${(await Tasks.filecoinAccept(storefront, content, facts)).cid}`,
})

describe('content that did not arrive in time', () => {
  /** Offers content that does not exist, until its workflow has ended. */
  const abandon = async (seed: string) => {
    const content = await someContent(seed)
    const first = await offerNow(content)
    await settle()
    await sweepAfter(timing.contentWaitMs)
    expect(await recordOf(content)).toMatchObject({ stage: 'failed', reason: { name: 'ContentNotFound' } })
    return { content, first }
  }
  /** Offers the content again, as an agent whose offer is another invocation. */
  const offerAgain = (content: Content, issuer: Signer = stranger) => offerNow(content, { issuer })

  it('S8: starts another attempt when it is offered again and exists, and keeps its history and receipts', async () => {
    const { content, first } = await abandon('late')
    const before = await served(service.api, first.fx.join!.link())
    expect(errorOf(before!)?.name).toBe('ContentNotFound')
    upload(content)
    const again = await offerAgain(content)
    expect(effectsOf(again)).toEqual(await promisesOf(content, { attempt: 2 }))
    expect((again.fx.join as { facts?: unknown }).facts).toEqual([{ attempt: 2 }])
    await settle()
    const record = await recordOf(content)
    expect(record).toMatchObject({ stage: 'queued', attempt: 2, space: space.did() })
    expect(record?.history.map(({ stage }) => stage)).toEqual([
      'offered',
      'failed',
      'offered',
      'submitted',
      'queued',
    ])
    expect((await served(service.api, again.fx.fork[0]!.link()))?.out).toEqual({
      ok: { piece: content.piece },
    })

    const kept = await served(service.api, first.fx.join!.link())
    expect(`${kept?.root.cid}`).toBe(`${before?.root.cid}`)
    const plain = await Tasks.filecoinAccept(storefront, content)
    expect(`${(await ask(service.api, plain)).root.cid}`).toBe(`${before?.root.cid}`)
    const second = await Tasks.filecoinAccept(storefront, content, { attempt: 2 })
    expect(errorOf(await ask(service.api, second))?.name).toBe('OutcomePending')
    const never = await Tasks.filecoinAccept(storefront, content, { attempt: 3 })
    expect(errorOf(await ask(service.api, never))?.message).toContain('No offer promised')
    expect(
      offers.map(({ facts }) => facts),
      'the aggregator did not see the first attempt',
    ).toEqual([[]])
  })

  it('gets the earlier promises while it still does not exist', async () => {
    const { content, first } = await abandon('still missing')
    expect(effectsOf(await offerAgain(content))).toEqual(effectsOf(first))
    expect(await recordOf(content)).toMatchObject({ stage: 'failed' })
  })

  it('starts one attempt if many agents offer it at the same time, with the same promises', async () => {
    const { content } = await abandon('raced')
    upload(content)
    const agents = await Promise.all(Array.from({ length: 8 }, (_, n) => signerOf(`racer ${n}`)))
    const receipts = await call(
      service.api,
      ...(await Promise.all(agents.map(issuer => offer(content, { issuer })))),
    )
    const promised = await promisesOf(content, { attempt: 2 })
    for (const receipt of receipts) expect(effectsOf(receipt)).toEqual(promised)
    expect((await recordOf(content))?.history).toHaveLength(3)
  })

  it('can start any number of attempts, each after the one before it, by the same invocation too', async () => {
    const { content } = await abandon('again and again')
    for (const attempt of [2, 3]) {
      upload(content)
      expect(effectsOf(await offerAgain(content))).toEqual(await promisesOf(content, { attempt }))
      contents.delete(`${content.content}`)
      await settle()
      await sweepAfter(timing.contentWaitMs)
      expect(await recordOf(content)).toMatchObject({ stage: 'failed', attempt })
    }
  })

  it('starts no attempt after another failure', async () => {
    const [content, wrong] = [await someContent('content'), await someContent('wrong')]
    upload(content)
    const offered = { ...content, piece: wrong.piece }
    const first = await offerNow(offered)
    await settle()
    expect(await recordOf(offered)).toMatchObject({ reason: { name: 'InvalidContentPiece' } })
    expect(effectsOf(await offerAgain(offered))).toEqual(effectsOf(first))
    expect(await recordOf(offered)).toMatchObject({ stage: 'failed' })
  })

  it('is waited for again from every offer on', async () => {
    const content = await someContent('offered until it is there')
    await offerNow(content)
    await settle()
    for (let n = 0; n < 3; n++) {
      clock.now += timing.contentWaitMs * 0.6
      await offerAgain(content, await signerOf(`patient ${n}`))
      await settle()
    }
    expect(await recordOf(content)).toMatchObject({ stage: 'offered' })
    await sweepAfter(timing.contentWaitMs)
    expect(await recordOf(content)).toMatchObject({ stage: 'failed' })
  })

  it('is waited for again if the offer arrives while a run reads for the last time', async () => {
    const content = await someContent('offered during the last read')
    await offerNow(content)
    await settle()
    let isOffered = false
    const { consumers } = createStorefront({
      ...dependencies,
      content: {
        ...dependencies.content,
        open: async () => {
          if (!isOffered) await offerTo(service.api, content, { issuer: stranger })
          isOffered = true
          return undefined
        },
      },
    })
    clock.now += timing.contentWaitMs
    await service.schedules.sweep!()
    await aws.deliver('submit', consumers.submit as never)
    expect(await recordOf(content)).toMatchObject({ stage: 'offered' })
  })

  it.each<[string, (whole: Dependencies) => Partial<Dependencies>]>([
    ['its last receipt', ({ stores }) => ({ stores: { ...stores, receipts: cutSecond(stores.receipts) } })],
    ['its record', ({ stores }) => ({ stores: { ...stores, piece: cutEnd(stores.piece) } })],
  ])('starts another attempt even if the run that abandoned it was killed before %s', async (at, kill) => {
    const content = await someContent(`killed before ${at}`)
    await offerNow(content)
    await settle()
    clock.now += timing.contentWaitMs
    const { consumers } = createStorefront({ ...dependencies, ...kill(dependencies) })
    await dependencies.queues.submit.send([{ id: (await recordOf(content))!.id }])
    await aws.deliver('submit', consumers.submit as never).catch(() => {})
    await aws.drain('submit')
    expect(await recordOf(content)).toMatchObject({ stage: 'offered' })
    expect(errorOf((await served(service.api, (await promisesOf(content)).fork[0]!))!)?.name).toBe(
      'ContentNotFound',
    )
    upload(content)
    expect(effectsOf(await offerAgain(content))).toEqual(await promisesOf(content, { attempt: 2 }))
    expect(errorOf((await served(service.api, (await promisesOf(content)).join))!)?.name).toBe(
      'ContentNotFound',
    )
    await settle()
    expect(await recordOf(content)).toMatchObject({ stage: 'queued', attempt: 2 })
  })

  it('is not abandoned by a run of the first attempt that ends after the second one has started', async () => {
    const content = await someContent('a slow run')
    await offerNow(content)
    await settle()
    clock.now += timing.contentWaitMs
    let isFirst = true
    const { consumers } = createStorefront({
      ...dependencies,
      content: {
        ...dependencies.content,
        open: async () => {
          if (isFirst) {
            isFirst = false
            // Meanwhile another run abandons the content, and an agent uploads and offers it. The first run was stalled, so its
            // claims on the content have ended.
            clock.now += 2 * timing.retryMs
            await dependencies.queues.submit.send([{ id: (await recordOf(content))!.id }])
            await aws.deliver('submit', service.consumers.submit as never)
            upload(content)
            await offerAgain(content)
          }
          return contents.get(`${content.content}`)!()
        },
      },
    })
    await dependencies.queues.submit.send([{ id: (await recordOf(content))!.id }])
    await aws.deliver('submit', consumers.submit as never)
    await settle()
    expect(await recordOf(content)).toMatchObject({ stage: 'queued', attempt: 2 })
    expect(await served(service.api, (await promisesOf(content, { attempt: 2 })).join)).toBeUndefined()
  })
})

/** Fails at the second receipt: that of `filecoin/accept`. */
const cutSecond = (receipts: Dependencies['stores']['receipts']): Dependencies['stores']['receipts'] => {
  let count = 0
  const put = (receipt: Receipt) => {
    count += 1
    if (count === 2) throw new Error('The run was killed')
    return receipts.put(receipt)
  }
  return { get: (task: string) => receipts.get(task), put } as never
}
/** Fails to write the end. */
const cutEnd = (piece: Dependencies['stores']['piece']): Dependencies['stores']['piece'] => ({
  ...piece,
  replace: async record => {
    if (record.stage === 'failed') throw new Error('The run was killed')
    return piece.replace(record)
  },
})

describe('the group of a piece', () => {
  it('S10: is the provider of each space, and the tasks of a later group contain its name', async () => {
    await setProvider(space, PROVIDER)
    await setProvider(other, OTHER_PROVIDER)
    const content = await someContent('of two providers')
    upload(content)
    const [first, second] = [await offerNow(content), await offerNow(content, { from: other })]
    expect(effectsOf(first)).toEqual(await promisesOf(content))
    expect(effectsOf(second)).toEqual(await promisesOf(content, { group: OTHER_PROVIDER }))
    expect(effectsOf(await offerNow(content, { from: other, issuer: stranger })), 'a repeat').toEqual(
      effectsOf(second),
    )
    await settle()
    const groups = offers.map(({ capabilities }) => (capabilities[0].nb as { group: string }).group)
    expect(groups.sort()).toEqual([OTHER_PROVIDER, PROVIDER])
    expect(await recordOf(content)).toMatchObject({ group: PROVIDER, space: space.did() })
    expect(await recordOf(content, undefined, OTHER_PROVIDER)).toMatchObject({
      group: OTHER_PROVIDER,
      space: other.did(),
    })
    const submitted = await Tasks.filecoinSubmit(storefront, content, { group: OTHER_PROVIDER })
    expect((await ask(service.api, submitted)).out).toEqual({ ok: { piece: content.piece } })
    // A third space of the second group gets the promises of that group.
    await setProvider(stranger, OTHER_PROVIDER)
    expect(effectsOf(await offerNow(content, { from: stranger }))).toEqual(effectsOf(second))
  })

  it('is kept by a space whose provider changes after its first offer', async () => {
    await setProvider(space, PROVIDER)
    const content = await someContent('of a former provider')
    const first = await offerNow(content)
    await setProvider(space, OTHER_PROVIDER)
    expect(effectsOf(await offerNow(content, { issuer: stranger }))).toEqual(effectsOf(first))
    expect(await recordOf(content, undefined, OTHER_PROVIDER)).toBeUndefined()
    const later = await offerNow(content, { nonce: 'after the change' })
    expect(later.out.ok).toBeDefined()
    expect(await recordOf(content, 'after the change')).toMatchObject({ group: OTHER_PROVIDER })
  })

  it('names both group and attempt in the tasks of a later group whose content arrived late', async () => {
    const content = await someContent('late and of another provider')
    await offerNow(content)
    await setProvider(other, OTHER_PROVIDER)
    await offerNow(content, { from: other })
    await settle()
    await sweepAfter(timing.contentWaitMs)
    upload(content)
    const receipt = await offerNow(content, { from: other, issuer: stranger })
    const facts = { group: OTHER_PROVIDER, attempt: 2 }
    expect(effectsOf(receipt)).toEqual(await promisesOf(content, facts))
    expect((receipt.fx.join as { facts?: unknown }).facts).toEqual([facts])
    expect(await recordOf(content), 'the first group has no attempt').toMatchObject({ stage: 'failed' })
  })

  it('is the same if the offer is killed between its row and the record of the piece', async () => {
    await setProvider(space, PROVIDER)
    const content = await someContent('killed offer')
    const { api } = createStorefront({
      ...dependencies,
      stores: { ...dependencies.stores, piece: cut(dependencies.stores.piece, 'insert') },
    })
    expect(errorOf(await offerTo(api, content))?.name).toBe('HandlerExecutionError')
    await setProvider(space, OTHER_PROVIDER)
    expect((await offerNow(content)).out.ok).toBeDefined()
    expect(await recordOf(content)).toMatchObject({ group: PROVIDER })
  })
})

describe('an agent that offers with its own DID', () => {
  const groupOf = async (seed: string, proofs: Delegation[], api = service.api) => {
    await setProvider(space, PROVIDER)
    const content = await someContent(seed)
    const receipt = await offerTo(api, content, { from: agent, proofs })
    expect(receipt.out.ok).toBeDefined()
    return (await recordOf(content))?.group
  }

  it.each<[string, () => Promise<Delegation[]>]>([
    ['delegates filecoin/offer', async () => [await delegate(space, agent, { can: 'filecoin/offer' })]],
    ['delegates filecoin/*', async () => [await delegate(space, agent)]],
    ['delegates everything', async () => [await delegate(space, agent, { can: '*' })]],
    [
      'delegates through an account',
      async () => {
        const root = await delegate(space, mailbox, { can: '*' })
        return [await delegate(mailbox, agent, { can: 'filecoin/*', of: space, proofs: [root] })]
      },
    ],
    [
      'is the second one in the proofs',
      async () => [await delegate(other, agent), await delegate(space, agent)],
    ],
  ])('acts for a listed space that %s', async (how, prove) => {
    expect(await groupOf(how, await prove())).toBe(PROVIDER)
  })

  it.each<[string, () => Promise<Delegation[]>]>([
    ['delegates another ability', async () => [await delegate(space, agent, { can: 'filecoin/info' })]],
    [
      'delegates with a caveat that no ability defines',
      async () => [await delegate(space, agent, { nb: { maxBytes: 5 } })],
    ],
    ['delegates to another agent', async () => [await delegate(space, stranger)]],
    ['delegated until yesterday', async () => [await delegate(space, agent, { expiration: 1 })]],
    ['did not delegate: another issuer did', async () => [await delegate(stranger, agent, { of: space })]],
    [
      'did not delegate: the proof of the delegation is one for another agent',
      async () => {
        const root = await delegate(space, mailbox)
        return [await delegate(stranger, agent, { of: space, proofs: [root] })]
      },
    ],
    [
      'did not sign the delegation',
      async () => {
        const forged = await delegate(stranger, agent, { of: space })
        return [await delegate(agent, agent, { of: space, proofs: [forged] })]
      },
    ],
  ])('does not act for a listed space that %s', async (how, prove) => {
    expect(await groupOf(how, await prove())).toBe(GROUP)
  })

  it('does not act for a space that revoked the delegation', async () => {
    const delegation = await delegate(space, agent)
    const table = dependencies.stores.revocation
    const { api } = createStorefront({
      ...dependencies,
      authority: new Authority({ revocations: { table, now: () => clock.now } }),
    })
    expect(await groupOf('not revoked', [delegation], api)).toBe(PROVIDER)
    await table.insert({ ucan: `${delegation.cid}`, by: space.did(), revokedAt: clock.now })
    expect(await groupOf('revoked', [delegation], api)).toBe(GROUP)
  })

  it('does not act for a space whose delegation needs more than a bounded number of checks', async () => {
    const many = Array.from({ length: 40 }, (_, n) => n)
    const roots = await Promise.all(
      many.map(n => delegate(space, mailbox, { can: '*', expiration: 9_999_999_999 - n })),
    )
    const links = await Promise.all(
      [1, 2, 3].map(n =>
        delegate(mailbox, agent, { of: space, proofs: roots, expiration: 9_999_999_999 - n }),
      ),
    )
    expect(await groupOf('of many paths', links)).toBe(GROUP)
  })

  it('acts for itself if it is listed', async () => {
    await setProvider(agent, OTHER_PROVIDER)
    expect(await groupOf('of a listed agent', [await delegate(space, agent)])).toBe(OTHER_PROVIDER)
  })
})

describe('an impossible piece', () => {
  const encode = (height: number, root = new Uint8Array(32)) =>
    encodePiece({ root, height, padding: 0n }) as PieceLink
  const digestOf = (...bytes: number[]) =>
    CID.createV1(0x55, createDigest(0x1011, new Uint8Array(bytes))) as never as PieceLink

  it.each<[string, PieceLink]>([
    ['a height below 2', encode(1)],
    ['a height above 31, which no sector holds', encode(32)],
    ['a root above 254 bits', encode(5, new Uint8Array(32).fill(0xff))],
    ['padding in another than its shortest form', digestOf(0x80, 0x00, 5, ...new Uint8Array(32))],
    ['padding that leaves no payload', digestOf(0xff, 0xff, 0x7f, 5, ...new Uint8Array(32))],
    ['a digest that is too short', digestOf(0, 5)],
  ])('is refused at once, and nothing is recorded: %s', async (_, piece) => {
    const { content } = await someContent('of an impossible piece')
    const receipt = await offerNow({ content, piece })
    expect(receipt.out.error).toMatchObject({ name: 'InvalidPieceCID', piece })
    expect(effectsOf(receipt)).toEqual({ fork: [], join: undefined })
    expect(await recordOf({ content, piece })).toBeUndefined()
  })

  it('is not a piece of 64 GiB', async () => {
    const { content } = await someContent('of the largest piece')
    expect((await offerNow({ content, piece: encode(31) })).out.ok).toBeDefined()
  })
})

describe('the number of offers', () => {
  const DAY = 24 * 3_600_000
  /** Returns a storefront on a day of its own, with these bounds. */
  const bounded = (bounds: Partial<Dependencies['admission']>) => {
    clock.now = (Math.floor(clock.now / DAY) + 2) * DAY + 1000
    return createStorefront({ ...dependencies, admission: { ...ADMISSION, ...bounds } }).api
  }

  it('is bounded per listed space and day; repeats are neither counted nor refused', async () => {
    const api = bounded({ offersPerDay: { listed: 2, shared: 0 } })
    await setProvider(space, PROVIDER)
    await setProvider(other, PROVIDER)
    const [one, two, three] = [await someContent('q1'), await someContent('q2'), await someContent('q3')]
    for (const issuer of [agent, stranger, storefront])
      expect((await offerTo(api, one, { issuer })).out.ok).toBeDefined()
    expect((await offerTo(api, two)).out.ok).toBeDefined()
    const refused = await offerTo(api, three)
    expect(refused.out.error).toMatchObject({
      name: 'TooManyOffers',
      retryAt: new Date((Math.floor(clock.now / DAY) + 1) * DAY).toISOString(),
    })
    expect(errorOf(refused)?.message).toMatch(/may start 2 workflows a day.*Repeat the offer after 20/)
    expect(await recordOf(three)).toBeUndefined()
    expect(await served(api, refused.ran.link())).toBeUndefined()
    for (const content of [one, two])
      expect((await offerTo(api, content, { issuer: stranger })).out.ok, 'a repeat').toBeDefined()
    expect((await offerTo(api, three, { from: other })).out.ok, 'another space').toBeDefined()
    clock.now += DAY
    expect((await offerTo(api, await someContent('q4'))).out.ok, 'the next day').toBeDefined()
  })

  it('is bounded for all spaces without a provider together', async () => {
    const api = bounded({ offersPerDay: { listed: 9, shared: 2 } })
    const spaces = await Promise.all(['s1', 's2', 's3'].map(name => signerOf(name)))
    const answers: (string | undefined)[] = []
    for (const [n, from] of spaces.entries())
      answers.push(errorOf(await offerTo(api, await someContent(`shared ${n}`), { from }))?.name)
    expect(answers).toEqual([undefined, undefined, 'TooManyOffers'])
    const known = await offerTo(api, await someContent('shared 0'), { from: spaces[2]! })
    expect(known.out.ok, 'a workflow that another space started').toBeDefined()
  })

  it('is bounded for offers with a nonce separately, and a refused offer is not counted', async () => {
    const api = bounded({ noncesPerDay: { listed: 1, shared: 1 } })
    const content = await someContent('with nonces')
    expect((await offerTo(api, content, { nonce: 'a' })).out.ok).toBeDefined()
    for (const nonce of ['b', 'c']) {
      const error = errorOf(await offerTo(api, content, { nonce }))
      expect(error?.name).toBe('TooManyOffers')
      expect(error?.message).toContain('1 workflows with a nonce a day')
    }
    expect((await offerTo(api, content)).out.ok).toBeDefined()
    const day = new Date(clock.now).toISOString().slice(0, 10)
    const row = await dependencies.stores.quota.get({ owner: 'shared', day })
    expect(row).toMatchObject({ offers: 2, nonces: 1 })
    expect(row!.expiresAt).toBe((Math.floor(clock.now / DAY) + 2) * (DAY / 1000))
  })

  it('counts at least every recorded offer if runs are killed', async () => {
    bounded({})
    const content = await someContent('counted first')
    const { api } = createStorefront({
      ...dependencies,
      stores: { ...dependencies.stores, quota: cut(dependencies.stores.quota, 'add') },
    })
    expect(errorOf(await offerTo(api, content))?.name).toBe('HandlerExecutionError')
    expect(await recordOf(content)).toBeUndefined()
  })

  it('can be zero for spaces without a provider, which are then refused by name', async () => {
    const api = bounded({ spaces: 'listed' })
    const content = await someContent('not listed')
    expect((await offerTo(api, content)).out.error).toMatchObject({
      name: 'SpaceNotListed',
      space: space.did(),
    })
    expect(await recordOf(content)).toBeUndefined()
    await setProvider(space, PROVIDER)
    expect((await offerTo(api, content)).out.ok).toBeDefined()
    // The agent's own DID is not listed, but the space that it acts for is.
    const own = { from: agent, proofs: [await delegate(space, agent)] }
    expect((await offerTo(api, await someContent('listed by proof'), own)).out.ok).toBeDefined()
  })
})
