import type { Fact, Receipt, Signer } from '@ucanto/interface'
import { capability, Schema } from '@ucanto/validator'
import { covers, Draft1, Draft2, failure, type Task, Tasks } from '@w3filecoin/capabilities'
import {
  ask,
  cut,
  type Provided,
  signersOf,
  somePiece,
  standIn,
  startWorld,
  type World,
} from '@w3filecoin/testing'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import {
  Authority,
  COMMON_FORMATS,
  type Handler,
  issueReceipt,
  onTranslate,
  openStores,
  promiseTranslation,
  provide,
  recordFormat,
  type StoresOf,
  sweepAll,
  sweepTranslations,
  type TranslateMessage,
  type Translation,
  type TranslationRecord,
  translatedTask,
} from '../src/index.ts'
import { COMMON_TABLES, describeResources, TRANSLATION_TABLE } from '../src/resources.ts'

const { service, renewed, next, client } = await signersOf('service', 'renewed', 'next', 'client')

const resources = describeResources({
  service: 'translating',
  api: { timeout: 1, memory: 128, uses: {} },
  tables: { ...COMMON_TABLES, ...TRANSLATION_TABLE },
  queues: {},
  buckets: { blocks: { holds: 'large receipts' } },
  schedules: {},
})
const formats = { ...COMMON_FORMATS, translation: recordFormat<TranslationRecord>() }

let world: World
let stores: StoresOf<typeof formats>
const clock = { now: 1_700_000_000_000 }
const timing = { retryMs: 60_000 }
const now = () => clock.now

beforeAll(async () => {
  world = await startWorld()
  const aws: Provided<typeof resources> = await world.provide(resources)
  stores = openStores(aws, formats, { now })
})
afterAll(() => world.stop())

const group = 'g'
const storefront = client.did()
/** The promised task of the protocol, that of the dialect, and the promise of both by one workflow. */
const promiseOf = async (
  seed: string,
  { subject = seed, distinction }: { subject?: string; distinction?: Fact } = {},
) => {
  const piece = somePiece(seed)
  const accept = await Tasks.pieceAccept(service, { piece, group })
  const build = (facts: Fact[]) =>
    Draft2.aggregateAddTask(service, service, { piece, storefront, group, facts })
  const promise = () =>
    promiseTranslation(
      { stores, timing, now },
      { dialect: 'draft-2', of: `${accept.cid}`, subject, build, distinction },
    )
  const { id, task, isRepeat } = await promise()
  return { piece, accept, id, task, isRepeat, promise, record: () => stores.translation.get({ id }) }
}
/** Stores the receipt of the task of the protocol. */
const end = async ({ accept, piece }: { accept: Task; piece: unknown }, error?: string) =>
  stores.receipts.put(
    await issueReceipt(service, accept, {
      out: error ? { error: failure(error, 'no') } : { ok: { piece } },
    }),
  )

describe('the promise of a task in a dialect', () => {
  it('is recorded once for a workflow, with the task as it was signed first', async () => {
    const first = await promiseOf('once')
    const again = await first.promise()
    expect([first.isRepeat, again.isRepeat]).toEqual([false, true])
    expect(again.id).toBe(first.id)
    expect(`${again.task.cid}`).toBe(`${first.task.cid}`)
    const many = await Promise.all(
      Array.from({ length: 5 }, async () => (await promiseOf('concurrent')).task.cid),
    )
    expect(new Set(many.map(String)).size).toBe(1)
  })

  it('stays after the key of the service changed: the same arguments have the same key', async () => {
    const first = await promiseOf('rotated')
    const signed = service.withDID('did:web:service.example')
    const later = renewed.withDID('did:web:service.example')
    const build = (signer: Signer) => () =>
      Draft2.aggregateAddTask(signer, signer, { piece: first.piece, storefront, group: 'rotated' })
    const promise = (signer: Signer) =>
      promiseTranslation(
        { stores, timing, now },
        { dialect: 'draft-2', of: 'bafyrei', subject: 'rotated', build: build(signer) },
      )
    const [before, after] = [await promise(signed), await promise(later)]
    expect(after).toMatchObject({ id: before.id, isRepeat: true })
    expect(`${after.task.cid}`).toBe(`${before.task.cid}`)
  })

  it('of another workflow has the fact that distinguishes it; without one it is a bug', async () => {
    const first = await promiseOf('two', { subject: 'a' })
    const second = await promiseOf('two', { subject: 'b', distinction: { storefront: 'b' } })
    expect([first.task.facts, second.task.facts]).toEqual([[], [{ storefront: 'b' }]])
    // The first one keeps the plain task, whoever asks first after that.
    expect(`${(await first.promise()).task.cid}`).toBe(`${first.task.cid}`)
    expect(await second.promise()).toMatchObject({ id: second.id, isRepeat: true })
    await expect(promiseOf('two', { subject: 'c' })).rejects.toThrow('Other workflows promised')
  })
})

