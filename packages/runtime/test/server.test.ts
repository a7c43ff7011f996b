import { CBOR, CAR as codec, Delegation, invoke, isDelegation } from '@ucanto/core'
import type { Invocation, Receipt, Signer } from '@ucanto/interface'
import { capability, Schema } from '@ucanto/validator'
import { covers, failure, pieceAccept, Tasks } from '@w3filecoin/capabilities'
import {
  ask,
  call,
  effectsOf,
  linkOf,
  messageIn,
  type StandIn,
  served,
  signersOf,
  somePiece,
  standIn,
  startWorld,
  type World,
} from '@w3filecoin/testing'
import { bases } from 'multiformats/basics'
import { CID } from 'multiformats/cid'
import { create as createDigest } from 'multiformats/hashes/digest'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import {
  Authority,
  configuredPeers,
  createHttpApp,
  encodeMessage,
  type Handler,
  issueReceipt,
  MESSAGE_LIMITS,
  promisedTask,
  provide,
  receiptIn,
  receiptsIn,
  Server,
} from '../src/index.ts'

const CAR = 'application/vnd.ipld.car'
/** Returns the text of a CID whose hash is the identity of that many bytes. */
const identityCid = (bytes: number) => `${CID.createV1(0x71, createDigest(0, new Uint8Array(bytes)))}`

const { service, agent, space, stranger } = await signersOf('service', 'agent', 'space', 'stranger')
const web = service.withDID('did:web:other.example')

const text = <const C extends `${string}/${string}`>(can: C) =>
  capability({ can, with: Schema.did(), nb: Schema.struct({ text: Schema.text() }), derives: covers })

class LibraryError extends Error {
  override name = 'LibraryError'
}

const piece = somePiece('piece')
const next = () => Tasks.pieceAccept(service, { piece, group: 'g' })

let world: World
let it_: StandIn
const logged: { event: string; fields: object }[] = []

/** One ability for each result of a handler. */
const handlers = (receipts: () => StandIn['receipts']): Handler[] => [
  provide(text('test/keep'), async ({ capability }) => ({ out: { ok: { said: capability.nb.text } } }), {
    keep: true,
  }),
  provide(text('test/effects'), async () => ({ out: { ok: {} }, fx: { join: await next() } }), {
    keep: true,
  }),
  provide(text('test/pass'), async () => ({ out: { ok: {} } })),
  provide(text('test/refuse'), async () => ({ out: { error: failure('Refused', 'no', { piece }) } }), {
    keep: true,
  }),
  provide(
    text('test/library-error'),
    async () => ({ out: { error: new LibraryError('fact', { cause: new Error('inner secret') }) } }),
    { keep: true },
  ),
  provide(text('test/wordy'), async () => ({ out: { error: failure('Wordy', 'x'.repeat(5_000)) } })),
  provide(text('test/cause'), async () => ({
    out: { error: failure('Caused', 'by an error', { cause: new Error('inner secret') }) },
  })),
  provide(text('test/throw'), async () => {
    throw new Error('the secret of /var/task/store.ts', { cause: new Error('inner secret') })
  }),
  provide(text('test/throw-odd'), async () => Promise.reject('the secret itself')),
  promisedTask(
    pieceAccept,
    { get: (task: string) => receipts().get(task) } as never,
    async ({ capability }) => (capability.nb.group === 'empty' ? undefined : `${(await next()).cid}`),
  ),
  promisedTask(
    text('test/offer-to-itself'),
    { get: (task: string) => receipts().get(task) } as never,
    async () => undefined,
    { otherwise: async () => ({ out: { ok: {} }, fx: { join: await next() } }) },
  ),
]

beforeAll(async () => {
  world = await startWorld()
  const authority = new Authority({
    peers: configuredPeers([{ did: web.did(), keys: [stranger.did() as never] }]),
  })
  it_ = await standIn(world, {
    name: 'service',
    id: service,
    authority,
    handlers: handlers(() => it_.receipts),
    log: (_, event, fields = {}) => logged.push({ event, fields }),
  })
})
afterAll(() => world.stop())
beforeEach(() => void logged.splice(0))

