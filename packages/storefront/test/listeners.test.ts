import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo, LookupFunction } from 'node:net'
import type { Fact, Signer } from '@ucanto/interface'
import { hostFetch } from '@w3filecoin/aws'
import { failure, Tasks } from '@w3filecoin/capabilities'
import { type Receipt, receiveReceipts } from '@w3filecoin/client'
import { issueReceipt, postReceipt } from '@w3filecoin/runtime'
import { call, served, signerOf, someContent } from '@w3filecoin/testing'
import { afterEach, describe, expect, it } from 'vitest'
import { findAddress, listenerId } from '../src/domain/listener.ts'
import { createStorefront, type Dependencies } from '../src/index.ts'
import {
  ADMISSION,
  agent,
  aggregateOf,
  aws,
  clock,
  conclude,
  contents,
  dependencies,
  errorOf,
  offer,
  queuePieces,
  recordOf,
  settle,
  storefront,
  timing,
  uploadContent,
} from './setup.ts'

const MINUTE = 60_000
/** The pauses between attempts, each a little longer, and one more. */
const ALL_PAUSES = [2, 5, 17, 61, 241, 600]
const agents = await Promise.all(Array.from({ length: 11 }, (_, n) => signerOf(`agent ${n}`)))
const ADDRESS = 'https://agent.example/receipts'
const naming = (receiptsTo: unknown = ADDRESS): { facts: Fact[] } => ({ facts: [{ receiptsTo } as Fact] })

/** The requests that addresses got. */
const posted: { url: string; init: RequestInit }[] = []
/** How addresses answer. */
let answer: (request: Request) => Promise<Response> = async () => new Response(null, { status: 204 })
afterEach(() => {
  posted.splice(0)
  answer = async () => new Response(null, { status: 204 })
})

/** The storefront, which calls addresses of this file. */
const start = (more: Partial<Dependencies> = {}) => {
  const service = aws.host(
    createStorefront({
      ...dependencies,
      addresses: {
        allowPrivate: false,
        fetch: async (url, init) => {
          posted.push({ url, init: init! })
          return answer(new Request(url, init))
        },
      },
      ...more,
    }),
  )
  return {
    ...service,
    settle: () => aws.settle(service.consumers),
    sweepAfter: async (milliseconds: number) => {
      clock.now += milliseconds
      await service.schedules.sweep!()
      await aws.settle(service.consumers)
    },
    offer: async (...args: Parameters<typeof offer>) => (await call(service.api, await offer(...args)))[0]!,
  }
}
type Started = ReturnType<typeof start>

/** Takes a piece that was queued to the end of its workflow. */
const accept = async ({ settle }: Started, piece: Parameters<typeof aggregateOf>[0][number]) => {
  const aggregate = await aggregateOf([piece])
  await conclude(await aggregate.acceptPiece(piece))
  await conclude(await aggregate.acceptAggregate())
  await settle()
}

/** Receives with the client package, as an agent does. */
const receiver = (signer: Signer, onReceipt: (receipt: Receipt) => unknown) =>
  receiveReceipts({ signer, senders: [storefront.did()], onReceipt })

const listenersOf = async (content: Parameters<typeof recordOf>[0]) =>
  aws.table('listener').getMany(((await recordOf(content))?.listeners ?? []).map(id => ({ id })))

