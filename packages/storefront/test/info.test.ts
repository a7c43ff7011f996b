import type { DID } from '@ucanto/interface'
import {
  type FilecoinInfoSuccess,
  failure,
  filecoinInfo,
  type PieceLink,
  Tasks,
  type UnknownLink,
} from '@w3filecoin/capabilities'
import { encodePiece } from '@w3filecoin/piece'
import { ask, type Content, someContent, somePiece } from '@w3filecoin/testing'
import { CID } from 'multiformats/cid'
import { describe, expect, it } from 'vitest'
import { offerOwner } from '../src/domain/offer.ts'
import {
  agent,
  aggregateOf,
  clock,
  conclude,
  contents,
  DEAL,
  delegate,
  dependencies,
  errorOf,
  GROUP,
  offer,
  recordOf,
  service,
  settle,
  space,
  state,
  storefront,
  stranger,
  sweepAfter,
  timing,
  uploadContent,
} from './setup.ts'

interface Question {
  from?: typeof space
  task?: { toString(): string }
  after?: string
}

/** Asks as the agent of a space. */
const askInfo = async (piece: PieceLink, { from = space, task, after }: Question = {}) =>
  ask(
    service.api,
    filecoinInfo.invoke({
      issuer: agent,
      audience: storefront,
      with: from.did() as DID,
      nb: { piece, ...(task && { task: task as never }), ...(after !== undefined && { after }) },
      proofs: [await delegate(from, agent)],
      nonce: crypto.randomUUID(),
    }),
  )
const info = async (piece: PieceLink, question?: Question) => {
  const { out } = await askInfo(piece, question)
  expect(out.error).toBeUndefined()
  return out.ok as FilecoinInfoSuccess
}
/** Offers content and returns its promised tasks. */
const offerContent = async (content: Content, options?: Parameters<typeof offer>[1]) => {
  const { fx } = await ask(service.api, await offer(content, options))
  await settle()
  return { submit: fx.fork[0]!.link(), accept: fx.join!.link() }
}

