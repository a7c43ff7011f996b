import { dealInfo, failure, Tasks } from '@w3filecoin/capabilities'
import {
  networkOf,
  type StandIn,
  signerOf,
  signersOf,
  somePiece,
  standIn,
  standInResources,
  startWorld,
  type World,
} from '@w3filecoin/testing'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import {
  Authority,
  type Check,
  COMMON_FORMATS,
  concludeHandler,
  concludeQuestion,
  type Finding,
  failing,
  fine,
  hasherCheck,
  listAll,
  openStores,
  ownDocumentChecks,
  Peer,
  type PeerConfig,
  peerChecks,
  provide,
  runChecks,
  type StoresOf,
} from '../src/index.ts'

const SERVICE = 'watching'
const MINUTE = 60_000
const { watcher, tracker, other } = await signersOf('watcher', 'tracker', 'other')

let world: World
let stores: StoresOf<typeof COMMON_FORMATS>
const clock = { now: 1_700_000_000_000 }
const now = () => clock.now

beforeAll(async () => {
  world = await startWorld()
  stores = openStores(await world.provide(standInResources(SERVICE)), COMMON_FORMATS, { now })
})
afterAll(() => world.stop())

describe('the schedule check', () => {
  const logged: unknown[][] = []
  const measured: unknown[][] = []
  /** The findings of the checks, by name. */
  let findings: Record<string, Finding | Error>

  const run = (elsewhere: string[] = []) =>
    runChecks({
      service: SERVICE,
      table: stores.health,
      now,
      log: (level, event, fields) => logged.push([level, event, (fields as { check: string }).check]),
      metrics: (...args) => void measured.push(args),
      checks: Object.keys(findings).map(
        (name): Check => ({
          name,
          check: name.startsWith('peer') ? 'peer' : 'source',
          run: async () => {
            const finding = findings[name]!
            if (finding instanceof Error) throw finding
            return finding
          },
        }),
      ),
      elsewhere,
    })()
  const rows = async () =>
    Object.fromEntries((await listAll(stores.health, SERVICE)).map(row => [row.name, row]))

  beforeEach(async () => {
    findings = {}
    await run()
    logged.splice(0)
    measured.splice(0)
  })

  it('stores each finding, and since when it is so', async () => {
    const start = clock.now
    findings = { 'peer a': fine('it answers'), 'source b': failing('Blind', 'it is blind') }
    await run()
    clock.now += MINUTE
    findings['peer a'] = fine('it answers again')
    findings['source b'] = failing('Gone', 'it is gone')
    await run()
    expect(await rows()).toMatchObject({
      'peer a': { check: 'peer', ok: true, message: 'it answers again', since: start, checkedAt: clock.now },
      'source b': { ok: false, problem: 'Gone', message: 'it is gone', since: clock.now },
    })
  })

  it('logs a failure when it begins and then once per hour, and its end', async () => {
    const failed = ['warn', 'check failed', 'peer a']
    findings = { 'peer a': failing('Gone', 'it is gone') }
    for (const minutes of [0, 5, 50, 10, 5]) {
      clock.now += minutes * MINUTE
      await run()
    }
    expect(logged).toEqual([failed, failed])
    findings['peer a'] = failing('Other', 'it is another one')
    await run()
    expect(logged).toEqual([failed, failed, failed])
    findings['peer a'] = fine('it answers')
    await run()
    await run()
    expect(logged.slice(3)).toEqual([['info', 'check passes again', 'peer a']])
  })

  it('counts the failed checks of each kind, also none', async () => {
    findings = { 'peer a': fine(''), 'source b': failing('Blind', ''), 'source c': failing('Blind', '') }
    await run()
    expect(measured).toEqual([
      [{ FailedChecks: 0 }, { check: 'peer' }],
      [{ FailedChecks: 2 }, { check: 'source' }],
    ])
  })

  it('removes the rows of checks that are no longer configured, except those that others record', async () => {
    findings = { 'peer a': fine(''), 'source b': fine(''), 'source c': fine('') }
    await run()
    findings = { 'source b': fine('') }
    await run(['source c'])
    expect(Object.keys(await rows())).toEqual(['source b', 'source c'])
  })

  it('goes on if a check ends with an error', async () => {
    findings = { 'peer a': new Error('a bug'), 'peer b': fine('') }
    await run()
    expect(await rows()).toMatchObject({
      'peer a': { ok: false, problem: 'CheckNotRun', message: 'The check ended with an error: a bug' },
      'peer b': { ok: true },
    })
    expect(logged[0]).toEqual(['error', 'check not run', 'peer a'])
  })
})

