import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type CurioOptions, CurioProvider } from '@w3filecoin/local/curio-provider'
import { somePiece } from '@w3filecoin/testing'
import { privateKeyToAccount } from 'viem/accounts'
import { afterEach, describe, expect, it } from 'vitest'
import { dealIdOf, openCurioMaker } from '../src/makers/curio.ts'
import { authorize, delegatedAddress } from '../src/makers/curio-auth.ts'
import { type CurioTarget, curioTargetSchema } from '../src/makers/curio-target.ts'
import type { MakerOrder } from '../src/makers/maker.ts'

const ACCOUNT = privateKeyToAccount(`0x${'11'.repeat(32)}`)
const NOW = Date.parse('2026-11-25T23:30:42Z')
const SOURCE = 'https://dealer.example/aggregate/bafk'
const DEAL = '/market/mk20/deal'

const order = (fields: Partial<MakerOrder> = {}): MakerOrder => ({
  id: 'A'.repeat(43),
  aggregate: somePiece('aggregate', 30),
  group: 'did:web:storefront.test',
  createdAt: NOW - 5_000,
  ...fields,
})

describe('the maker for Curio', () => {
  const open: { close: () => Promise<void> }[] = []
  afterEach(() => Promise.all(open.splice(0).map(({ close }) => close())))

  /** Starts a provider and a maker for it. `lines` has the requests that the provider got. */
  const start = async (
    options: CurioOptions = {},
    { target = {}, skewMs = 0 }: { target?: Partial<CurioTarget>; skewMs?: number } = {},
  ) => {
    const lines: string[] = []
    const provider = new CurioProvider({ now: () => NOW, onRequest: line => lines.push(line), ...options })
    const { url, close } = await provider.listen()
    open.push({ close })
    const maker = openCurioMaker(
      { ...curioTargetSchema.parse({ url, miner: 'f01000' }), ...target },
      { account: ACCOUNT, fetch, now: () => NOW + skewMs },
    )
    return { provider, maker, lines, url, posts: () => lines.filter(line => line.startsWith('POST')) }
  }

  it('has an aggregate accepted as whole bytes by URL, and then only asks about the deal', async () => {
    const { provider, maker, lines } = await start()
    const id = dealIdOf(order())
    expect(await maker.advance(order(), SOURCE)).toMatchObject({
      state: 'storing',
      remote: id,
      message: expect.stringContaining('accepted'),
    })
    expect([...provider.deals.values()]).toEqual([
      {
        id,
        client: maker.client,
        miner: 'f01000',
        piece: order().aggregate,
        urls: [SOURCE],
        state: 'accepted',
      },
    ])
    await provider.step()
    expect(await maker.advance(order({ remote: id }), SOURCE)).toMatchObject({
      state: 'storing',
      message: expect.stringContaining('processing'),
    })
    expect(lines).toEqual([`POST ${DEAL} 200`, `GET /market/mk20/status/${id} 200`])
  })

  it.each([['none'], [500], [503]] as const)(
    'asks for the status if the answer is lost (%s) after the deal was made, and makes no second deal',
    async status => {
      const { provider, maker, posts } = await start()
      provider.faults.answer = { status, isLate: true, only: 'POST' }
      expect(await maker.advance(order(), SOURCE)).toMatchObject({ state: 'storing' })
      expect(posts()).toEqual([`POST ${DEAL} ${status}`])
      // The process ended before it stored the progress.
      provider.faults = {}
      expect(await maker.advance(order(), SOURCE)).toMatchObject({
        state: 'storing',
        remote: dealIdOf(order()),
      })
      expect(posts().at(-1)).toBe(`POST ${DEAL} 500`)
      expect(provider.deals.size).toBe(1)
    },
  )

  it.each([['none'], [500], [503], [408]] as const)(
    'sends the same deal again if the first request failed (%s), and the provider answers others but does not know it',
    async status => {
      const { provider, maker, lines } = await start()
      provider.faults.answer = { status, only: 'POST' }
      const id = dealIdOf(order())
      expect(await maker.advance(order(), SOURCE)).toMatchObject({ state: 'asked' })
      expect(lines).toEqual([
        `POST ${DEAL} ${status}`,
        `GET /market/mk20/status/${id} 401`,
        'GET /market/mk20/products 200',
      ])
      provider.faults = {}
      expect(await maker.advance(order(), SOURCE)).toMatchObject({ state: 'storing' })
      expect([...provider.deals.keys()]).toEqual([id])
    },
  )

  it('sends a deal again that the provider accepted and then lost', async () => {
    const { provider, maker } = await start()
    await maker.advance(order(), SOURCE)
    const [id] = provider.deals.keys()
    provider.deals.clear()
    expect(await maker.advance(order({ remote: id }), SOURCE)).toMatchObject({ state: 'storing', remote: id })
    expect([...provider.deals.keys()]).toEqual([id])
  })

  it('only asks about a deal that is not wanted any more', async () => {
    const { provider, maker, posts } = await start()
    expect(await maker.advance(order(), undefined)).toMatchObject({ state: 'asked' })
    expect(posts()).toEqual([])
    await maker.advance(order(), SOURCE)
    const [id] = provider.deals.keys()
    // With and without the answer that the dealer may have lost.
    for (const remote of [undefined, id])
      expect(await maker.advance(order({ remote }), undefined)).toMatchObject({
        state: 'storing',
        remote: id,
      })
    provider.deals.clear()
    expect(await maker.advance(order({ remote: id }), undefined)).toMatchObject({
      state: 'storing',
      message: expect.stringContaining('it was accepted'),
    })
    expect(posts()).toHaveLength(1)
  })

  it('does not send an accepted deal again while the provider cannot be asked', async () => {
    const { provider, maker, posts } = await start()
    await maker.advance(order(), SOURCE)
    const [remote] = provider.deals.keys()
    for (const status of ['none', 429, 500, 401] as const) {
      provider.faults.answer = { status }
      expect(await maker.advance(order({ remote }), SOURCE)).toMatchObject({ state: 'storing' })
    }
    expect(posts()).toHaveLength(1)
  })

  it('finds a deal that was made earlier although its repetition is refused', async () => {
    const { provider, maker } = await start()
    provider.faults.answer = { status: 'none', isLate: true }
    expect(await maker.advance(order(), SOURCE)).toMatchObject({ state: 'asked' })
    provider.products.ddo_v1 = false
    provider.faults.answer = { status: 503, only: 'GET' }
    expect(await maker.advance(order(), SOURCE), 'not known now').toMatchObject({ state: 'asked' })
    provider.faults = {}
    expect(await maker.advance(order(), SOURCE)).toMatchObject({ state: 'storing' })
  })

  it('blames the order for an invalid deal', async () => {
    const short = await start({}, { target: { durationEpochs: 518_399 } })
    expect(await short.maker.advance(order(), SOURCE)).toEqual({
      state: 'refused',
      blames: 'order',
      error: {
        name: 'DealRefused',
        message: `${short.url} (f01000): it answered 441 (products validation failed: duration must be at least 518400)`,
      },
    })
    const small = await start({ sectorBytes: 2 ** 34 })
    expect(await small.maker.advance(order(), SOURCE)).toMatchObject({
      state: 'refused',
      blames: 'order',
      error: { message: expect.stringContaining('400') },
    })
    expect(await small.maker.advance(order(), `https://dealer.example/${'a'.repeat(4_096)}`)).toMatchObject({
      state: 'refused',
      blames: 'order',
      error: { message: expect.stringContaining('url exceeds') },
    })
  })

  it('blames the target that does not accept the account, and names the account', async () => {
    const { maker, lines } = await start({ deniesUnknown: true })
    expect(await maker.advance(order(), SOURCE)).toMatchObject({
      state: 'refused',
      blames: 'target',
      error: { name: 'TargetUnauthorized', message: expect.stringContaining(maker.client) },
    })
    expect(lines.map(line => line.slice(-3))).toEqual(['401', '401', '401'])
    expect((await maker.check()).error).toMatchObject({ name: 'TargetUnauthorized' })
  })

  it('is refused with a clock that is two minutes off, and says so', async () => {
    for (const skewMs of [-120_000, 120_000]) {
      const { maker, provider } = await start({}, { skewMs })
      expect(await maker.advance(order(), SOURCE)).toMatchObject({
        state: 'refused',
        blames: 'target',
        error: { message: expect.stringContaining('clock differs from ours by 120 s') },
      })
      expect(provider.deals.size).toBe(0)
    }
    const { maker } = await start({}, { skewMs: -60_000 })
    expect(await maker.advance(order(), SOURCE)).toMatchObject({ state: 'storing' })
  })

  it('blames the target that does not take such deals now', async () => {
    const { provider, maker } = await start()
    expect((await maker.check()).ok?.message).toContain(
      `takes whole aggregates for f01000 from the client ${maker.client}`,
    )
    const off = { state: 'refused', blames: 'target', error: { name: 'TargetOff' } }
    provider.sources.http = false
    expect(await maker.advance(order(), SOURCE)).toMatchObject(off)
    expect((await maker.check()).error).toMatchObject({
      name: 'TargetOff',
      message: expect.stringContaining('it does not take http'),
    })
    provider.sources.http = true
    provider.products.ddo_v1 = false
    expect(await maker.advance(order(), SOURCE)).toMatchObject(off)
    delete provider.products.retrieval_v1
    provider.products.ddo_v1 = true
    expect(await maker.advance(order(), SOURCE)).toMatchObject(off)
    expect((await maker.check()).error?.message).toContain('it does not take retrieval_v1')
    provider.faults.answer = { status: 503 }
    expect((await maker.check()).error).toMatchObject({ name: 'TargetUnreachable' })
  })

  it('blames the target whose miner or address is wrong', async () => {
    const { maker } = await start({}, { target: { miner: 'f02000' } })
    const wrong = { state: 'refused', blames: 'target', error: { name: 'TargetRefuses' } }
    expect(await maker.advance(order(), SOURCE)).toMatchObject(wrong)
    const moved = await start()
    for (const status of [301, 403, 404]) {
      moved.provider.faults.answer = { status, only: 'POST' }
      expect(await moved.maker.advance(order(), SOURCE)).toMatchObject(wrong)
    }
  })

  it('does not follow a redirect to another address', async () => {
    const { provider, url } = await start()
    const server = createServer((request, response) =>
      response.writeHead(307, { location: `${url}${request.url}` }).end(),
    )
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    open.push({ close: () => new Promise(resolve => server.close(() => resolve())) })
    const { port } = server.address() as AddressInfo
    const moved = openCurioMaker(
      curioTargetSchema.parse({ url: `http://127.0.0.1:${port}`, miner: 'f01000' }),
      { account: ACCOUNT, fetch, now: () => NOW },
    )
    // Without an answer about the deal, it may exist: the order is not refused.
    expect(await moved.advance(order(), SOURCE)).toMatchObject({ state: 'asked' })
    expect((await moved.check()).error).toMatchObject({ name: 'TargetUnreachable' })
    expect(provider.deals.size).toBe(0)
  })

  it('waits as long as an overloaded provider asks for, within an hour', async () => {
    const { provider, maker } = await start()
    provider.faults.isOverloaded = true
    expect(await maker.advance(order(), SOURCE)).toMatchObject({ state: 'asked', retryAfterMs: 60_000 })
    provider.faults.answer = { status: 429, retryAfterSeconds: 7 }
    expect(await maker.advance(order(), SOURCE)).toMatchObject({ state: 'asked', retryAfterMs: 7_000 })
    provider.faults.answer = { status: 429, retryAfterSeconds: 1e9, only: 'POST' }
    expect(await maker.advance(order(), SOURCE)).toMatchObject({ state: 'asked', retryAfterMs: 3_600_000 })
    expect(provider.deals.size).toBe(0)
  })

  it('does not count the page of another server as an answer, nor reads it whole', async () => {
    const { provider, maker, url } = await start()
    const target = { ...curioTargetSchema.parse({ url, miner: 'f01000' }) }
    let sent = 0
    const page = async () =>
      new Response(
        new ReadableStream({
          pull: controller => {
            if (sent === 1_000) controller.close()
            else controller.enqueue(new Uint8Array(1_024).fill(0x41))
            sent++
          },
        }),
      )
    const strange = openCurioMaker(target, { account: ACCOUNT, fetch: page, now: () => NOW })
    expect(await strange.advance(order(), SOURCE)).toMatchObject({ state: 'asked' })
    expect(sent).toBeLessThan(200)
    expect((await strange.check()).error).toMatchObject({ name: 'TargetOff' })
    expect(provider.deals.size).toBe(0)
    expect(await maker.advance(order(), SOURCE)).toMatchObject({ state: 'storing' })
  })

  it('derives a ULID from the order that is the same at each step', () => {
    // The time of the first and its digits are in the specification of ULID; `ulid` 3.0.2 decodes the whole id.
    expect(dealIdOf({ id: 'A'.repeat(43), createdAt: 1_469_918_176_385 })).toBe('01ARYZ6S411W0771DPZ7ABFVNJ')
    expect(dealIdOf(order())).toBe(dealIdOf(order({ remote: 'x', group: 'other' })))
    expect(dealIdOf(order({ id: 'B'.repeat(43) })).slice(10)).not.toBe(dealIdOf(order()).slice(10))
    const ids = [0, 2 ** 48 - 1].map(createdAt => dealIdOf(order({ createdAt })))
    for (const id of ids) expect(id).toMatch(/^[0-7][0-9A-HJKMNP-TV-Z]{25}$/)
    expect(ids.map(id => id.slice(0, 10))).toEqual(['0000000000', '7ZZZZZZZZZ'])
    expect(() => dealIdOf(order({ createdAt: 2 ** 48 }))).toThrow(RangeError)
  })

  it('signs as the published libraries do', async () => {
    // The addresses are those of iso-filecoin 7.4.7, the signature is that of @noble/curves 2.4.0.
    const text = '410fdht6g5xhyij3pz7h4rwmocs52cdnv7zknv774ti'
    expect(delegatedAddress(ACCOUNT.address, 'f').text).toBe(`f${text}`)
    expect(delegatedAddress(ACCOUNT.address, 't').text).toBe(`t${text}`)
    expect(await authorize(ACCOUNT, { method: 'POST', path: DEAL, at: NOW })).toBe(
      'CurioAuth delegated:BAoZ5+N258ITt+fn5GzHCl3Qhtr/Kg==:A5nJtwc4qcrAJouDzTMa0HLwpGuo6oh76zcwdKwxKg5qSiSJ9EWh5QMZPdAAxuJD39W5/6MmageO7QtonIxCADEB',
    )
  })

  it('names its account in the form of the network', async () => {
    const { maker } = await start({ network: 't', miners: ['t01000'] }, { target: { miner: 't01000' } })
    expect(maker.client).toBe('t410fdht6g5xhyij3pz7h4rwmocs52cdnv7zknv774ti')
    expect(await maker.advance(order(), SOURCE)).toMatchObject({ state: 'storing' })
  })

  it('has settings that refuse plain http to other machines, paths, and short durations', () => {
    const valid = { url: 'https://curio.example', miner: 'f01000', durationEpochs: 1_555_200 }
    expect(curioTargetSchema.safeParse(valid).success).toBe(true)
    for (const url of ['http://127.0.0.1:4100', 'http://localhost:4100', 'http://[::1]:4100'])
      expect(curioTargetSchema.safeParse({ ...valid, url }).success, url).toBe(true)
    for (const wrong of [
      { url: 'http://curio.example' },
      { url: 'http://127.0.0.1.example' },
      { url: 'https://curio.example/market' },
      { url: 'https://user:pass@curio.example' },
      { url: 'https://curio.example?a=b' },
      { url: 'ftp://curio.example' },
      { miner: 'f1abc' },
      { miner: '01000' },
      { durationEpochs: 518_399 },
      { durationEpochs: 518_400.5 },
    ])
      expect(curioTargetSchema.safeParse({ ...valid, ...wrong }).success, JSON.stringify(wrong)).toBe(false)
  })
})