describe('filecoin/info by piece', () => {
  it('returns RecordNotFound for a piece that was not offered', async () => {
    const piece = somePiece('unknown')
    expect((await askInfo(piece)).out.error).toMatchObject({ name: 'RecordNotFound', piece })
  })

  it('refuses a piece that cannot exist', async () => {
    const piece = encodePiece({ root: new Uint8Array(32), height: 1, padding: 0n })
    expect((await askInfo(piece)).out.error).toMatchObject({ name: 'InvalidPieceCID', piece })
  })

  it('returns the aggregates of a piece, and their deals and places as the deal tracker reports them', async () => {
    const content = await uploadContent('informed')
    await offerContent(content)
    const { piece } = content
    expect(await info(piece)).toMatchObject({ piece, aggregates: [], deals: [], pastDeals: [], places: [] })

    const { link, acceptPiece } = await aggregateOf([piece])
    await conclude(await acceptPiece(piece))
    expect(await info(piece)).toMatchObject({
      piece,
      aggregates: [{ aggregate: link, inclusion: {} }],
      deals: [{ aggregate: link, provider: 'f01', aux: { dataType: 0, dataSource: { dealID: 42 } } }],
    })

    // The deal is renewed and a second one is added; later both end and a third one is added.
    const dealIDs = (deals: { aux: { dataSource: { dealID: number } } }[]) =>
      deals.map(({ aux }) => aux.dataSource.dealID)
    state.deals = { 42: { ...DEAL, expiration: '2028-01-01' }, 43: { ...DEAL, provider: 'f02' } }
    const renewed = await info(piece)
    expect(renewed.deals).toMatchObject([{ expiration: '2028-01-01' }, { provider: 'f02' }])
    expect(renewed.pastDeals).toEqual([])
    state.deals = {
      42: { ...DEAL, status: 'Expired' },
      43: { ...DEAL, status: 'Terminated', reason: 'It was slashed' },
      44: DEAL,
    }
    const later = await info(piece)
    expect(dealIDs(later.deals)).toEqual([44])
    expect(later.pastDeals.map(({ status, reason }) => [status, reason])).toEqual([
      ['Expired', undefined],
      ['Terminated', 'It was slashed'],
    ])

    state.tracked = { places: [{ provider: 'f03', status: 'Active', pieceCid: 'baga' }], asOf: [{}] }
    const placed = await info(piece)
    expect(placed.places).toEqual([{ aggregate: link, provider: 'f03', status: 'Active' }])
    expect(placed.warnings).toBeUndefined()
  })

  it('warns if the deal tracker has no source, whether or not it knows a deal', async () => {
    const content = await uploadContent('tracked blindly')
    await offerContent(content)
    const { acceptPiece } = await aggregateOf([content.piece])
    await conclude(await acceptPiece(content.piece))
    const warning = expect.stringContaining('no source')
    state.tracked = { asOf: [] }
    expect((await info(content.piece)).warnings).toEqual([warning])
    state.refuse = failure('DealNotFound', 'none', { asOf: [] })
    expect(await info(content.piece)).toMatchObject({ deals: [], places: [], warnings: [warning] })
    state.refuse = failure('DealNotFound', 'none')
    expect((await info(content.piece)).warnings, 'an earlier deal tracker').toBeUndefined()
  })

  it('reports the ten newest of many aggregates, asks about these only, and says that there are more', async () => {
    const content = await uploadContent('in many aggregates')
    const links: string[] = []
    for (let n = 0; n < 12; n++) {
      clock.now += 1000
      await offerContent(content, { nonce: `${n}` })
      const { link, acceptPiece } = await aggregateOf([content.piece, somePiece(`beside ${n}`)])
      expect(errorOf(await conclude(await acceptPiece(content.piece, `${n}`)))).toBeUndefined()
      links.unshift(`${link}`)
      if (n === 9) expect((await info(content.piece)).moreAggregates).toBeUndefined()
    }
    state.asked = 0
    const found = await info(content.piece, { from: stranger })
    expect(found.aggregates.map(({ aggregate }) => `${aggregate}`)).toEqual(links.slice(0, 10))
    expect(found.moreAggregates).toBe(true)
    expect(state.asked).toBe(10)
  })

  it('reports an aggregate once, however often the piece was offered and the receipt arrives', async () => {
    const content = await uploadContent('twice in one aggregate')
    const DAG_CBOR = 0x71
    const other = { ...content, content: CID.createV1(DAG_CBOR, content.content.multihash as never) as never }
    contents.set(`${other.content}`, contents.get(`${content.content}`)!)
    await offerContent(content)
    await offerContent(other)
    const { acceptPiece } = await aggregateOf([content.piece])
    for (const _ of ['once', 'twice']) {
      await conclude(await acceptPiece(content.piece))
      clock.now += 1000
    }
    const page = await dependencies.stores.inclusion.list(`${content.piece}`, { limit: 10 })
    expect(page.items).toHaveLength(1)
    expect((await info(content.piece)).aggregates).toHaveLength(1)
  })

  it.each([
    [
      'the fill of its aggregate and the latest time of sealing',
      { bytes: 71, minimum: 0 },
      '71 % full; sealed at the latest on 2027-02-03',
    ],
    [
      'the fill that its aggregate needs',
      { bytes: 20, minimum: 50 },
      '20 % full; sealed when it is 50 % full',
    ],
    [
      'since when it waits only because its group is below the minimum',
      { bytes: 20, minimum: 50, belowMinimumSince: '2027-02-03' },
      '20 % full; sealed when it is 50 % full. It waits below this minimum since 2027-02-03; an operator can seal it',
    ],
  ])('describes for a queued piece %s', async (name, numbers, sentence) => {
    const content = await uploadContent(name)
    await offerContent(content)
    state.info = { next: { pieces: 3, capacity: 100, sealedBy: '2027-02-03', ...numbers } }
    expect((await info(content.piece)).workflows).toMatchObject([
      { stage: 'queued', waitsFor: `The next aggregate of its group is ${sentence}`, next: numbers },
    ])
    state.info = undefined
    expect((await info(content.piece)).workflows).toMatchObject([
      { waitsFor: 'The aggregator must put the piece into an aggregate' },
    ])
  })
})

describe('the workflows in filecoin/info', () => {
  it('are shown to the space that offered them, and nothing of them to another space', async () => {
    const content = await uploadContent('private')
    const { accept } = await offerContent(content, { nonce: 'secret nonce' })
    const { workflows } = await info(content.piece)
    expect(workflows).toMatchObject([{ nonce: 'secret nonce', group: GROUP, stage: 'queued' }])
    expect([`${workflows[0]!.content}`, `${workflows[0]!.accept}`]).toEqual([
      `${content.content}`,
      `${accept}`,
    ])
    const seen = await askInfo(content.piece, { from: stranger })
    expect(seen.out.ok).toMatchObject({ workflows: [], aggregates: [] })
    const text = JSON.stringify(seen.out, (_, value) => (value?.['/'] ? `${value}` : value))
    for (const secret of [`${content.content}`, 'secret nonce', GROUP, `${accept}`])
      expect(text).not.toContain(secret)
  })

  it('cannot be hidden by the nonces of another space', async () => {
    const content = await someContent('hidden')
    await offerContent(content)
    for (let n = 0; n < 110; n += 11)
      await Promise.all(
        Array.from({ length: 11 }, async (_, m) =>
          ask(service.api, await offer(content, { from: stranger, nonce: `${n + m}` })),
        ),
      )
    const { workflows, next } = await info(content.piece)
    expect(workflows.map(({ nonce }) => nonce)).toEqual([undefined])
    expect(next).toBeUndefined()
  })

  it('are reported page by page, each once, and the aggregator is asked about the page only', async () => {
    const content = await uploadContent('with many nonces')
    for (let n = 0; n < 30; n++) await ask(service.api, await offer(content, { nonce: `${n}` }))
    await settle()
    const first = await info(content.piece)
    expect(first.workflows).toHaveLength(25)
    const second = await info(content.piece, { after: first.next! })
    expect(second.next).toBeUndefined()
    const nonces = [...first.workflows, ...second.workflows].map(({ nonce }) => Number(nonce))
    expect(nonces.sort((a, b) => a - b)).toEqual(Array.from({ length: 30 }, (_, n) => n))
    for (const after of ['~', 'nonsense', ''])
      expect(errorOf(await askInfo(content.piece, { after })), after).toBeUndefined()
  })
})

