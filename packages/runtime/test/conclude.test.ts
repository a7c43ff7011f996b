import { CAR, CBOR, invoke, Receipt as Receipts } from '@ucanto/core'
import type { Block, Invocation, Receipt, Signer } from '@ucanto/interface'
import { type Task, Tasks } from '@w3filecoin/capabilities'
import {
  ask,
  linkOf,
  networkOf,
  type StandIn,
  signersOf,
  somePiece,
  standIn,
  startWorld,
  type World,
} from '@w3filecoin/testing'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import {
  Authority,
  concludeHandler,
  concludeMessage,
  configuredPeers,
  encodeMessage,
  hasEffectBlocks,
  issueReceipt,
  type Outcome,
  onConclude,
  Peer,
  principal,
  type ReceiptHandler,
  reach,
} from '../src/index.ts'

const { storefront, aggregator, between, stranger } = await signersOf(
  'storefront',
  'aggregator',
  'between',
  'stranger',
)
const piece = somePiece('piece')
const accept = (nonce?: string, issuer: Signer = aggregator) =>
  Tasks.pieceAccept(issuer, { piece, group: 'g', nonce }) as Promise<Invocation>
const outcome = { out: { ok: { piece } } }

/** A signer with the DID of one principal and the key of another. */
const forger = (claimed: Signer, real: Signer) =>
  Object.create(claimed, { sign: { value: (bytes: Uint8Array) => real.sign(bytes) } }) as Signer

let world: World
let waiting: StandIn
let ran: StandIn
let taken: { receipt: Receipt; task: Invocation }[] = []
let answer: Awaited<ReturnType<ReceiptHandler>> | Error = { ok: {} }
const logged: { event: string; fields: object }[] = []
const log = (_: string, event: string, fields: object = {}) => void logged.push({ event, fields })
const authority = new Authority()
const network = networkOf(() => [waiting, ran])
const peer = (to: Pick<StandIn, 'did'> & { url?: string }) => new Peer(to, { authority, fetch: network })

beforeAll(async () => {
  world = await startWorld()
  const take: ReceiptHandler = async (receipt, task) => {
    if (answer instanceof Error) throw answer
    taken.push({ receipt, task })
    return answer
  }
  waiting = await standIn(world, {
    name: 'waiting',
    id: storefront,
    authority,
    handlers: [
      concludeHandler({
        authority,
        senders: { aggregator: aggregator.did(), between: between.did(), stranger: stranger.did() },
        routes: { 'piece/accept': take },
        now: () => 1234,
      }),
    ],
  })
  ran = await standIn(world, { name: 'ran', id: aggregator, authority, handlers: [] })
})
afterAll(() => world.stop())
beforeEach(() => {
  taken = []
  answer = { ok: {} }
  logged.splice(0)
})

