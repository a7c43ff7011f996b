import type { DID } from '@ucanto/interface'
import { signersOf } from '@w3filecoin/testing'
import { beforeEach, describe, expect, it } from 'vitest'
import * as z from 'zod'
import {
  Authority,
  type Fetch,
  ListedPeers,
  mapPeers,
  PEER_CACHE,
  type PeerCheck,
  type PeerRecord,
  peerSchema,
  readPeer,
  recordFormat,
  type Stored,
} from '../src/index.ts'

const { one, two, web } = await signersOf('one', 'two', 'web')
const WEB = 'did:web:peer.example'

const lists = {
  storefronts: peerSchema.safeExtend({ piecesPerDay: z.number().optional() }),
  clients: peerSchema,
}

let now: number
/** The rows of the table, the DIDs that were read, and an error for the next read. */
let rows: PeerRecord[]
let reads: string[]
let failure: Error | undefined
/** Resolves when a read may end. */
let gate: Promise<void>
const logged: { event: string; fields: object }[] = []

beforeEach(() => {
  now = 1_000_000
  rows = []
  reads = []
  failure = undefined
  gate = Promise.resolve()
  logged.splice(0)
})

const row = (did: string, list: string, settings: object = {}): PeerRecord => ({
  ...settings,
  did: did as DID,
  list,
  addedAt: 1,
})
const open = ({
  configured = {},
  ...options
}: {
  configured?: { storefronts?: { did: DID; url?: string }[]; clients?: { did: DID }[] }
  check?: PeerCheck
  limits?: { milliseconds: number; entries: number }
} = {}) =>
  new ListedPeers({
    lists,
    configured: { storefronts: [], clients: [], ...configured },
    table: {
      list: async did => {
        reads.push(did)
        // A read returns the rows that the table has when the read begins.
        const found = rows.filter(row => row.did === did)
        await gate
        if (failure) throw failure
        return { items: found.map(row => ({ ...row, revision: 1 })) as Stored<PeerRecord>[] }
      },
    },
    now: () => now,
    log: (_, event, fields = {}) => void logged.push({ event, fields }),
    ...options,
  })