describe('a translation', () => {
  let answers: (Translation | undefined)[]
  let forwarded: Task[]
  let isAnswered: boolean
  beforeEach(() => {
    answers = []
    forwarded = []
    isAnswered = true
  })
  const success = (ok: object, offer?: Task): Translation => ({
    outcome: { out: { ok }, ...(offer && { fx: { join: offer } }) },
    offer,
  })
  const consumer = (over: Partial<typeof stores> = {}) =>
    onTranslate({
      id: service,
      stores: { ...stores, ...over },
      translate: async () => answers.shift(),
      forward: async offers => {
        forwarded.push(...offers)
        return offers.map(() => isAnswered)
      },
      timing,
      now,
    })
  const handle = async (ids: string[], handler = consumer()) =>
    handler.handle(ids.map(id => ({ id })) as never)
  const receiptOf = (task: Task): Promise<Receipt | undefined> => stores.receipts.get(`${task.cid}`)
  const offerOf = (piece: Parameters<typeof Draft1.offerTask>[2]['piece'], signer: Signer = service) =>
    Draft1.offerTask(signer, next, { piece, provider: group })

  it('waits for the receipt of the protocol, and then files one receipt', async () => {
    const promised = await promiseOf('filed')
    expect(await handle([promised.id])).toEqual([{ ok: {} }])
    expect(await promised.record()).toMatchObject({ stage: 'promised', due: expect.any(String) })
    expect(await receiptOf(promised.task)).toBeUndefined()
    await end(promised)
    answers = [success({ first: true }), success({ second: true })]
    await handle([promised.id])
    const filed = await receiptOf(promised.task)
    expect(filed?.out).toEqual({ ok: { first: true } })
    const record = await promised.record()
    expect(record).toMatchObject({ stage: 'done' })
    expect(record).not.toHaveProperty('due')
    await handle([promised.id])
    expect(`${(await receiptOf(promised.task))?.root.cid}`).toBe(`${filed?.root.cid}`)
    expect(answers).toHaveLength(1)
    expect(forwarded).toEqual([])
  })

  it('is blocked until what its receipt links to is known', async () => {
    const promised = await promiseOf('blocked')
    await end(promised)
    answers = [undefined]
    await handle([promised.id])
    expect(await promised.record()).toMatchObject({ stage: 'blocked', checkAt: now() + timing.retryMs })
    expect(await receiptOf(promised.task)).toBeUndefined()
    answers = [success({})]
    await handle([promised.id])
    expect((await promised.record())?.stage).toBe('done')
  })

  it('forwards the offer in its receipt until the next service has answered it', async () => {
    const promised = await promiseOf('forwarded')
    await end(promised)
    const offer = await offerOf(promised.piece)
    answers = [success({}, offer)]
    isAnswered = false
    await handle([promised.id])
    expect((await promised.record())?.stage).toBe('filed')
    expect(`${(await receiptOf(promised.task))?.fx.join?.link()}`).toBe(`${offer.cid}`)
    isAnswered = true
    await handle([promised.id])
    expect(forwarded.map(({ cid }) => `${cid}`)).toEqual([`${offer.cid}`, `${offer.cid}`])
    const record = await promised.record()
    expect(record).toMatchObject({ stage: 'done' })
    expect(record).not.toHaveProperty('offerTask')
  })

  it('interrupted after its receipt was stored forwards the offer that this receipt promises', async () => {
    const promised = await promiseOf('interrupted')
    await end(promised)
    const [first, later] = [await offerOf(promised.piece), await offerOf(promised.piece, renewed)]
    answers = [success({}, first), success({}, later)]
    const killed = await handle([promised.id], consumer({ translation: cut(stores.translation, 'replace') }))
    expect(killed[0]?.error).toBeDefined()
    expect((await promised.record())?.stage).toBe('promised')
    expect(forwarded).toEqual([])
    await handle([promised.id])
    expect(forwarded.map(({ cid }) => `${cid}`)).toEqual([`${first.cid}`])
    expect(`${(await receiptOf(promised.task))?.fx.join?.link()}`).toBe(`${first.cid}`)
    expect((await promised.record())?.stage).toBe('done')
  })

  it('that fails does not hold up the others of a batch', async () => {
    const [bad, good] = [await promiseOf('bad'), await promiseOf('good')]
    await end(bad)
    await end(good)
    const handler = onTranslate({
      id: service,
      stores,
      translate: async ({ id }) => {
        if (id === bad.id) throw new Error('a bug')
        return success({})
      },
      timing,
      now,
    })
    const answers = await handle([bad.id, good.id, 'a record that is missing'], handler)
    expect(answers.map(({ error }) => error !== undefined)).toEqual([true, false, false])
    expect((await good.record())?.stage).toBe('done')
    expect((await bad.record())?.stage).toBe('promised')
  })

  it('that is overdue is sent again by the sweep', async () => {
    const promised = await promiseOf('swept')
    const sent: TranslateMessage[] = []
    const queue = { send: async (messages: readonly TranslateMessage[]) => void sent.push(...messages) }
    const sweep = sweepTranslations({
      table: stores.translation,
      queue: queue as never,
      retryMs: timing.retryMs,
      now,
    })
    clock.now += timing.retryMs + 1
    await sweepAll([sweep], { now, metrics: () => {}, timeoutSeconds: 60 })
    expect(sent).toContainEqual({ id: promised.id })
  })
})