type Options = Parameters<typeof invoke>[0]
const invocation = (can: string, options: Partial<Options> & { nb?: object } = {}) => {
  const { nb = { text: 'hi' }, ...rest } = options
  return invoke({
    issuer: agent,
    audience: service,
    capability: { can: can as never, with: (rest.issuer ?? agent).did(), nb },
    expiration: Infinity,
    ...rest,
  } as Options)
}
const forger = (claimed: Signer, real: Signer) =>
  Object.create(claimed, { sign: { value: (bytes: Uint8Array) => real.sign(bytes) } }) as Signer
const errorOf = ({ out }: Receipt) => out.error as { name: string; message: string } | undefined
const isSigned = async (receipt: Receipt) =>
  (await receipt.verifySignature(service.verifier)).ok !== undefined
/** Matches stack traces, paths, and internal details. */
const LEAK = /stack|\n\s*at |node_modules|file:\/\/|\.ts:|secret/

describe('an invocation', () => {
  it('is answered by a signed receipt with its effects and their blocks', async () => {
    const receipt = await ask(it_.api, invocation('test/effects'))
    expect(receipt.out).toEqual({ ok: {} })
    expect(await isSigned(receipt)).toBe(true)
    expect(effectsOf(receipt)).toEqual({ fork: [], join: `${(await next()).cid}` })
    expect(isDelegation(receipt.fx.join as never)).toBe(true)
  })

  it.each([
    'test/nothing',
    'constructor/assign',
    'tostring/call',
    'toString/call',
    '__proto__/x',
    'hasOwnProperty/call',
    'piece/offer/call',
    'test/keep/call',
    'test/*',
  ])('of an ability without a handler is rejected: %s', async can => {
    const receipt = await ask(it_.api, invocation(can))
    // UCANs have abilities in lower case.
    expect(errorOf(receipt)).toMatchObject({
      name: 'HandlerNotFound',
      capability: { can: can.toLowerCase(), with: agent.did() },
    })
    expect(await isSigned(receipt)).toBe(true)
    expect(logged).toEqual([])
  })

  const cases: Record<string, () => Promise<[string, Invocation]> | [string, unknown]> = {
    'for another audience': () => ['InvalidAudience', invocation('test/keep', { audience: stranger })],
    'that has expired': () => ['Unauthorized', invocation('test/keep', { expiration: 1_000_000 })],
    'that is not valid yet': () => ['Unauthorized', invocation('test/keep', { notBefore: 99_999_999_999 })],
    'with a resource that is not the issuer’s': () => [
      'Unauthorized',
      invocation('test/keep', {
        capability: { can: 'test/keep', with: space.did(), nb: { text: 'hi' } } as never,
      }),
    ],
    'with invalid arguments': () => ['MalformedCapability', invocation('test/keep', { nb: { text: 7 } })],
    'signed by another key': () => [
      'Unauthorized',
      invocation('test/keep', { issuer: forger(agent, stranger) }),
    ],
    'of a did:web without its key': () => ['Unauthorized', invocation('test/keep', { issuer: web })],
  }
  it.each(Object.entries(cases))('%s is rejected, and does not run', async (_, make) => {
    const [name, refused] = await make()
    const receipt = await ask(it_.api, refused as Invocation)
    expect(errorOf(receipt)?.name).toBe(name)
    expect(JSON.stringify(receipt.out)).not.toMatch(LEAK)
    expect(await served(it_.api, receipt.ran.link())).toBeUndefined()
  })

  it('of a did:web is taken with a key that the configuration names', async () => {
    const issuer = stranger.withDID(web.did())
    expect((await ask(it_.api, invocation('test/pass', { issuer }))).out).toEqual({ ok: {} })
  })

  it.each<[string, object, boolean]>([
    ['the delegated text', { text: 'this' }, true],
    ['another text', { text: 'that' }, false],
  ])('with a delegation may do %s', async (_, nb, allowed) => {
    const delegation = await Delegation.delegate({
      issuer: space,
      audience: agent,
      capabilities: [{ can: 'test/pass', with: space.did(), nb: { text: 'this' } }],
      expiration: Infinity,
    })
    const receipt = await ask(
      it_.api,
      invocation('test/pass', {
        proofs: [delegation],
        capability: { can: 'test/pass', with: space.did(), nb } as never,
      }),
    )
    expect(errorOf(receipt)?.name).toBe(allowed ? undefined : 'Unauthorized')
  })

  describe('with a caveat in a delegation', () => {
    const give = (issuer: Signer, audience: Signer, capabilities: object[], proofs: unknown[] = []) =>
      Delegation.delegate({
        issuer,
        audience,
        capabilities: capabilities as never,
        proofs: proofs as never,
        expiration: Infinity,
      })
    const use = async (...proofs: unknown[]) => {
      const capability = { can: 'test/pass', with: space.did(), nb: { text: 'hi' } } as never
      return errorOf(await ask(it_.api, invocation('test/pass', { proofs: proofs as never, capability })))
    }
    const granted = (can: string, nb?: object) => ({ can, with: space.did(), ...(nb && { nb }) })

    it.each(['test/pass', 'test/*', '*'])(
      'that no ability of %s defines is refused, and names it',
      async can => {
        const delegation = await give(space, agent, [granted(can, { text: 'hi', maxBytes: 5 })])
        const error = await use(delegation)
        expect(error?.name).toBe('Unauthorized')
        expect(error?.message).toContain(
          `The delegation ${delegation.cid} of ${can} has the caveat maxBytes, which no ability that it covers defines`,
        )
      },
    )

    it('that no ability defines is refused anywhere in the chain', async () => {
      const first = await give(space, stranger, [granted('test/*', { until: 'noon' })])
      const second = await give(stranger, agent, [granted('test/pass', { text: 'hi' })], [first])
      expect((await use(second))?.message).toContain('has the caveat until')
      const plain = await give(space, stranger, [granted('test/*')])
      expect(await use(await give(stranger, agent, [granted('test/pass')], [plain]))).toBeUndefined()
    })

    it('is refused even if the invocation has the same', async () => {
      const capability = granted('test/pass', { text: 'hi', maxBytes: 5 }) as never
      const proofs = [await give(space, agent, [granted('test/pass', { maxBytes: 5 })])]
      const error = errorOf(await ask(it_.api, invocation('test/pass', { proofs, capability })))
      expect(error?.name).toBe('Unauthorized')
    })

    it.each(['*', 'test/*'])(
      'that only abilities of the protocol define authorizes no other ability: %s',
      async can => {
        const error = await use(await give(space, agent, [granted(can as '*', { group: 'g', piece })]))
        expect(error?.message).toContain('has the caveat group')
      },
    )

    it('does not spoil another delegation, or another capability of the same one', async () => {
      const strict = granted('test/pass', { maxBytes: 5 })
      expect(await use(await give(space, agent, [strict, granted('test/*')]))).toBeUndefined()
      const both = [await give(space, agent, [strict]), await give(space, agent, [granted('test/pass')])]
      expect(await use(...both)).toBeUndefined()
    })

    it('of an ability that does not cover the invocation is ignored', async () => {
      const other = granted('other/thing', { size: 5 })
      expect(await use(await give(space, agent, [other, granted('test/pass')]))).toBeUndefined()
    })
  })

  it('has one capability', async () => {
    const capabilities = ['test/keep', 'test/pass'].map(can => ({
      can,
      with: agent.did(),
      nb: { text: 'hi' },
    }))
    const two = await Delegation.delegate({
      issuer: agent,
      audience: service,
      capabilities: capabilities as never,
      expiration: Infinity,
    })
    const receipt = await ask(it_.api, two as unknown as Invocation)
    expect(errorOf(receipt)?.name).toBe('InvocationCapabilityError')
  })

  it('in a message is answered independently of the others', async () => {
    const receipts = await call(
      it_.api,
      ...['test/keep', 'test/throw', 'x/y', 'test/pass'].map(can => invocation(can)),
    )
    expect(receipts.map(receipt => errorOf(receipt)?.name)).toEqual([
      undefined,
      'HandlerExecutionError',
      'HandlerNotFound',
      undefined,
    ])
  })
})

