import { createHash } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { devnet } from '@filoz/synapse-core/chains'
import { asPieceCID } from '@filoz/synapse-core/piece'
import { signAddPieces, signCreateDataSetAndAddPieces } from '@filoz/synapse-core/typed-data'
import { REVERTS } from '@w3filecoin/chain'
import { Chain, CONTRACTS } from '@w3filecoin/local/chain'
import { type PdpProvider, startPdpProvider } from '@w3filecoin/local/pdp-provider'
import { deposit, login, registerProvider } from '@w3filecoin/local/warm-storage'
import { createHasher } from '@w3filecoin/piece'
import { createClient, encodeErrorResult, type Hex, http } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { MakerOrder, Progress } from '../src/makers/maker.ts'
import { openPdpMaker, type PdpMaker, type PdpMakerConfig } from '../src/makers/pdp.ts'

const PAYER = `0x${'0A'.repeat(20)}` as const
const PAYEE = `0x${'0e'.repeat(20)}` as const
const KEY = `0x${'22'.repeat(32)}` as const
const SIGNER = privateKeyToAccount(KEY).address
const PROVIDER = { id: 3, address: `0x${'03'.repeat(20)}` } as const
const YEAR = 31_536_000

let chain: Chain
let provider: PdpProvider
let maker: PdpMaker
let rpc: string
/** The door from which the provider fetches, and the status of its answers. */
let door: { url: string; status: number; bytes: Map<string, Buffer> }
const open: (() => Promise<unknown>)[] = []

beforeEach(async () => {
  chain = new Chain()
  registerProvider(chain, PROVIDER.id, { payee: PAYEE })
  login(chain, { payer: PAYER, key: SIGNER, until: chain.timestampSeconds + YEAR })
  deposit(chain, { payer: PAYER, funds: 10n ** 18n })
  chain.advance(10)
  provider = await startPdpProvider({ chain, ...PROVIDER })
  const node = await chain.listen()
  rpc = node.url
  maker = openMaker()
  open.push(provider.close, node.close)
  door = await openDoor()
})
afterEach(() => Promise.all(open.splice(0).map(close => close())))

const openMaker = (more: Partial<PdpMakerConfig> = {}, request: typeof fetch = fetch): PdpMaker =>
  openPdpMaker(
    {
      rpc,
      chain: chain.chainId,
      service: CONTRACTS.service.toUpperCase().replace('0X', '0x'),
      payer: PAYER,
      provider: { id: PROVIDER.id, url: provider.url },
      ...more,
    },
    { fetch: request, sessionKey: KEY, maxRequestMs: 2_000 },
  )
const openMakerAt = (url: string) => openMaker({ provider: { id: PROVIDER.id, url } })