describe('the check of a peer', () => {
  const web = { did: 'did:web:tracker.test' as const, alias: 'did:web:former.test' as const }
  let peer: StandIn
  let listed = true
  /** Changes a response of the peer. */
  let change: (path: string, response: Response) => Response | Promise<Response>

  const network = networkOf(() => [peer])
  const fetch: typeof network = async (url, init) => change(new URL(url).pathname, await network(url, init))
  const tools = { service: 'dealer', fetch, now, didWeb: { fetch, allowPrivate: false } }

  beforeAll(async () => {
    const id = await signerOf('tracker', web.did)
    peer = await standIn(world, {
      name: 'tracker',
      id,
      authority: new Authority({ self: { did: web.did }, aliases: [web.alias] }),
      handlers: [
        provide(dealInfo, async () => ({
          out: { error: failure(listed ? 'DealNotFound' : 'UnknownClient', 'not in the setting clients') },
        })),
        concludeHandler({ authority: new Authority(), senders: { dealer: watcher.did() }, routes: {}, now }),
      ],
    })
  })
  beforeEach(() => {
    listed = true
    change = (_, response) => response
  })

  const keys = [tracker.toDIDKey()]
  const check = async (config: Partial<PeerConfig> = {}, options: object = {}, id = watcher) => {
    const full: PeerConfig = { did: web.did, url: peer.url, keys, ...config }
    const opened = new Peer(full, {
      authority: new Authority({ peers: { find: async did => (did === full.did ? full : undefined) } }),
      fetch,
    })
    const question = {
      ask: async () => [
        await Tasks.dealInfo(id, opened.principal, { piece: somePiece('none'), nonce: `${Math.random()}` }),
      ],
      refusals: ['UnknownClient'],
    }
    const [found] = peerChecks(
      { config: full, peer: opened, setting: 'dealTracker', question, ...options },
      tools,
    )
    return found!.run(undefined)
  }

  it('passes if it answers under its DID with a listed key, and lists the service', async () => {
    expect(await check()).toEqual({
      ok: true,
      message: `${web.did} answers at ${peer.url}, and lists the dealer`,
    })
  })

  it('does not exist for a peer without a URL', () => {
    expect(peerChecks({ config: { did: web.did }, peer: {} as Peer, setting: 'clients' }, tools)).toEqual([])
  })

  it('fails if the peer refuses the service', async () => {
    listed = false
    expect(await check()).toMatchObject({ ok: false, problem: 'NotListed' })
  })

  it('fails for another URL and for an answer with 5xx, and each message has the URL and the setting', async () => {
    const nowhere = await check({ url: 'https://nowhere.test' })
    expect(nowhere).toMatchObject({ ok: false, problem: 'PeerUnreachable' })
    for (const text of ['https://nowhere.test', 'dealTracker.url in the settings of the dealer'])
      expect(nowhere.message).toContain(text)
    change = () => new Response('', { status: 503 })
    expect((await check()).message).toContain('it answers 503')
  })

  it('fails for a page, unless the page signs receipts as the peer', async () => {
    const page = () => new Response('<h1>Hello</h1>', { headers: { 'content-type': 'text/html' } })
    change = () => page()
    expect(await check()).toMatchObject({ ok: false, problem: 'NotAService' })
    change = (path, response) =>
      path === '/' && response.headers.get('content-type')?.startsWith('application/json') ? page() : response
    expect(await check()).toMatchObject({ ok: true })
  })

  it('fails for another DID, and takes an alias of a peer that promises nothing', async () => {
    expect(await check({ did: other.did(), keys: undefined })).toMatchObject({
      ok: false,
      problem: 'AnotherDid',
      message: expect.stringContaining(`is ${web.did}, but dealTracker.did in the settings of the dealer is`),
    })
    expect(await check({ did: web.alias })).toMatchObject({ ok: false, problem: 'AliasOfPeer' })
    expect(await check({ did: web.alias }, { aliasIsFine: true })).toMatchObject({ ok: true })
  })

  it('fails if none of the listed keys is published, or the host of a did:web publishes none', async () => {
    expect(await check({ keys: [other.toDIDKey()] })).toMatchObject({ ok: false, problem: 'OtherKeys' })
    change = (path, response) =>
      path === '/.well-known/did.json' ? new Response('', { status: 404 }) : response
    expect(await check({ keys: undefined })).toMatchObject({ ok: false, problem: 'KeysUnreadable' })
    expect(await check()).toMatchObject({ ok: true })
  })

  it('fails if the clocks differ by more than five minutes', async () => {
    const at = (ms: number) => (_: string, response: Response) =>
      new Response(response.body, {
        status: response.status,
        headers: { ...Object.fromEntries(response.headers), date: new Date(clock.now + ms).toUTCString() },
      })
    change = at(4 * MINUTE)
    expect(await check()).toMatchObject({ ok: true })
    change = at(-12 * MINUTE)
    expect(await check()).toMatchObject({
      ok: false,
      problem: 'ClockSkew',
      message: expect.stringContaining('12 minutes behind that of the dealer'),
    })
  })

  it('says so if the vocabulary of the peer has no question', async () => {
    expect(await check({}, { question: 'draft-2 has no question for aggregators' })).toEqual({
      ok: true,
      message: `${web.did} answers at ${peer.url}. Whether it lists the dealer is not known: draft-2 has no question for aggregators`,
    })
  })

  it('asks whether a peer accepts receipts, with a receipt that no service has', async () => {
    const ask = async (id: typeof watcher) => {
      const opened = new Peer(
        { did: web.did, url: peer.url },
        {
          authority: new Authority({
            peers: { find: async () => ({ did: web.did, keys }) },
          }),
          fetch,
        },
      )
      return check({}, { question: concludeQuestion(id, opened) })
    }
    expect(await ask(watcher)).toMatchObject({ ok: true })
    expect(await ask(other)).toMatchObject({
      ok: false,
      problem: 'NotListed',
      message: expect.stringContaining('in its settings dealer, which its operator can change'),
    })
  })
})