describe('invocations of one message', () => {
  const counted = (maxPerMessage?: number) => {
    const runs: string[] = []
    const handler = provide(
      text('test/count'),
      async ({ capability }) => {
        runs.push(capability.nb.text)
        return { out: { ok: {} } }
      },
      maxPerMessage === undefined ? {} : { maxPerMessage },
    )
    const { receipts } = it_
    const options = { id: service, authority: new Authority(), receipts, log: () => {} }
    const server = new Server({ ...options, handlers: [handler] })
    return { runs, server, api: createHttpApp({ server, receipts, name: 'service', log: () => {} }) }
  }
  const post = (api: StandIn['api'], body: Uint8Array) =>
    api.request('/', { method: 'POST', headers: { 'content-type': CAR }, body: body as never })
  const say = (word: string) => invocation('test/count', { nb: { text: word } })

  it('that are equal run once, and have one receipt', async () => {
    const { runs, api } = counted()
    const task = (await say('once').buildIPLDView()) as unknown as Invocation
    const other = (await say('other').buildIPLDView()) as unknown as Invocation
    const response = await post(
      api,
      await encodeMessage({ invocations: [...Array(400).fill(task), other, ...Array(99).fill(task)] }),
    )
    expect(response.status).toBe(200)
    expect(runs).toEqual(['once', 'other'])
    const answer = messageIn(new Uint8Array(await response.arrayBuffer()))
    expect(
      receiptsIn(answer)
        .map(({ ran }) => `${ran.link()}`)
        .toSorted(),
    ).toEqual([`${task.cid}`, `${other.cid}`].toSorted())
  })

  it('beyond the bound of their ability do not run, and their receipts name the bound', async () => {
    const { runs, api } = counted(2)
    const receipts = await call(api, ...['a', 'b', 'c', 'd'].map(say), invocation('x/y'))
    expect(runs).toEqual(['a', 'b'])
    expect(receipts.map(receipt => errorOf(receipt)?.name)).toEqual([
      undefined,
      undefined,
      'TooManyInvocations',
      'TooManyInvocations',
      'HandlerNotFound',
    ])
    expect(errorOf(receipts[2]!)?.message).toBe(
      'This service runs at most 2 invocations of test/count in one message. Send the remaining ones in further messages.',
    )
  })

  it.each([0x70, 0x55, 0x0129])(
    'under a CID with a codec other than the one of their format are not run: %i',
    async code => {
      const task = await say('codec').buildIPLDView()
      const cid = CID.createV1(code, CID.parse(`${task.cid}`).multihash)
      const root = await CBOR.write({ 'ucanto/message@7.0.0': { execute: [cid] } })
      const blocks = new Map([[`${cid}`, { cid, bytes: task.root.bytes }]])
      const { runs, api } = counted()
      const response = await post(api, codec.encode({ roots: [root], blocks } as never))
      const receipt = receiptIn(messageIn(new Uint8Array(await response.arrayBuffer())), `${cid}`)!
      expect(errorOf(receipt)).toMatchObject({
        name: 'MalformedUCAN',
        message: expect.stringContaining('its CID is not a CIDv1 with the codec of its format'),
      })
      expect(runs).toEqual([])
    },
  )
})