describe('an address in the facts of an offer', () => {
  it('gets the receipt of filecoin/accept, which receiveReceipts verifies', async () => {
    const service = start()
    const content = await uploadContent('pushed')
    const received: Receipt[] = []
    answer = receiver(agent, receipt => received.push(receipt))
    const offered = await service.offer(content, naming())
    await service.settle()
    expect(posted).toEqual([])
    await accept(service, content.piece)
    expect(received.map(({ out }) => out.ok)).toMatchObject([{ piece: content.piece }])
    expect(`${received[0]!.ran.link()}`).toBe(`${offered.fx.join?.link()}`)
    expect((await received[0]!.verifySignature(storefront.verifier)).error).toBeUndefined()
    expect(posted).toHaveLength(1)
    expect((posted[0]!.init.body as Uint8Array).byteLength).toBeLessThan(10_000)
    expect(await listenersOf(content)).toEqual([undefined])
    await service.sweepAfter(7 * 24 * 60 * MINUTE)
    await service.offer(content, naming())
    await service.settle()
    expect(posted).toHaveLength(1)
  })

  it('gets the receipt of a workflow that failed', async () => {
    const service = start()
    const content = await uploadContent('pushed failure')
    const other = await uploadContent('pushed failure, another piece')
    const received: Receipt[] = []
    answer = receiver(agent, receipt => received.push(receipt))
    await service.offer({ content: content.content, piece: other.piece }, naming())
    await service.settle()
    expect(received.map(({ out }) => out.error)).toMatchObject([{ name: 'InvalidContentPiece' }])
  })

  it('gets it after an outage, at pauses that grow, and not twice', async () => {
    const service = start()
    const content = await uploadContent('retried')
    await service.offer(content, naming())
    await service.settle()
    const received: Receipt[] = []
    const failures = [
      async () => {
        throw new TypeError('fetch failed')
      },
      async () => new Response('busy', { status: 503 }),
      receiver(agent, () => {
        throw new Error('the disk of the agent is full')
      }),
    ]
    answer = async request =>
      (failures[posted.length - 1] ?? receiver(agent, receipt => received.push(receipt)))(request)
    await accept(service, content.piece)
    expect(posted).toHaveLength(1)
    await aws.settle(service.consumers)
    await dependencies.queues.notify.send([{ id: (await recordOf(content))!.listeners![0]! }])
    await service.settle()
    expect(posted).toHaveLength(1)
    for (const [minutes, count] of [
      [1, 2],
      [3, 2],
      [1, 3],
      [14, 3],
      [2, 4],
      [600, 4],
    ] as const) {
      await service.sweepAfter(minutes * MINUTE)
      expect(posted).toHaveLength(count)
    }
    expect(received).toHaveLength(1)
    expect(await listenersOf(content)).toEqual([undefined])
  })

  it('is called six times at most, with no dead letter, and then abandoned with a log line', async () => {
    const lines: unknown[][] = []
    const service = start({ log: (...line) => lines.push(line) })
    const content = await uploadContent('dead address')
    await service.offer(content, naming('https://dead.example/?token=secret'))
    answer = async () => {
      throw new TypeError('fetch failed')
    }
    await service.settle()
    await accept(service, content.piece)
    for (const minutes of ALL_PAUSES) await service.sweepAfter(minutes * MINUTE)
    expect(posted).toHaveLength(6)
    expect(await listenersOf(content)).toEqual([undefined])
    const abandoned = lines.filter(([, event]) => event === 'receipt not delivered')
    expect(abandoned.map(([level, , fields]) => [level, fields])).toMatchObject([
      ['info', { url: 'https://dead.example/', attempts: 6 }],
    ])
    expect(JSON.stringify(lines)).not.toContain('secret')
  })

  it('gets it from the sweep if the run that ended the workflow was killed before its message', async () => {
    const service = start()
    const content = await uploadContent('lost message')
    await service.offer(content, naming())
    await service.settle()
    const aggregate = await aggregateOf([content.piece])
    await conclude(await aggregate.acceptPiece(content.piece))
    await conclude(await aggregate.acceptAggregate())
    await aws.deliver('outcome', service.consumers.outcome as never)
    expect((await recordOf(content))?.stage).toBe('accepted')
    expect(await aws.drain('notify')).toHaveLength(1)
    await service.settle()
    expect(posted).toEqual([])
    await service.sweepAfter(6 * 60 * MINUTE)
    expect(posted).toHaveLength(1)
  })

  it('gets it from the sweep if the run of the offer was killed before it changed the record', async () => {
    const content = await uploadContent('killed offer')
    const first = start()
    await first.offer(content)
    const { piece } = dependencies.stores
    const service = start()
    const killed = start({
      stores: {
        ...dependencies.stores,
        piece: {
          ...piece,
          get: key => piece.get(key),
          getMany: keys => piece.getMany(keys),
          replace: async () => {
            throw new Error('killed')
          },
        },
      },
    })
    expect(errorOf(await killed.offer(content, naming()))?.name).toBe('HandlerExecutionError')
    expect((await recordOf(content))?.listeners).toBeUndefined()
    await service.settle()
    await accept(service, content.piece)
    expect(posted).toEqual([])
    await service.sweepAfter(6 * 60 * MINUTE)
    expect(posted).toHaveLength(1)
  })

  it('gets it at once if the workflow has ended before', async () => {
    const service = start()
    const [content] = await queuePieces('named late')
    await accept(service, content.piece)
    expect(posted).toEqual([])
    await service.offer(content, naming())
    await service.settle()
    expect(posted.map(({ url }) => url)).toEqual([ADDRESS])
  })

  it('gets the receipt of the attempt that its offer promised, and a later attempt has separate addresses', async () => {
    const service = start()
    const content = await uploadContent('attempts')
    const bytes = contents.get(`${content.content}`)!
    contents.delete(`${content.content}`)
    const received: Receipt[] = []
    answer = receiver(agent, receipt => received.push(receipt))
    await service.offer(content, naming())
    await service.settle()
    await service.sweepAfter(timing.contentWaitMs)
    expect(received.map(({ out }) => (out.error as { name: string }).name)).toEqual(['ContentNotFound'])
    contents.set(`${content.content}`, bytes)
    await service.offer(content, naming())
    await service.settle()
    await accept(service, content.piece)
    expect(received.map(({ out }) => out.ok !== undefined)).toEqual([false, true])
  })
})