/** A provider that gives any answers. */
const openFake = async () => {
  const fake = {
    url: '',
    answer: (_: string): [status: number, text: string, headers?: Record<string, string>] => [200, '{}'],
  }
  const server = createServer((request, response) => {
    const [status, text, headers] = fake.answer(request.url ?? '')
    response.writeHead(status, headers).end(text)
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  open.push(() => new Promise(resolve => server.close(resolve)))
  fake.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
  return fake
}

const openDoor = async () => {
  const bytes = new Map<string, Buffer>()
  const state = { url: '', status: 200, bytes }
  const server = createServer((request, response) => {
    const content = bytes.get(request.url?.split('/').at(-1) ?? '')
    if (request.url?.startsWith('/piece/') && state.status === 200)
      response.writeHead(302, { location: `/object${request.url.slice('/piece'.length)}` }).end()
    else response.writeHead(content && state.status === 200 ? 200 : state.status).end(content)
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  open.push(
    () =>
      new Promise(resolve => {
        server.closeAllConnections()
        server.close(resolve)
      }),
  )
  state.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return state
}

/** An order for an aggregate with some bytes. */
const orderOf = (n: number, { group = 'did:web:a.example', id = `order ${n}` } = {}): MakerOrder => {
  const bytes = Buffer.alloc(127 * 8, n)
  const aggregate = createHasher().write(bytes).digest()
  door.bytes.set(`${aggregate}`, bytes)
  return { id, aggregate, group, createdAt: 1_764_000_000_000 }
}

/** Makes a step as the dealer does, which stores `remote`. */
const step = async (order: MakerOrder, by = maker): Promise<Progress> => {
  const progress = await by.advance(order, `${door.url}/piece/${order.aggregate}`)
  if (progress.state !== 'refused') order.remote = progress.remote
  return progress
}

/** Lets orders, the provider and the chain go on until each order has a place or is refused; at most for some rounds. */
const settle = async (orders: MakerOrder[], { rounds = 12, mines = true } = {}): Promise<Progress[]> => {
  let all: Progress[] = []
  for (let round = 0; round < rounds; round++) {
    all = await Promise.all(orders.map(order => step(order)))
    if (all.every(progress => isEnd(progress))) break
    await provider.pull()
    if (mines) await provider.mine()
    chain.advance(3)
  }
  return all
}
const isEnd = (progress: Progress) =>
  progress.state === 'refused' || (progress.state === 'storing' && progress.place !== undefined)
const placeOf = (dataSet: number, piece: number) => ({
  state: 'storing',
  place: { type: 'pdp', chain: chain.chainId, verifier: CONTRACTS.verifier, dataSet, piece },
})
/** @example permutations(['a', 'b']) // [['a', 'b'], ['b', 'a']] */
const permutations = (items: readonly string[]): string[][] =>
  items.length === 0
    ? [[]]
    : items.flatMap(item => permutations(items.filter(other => other !== item)).map(rest => [item, ...rest]))
/** Pieces on chain, by data set. */
const onChain = () => {
  const sets: number[] = []
  for (let id = 1; chain.dataSet(id); id++) sets.push(chain.pieces(id).length)
  return sets
}

describe('the maker of PDP orders', () => {
  it('creates the data set of a group with its first aggregate, and adds later ones to it', async () => {
    const [first, second, other] = [orderOf(1), orderOf(2), orderOf(3, { group: 'did:web:b.example' })]
    expect(await step(first)).toMatchObject({ state: 'storing', remote: 'pull' })
    await provider.pull()
    expect(await step(first)).toMatchObject({ state: 'storing', remote: 'add' })
    const sent = await step(first)
    expect(sent).toEqual({
      state: 'storing',
      message: 'The provider sent a transaction',
      remote: expect.stringMatching(/^\/pdp\/data-sets\/created\/0x[0-9a-f]{64}$/),
    })
    expect(await step(first)).toMatchObject({ message: 'The transaction is pending' })
    await provider.mine()
    expect(await step(first), 'not final').not.toHaveProperty('place')
    chain.advance(chain.lag)
    expect(await step(first)).toMatchObject(placeOf(1, 0))

    expect(await settle([second])).toMatchObject([placeOf(1, 1)])
    expect(await settle([other])).toMatchObject([placeOf(2, 0)])
    expect(provider.log).toContain('POST /pdp/data-sets/1/pieces 201')
    expect(onChain()).toEqual([2, 1])
  })

  it('signs the bytes of the published client, and the same ones in each request', async () => {
    const bodies: Record<string, { extraData: Hex }[]> = {}
    const listening = openMaker({}, (url, init) => {
      const { pathname } = new URL(`${url}`)
      if (init?.method === 'POST' && pathname.startsWith('/pdp/'))
        bodies[pathname] = [...(bodies[pathname] ?? []), JSON.parse(`${init.body}`)]
      return fetch(url, init)
    })
    const [first, second] = [orderOf(1), orderOf(2)]
    for (const order of [first, second])
      for (let round = 0; round < 6; round++) {
        await step(order, listening)
        await provider.pull()
        if (round > 2) await provider.mine()
        chain.advance(3)
      }
    expect(onChain()).toEqual([2])

    const client = createClient({
      account: privateKeyToAccount(KEY),
      transport: http(rpc),
      chain: {
        ...devnet,
        contracts: { ...devnet.contracts, fwss: { ...devnet.contracts.fwss, address: CONTRACTS.service } },
      },
    })
    const toNumber = (text: string) => BigInt(`0x${createHash('sha256').update(text).digest('hex')}`)
    const clientDataSetId = toNumber(
      JSON.stringify(['data set', chain.chainId, PAYER.toLowerCase(), PROVIDER.id, first.group, 0]),
    )
    const signed = (order: MakerOrder) => ({
      clientDataSetId,
      nonce: toNumber(order.id),
      pieces: [{ pieceCid: asPieceCID(`${order.aggregate}`)! }],
    })
    const create = await signCreateDataSetAndAddPieces(client, {
      ...signed(first),
      payer: PAYER.toLowerCase() as Hex,
      payee: PAYEE,
    })
    const add = await signAddPieces(client, signed(second))
    const pulled = bodies['/pdp/piece/pull']!.map(({ extraData }) => extraData)
    expect([...new Set(pulled)]).toEqual([create, add])
    expect(bodies['/pdp/data-sets/create-and-add']!.map(({ extraData }) => extraData)).toEqual([create])
    expect(bodies['/pdp/data-sets/1/pieces']!.map(({ extraData }) => extraData)).toEqual([add])
  })

  it('creates one data set for two first orders at once', async () => {
    const orders = [orderOf(1), orderOf(2)]
    await Promise.all(orders.map(order => step(order)))
    await provider.pull()
    for (let n = 0; n < 2; n++) await Promise.all(orders.map(order => step(order)))
    expect(provider.log.filter(line => line === 'POST /pdp/data-sets/create-and-add 201')).toHaveLength(2)
    await provider.mine()
    expect(onChain(), 'the second transaction reverted').toEqual([1])
    const ends = await settle(orders)
    // Either of them may be the first.
    for (const piece of [0, 1]) expect(ends).toContainEqual(expect.objectContaining(placeOf(1, piece)))
    expect(onChain()).toEqual([2])
  })

  it('waits for the data set of another order until it is final, and does not ask a provider that may not know it', async () => {
    const [first, second] = [orderOf(1), orderOf(2)]
    await settle([first], { rounds: 3 })
    const requests = provider.log.length
    expect(await step(second)).toEqual({
      state: 'asked',
      message: 'The data set 1 of the group is not final yet',
    })
    expect(provider.log).toHaveLength(requests)
    expect(await settle([first, second])).toMatchObject([placeOf(1, 0), placeOf(1, 1)])
  })

  it.each([
    ['POST /pdp/piece/pull'],
    ['POST /pdp/data-sets/create-and-add'],
    ['POST /pdp/data-sets/1/pieces'],
    ['GET /pdp/data-sets/'],
    [''],
  ])('stores an aggregate once though answers to %s are lost', async lost => {
    const [first, second] = [orderOf(1), orderOf(2)]
    for (const order of [first, second]) {
      provider.faults.loseAnswers = new RegExp(lost)
      await settle([order], { rounds: 5, mines: false })
      await provider.mine()
      delete provider.faults.loseAnswers
      expect(await settle([order])).toMatchObject([{ state: 'storing', place: { dataSet: 1 } }])
    }
    expect(onChain()).toEqual([2])
  })

  it('finds its piece on chain though no answer about the transaction ever arrives', async () => {
    const order = orderOf(1)
    provider.faults.loseAnswers = /data-sets/
    expect(await settle([order])).toMatchObject([placeOf(1, 0)])
    expect(order.remote).toBe('add')
    expect(onChain()).toEqual([1])
  })

  it('stores an aggregate once though the dealer never stores the path of a transaction', async () => {
    const order = orderOf(1)
    for (let round = 0; round < 8; round++) {
      await maker.advance(order, `${door.url}/piece/${order.aggregate}`)
      await provider.pull()
      order.remote = 'add'
    }
    await provider.mine()
    chain.advance(chain.lag)
    expect(await step(order)).toMatchObject(placeOf(1, 0))
    expect(onChain()).toEqual([1])
  })

  it('asks for a transaction again that failed', async () => {
    const order = orderOf(1)
    provider.faults.rejects = true
    await settle([order], { rounds: 3 })
    expect(order.remote).toMatch('/pdp/data-sets/created/')
    expect(await step(order)).toEqual({
      state: 'storing',
      message: 'The provider calls the transaction confirmed, and the chain does not have it',
      remote: 'add',
    })
    delete provider.faults.rejects
    expect(await settle([order])).toMatchObject([placeOf(1, 0)])
  })

  it('only follows an order whose copy is not wanted any more, and names a place that arises nevertheless', async () => {
    const posts = () => provider.log.filter(line => line.startsWith('POST'))
    const follow = async (order: MakerOrder) => maker.advance(order, undefined)
    const order = orderOf(1)
    expect(await follow(order)).toMatchObject({ state: 'asked' })
    expect(posts()).toEqual([])
    for (const remote of ['pull', 'add']) {
      await step(order)
      await provider.pull()
      const requests = posts().length
      expect(await follow(order)).toMatchObject({ state: 'storing', remote })
      expect(posts()).toHaveLength(requests)
    }
    await step(order)
    expect(await follow(order)).toMatchObject({ message: 'The transaction is pending' })
    await provider.mine()
    chain.advance(chain.lag)
    expect(await follow(order)).toMatchObject(placeOf(1, 0))
    expect(onChain()).toEqual([1])
  })

  it('waits for a late transaction, and asks for no second one', async () => {
    const order = orderOf(1)
    await settle([order], { mines: false })
    expect(order.remote).toMatch('/pdp/data-sets/created/')
    const { remote } = order
    for (const status of [429, 503]) {
      provider.faults.status = status
      expect(await step(order)).toMatchObject({ state: 'storing', remote })
    }
    delete provider.faults.status
    expect(provider.log.filter(line => line === 'POST /pdp/data-sets/create-and-add 201')).toHaveLength(1)
    expect(await settle([order])).toMatchObject([placeOf(1, 0)])
  })

  it('names no place before it is final: a reorganization of the chain removes it, and the aggregate is stored again', async () => {
    const order = orderOf(1)
    await settle([order], { rounds: 3, mines: false })
    const undo = chain.fork()
    await provider.mine()
    chain.advance(chain.lag - 1)
    expect(await step(order)).toMatchObject({ message: 'The transaction is not final yet' })
    undo()
    expect(onChain()).toEqual([])
    chain.advance(chain.lag * 2)
    expect(await step(order), 'the provider still calls it confirmed').not.toHaveProperty('place')
    expect(await settle([order])).toMatchObject([placeOf(1, 0)])
    expect(onChain()).toEqual([1])
  })

  it.each(permutations(['lost answers', 'a late transaction', 'a reorganization', 'lies']))(
    'names its place when it is final, and makes one copy, through %s, %s, %s and %s',
    async (...troubles) => {
      const order = orderOf(1)
      /** The epoch at which the copy came on chain. */
      let storedAt = Infinity
      const go = async (rounds: number, { mines = true } = {}) => {
        for (let round = 0; round < rounds; round++) {
          const progress = await step(order)
          if ('place' in progress) {
            expect(progress).toMatchObject(placeOf(1, 0))
            expect(chain.finalized).toBeGreaterThanOrEqual(storedAt)
          }
          await provider.pull()
          if (mines) await provider.mine()
          if (onChain().length > 0) storedAt = Math.min(storedAt, chain.head)
          chain.advance(1)
        }
      }
      const through: Record<string, () => Promise<void>> = {
        'lost answers': async () => {
          provider.faults.loseAnswers = /./
          await go(3)
          delete provider.faults.loseAnswers
        },
        'a late transaction': () => go(3, { mines: false }),
        'a reorganization': async () => {
          const undo = chain.fork()
          await go(chain.lag - 1)
          undo()
          if (onChain().length === 0) storedAt = Infinity
        },
        lies: async () => {
          provider.faults.lies = true
          await go(3)
          provider.faults.lies = false
        },
      }
      for (const trouble of troubles) await through[trouble]!()
      await go(20)
      expect(await step(order)).toMatchObject(placeOf(1, 0))
      expect(onChain()).toEqual([1])
    },
  )

  it.each([404, 503])(
    'loses an order whose bytes are answered %i once, and a new order succeeds',
    async status => {
      const order = orderOf(1)
      door.status = status
      await step(order)
      await provider.pull()
      door.status = 200
      expect(await settle([order])).toEqual([
        {
          state: 'refused',
          error: {
            name: 'PullFailed',
            message: `The provider failed to fetch ${order.aggregate}`,
          },
          blames: 'order',
        },
      ])
      expect(await settle([{ ...order, id: 'order 1, again', remote: undefined }])).toMatchObject([
        placeOf(1, 0),
      ])
    },
  )

  it('outlasts a door that answers 429: the provider tries again', async () => {
    const order = orderOf(1)
    door.status = 429
    await step(order)
    await provider.pull()
    expect(await step(order)).toMatchObject({ state: 'storing', remote: 'pull' })
    door.status = 200
    expect(await settle([order])).toMatchObject([placeOf(1, 0)])
  })

  it('waits as long as a busy provider demands', async () => {
    const order = orderOf(1)
    provider.faults.isBusy = true
    expect(await step(order)).toEqual({
      state: 'asked',
      message: 'The provider answered 429: pull queue backpressure',
      retryAfterMs: 60_000,
    })
    provider.faults.isBusy = false
    expect(await settle([order])).toMatchObject([placeOf(1, 0)])
  })

  it('blames the target for a session key that expired, and asks the provider for nothing', async () => {
    login(chain, { payer: PAYER, key: SIGNER, until: chain.timestampSeconds + 60 })
    expect(await step(orderOf(1))).toMatchObject({ state: 'storing' })
    const requests = provider.log.length
    chain.advance(3)
    expect(await step(orderOf(2))).toMatchObject({
      state: 'refused',
      error: { name: 'SessionKeyExpired' },
      blames: 'target',
    })
    expect(provider.log).toHaveLength(requests)
  })

  it('refuses no order for which a transaction may exist: it can still succeed', async () => {
    const order = orderOf(1)
    provider.faults.loseAnswers = /create-and-add/
    await settle([order], { rounds: 3, mines: false })
    login(chain, { payer: PAYER, key: SIGNER, until: chain.timestampSeconds - 60 })
    for (const status of [400, 401, 403, 404, 409, 413, 429, 500, undefined]) {
      if (status === undefined) delete provider.faults.status
      else provider.faults.status = status
      expect(await step(order), `${status}`).toMatchObject({ state: 'storing', remote: 'add' })
    }
    login(chain, { payer: PAYER, key: SIGNER, until: chain.timestampSeconds + YEAR })
    await provider.mine()
    expect(await settle([order])).toMatchObject([placeOf(1, 0)])
  })

  it('blames the target for missing funds', async () => {
    deposit(chain, { payer: PAYER, funds: 1n })
    expect(await step(orderOf(1))).toMatchObject({
      state: 'refused',
      error: { name: 'InsufficientLockupFunds' },
      blames: 'target',
    })
  })

  it.each([
    [400, 'refused', 'order'],
    [401, 'refused', 'target'],
    [403, 'refused', 'target'],
    [404, 'refused', 'target'],
    [409, 'asked', undefined],
    [413, 'refused', 'order'],
    [500, 'asked', undefined],
    [502, 'asked', undefined],
  ])('judges an answer %i to a new order as %s, and blames: %s', async (status, state, blames) => {
    provider.faults.status = status
    const progress = await step(orderOf(1))
    expect(progress.state).toBe(state)
    expect('blames' in progress ? progress.blames : undefined).toBe(blames)
  })

  it('begins another data set when that of the group has ended, and waits for the end on chain', async () => {
    const order = orderOf(1)
    await settle([order])
    provider.faults.lostDataSets = new Set([1])
    const next = orderOf(2)
    expect(await step(next)).toMatchObject({ state: 'asked', message: expect.stringMatching('answered 409') })
    chain.terminate(1, chain.head + 86_400)
    expect(await step(next), 'not final').toMatchObject({ state: 'asked' })
    chain.advance(chain.lag)
    expect(await settle([next])).toMatchObject([placeOf(2, 0)])

    chain.deleteDataSet(2)
    chain.advance(chain.lag)
    expect(await settle([orderOf(3)])).toMatchObject([placeOf(3, 0)])
  })

  it('names no place for a provider that lies about everything', async () => {
    const order = orderOf(1)
    provider.faults.lies = true
    for (const progress of await settle([order], { rounds: 20 })) expect(progress).not.toHaveProperty('place')
    provider.faults.lies = false
    expect(await settle([order])).toMatchObject([placeOf(1, 0)])
  })

  it('keeps the state of an order while the chain cannot be read', async () => {
    const [fresh, sent] = [orderOf(1), orderOf(2)]
    await settle([sent], { rounds: 3, mines: false })
    const { remote } = sent
    const requests = provider.log.length
    for (const faults of [{ status: 429 }, { chainId: 314 }, { nullRounds: new Set([chain.head]) }]) {
      chain.faults = faults
      expect(await step(fresh)).toMatchObject({ state: 'asked' })
      expect(await step(sent)).toMatchObject({ state: 'storing', remote })
    }
    expect(await step(fresh, openMaker({ rpc: 'http://127.0.0.1:9/' }))).toMatchObject({ state: 'asked' })
    expect(provider.log).toHaveLength(requests)
  })

  it('keeps the state of an order while the provider cannot be reached', async () => {
    const order = orderOf(1)
    const away = openMakerAt('http://127.0.0.1:9/')
    expect(await step(order, away)).toMatchObject({
      state: 'asked',
      message: expect.stringMatching('did not answer'),
    })
    await step(order)
    expect(await step(order, away)).toMatchObject({ state: 'storing', remote: 'pull' })
  })

  it('accepts no answer of another form', async () => {
    const fake = await openFake()
    const other = openMakerAt(fake.url)
    const order = orderOf(1)
    const complete = JSON.stringify({
      status: 'complete',
      pieces: [{ pieceCid: `${order.aggregate}`, status: 'complete' }],
    })
    const stranger = JSON.stringify({
      status: 'complete',
      pieces: [{ pieceCid: `${orderOf(2).aggregate}`, status: 'complete' }],
    })
    for (const text of ['', '[]', '{"pieces":7}', stranger, complete.padEnd(70_000), complete.slice(1)]) {
      fake.answer = () => [200, text]
      expect(await step(order, other), text.slice(0, 20)).toMatchObject({ state: 'asked' })
    }
    fake.answer = () => [302, '', { location: `${provider.url}pdp/piece/pull` }]
    expect(await step(order, other), 'redirect').toMatchObject({ state: 'asked' })
    fake.answer = () => [429, '', { 'retry-after': '1000000' }]
    expect(await step(order, other)).toMatchObject({ state: 'asked', retryAfterMs: 3_600_000 })
    fake.answer = () => [200, complete]
    expect(await step(order, other)).toMatchObject({ state: 'storing', remote: 'add' })
    const hash = `0x${'ab'.repeat(32)}`
    for (const location of [
      '',
      '/pdp/data-sets/created/0x12',
      `https://elsewhere.example/pdp/data-sets/created/${hash}`,
      `/admin/${hash}`,
      `/pdp/data-sets/../created/${hash}`,
    ]) {
      fake.answer = path => (path.includes('pull') ? [200, complete] : [201, '', { location }])
      expect(await step(order, other), location).toMatchObject({ state: 'storing', remote: 'add' })
    }
  })

  it.each([
    ['ClientDataSetAlreadyRegistered', 'asked', undefined],
    ['DataSetPaymentAlreadyTerminated', 'asked', undefined],
    ['InvalidSignature', 'refused', 'target'],
    ['OperatorNotApproved', 'refused', 'target'],
    ['MetadataArrayCountMismatch', 'refused', 'order'],
    ['SomeOtherError', 'refused', 'order'],
  ])('judges a quoted revert %s as %s, and blames: %s', async (name, state, blames) => {
    const fake = await openFake()
    const error = REVERTS.find(entry => entry.name === name)
    const args = error?.inputs.map(({ type }) => (type === 'address' ? PAYEE : 1n))
    const data = error ? encodeErrorResult({ abi: [error], errorName: name, args } as never) : '0x12345678'
    const hash = `0x${'ab'.repeat(32)}`
    for (const reason of [data, name]) {
      fake.answer = () => [400, `extraData validation failed (${hash}): revert reason=[${reason}]`]
      const progress = await step(orderOf(1), openMakerAt(fake.url))
      expect(progress.state).toBe(state)
      expect('blames' in progress ? progress.blames : undefined).toBe(blames)
    }
  })

  it('waits until the provider knows the data set', async () => {
    await settle([orderOf(1)])
    provider.faults.status = 404
    expect(await step(orderOf(2))).toMatchObject({ state: 'asked' })
  })

  it('trusts no view contract that answers in another form', async () => {
    await settle([orderOf(1)])
    const zeros = { pdpRailId: 7n, cacheMissRailId: 0n, cdnRailId: 0n, payer: PAYEE, payee: PAYEE }
    chain.record('getDataSet', [1n], {
      ...zeros,
      serviceProvider: PAYEE,
      commissionBps: 0n,
      clientDataSetId: 0n,
      pdpEndEpoch: 0n,
      providerId: 3n,
      pendingOneTimePayments: 0n,
      lifecycleReserveBalance: 0n,
      dataSetId: 1n,
    })
    chain.advance(chain.lag)
    expect(await step(orderOf(2))).toMatchObject({
      state: 'asked',
      message: expect.stringMatching('in another form'),
    })
  })

  it('has a data set for each provider', async () => {
    const far = { id: 4, address: `0x${'04'.repeat(20)}` } as const
    registerProvider(chain, far.id, { payee: PAYEE })
    chain.advance(10)
    const second = await startPdpProvider({ chain, ...far })
    open.push(second.close)
    const other = openMaker({ provider: { id: far.id, url: second.url } })
    const order = orderOf(1)
    await settle([order])
    const copy = { ...order, id: 'order 1, copy', remote: undefined }
    for (let round = 0; round < 5; round++) {
      await step(copy, other)
      await second.pull()
      await second.mine()
      chain.advance(3)
    }
    expect(await step(copy, other)).toMatchObject(placeOf(2, 0))
  })

  it('blames the target for a provider that the registry does not have', async () => {
    const other = openMaker({ provider: { id: 9, url: provider.url } })
    expect(await step(orderOf(1), other)).toMatchObject({
      state: 'refused',
      error: { name: 'ProviderNotRegistered' },
      blames: 'target',
    })
  })

  it('does not start with the key of the payer', () => {
    const config = { rpc, chain: 314, service: CONTRACTS.service, provider: { id: 3, url: provider.url } }
    expect(() => openPdpMaker({ ...config, payer: SIGNER }, { fetch, sessionKey: KEY })).toThrow(
      `The session key is the key of the payer ${SIGNER.toLowerCase()}`,
    )
  })

  it('reads the funds of the payer at a final block, and until when its key may sign', async () => {
    const until = BigInt(chain.timestampSeconds - 300 + YEAR)
    expect(await maker.readFunds()).toEqual({
      epoch: chain.head - chain.lag,
      timestampSeconds: chain.timestampSeconds - 30 * chain.lag,
      fundedUntilEpoch: 2n ** 256n - 1n,
      funds: 10n ** 18n,
      availableFunds: 10n ** 18n,
      ratePerEpoch: 0n,
      approval: {
        isApproved: true,
        rateAllowance: 2n ** 200n,
        rateUsage: 0n,
        lockupAllowance: 2n ** 200n,
        lockupUsage: 0n,
      },
      sessionKey: {
        address: SIGNER.toLowerCase(),
        createDataSetUntilSeconds: until,
        addPiecesUntilSeconds: until,
      },
    })
    await expect(openMaker({ chain: 314 }).readFunds()).rejects.toThrow('is a node of the chain')
  })

  it('checks that the chain can be read, and names the dates of the funds and of the key', async () => {
    const { ok } = await maker.check()
    expect(ok?.message).toMatch(
      /^The payer 0x(0a){20} is funded without an end\. The wallet 0x[0-9a-f]{40} may sign for it until \d{4}-\d\d-\d\d$/i,
    )
    expect((await openMaker({ chain: 314 }).check()).error).toMatchObject({
      name: 'ChainUnreadable',
      message: expect.stringContaining(rpc),
    })
    provider.faults.status = 503
    expect((await maker.check()).error).toMatchObject({
      name: 'TargetUnreachable',
      message: expect.stringContaining('503'),
    })
    delete provider.faults.status
    provider.faults.isDead = true
    expect((await maker.check()).error).toMatchObject({
      name: 'TargetUnreachable',
      message: expect.stringContaining('did not answer'),
    })
    delete provider.faults.isDead
    deposit(chain, { payer: PAYER, funds: 1n, untilEpoch: BigInt(chain.head + 86_400) })
    chain.advance(2_880)
    expect((await maker.check()).error).toMatchObject({
      name: 'FundsLow',
      message: expect.stringMatching(/The funds last for 29 days: deposit USDFC for the payer$/),
    })
    login(chain, { payer: PAYER, key: SIGNER, until: chain.timestampSeconds + 20 * 86_400 })
    chain.advance(10)
    expect((await maker.check()).error).toMatchObject({
      name: 'SessionKeyExpires',
      message: expect.stringMatching(/It ends in \d+ days.*The funds last for/),
    })
  })
})