describe('a receipt', () => {
  it.each([
    ['test/keep', true],
    ['test/effects', true],
    ['test/pass', false],
    ['test/refuse', false],
    ['test/library-error', false],
    ['test/throw', false],
  ])('of %s is stored: %s', async (can, kept) => {
    const receipt = await ask(it_.api, invocation(can, { nonce: 'kept' }))
    const found = await served(it_.api, receipt.ran.link())
    expect(found && `${found.root.cid}`).toBe(kept ? `${receipt.root.cid}` : undefined)
    expect(found && effectsOf(found)).toEqual(kept ? effectsOf(receipt) : undefined)
  })

  it('of a repeated invocation is the same receipt', async () => {
    const [one, two] = [
      await ask(it_.api, invocation('test/keep')),
      await ask(it_.api, invocation('test/keep')),
    ]
    expect(`${two.root.cid}`).toBe(`${one.root.cid}`)
  })

  it.each<[string, object]>([
    ['test/refuse', { name: 'Refused', message: 'no', piece }],
    ['test/library-error', { name: 'LibraryError', message: 'fact' }],
    ['test/cause', { name: 'Caused', message: 'by an error' }],
    [
      'test/throw',
      { name: 'HandlerExecutionError', message: 'The service could not run test/throw; try again later' },
    ],
    [
      'test/throw-odd',
      { name: 'HandlerExecutionError', message: 'The service could not run test/throw-odd; try again later' },
    ],
  ])('of a failure of %s names the failure, without internal details', async (can, error) => {
    const receipt = await ask(it_.api, invocation(can))
    expect(errorOf(receipt)).toEqual(error)
    for (const { bytes } of receipt.iterateIPLDBlocks())
      expect(Buffer.from(bytes).toString('latin1')).not.toMatch(LEAK)
  })

  it('of a failure with a long message has it cut', async () => {
    const receipt = await ask(it_.api, invocation('test/wordy'))
    expect(errorOf(receipt)).toEqual({ name: 'Wordy', message: `${'x'.repeat(2_000)}…` })
  })

  it('without details leaves the cause in the log', async () => {
    await ask(it_.api, invocation('test/throw'))
    expect(logged).toMatchObject([
      {
        event: 'invocation failed',
        fields: { can: 'test/throw', cause: { message: 'the secret of /var/task/store.ts' } },
      },
    ])
  })
})