describe('ucan/conclude', () => {
  const conclude = (
    root: { cid: unknown },
    blocks: Iterable<{ cid: unknown }>,
    issuer: Signer = aggregator,
  ) => Tasks.conclude(issuer, storefront, { root: root as Block, blocks: blocks as Iterable<Block> })
  const hand = async (receipt: Receipt, issuer?: Signer) =>
    ask(waiting.api, await conclude(receipt.root, receipt.iterateIPLDBlocks(), issuer))

  it('accepts the receipt of a task that a record waits for', async () => {
    const task = await accept()
    const receipt = await issueReceipt(aggregator, task, outcome)
    expect((await hand(receipt)).out).toEqual({ ok: { time: 1234 } })
    expect(taken.map(({ receipt, task }) => [`${receipt.root.cid}`, `${task.cid}`])).toEqual([
      [`${receipt.root.cid}`, `${task.cid}`],
    ])
    expect(taken[0]!.receipt.out).toEqual(outcome.out)
  })

  it('rejects receipts from other services', async () => {
    const receipt = await issueReceipt(aggregator, await accept(), outcome)
    expect((await hand(receipt, storefront)).out.error).toMatchObject({ name: 'UnknownSender' })
    expect(taken).toEqual([])
  })

  it('accepts a receipt that a service in between passes on', async () => {
    const receipt = await issueReceipt(aggregator, await accept(), outcome)
    expect((await hand(receipt, between)).out.ok).toBeDefined()
    expect(taken).toHaveLength(1)
  })

  it('returns the failure of the route', async () => {
    answer = { error: { name: 'UnknownTask', message: 'not mine' } }
    const receipt = await issueReceipt(aggregator, await accept(), outcome)
    expect((await hand(receipt)).out.error).toEqual({ name: 'UnknownTask', message: 'not mine' })
  })

  const bytes = new Uint8Array(100)
  const noUcan = { cid: linkOf(bytes), bytes } as unknown as Block
  /** Delivers a receipt that links to this block, by default as its task. */
  const concludeNaming = async (block: Block, names: object = {}) => {
    const receipt = await Receipts.issue({
      issuer: aggregator,
      ran: block.cid as never,
      result: { ok: {} },
      ...names,
    })
    return conclude(receipt.root, [...receipt.iterateIPLDBlocks(), block])
  }

  it.each<[string, string, () => Promise<Invocation>]>([
    [
      'signed by another key than its issuer’s',
      'InvalidReceipt',
      async () => {
        const receipt = await issueReceipt(forger(aggregator, stranger), await accept(), outcome)
        return conclude(receipt.root, receipt.iterateIPLDBlocks())
      },
    ],
    [
      'signed by a service that did not run the task',
      'InvalidReceipt',
      async () => {
        const receipt = await issueReceipt(stranger, await accept(), outcome)
        return conclude(receipt.root, receipt.iterateIPLDBlocks(), stranger)
      },
    ],
    [
      'with another outcome than the signed one',
      'InvalidReceipt',
      async () => {
        const receipt = await issueReceipt(aggregator, await accept(), outcome)
        const data = CBOR.decode(receipt.root.bytes as never) as { ocm: object }
        const root = await CBOR.write({
          ...data,
          ocm: { ...data.ocm, out: { ok: { piece: somePiece(666) } } },
        })
        return conclude(root, [root, ...receipt.iterateIPLDBlocks()])
      },
    ],
    ...(
      [
        ['of an invalid issuer', { iss: new Uint8Array([1, 2, 3]) }],
        ['without a signature', {}, new Uint8Array()],
        ['with garbage for a signature', {}, new Uint8Array([1, 2, 3])],
      ] as [string, object, Uint8Array?][]
    ).map(([how, issuer, signature]): [string, string, () => Promise<Invocation>] => [
      how,
      'InvalidReceipt',
      async () => {
        const receipt = await issueReceipt(aggregator, await accept(), outcome)
        const { ocm, sig } = CBOR.decode(receipt.root.bytes as never) as { ocm: object; sig: Uint8Array }
        const root = await CBOR.write({ ocm: { ...ocm, ...issuer }, sig: signature ?? sig })
        return conclude(root, [root, ...receipt.iterateIPLDBlocks()])
      },
    ]),
    [
      'of a task for an unsupported kind of key',
      'InvalidReceipt',
      async () => {
        const task = await invoke({
          issuer: stranger,
          audience: principal('did:key:zDnaerDaTF5BXEavCrfRZEk316dpbLsfPDZ3WJ5hRTPFU2169'),
          capability: { can: 'piece/accept', with: stranger.did(), nb: { piece, group: 'g' } },
          expiration: Infinity,
        }).buildIPLDView()
        const receipt = await Receipts.issue({ issuer: aggregator, ran: task, result: { ok: {} } })
        const data = CBOR.decode(receipt.root.bytes as never) as {
          ocm: Record<string, unknown>
          sig: unknown
        }
        const { iss, ...anonymous } = data.ocm
        const root = await CBOR.write({ ocm: anonymous, sig: data.sig })
        return conclude(root, [root, ...receipt.iterateIPLDBlocks()], stranger)
      },
    ],
    [
      'of an ability without a route',
      'UnknownTask',
      async () => {
        const task = await Tasks.filecoinSubmit(aggregator, { content: piece as never, piece })
        const receipt = await issueReceipt(aggregator, task as Invocation, outcome)
        return conclude(receipt.root, receipt.iterateIPLDBlocks())
      },
    ],
    [
      'without its blocks',
      'ReceiptNotFound',
      async () => conclude((await issueReceipt(aggregator, await accept(), outcome)).root, []),
    ],
    [
      'without its task',
      'ReceiptNotFound',
      async () => {
        const { root } = await issueReceipt(aggregator, await accept(), outcome)
        return conclude(root, [root])
      },
    ],
    [
      'that is not a receipt',
      'ReceiptNotFound',
      async () => {
        const root = await CBOR.write({ hello: 'world' })
        return conclude(root, [root])
      },
    ],
    [
      'of a task that is not a UCAN',
      'ReceiptNotFound',
      async () => concludeNaming(await CBOR.write({ hello: 'world' })),
    ],
    ['of a task whose bytes are not a UCAN', 'ReceiptNotFound', () => concludeNaming(noUcan)],
    [
      'with an effect whose bytes are not a UCAN',
      'ReceiptNotFound',
      async () => concludeNaming(noUcan, { ran: await accept(), fx: { fork: [], join: noUcan.cid } }),
    ],
  ])('rejects a receipt %s: %s', async (_, name, make) => {
    const { out } = await ask(waiting.api, await make())
    expect((out.error as { name: string })?.name).toBe(name)
    expect(taken).toEqual([])
  })
})