describe('a list of peers', () => {
  it('has the peers of the configuration without a read, and those win over rows', async () => {
    rows = [row(one.did(), 'storefronts', { url: 'https://row.example' })]
    const peers = open({ configured: { storefronts: [{ did: one.did() }] } })
    expect(await peers.in('storefronts').find(one.did())).toEqual({ did: one.did() })
    expect(reads).toEqual([])
  })

  it('has the peers of its rows, and not those of another list', async () => {
    rows = [row(one.did(), 'storefronts', { piecesPerDay: 5 })]
    const peers = open()
    expect(await peers.in('storefronts').find(one.did())).toEqual({ did: one.did(), piecesPerDay: 5 })
    expect(await peers.in('clients').find(one.did())).toBeUndefined()
    expect(
      await mapPeers(peers.in('storefronts'), ({ did }) => ({ did, called: true })).find(one.did()),
    ).toEqual({
      did: one.did(),
      called: true,
    })
  })

  it('reads nothing when it is opened, and one DID per question, whatever the size of the table', async () => {
    rows = Array.from({ length: 10_000 }, (_, n) => row(`did:web:${n}.example`, 'storefronts'))
    const peers = open()
    expect(reads).toEqual([])
    expect(await peers.in('storefronts').find('did:web:7.example')).toMatchObject({
      did: 'did:web:7.example',
    })
    expect(reads).toEqual(['did:web:7.example'])
  })

  it('keeps an answer for 30 s from the start of its read, also the answer that there is no peer', async () => {
    const peers = open().in('storefronts')
    expect(await peers.find(one.did())).toBeUndefined()
    rows = [row(one.did(), 'storefronts')]
    now += PEER_CACHE.milliseconds - 1
    expect(await peers.find(one.did())).toBeUndefined()
    now += 1
    expect(await peers.find(one.did())).toBeDefined()
    rows = []
    now += PEER_CACHE.milliseconds
    expect(await peers.find(one.did())).toBeUndefined()
    expect(reads).toHaveLength(3)
    expect(PEER_CACHE.milliseconds).toBeLessThanOrEqual(30_000)
  })

  it('keeps no answer that a clock took which was ahead and is correct again', async () => {
    const peers = open().in('storefronts')
    rows = [row(one.did(), 'storefronts')]
    now += 3_600_000
    expect(await peers.find(one.did())).toBeDefined()
    rows = []
    now -= 3_600_000
    expect(await peers.find(one.did())).toBeUndefined()
  })

  it('shares a read among concurrent questions, also of two lists and of the keys', async () => {
    rows = [row(one.did(), 'clients')]
    const peers = open()
    let open_: () => void = () => {}
    gate = new Promise(resolve => {
      open_ = resolve
    })
    const answers = Promise.all([
      peers.in('storefronts').find(one.did()),
      peers.in('clients').find(one.did()),
      peers.find(one.did()),
    ])
    open_()
    expect(await answers).toEqual([undefined, { did: one.did() }, { did: one.did() }])
    expect(reads).toEqual([one.did()])
  })

  it('throws if a read fails, and reads again at the next question', async () => {
    rows = [row(one.did(), 'storefronts')]
    const peers = open().in('storefronts')
    failure = new Error('The table is throttled')
    await expect(peers.find(one.did())).rejects.toThrow('The table is throttled')
    failure = undefined
    expect(await peers.find(one.did())).toBeDefined()
  })

  it('keeps the latest answers up to its bound', async () => {
    const peers = open({ limits: { milliseconds: 1_000, entries: 2 } }).in('storefronts')
    for (const name of ['a', 'b', 'c', 'b', 'c', 'a']) await peers.find(`did:web:${name}`)
    expect(reads).toEqual(['a', 'b', 'c', 'a'].map(name => `did:web:${name}`))
  })

  it.each([
    ['an invalid URL', { url: 'ftp://peer.example' }, 'url is "ftp://peer.example", but expected a URL'],
    ['an unknown setting', { piecesPerYear: 1 }, 'piecesPerYear is not a setting'],
    [
      'a key of another kind',
      { keys: ['did:key:z6MkndP2'] },
      'did:key:z6MkndP2 is not a DID that can be read',
    ],
    ['a problem that only the service knows', { url: 'https://odd.example' }, 'is odd'],
  ])('treats a row with %s as absent, and logs it', async (_, settings, problem) => {
    rows = [row(one.did(), 'storefronts', settings), row(one.did(), 'clients')]
    const check: PeerCheck = async ({ url }) => (url?.includes('odd') ? 'is odd' : undefined)
    const peers = open({ check })
    expect(await peers.in('storefronts').find(one.did())).toBeUndefined()
    expect(await peers.in('clients').find(one.did())).toBeDefined()
    expect(logged).toEqual([
      {
        event: 'peer not valid',
        fields: { peer: one.did(), list: 'storefronts', problem: expect.stringContaining(problem) },
      },
    ])
  })

  it('ignores rows of lists that only later code knows', async () => {
    rows = [row(one.did(), 'friends')]
    expect(await open().find(one.did())).toBeUndefined()
    expect(logged).toEqual([])
  })

  it('reads a did:web with a path only with its keys, as the configuration does', async () => {
    const odd = row('did:web:peer.example:path', 'clients')
    expect((await readPeer(lists.clients, odd)).problem).toContain('list them in "keys"')
    expect((await readPeer(lists.clients, { ...odd, keys: [two.did()] })).problem).toBeUndefined()
  })

  it('reads the rows that the first version of the format wrote', async () => {
    const stored = {
      v: 1,
      did: one.did(),
      list: 'clients',
      addedAt: 1_767_225_600_000,
      url: 'https://one.example',
    }
    const record = recordFormat<PeerRecord>().decode(stored)
    expect((await readPeer(lists.clients, record)).ok).toEqual({ did: one.did(), url: 'https://one.example' })
  })
})

describe('the authority', () => {
  const bytes = new TextEncoder().encode('signed')
  const verifies = async (authority: Authority, signer = web) =>
    authority.verifies(bytes, await signer.sign(bytes), WEB)
  const hosts: string[] = []
  const fetchDocument: Fetch = async url => {
    hosts.push(url)
    return Response.json({
      id: WEB,
      verificationMethod: [
        {
          id: '#key',
          type: 'Multikey',
          controller: WEB,
          publicKeyMultibase: web.toDIDKey().slice('did:key:'.length),
        },
      ],
      assertionMethod: ['#key'],
    })
  }
  const authorityOf = (peers: ListedPeers<typeof lists>) =>
    new Authority({
      peers,
      didWeb: { allowPrivate: false, fetch: fetchDocument, now: () => now, log: () => {} },
    })

  it('accepts the keys in the row of a did:web, and no others', async () => {
    rows = [row(WEB, 'clients', { keys: [web.toDIDKey()] })]
    const authority = authorityOf(open())
    expect(await verifies(authority)).toBe(true)
    expect(await verifies(authority, two)).toBe(false)
    expect(hosts).toEqual([])
  })

  it('asks the host of a did:web whose row has no keys, and not that of a DID without a row', async () => {
    const unlisted = authorityOf(open())
    expect(await verifies(unlisted)).toBe(false)
    expect(hosts).toEqual([])
    rows = [row(WEB, 'storefronts')]
    const listed = authorityOf(open())
    expect(await verifies(listed)).toBe(true)
    expect(hosts).toHaveLength(1)
  })
})