describe('filecoin/info by task', () => {
  it('returns to anyone the state of a promised task, and neither content, nonce, group nor messages', async () => {
    const content = await someContent('followed by task')
    const { accept, submit } = await offerContent(content, { nonce: 'secret nonce' })
    for (const task of [accept, submit]) {
      const found = await info(content.piece, { from: stranger, task })
      const at = new Date(clock.now).toISOString()
      expect(found).toMatchObject({
        workflows: [],
        task: { stage: 'offered', since: at, history: [{ stage: 'offered', at }] },
      })
      expect(`${found.task?.task}`).toBe(`${task}`)
      expect(found.task?.waitsFor).toMatch(/^The content must be read and checked; abandoned on 20/)
      const text = JSON.stringify(found, (_, value) => (value?.['/'] ? `${value}` : value))
      for (const secret of [`${content.content}`, 'secret nonce', GROUP]) expect(text).not.toContain(secret)
    }
  })

  it('returns the name of the failure, and the aggregates of the workflow of the task only', async () => {
    const content = await uploadContent('one of two workflows')
    const plain = await offerContent(content)
    const again = await offerContent(content, { nonce: 'again' })
    const { link, acceptPiece } = await aggregateOf([content.piece])
    await conclude(await acceptPiece(content.piece, 'again'))
    const found = await info(content.piece, { from: stranger, task: again.accept })
    expect(found.aggregates).toMatchObject([{ aggregate: link }])
    expect(found.deals).toMatchObject([{ aggregate: link }])
    expect(found.task?.waitsFor).toBe(`The aggregate ${link} must be stored on Filecoin`)
    expect((await info(content.piece, { task: plain.accept })).aggregates).toEqual([])

    const wrong = { ...(await uploadContent('wrong')), piece: somePiece('wrong') }
    const { accept } = await offerContent(wrong)
    const failed = await info(wrong.piece, { from: stranger, task: accept })
    expect(failed.task).toMatchObject({ stage: 'failed', error: { name: 'InvalidContentPiece' } })
    expect(Object.keys(failed.task!.error!)).toEqual(['name'])
  })

  it('tells an attempt that ended with ContentNotFound from the present one', async () => {
    const content = await someContent('told by attempt')
    const first = await offerContent(content)
    await sweepAfter(timing.contentWaitMs)
    await uploadContent('told by attempt')
    const second = await offerContent(content, { issuer: stranger })
    expect((await info(content.piece, { task: first.accept })).task).toMatchObject({
      stage: 'failed',
      history: [{ stage: 'offered' }, { stage: 'failed' }],
      error: { name: 'ContentNotFound' },
    })
    const { task } = await info(content.piece, { task: second.submit })
    expect(task?.history.map(({ stage }) => stage)).toEqual(['offered', 'submitted', 'queued'])
    expect(task?.error).toBeUndefined()
  })

  it('returns TaskNotFound for a task of another piece, and for a task that no offer promised', async () => {
    const [content, other] = [await someContent('of this piece'), await someContent('of another piece')]
    const { accept } = await offerContent(content)
    await offerContent(other)
    const never = await Tasks.filecoinAccept(storefront, await someContent('not promised'))
    for (const task of [accept, never.cid as UnknownLink])
      expect((await askInfo(other.piece, { task })).out.error).toMatchObject({ name: 'TaskNotFound' })
  })
})