describe('a promised task', () => {
  it('may be invoked by the service only', async () => {
    const delegation = await Delegation.delegate({
      issuer: service,
      audience: agent,
      capabilities: [{ can: 'piece/accept', with: service.did() }],
      expiration: Infinity,
    })
    const nb = { piece, group: 'g' }
    const accept = (issuer: Signer, resource: Signer, proofs: unknown[] = []) =>
      invocation('piece/accept', {
        issuer,
        proofs: proofs as never,
        capability: { can: 'piece/accept', with: resource.did(), nb } as never,
      })
    const receipts = await call(
      it_.api,
      accept(agent, agent),
      accept(agent, service, [delegation]),
      accept(service, agent),
      accept(service.withDID(web.did()) as Signer, service),
    )
    expect(receipts.map(receipt => errorOf(receipt)?.name)).toEqual(Array(4).fill('UnsupportedCapability'))
  })

  it('has no receipt before its outcome is final, and always the same one after that', async () => {
    const task = await next()
    const early = await ask(it_.api, task)
    expect(errorOf(early)).toMatchObject({
      name: 'OutcomePending',
      message: `piece/accept has no outcome yet; its receipt will be at /receipt/${task.cid}`,
    })
    expect(await isSigned(early)).toBe(false)
    expect(await served(it_.api, task.cid)).toBeUndefined()

    const final = await issueReceipt(service, task, { out: { ok: { piece } } })
    await it_.receipts.put(final)
    const [late, again] = await call(it_.api, task, invocation('piece/accept', { ...own, nonce: 'later' }))
    expect(`${late!.root.cid}`).toBe(`${final.root.cid}`)
    expect(again!.out).toEqual(final.out)
    expect(await isSigned(again!)).toBe(true)
    expect(`${(await served(it_.api, task.cid))?.root.cid}`).toBe(`${final.root.cid}`)
    expect(await served(it_.api, again!.ran.link()), 'asking another way files nothing').toBeUndefined()
  })

  it('that is invalid is rejected without a receipt, and without internal details', async () => {
    const receipts = await call(
      it_.api,
      invocation('piece/accept', { ...own, expiration: 1_000_000 }),
      invocation('piece/accept', { ...own, audience: stranger }),
      invocation('piece/accept', { ...own, issuer: forger(service, stranger) }),
    )
    expect(receipts.map(receipt => errorOf(receipt)?.name)).toEqual([
      'Unauthorized',
      'InvalidAudience',
      'Unauthorized',
    ])
    for (const receipt of receipts) {
      expect(await isSigned(receipt)).toBe(false)
      expect(JSON.stringify(receipt.out)).not.toMatch(LEAK)
    }
  })

  it('that is an offer of the service to itself has its receipt stored, because it promises a task', async () => {
    const capability = { can: 'test/offer-to-itself', with: service.did(), nb: { text: 'hi' } } as const
    const receipt = await ask(it_.api, invocation(capability.can, { issuer: service, capability }))
    expect(`${receipt.fx.join?.link()}`).toBe(`${(await next()).cid}`)
    expect(`${(await served(it_.api, receipt.ran.link()))?.root.cid}`).toBe(`${receipt.root.cid}`)
  })

  it('without an offer is pending too', async () => {
    const receipt = await ask(it_.api, await Tasks.pieceAccept(service, { piece, group: 'empty' }))
    expect(errorOf(receipt)?.name).toBe('OutcomePending')
    expect(await isSigned(receipt)).toBe(false)
  })

  const own = {
    issuer: service,
    capability: { can: 'piece/accept', with: service.did(), nb: { piece, group: 'g' } } as never,
  }
})