describe('a promised task of a dialect', () => {
  it('is answered with its receipt in each form of its arguments, and runs as an offer if nobody promised it', async () => {
    const offers: unknown[] = []
    const service_ = await standIn(world, {
      name: 'promising',
      id: service,
      authority: new Authority(),
      handlers: [
        translatedTask(
          Draft2.aggregateAdd,
          { id: service, stores },
          {
            offer: async ({ capability }) => {
              offers.push(capability.nb)
              return { out: { ok: {} } }
            },
          },
        ),
      ],
    })
    const promised = await promiseOf('asked')
    const invoke = (facts: Fact[] = [], piece = promised.piece) =>
      Draft2.aggregateAddTask(service, service, { piece, storefront, group, facts })
    const errorOf = ({ out }: Receipt) => out.error as { name: string } | undefined
    expect(errorOf(await ask(service_.api, await invoke()))).toMatchObject({ name: 'OutcomePending' })
    await stores.receipts.put(await issueReceipt(service, promised.task, { out: { ok: { ended: true } } }))
    expect((await ask(service_.api, await invoke())).out).toEqual({ ok: { ended: true } })
    expect(offers).toEqual([])
    // Another service is not answered.
    const foreign = await Draft2.aggregateAddTask(client, service, {
      piece: promised.piece,
      storefront,
      group,
    })
    expect(errorOf(await ask(service_.api, foreign))).toMatchObject({ name: 'UnsupportedCapability' })
    expect((await ask(service_.api, await invoke([{ other: true }]))).out).toEqual({ ok: {} })
    expect(offers).toHaveLength(1)
  })
})

describe('a server with several handlers of an ability', () => {
  const ability = (names: string[]) =>
    capability({
      can: 'test/many',
      with: Schema.did(),
      nb: Schema.struct(Object.fromEntries(names.map(name => [name, Schema.text()]))),
      derives: covers as never,
    })
  const handler = (name: string, options: Partial<Pick<Handler, 'own' | 'matches'>> = {}) =>
    provide(ability([name]) as never, async () => ({ out: { ok: { handled: name } } }), options)
  const callAs = async (handlers: Handler[], issuer: Signer, nb: Record<string, string>) => {
    const { api } = await standIn(world, {
      name: `many-${crypto.randomUUID()}`,
      id: service,
      authority: new Authority(),
      handlers,
    })
    const { out } = await ask(
      api,
      ability(Object.keys(nb)).invoke({
        issuer,
        audience: service,
        with: issuer.did(),
        nb,
      } as never) as never,
    )
    return (out.ok ?? out.error) as Record<string, unknown>
  }

  it('runs the first one that matches, and describes a mismatch by the last one', async () => {
    const handlers = [handler('a', { matches: nb => 'a' in nb }), handler('b', { matches: nb => 'b' in nb })]
    expect(await callAs(handlers, client, { a: '1' })).toEqual({ handled: 'a' })
    expect(await callAs(handlers, client, { b: '1' })).toEqual({ handled: 'b' })
    expect(await callAs(handlers, client, { a: '1', b: '1' })).toEqual({ handled: 'a' })
    expect(await callAs(handlers, client, { c: '1' })).toMatchObject({
      name: 'MalformedCapability',
      field: 'nb.b',
    })
  })

  it('runs one for the service itself only if the service invokes it, and another one if there is none for others', async () => {
    const own = handler('a', { own: true })
    const offer = provide(ability(['a']) as never, async () => ({ out: { ok: { handled: 'offer' } } }))
    expect(await callAs([own, offer], service, { a: '1' })).toEqual({ handled: 'a' })
    expect(await callAs([own, offer], client, { a: '1' })).toEqual({ handled: 'offer' })
    expect(await callAs([own], client, { a: '1' })).toMatchObject({ name: 'UnsupportedCapability' })
  })
})