describe('the check of the own DID document', () => {
  const did = 'did:web:dealer.test' as const
  const checkOwn = async (...keys: string[]) => {
    const id = await signerOf('watcher', did)
    const fetch = async () => {
      if (keys.length === 0) throw new TypeError('fetch failed', { cause: new Error('no such host') })
      return Response.json({
        id: did,
        verificationMethod: keys.map((key, n) => ({
          id: `${did}#${n}`,
          type: 'Multikey',
          controller: did,
          publicKeyMultibase: key.slice('did:key:'.length),
        })),
      })
    }
    const [found] = ownDocumentChecks(id, { service: 'dealer', now, didWeb: { fetch, allowPrivate: false } })
    return found!.run(undefined)
  }

  it('passes if the document has the present key', async () => {
    expect(await checkOwn(other.toDIDKey(), watcher.toDIDKey())).toMatchObject({ ok: true })
  })

  it('fails if the host is not served, or has another key', async () => {
    expect(await checkOwn()).toMatchObject({
      ok: false,
      problem: 'DocumentUnreachable',
      message: expect.stringContaining('fetch failed (no such host)'),
    })
    expect(await checkOwn(other.toDIDKey())).toMatchObject({ ok: false, problem: 'KeyNotPublished' })
  })

  it('does not exist for a did:key', () => {
    const didWeb = { fetch: async () => new Response(), allowPrivate: false }
    expect(ownDocumentChecks(watcher, { service: 'dealer', now, didWeb })).toEqual([])
  })
})

describe('the check of the hasher', () => {
  it('fails without the native module', async () => {
    expect(await hasherCheck('native', 'dealer').run(undefined)).toMatchObject({ ok: true })
    expect(await hasherCheck('wasm', 'dealer').run(undefined)).toMatchObject({
      ok: false,
      problem: 'HasherNotNative',
      message: expect.stringContaining('The dealer hashes pieces in WebAssembly'),
    })
  })
})