describe('HTTP', () => {
  const post = (body: Uint8Array | ReadableStream | string, type?: string) =>
    it_.api.request('/', {
      method: 'POST',
      headers: type === undefined ? {} : { 'content-type': type },
      body: body as never,
      ...(body instanceof ReadableStream ? { duplex: 'half' } : {}),
    })

  it('GET / returns name, DID and version', async () => {
    const response = await it_.api.request('/')
    expect(await response.json()).toEqual({
      name: 'service',
      did: service.did(),
      version: expect.stringMatching(/^\d+\.\d+\.\d+$/),
    })
  })

  it('GET /.well-known/did.json gives the key behind a did:web', async () => {
    const authority = new Authority()
    const server = new Server({ id: web, authority, handlers: [], receipts: it_.receipts, log: () => {} })
    const api = createHttpApp({ server, receipts: it_.receipts, name: 'web', log: () => {} })
    const document = (await (await api.request('/.well-known/did.json')).json()) as {
      id: string
      verificationMethod: { id: string; publicKeyMultibase: string }[]
      assertionMethod: string[]
    }
    expect(document.id).toBe(web.did())
    const [method] = document.verificationMethod
    expect(`did:key:${method!.publicKeyMultibase}`).toBe(service.did())
    expect(document.assertionMethod).toEqual([method!.id])
  })

  it.each<[string, number]>([
    ['/receipt/notacid', 400],
    ['/receipt/%E0%A4%A', 400],
    [`/receipt/${'b'.repeat(5000)}`, 404],
    [`/receipt/z${'1'.repeat(3000)}`, 404],
    [`/receipt/${identityCid(30)}`, 404],
    [`/receipt/${identityCid(2_000)}`, 404],
    [`/receipt/${linkOf(Buffer.from('a block'), 0x70)}`, 404],
    [`/receipt/${linkOf(Buffer.from('a task'), 0x71)}`, 404],
    [`/receipt/${piece}`, 404],
    ['/receipt/', 404],
    ['/nowhere', 404],
  ])('GET %s → %i', async (path, status) => {
    const response = await it_.api.request(path)
    expect(response.status).toBe(status)
    expect((await response.text()).length).toBeLessThan(300)
  })

  it('GET /receipt/{task} returns the receipt as a message, which caches keep for an hour', async () => {
    const receipt = await ask(it_.api, invocation('test/effects'))
    const response = await it_.api.request(`/receipt/${receipt.ran.link()}`)
    expect(response.status).toBe(200)
    expect(response.headers.get('content-type')).toBe(CAR)
    expect(response.headers.get('cache-control')).toBe('public, max-age=3600')
    const found = await served(it_.api, receipt.ran.link())
    expect(await isSigned(found!)).toBe(true)
    expect(isDelegation(found!.fx.join as never)).toBe(true)
  })

  it('GET /receipt/{task} finds a receipt by its CID in every multibase encoding, and by its CIDv0', async () => {
    const receipt = await ask(it_.api, invocation('test/keep', { nonce: 'bases' }))
    const task = CID.parse(`${receipt.ran.link()}`)
    const forms = Object.values(bases).map(base => task.toString(base.encoder as never))
    expect(forms.length).toBeGreaterThan(20)
    for (const form of [...forms, `${CID.createV0(task.multihash as never)}`, `${task}==`]) {
      const response = await it_.api.request(`/receipt/${encodeURIComponent(form)}`)
      expect(response.status, form).toBe(200)
    }
  })

  const message = async () =>
    encodeMessage({ invocations: [(await invocation('test/pass').buildIPLDView()) as unknown as Invocation] })

  it.each<[string, string | undefined, number]>([
    ['as it should be', CAR, 200],
    ['in capitals, with a parameter', 'Application/VND.ipld.CAR; charset=x', 200],
    ['JSON', 'application/json', 415],
    ['a CAR of another kind', `${CAR}x`, 415],
    ['nothing', undefined, 415],
  ])('POST / with a content type of %s', async (_, type, status) => {
    expect((await post(await message(), type)).status).toBe(status)
  })

  it('POST / of too many bytes → 413, with or without a content length', async () => {
    const body = new Uint8Array(MESSAGE_LIMITS.bytes + 1)
    expect((await post(body, CAR)).status).toBe(413)
    const stream = new Blob([body]).stream()
    const response = await post(stream, CAR)
    expect(response.status).toBe(413)
    expect(await response.text()).toContain(`${MESSAGE_LIMITS.bytes}`)
  })

  it('POST / of too many invocations → 413', async () => {
    const { api } = it_
    const many = await Promise.all(
      Array.from({ length: MESSAGE_LIMITS.invocations + 1 }, (_, n) =>
        invocation('x/y', { nonce: `${n}` }).buildIPLDView(),
      ),
    )
    const send = async (count: number) =>
      api.request('/', {
        method: 'POST',
        headers: { 'content-type': CAR },
        body: (await encodeMessage({ invocations: many.slice(0, count) as never })) as never,
      })
    expect((await send(MESSAGE_LIMITS.invocations)).status).toBe(200)
    expect((await send(MESSAGE_LIMITS.invocations + 1)).status).toBe(413)
  })

  it('POST / whose answer is too large: the invocations are left out first, then → 413', async () => {
    const tasks = (await Promise.all(
      ['a', 'b'].map(nonce =>
        invocation('test/wordy', { nonce, facts: [{ text: 'y'.repeat(1_000) }] }).buildIPLDView(),
      ),
    )) as unknown as Invocation[]
    const body = (await encodeMessage({ invocations: tasks })) as never
    const send = (answer: number) => {
      const { receipts } = it_
      const server = new Server({
        id: service,
        authority: new Authority(),
        handlers: handlers(() => receipts),
        receipts,
        log: () => {},
      })
      const limits = { ...MESSAGE_LIMITS, answer }
      const api = createHttpApp({ server, receipts, name: 'service', limits, log: () => {} })
      return api.request('/', { method: 'POST', headers: { 'content-type': CAR }, body })
    }
    const answered = async (answer: number) => {
      const message = messageIn(new Uint8Array(await (await send(answer)).arrayBuffer()))
      return tasks.map(({ cid }) => {
        const receipt = receiptIn(message, `${cid}`) as Receipt
        return { error: errorOf(receipt)?.name, ran: isDelegation(receipt.ran as never) }
      })
    }
    expect(await answered(10_000)).toEqual(Array(2).fill({ error: 'Wordy', ran: true }))
    expect(await answered(6_000)).toEqual(Array(2).fill({ error: 'Wordy', ran: false }))
    const refused = await send(2_000)
    expect(refused.status).toBe(413)
    expect(await refused.text()).toContain('Send fewer invocations')
  })

  it.each(['', 'x', '{}', '\0'.repeat(1000)])('POST / of an invalid message → 400: %j', async body => {
    const response = await post(body, CAR)
    expect(response.status).toBe(400)
    expect(await response.text()).not.toMatch(LEAK)
  })

  /** UCANs that no library creates. */
  it.each<[string, object]>([
    ['without capabilities', { att: [] }],
    ['with a capability of nothing', { att: [{}] }],
    ['with numbers for names', { att: [{ can: 7, with: 8, nb: 9 }] }],
    ['with names for nothing', { att: [{ can: 'test/pass', with: 'did:x', nb: null }] }],
    ['with an endless ability', { att: [{ can: `x/${'y'.repeat(100_000)}`, with: agent.did(), nb: {} }] }],
    ['with facts of nothing', { fct: [null, 1, []] }],
    ['with proofs that are not there', { prf: [piece] }],
    ['without a signature', { s: new Uint8Array() }],
    ['with half a signature', { s: new Uint8Array([0xed, 0xa1, 0x03, 0x40, 1, 2, 3]) }],
    ['of another version', { v: '99.0.0' }],
    ['that ends at no time', { exp: 'never' }],
    ['of nobody', { iss: new Uint8Array() }],
    ['of a key of another kind', { iss: new Uint8Array([1, 2, 3, 4]) }],
    ['for nobody', { aud: new Uint8Array([0x9d, 0x1a]) }],
  ])('POST / of an invocation %s is answered, never with a 5xx', async (_, changes) => {
    const good = await invocation('test/pass').buildIPLDView()
    const wrong = await CBOR.write({ ...(CBOR.decode(good.root.bytes as never) as object), ...changes })
    const root = await CBOR.write({ 'ucanto/message@7.0.0': { execute: [wrong.cid] } })
    const car = codec.encode({ roots: [root], blocks: new Map([[`${wrong.cid}`, wrong]]) } as never)
    const response = await post(car, CAR)
    expect(response.status, await response.clone().text()).toBeLessThan(500)
    expect(Buffer.from(await response.arrayBuffer()).toString('latin1')).not.toMatch(LEAK)
  })
})