describe('several addresses', () => {
  it('two agents of one workflow each get an invocation that is addressed to them', async () => {
    const service = start()
    const content = await uploadContent('two agents')
    const received: string[] = []
    const receivers = agents
      .slice(0, 2)
      .map(
        (signer, n) =>
          [`https://agent-${n}.example/`, receiver(signer, () => received.push(signer.did()))] as const,
      )
    answer = async request => new Map<string, typeof answer>(receivers).get(request.url)!(request)
    for (const [n, [url]] of receivers.entries())
      await service.offer(content, { issuer: agents[n]!, ...naming(url) })
    await service.settle()
    await accept(service, content.piece)
    expect(received.sort()).toEqual(
      agents
        .slice(0, 2)
        .map(signer => signer.did())
        .sort(),
    )
    expect(posted).toHaveLength(2)
  })

  it('the eleventh address of a workflow is refused; without an address the offer gets its tasks', async () => {
    const service = start()
    const content = await uploadContent('eleven')
    for (const issuer of agents.slice(0, 10))
      expect(errorOf(await service.offer(content, { issuer, ...naming() }))).toBeUndefined()
    const refused = await service.offer(content, { issuer: agents[10]!, ...naming() })
    expect(errorOf(refused)?.name).toBe('TooManyReceiptsAddresses')
    expect(errorOf(await service.offer(content, { issuer: agents[10]! }))).toBeUndefined()
    expect(errorOf(await service.offer(content, { issuer: agents[0]!, ...naming() }))).toBeUndefined()
    expect((await recordOf(content))?.listeners).toHaveLength(10)
    await service.settle()
    await accept(service, content.piece)
    expect(posted).toHaveLength(10)
  })

  it('of ten concurrent offers beside nine addresses, one adds its address, and the others leave no row', async () => {
    const service = start()
    const content = await uploadContent('concurrent addresses')
    for (let n = 0; n < 9; n++) await service.offer(content, naming(`https://agent.example/${n}`))
    const urls = Array.from({ length: 10 }, (_, n) => `https://agent.example/late/${n}`)
    const answers = await Promise.all(urls.map(url => service.offer(content, naming(url))))
    expect(answers.filter(answer => errorOf(answer) === undefined)).toHaveLength(1)
    const task = `${(await service.offer(content)).fx.join!.link()}`
    const rows = await aws
      .table('listener')
      .getMany(urls.map(url => ({ id: listenerId({ task, audience: agent.did(), url }) })))
    expect(rows.filter(row => row !== undefined)).toHaveLength(1)
  })

  it('a space names at most as many new addresses a day as it may start workflows', async () => {
    const key = { owner: 'shared', day: new Date(clock.now).toISOString().slice(0, 10) }
    const counted = ((await aws.table('quota').get(key))?.addresses ?? 0) as number
    const offersPerDay = { listed: 0, shared: counted + 1 }
    const content = await uploadContent('quota of addresses')
    await start().offer(content)
    const bounded = start({ admission: { ...ADMISSION, offersPerDay } })
    expect(errorOf(await bounded.offer(content, naming('https://agent.example/1')))).toBeUndefined()
    expect(errorOf(await bounded.offer(content, naming('https://agent.example/2')))).toMatchObject({
      name: 'TooManyReceiptsAddresses',
      retryAt: expect.any(String),
    })
    expect(errorOf(await bounded.offer(content, naming('https://agent.example/1')))).toBeUndefined()
    expect(await aws.table('quota').get(key)).toMatchObject({ addresses: counted + 1 })
  })
})