describe('on conclude', () => {
  const consumer = () =>
    onConclude({
      id: aggregator,
      receipts: ran.receipts,
      peers: configuredPeers([
        peer(waiting),
        peer({ did: 'did:web:deaf' }),
        peer({ did: 'did:web:gone', url: 'https://gone.test' }),
      ]),
      log,
    })
  const file = async (nonce: string) => {
    const task = await accept(nonce)
    await ran.receipts.put(await issueReceipt(aggregator, task, outcome))
    return `${task.cid}`
  }
  const run = async (to: string, tasks: string[]) => (await consumer().handle([{ to, tasks }]))[0]!

  it('delivers all receipts that exist, in one message', async () => {
    const tasks = [await file('1'), await file('2'), `${(await accept('unfinished')).cid}`]
    expect((await run(waiting.did, tasks)).ok).toBeDefined()
    expect(taken.map(({ task }) => `${task.cid}`).toSorted()).toEqual(tasks.slice(0, 2).toSorted())
  })

  it.each([
    ['few', 100, true],
    ['very many', 101, false],
  ])('sends a receipt with %s effects with or without their blocks: %i', async (how, count, whole) => {
    const fork = await Promise.all(
      Array.from({ length: count }, (_, n) =>
        Tasks.pieceOffer(aggregator, storefront, { piece: somePiece(n), group: 'g' }),
      ),
    )
    const task = await accept(how)
    const receipt = await issueReceipt(aggregator, task, { ...outcome, fx: { fork } })
    expect(hasEffectBlocks(receipt)).toBe(true)
    await ran.receipts.put(receipt)
    expect((await run(waiting.did, [`${task.cid}`])).ok).toBeDefined()
    expect(taken.map(({ receipt }) => hasEffectBlocks(receipt))).toEqual([whole])
    // The list of effects is signed, and the log of the service that ran the task has their blocks.
    expect(taken[0]!.receipt.fx.fork.map(effect => `${effect.link()}`)).toEqual(
      fork.map(({ cid }) => `${cid}`),
    )
    const fetched = await peer(ran).receipt(`${task.cid}`)
    expect(hasEffectBlocks(fetched!)).toBe(true)
  })

  it('drops a message to an unknown peer, or to one without a URL', async () => {
    for (const to of ['did:web:deaf', 'did:web:unknown'])
      expect((await run(to, [await file('3')])).ok).toBeDefined()
  })

  it('drops and logs a message to an unreachable peer, which fetches the receipt later', async () => {
    expect((await run('did:web:gone', [await file('4')])).ok).toBeDefined()
    expect(logged).toMatchObject([
      { event: 'peer not reached', fields: { peer: 'did:web:gone', url: expect.stringMatching('^http') } },
    ])
  })

  it.each<[string, typeof answer]>([
    ['HandlerExecutionError', new Error('no table')],
    ['UnknownTask', { error: { name: 'UnknownTask', message: 'not mine' } }],
  ])('drops a message that the peer answers with %s, and logs it', async (name, refusing) => {
    answer = refusing
    expect((await run(waiting.did, [await file(`answered ${name}`)])).ok).toBeDefined()
    expect(logged).toMatchObject([
      { event: 'receipt refused', fields: { peer: waiting.did, url: `${waiting.url}/`, refusal: { name } } },
    ])
  })

  it.each([{}, { to: 'x', tasks: ['a'] }, { to: 'did:web:a', tasks: [] }, { to: 'did:web:a', tasks: [1] }])(
    'rejects any other message: %j',
    body => {
      expect(() => consumer().decode(body)).toThrow()
      expect(() => concludeMessage.decode(body)).toThrow()
    },
  )
})