describe('a record of version 0.1.0', () => {
  /** Removes everything that version 0.1.0 did not write. */
  const forget = async (content: Content) => {
    const { piece, offer, task, inclusion } = dependencies.stores
    const {
      space: _,
      submitCid,
      acceptCid,
      attempt: __,
      waitingSince: ___,
      aggregateSince: ____,
      ...record
    } = (await recordOf(content))!
    const keys = [submitCid, acceptCid].map(cid => ({ task: cid as string }))
    const [submit, accept] = await task.getMany(keys)
    const {
      items: [proof],
    } = await inclusion.list(`${content.piece}`, { limit: 1 })
    await piece.replace({
      ...record,
      submitTask: submit!.promise,
      acceptTask: accept!.promise,
      ...(proof && { inclusion: proof.inclusion }),
    })
    await task.removeMany(keys)
    await offer.removeMany([{ owner: offerOwner(space.did(), `${content.piece}`), workflow: record.id }])
    const { items } = await inclusion.list(`${content.piece}`, { limit: 10 })
    await inclusion.removeMany(items.map(({ piece, order }) => ({ piece, order })))
    return acceptCid!
  }

  it('is found by its task and its piece, and completely after it is offered again', async () => {
    const content = await uploadContent('of yesterday')
    const { submit } = await offerContent(content)
    const { link, acceptPiece } = await aggregateOf([content.piece])
    await conclude(await acceptPiece(content.piece))
    const accept = await forget(content)

    const before = await info(content.piece)
    expect(before.aggregates).toMatchObject([{ aggregate: link }])
    expect(before.workflows, 'its space is not known').toEqual([])
    for (const task of [accept, submit]) {
      const found = await info(content.piece, { task: CID.parse(`${task}`) })
      expect(found.task).toMatchObject({ stage: 'aggregated' })
    }

    const again = await offerContent(content)
    expect(`${again.accept}`).toBe(accept)
    const after = await info(content.piece)
    expect(after.workflows).toMatchObject([{ stage: 'aggregated' }])
    expect((await dependencies.stores.inclusion.list(`${content.piece}`, { limit: 10 })).items).toMatchObject(
      [{ aggregate: `${link}` }],
    )
    expect(await dependencies.stores.task.get({ task: accept })).toBeDefined()
  })
})

describe('the progress of a task without a receipt', () => {
  const progress = async (task: { toString(): string }) =>
    (
      await service.api.request(`/receipt/${task}`, { headers: { accept: 'application/json' } })
    ).json() as Promise<Record<string, unknown>>

  it('is that of filecoin/info, with the name of its trouble, and neither content, nonce, group nor space', async () => {
    const content = await someContent('asked for its progress')
    const { accept, submit } = await offerContent(content, { nonce: 'secret nonce' })
    for (const [task, can] of [
      [accept, 'filecoin/accept'],
      [submit, 'filecoin/submit'],
    ] as const) {
      const found = await progress(task)
      const { stage, since, waitsFor } = (await info(content.piece, { from: stranger, task })).task!
      expect(found).toMatchObject({ promised: true, can, stage, since, waitsFor })
      expect(found.trouble).toEqual({ name: 'ContentUnreadable' })
      expect(found.until).toBe(new Date(clock.now + timing.contentWaitMs).toISOString())
      for (const secret of [content.content, 'secret nonce', GROUP, space.did(), agent.did()])
        expect(JSON.stringify(found)).not.toContain(`${secret}`)
    }
  })

  it('may be asked for again after as long as the piece is at its stage, up to a bound of the stage', async () => {
    const { accept } = await offerContent(await uploadContent('in an aggregate'))
    const waits: unknown[] = []
    const start = clock.now
    for (const seconds of [0, 100, 3_000, 5_000, 100_000]) {
      clock.now = start + seconds * 1000
      const found = await progress(accept)
      expect(found.stage).toBe('queued')
      expect(found).not.toHaveProperty('until')
      waits.push(found.retryAfterSeconds)
    }
    clock.now = start
    expect(waits).toEqual([1, 100, 3_000, 3_600, 3_600])
  })

  it('names the failed check that delays the piece, and since when', async () => {
    const { accept } = await offerContent(await uploadContent('delayed'))
    const check = {
      service: 'storefront',
      name: 'peer aggregator',
      check: 'peer',
      setting: 'aggregator',
    } as const
    const record = {
      ...check,
      ok: false,
      problem: 'PeerUnreachable',
      message: 'https://internal.example cannot be reached',
      since: clock.now,
      checkedAt: clock.now,
    }
    await dependencies.stores.health.putMany([record])
    const found = await progress(accept)
    expect(found.trouble).toEqual({ name: 'PeerUnreachable', since: new Date(clock.now).toISOString() })
    expect(JSON.stringify(found)).not.toContain('internal.example')
    await dependencies.stores.health.removeMany([{ service: 'storefront', name: check.name }])
  })

  it('is not known of a task that no offer promised', async () => {
    const never = await Tasks.filecoinAccept(storefront, await someContent('promised by no offer'))
    expect(await progress(never.cid)).toMatchObject({ name: 'ReceiptNotFound', promised: false })
  })
})