describe('an invalid address', () => {
  it.each([
    ['plain HTTP', 'http://agent.example/receipts'],
    ['another protocol', 'file:///etc/passwd'],
    ['no URL', 'agent.example'],
    ['credentials', 'https://user:password@agent.example/'],
    ['more than 500 bytes', `https://agent.example/${'x'.repeat(500)}`],
    ['more than 500 bytes when encoded', `https://agent.example/${'ä'.repeat(200)}`],
    ['a number', 42],
    ['a list', [ADDRESS]],
    ['null', null],
  ])('fails an offer, which changes nothing: %s', async (name, address) => {
    const service = start()
    const content = await uploadContent(`invalid address: ${name}`)
    expect(errorOf(await service.offer(content, naming(address)))?.name).toBe('InvalidReceiptsAddress')
    expect(await recordOf(content)).toBeUndefined()
  })

  it('plain HTTP is allowed where private addresses are', async () => {
    const service = start({ addresses: { fetch: async () => new Response(), allowPrivate: true } })
    const content = await uploadContent('plain HTTP')
    expect(errorOf(await service.offer(content, naming('http://127.0.0.1:1/')))).toBeUndefined()
  })

  it('other facts of an offer mean nothing', async () => {
    const service = start()
    const content = await uploadContent('other facts')
    expect(errorOf(await service.offer(content, { facts: [{ note: 'x' }] }))).toBeUndefined()
    expect((await recordOf(content))?.listeners).toBeUndefined()
    expect(findAddress([null, 1, {}], { allowPrivate: false })).toEqual({ ok: undefined })
  })
})

describe('the guard of addresses', () => {
  const serve = async (listener: RequestListener) => {
    const server = createServer(listener)
    await once(server.listen(0, '127.0.0.1'), 'listening')
    const stop = async () => {
      server.closeAllConnections()
      await once(server.close(), 'close')
    }
    return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, stop }
  }
  const toLoopback: LookupFunction = (_, { all }, callback) =>
    all ? callback(null, [{ address: '127.0.0.1', family: 4 }]) : callback(null, '127.0.0.1', 4)

  /** Posts a receipt to the address. Returns why it was not delivered. */
  const deliver = async (url: string, fetch: ReturnType<typeof hostFetch>) => {
    const { content, piece } = await someContent('guarded')
    const task = await Tasks.filecoinAccept(storefront, { content, piece })
    const receipt = await issueReceipt(storefront, task, {
      out: { error: failure('ContentNotFound', 'gone') },
    })
    return postReceipt(receipt, { id: storefront, audience: agent.did(), url, fetch })
  }

  it('does not call private addresses, as literals or behind names', async () => {
    let asked = 0
    const { url, stop } = await serve((_, response) => {
      asked++
      response.end()
    })
    const { port } = new URL(url)
    const guarded = hostFetch({ allowPrivate: false, lookup: toLoopback })
    expect(await deliver(url, guarded)).toBe('127.0.0.1 has no public address')
    expect(await deliver(`http://agent.example:${port}/`, guarded)).toBe(
      'agent.example has no public address',
    )
    expect(asked).toBe(0)
    expect(await deliver(url, hostFetch({ allowPrivate: true }))).toBeUndefined()
    expect(asked).toBe(1)
    await stop()
  })

  it('does not follow redirects', async () => {
    const asked: string[] = []
    const { url, stop } = await serve((request, response) => {
      asked.push(`${request.method} ${request.url}`)
      response.writeHead(307, { location: '/elsewhere' }).end()
    })
    expect(await deliver(url, hostFetch({ allowPrivate: true }))).toBe('It answered 307')
    expect(asked).toEqual(['POST /'])
    await stop()
  })

  it('does not read a large answer to its end', async () => {
    let sent = 0
    const { url, stop } = await serve((_, response) => {
      response.writeHead(200)
      const send = () => {
        while (response.writable && sent < 50_000_000) {
          sent += 65_536
          if (!response.write(Buffer.alloc(65_536))) return void response.once('drain', send)
        }
      }
      send()
    })
    expect(await deliver(url, hostFetch({ allowPrivate: true }))).toBeUndefined()
    expect(sent).toBeLessThan(20_000_000)
    await stop()
  })
})

it('an offer without an address makes no further call, from the offer to the end', async () => {
  const calls: string[] = []
  const spy = <T extends object>(name: string, target: T): T =>
    new Proxy(target, {
      get: (of, method) => {
        const value = Reflect.get(of, method)
        return typeof value === 'function'
          ? (...args: unknown[]) => {
              calls.push(`${name}.${String(method)}`)
              return value.apply(of, args)
            }
          : value
      },
    })
  const { stores, queues } = dependencies
  const service = start({
    stores: { ...stores, listener: spy('listener', stores.listener), quota: spy('quota', stores.quota) },
    queues: { ...queues, notify: spy('notify', queues.notify) },
  })
  const content = await uploadContent('without an address')
  await service.offer(content)
  await service.settle()
  await accept(service, content.piece)
  expect((await recordOf(content))?.stage).toBe('accepted')
  expect(await served(service.api, `${(await service.offer(content)).fx.join!.link()}`)).toBeDefined()
  expect(calls).toEqual(['quota.get', 'quota.add'])
  await settle()
})