const [fork, join] = await Promise.all(['fork', 'join'].map(nonce => accept(nonce) as Promise<Task>))
describe('hasEffectBlocks', () => {
  it.each<[string, NonNullable<Outcome['fx']>, boolean]>([
    ['without effects', {}, true],
    ['with its effects', { fork: [fork!], join: join! }, true],
    ['without the fork', { fork: [fork!.cid as never], join: join! }, false],
    ['without the join', { fork: [fork!], join: join!.cid as never }, false],
  ])('checks a receipt %s', async (_, fx, expected) => {
    expect(hasEffectBlocks(await issueReceipt(aggregator, await accept(), { ...outcome, fx }))).toBe(expected)
  })
})

describe('Peer', () => {
  it('fetches a receipt, or returns undefined if there is none yet', async () => {
    const task = await accept('fetched')
    expect(await peer(ran).receipt(`${task.cid}`)).toBeUndefined()
    const receipt = await issueReceipt(aggregator, task, outcome)
    await ran.receipts.put(receipt)
    expect(`${(await peer(ran).receipt(`${task.cid}`))?.root.cid}`).toBe(`${receipt.root.cid}`)
  })

  it.each([
    ['with one request', false],
    ['one by one, from a service that does not answer about many', true],
  ])('fetches the receipts that a service signed, and leaves the others out: %s', async (how, isEarlier) => {
    const tasks = await Promise.all(['one', 'two', 'none', 'forged'].map(name => accept(`${name} ${how}`)))
    const [one, two, , forged] = tasks as [Invocation, Invocation, Invocation, Invocation]
    for (const task of [one, two]) await ran.receipts.put(await issueReceipt(aggregator, task, outcome))
    await ran.receipts.put(await issueReceipt(forger(aggregator, stranger), forged, outcome))
    let requests = 0
    const asked = new Peer(ran, {
      authority,
      fetch: async (url, init) => {
        requests += 1
        return isEarlier && url.endsWith('/receipts')
          ? new Response(null, { status: 404 })
          : network(url, init)
      },
    })
    const found = await asked.receipts(tasks.map(({ cid }) => `${cid}`))
    expect([...found.keys()]).toEqual([`${one.cid}`, `${two.cid}`])
    expect(`${found.get(`${two.cid}`)?.ran.link()}`).toBe(`${two.cid}`)
    expect(requests).toBe(isEarlier ? 1 + tasks.length : 1)
  })

  it('returns a failure for an answer without a receipt', async () => {
    const [answer] = await peer({ did: aggregator.did(), url: waiting.url }).execute([
      (await accept('asked')) as never,
    ])
    expect(answer?.error?.name).toBe('UnsignedReceipt')
  })

  const serving = (response: () => Promise<Response> | Response) =>
    new Peer({ did: aggregator.did(), url: 'https://x.test' }, { authority, fetch: async () => response() })

  it.each<[string, () => Promise<Response>]>([
    ['garbage', async () => new Response(new Uint8Array([1, 2, 3]) as never)],
    ['an error', async () => new Response('oh', { status: 502 })],
    [
      'a receipt of another service',
      async () => {
        const receipt = await issueReceipt(stranger, await accept('served'), outcome)
        return new Response(await encodeMessage({ receipts: [receipt] }))
      },
    ],
    [
      'a forged one',
      async () => {
        const receipt = await issueReceipt(forger(aggregator, stranger), await accept('served'), outcome)
        return new Response(await encodeMessage({ receipts: [receipt] }))
      },
    ],
  ])('throws if the receipt is %s', async (_, response) => {
    await expect(serving(response).receipt(`${(await accept('served')).cid}`)).rejects.toThrow(
      aggregator.did(),
    )
  })

  /** Returns an endless response that counts its bytes. */
  const endless = () => {
    const given = { bytes: 0, cancelled: false }
    const stream = new ReadableStream({
      pull(controller) {
        given.bytes += 1_000_000
        controller.enqueue(new Uint8Array(1_000_000))
      },
      cancel() {
        given.cancelled = true
      },
    })
    return { given, response: new Response(stream as never) }
  }

  it('reads an answer only up to its limit', async () => {
    const task = await accept('endless')
    for (const [ask, most] of [
      [(peer: Peer) => peer.execute([task as never]), 10_000_000],
      [(peer: Peer) => peer.receipt(`${task.cid}`), 70_000_000],
    ] as const) {
      const { given, response } = endless()
      await expect(ask(serving(() => response))).rejects.toThrow('more than')
      expect(given.bytes).toBeLessThan(most)
      expect(given.cancelled).toBe(true)
    }
  })

  it.each<[string, (task: Task) => Promise<Response>]>([
    ['garbage', async () => new Response(new Uint8Array([1, 2, 3]) as never)],
    ['an error', async () => new Response('oh', { status: 502 })],
    ['tasks', async task => new Response(await encodeMessage({ invocations: [task] }))],
    [
      'a block that does not hash to its CID',
      async task => {
        const receipt = await issueReceipt(aggregator, task, outcome)
        const car = Buffer.from(await encodeMessage({ receipts: [receipt] }))
        car[car.indexOf('group') + 1]! ^= 1
        return new Response(car as never)
      },
    ],
  ])('throws if the answer is %s', async (_, response) => {
    const task = (await accept('answered')) as unknown as Task
    await expect(serving(() => response(task)).execute([task])).rejects.toThrow(aggregator.did())
  })

  it('returns a failure for a task whose receipt is missing, or is that of another task', async () => {
    const [task, other] = (await Promise.all([accept('one'), accept('two')])) as unknown as [Task, Task]
    const receipt = await issueReceipt(aggregator, other, outcome)
    const nothing = await encodeMessage({ receipts: [receipt] })
    const [unanswered] = await serving(() => new Response(nothing as never)).execute([task])
    expect(unanswered?.error?.name).toBe('UnsignedReceipt')

    const message = await CBOR.write({
      'ucanto/message@7.0.0': { report: { [`${task.cid}`]: receipt.root.cid } },
    })
    const blocks = new Map([...receipt.iterateIPLDBlocks()].map(block => [`${block.cid}`, block]))
    const swapped = CAR.encode({ roots: [message], blocks } as never)
    const [answer] = await serving(() => new Response(swapped as never)).execute([task])
    expect(answer?.error?.name).toBe('UnsignedReceipt')
  })

  it('returns a failure if it is unreachable, and logs the cause', async () => {
    const task = `${(await accept('reached')).cid}`
    expect(await reach(peer(ran), () => peer(ran).receipt(task), log)).toEqual({ ok: undefined })
    expect(logged).toEqual([])
    const failing = serving(() => new Response('oh', { status: 502 }))
    expect(await reach(failing, () => failing.receipt(task), log)).toEqual({
      error: { name: 'PeerUnreachable', message: `${aggregator.did()} cannot be reached` },
    })
    const [{ event, fields }] = logged as [
      { event: string; fields: { peer: string; url: string; cause: Error } },
    ]
    expect([event, fields.peer]).toEqual(['peer not reached', aggregator.did()])
    expect(fields.url).toBe(failing.address.url)
    expect(fields.url).toMatch(/^https?:/)
    expect(fields.cause.message).toContain('answered 502')
  })

  it('rejects the receipt of another task', async () => {
    const other = await issueReceipt(aggregator, await accept('other'), outcome)
    const peer = serving(async () => new Response(await encodeMessage({ receipts: [other] })))
    expect(await peer.receipt(`${(await accept('served')).cid}`)).toBeUndefined()
  })
})
