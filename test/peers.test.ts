import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { decode } from '@ipld/dag-cbor'
import { Delegation } from '@ucanto/core'
import type { DID, Receipt, Signer } from '@ucanto/interface'
import { ed25519 } from '@ucanto/principal'
import { resources as aggregatorResources } from '@w3filecoin/aggregator/resources'
import { bind, openTables } from '@w3filecoin/aws'
import type { Failure } from '@w3filecoin/capabilities'
import {
  aggregator as connect,
  dealer as connectDealer,
  encodeDelegation,
  type OpenOffer,
  receiveReceipts,
  verifyInclusion,
} from '@w3filecoin/client'
import { placesOf } from '@w3filecoin/local/provision'
import { buildAggregate } from '@w3filecoin/piece'
import { linkOf, somePiece } from '@w3filecoin/testing'
import { afterAll, expect, test, vi } from 'vitest'
import type { Context } from '../packages/cli/src/context.ts'
import { envelopeOf, exitCodeOf, type Outcome, toReason } from '../packages/cli/src/outcome.ts'
import { createProgram } from '../packages/cli/src/program.ts'
import { ask, invoke } from './invoke.ts'
import { useSystem } from './system.ts'

/** The storefront of an aggregate that gets no deal: its pieces cannot be fetched. */
const brokered = await ed25519.generate()
const system = useSystem({
  configure: (role, config) =>
    role === 'dealer'
      ? { ...config, pieceSources: [{ storefront: brokered.did(), url: 'http://127.0.0.1:9/{piece}' }] }
      : config,
})
const { at } = system
const home = mkdtempSync(join(tmpdir(), 'peers-'))
afterAll(() => rmSync(home, { recursive: true, force: true }))

/** Runs a command of w3fil in this process: its envelope, and its exit code. */
const w3fil = async (...args: string[]) => {
  let ended: { command: string; outcome: Partial<Outcome> } | undefined
  const context = { env: process.env, cwd: home, now: Date.now } as unknown as Context
  const program = createProgram({
    run: async (command, work) => {
      const outcome = await work(context).catch(cause => ({ error: toReason(cause) }))
      ended = { command, outcome }
    },
    stream: async () => {},
  })
  await program.parseAsync(args, { from: 'user' })
  const { command, outcome } = ended!
  // biome-ignore lint/suspicious/noExplicitAny: the result depends on the command
  const envelope: { ok: boolean; command: string; error?: any; result?: any } = envelopeOf(command, outcome)
  return { code: exitCodeOf(outcome.error), ...envelope }
}
const run = (...args: string[]) => w3fil(...args, '--data', system.data)
const must = async (...args: string[]) => {
  const ended = await run(...args)
  expect(ended).toMatchObject({ ok: true, command: args.slice(0, 2).join(' ') })
  return ended.result
}
const errorOf = ({ out }: Receipt) => out.error as Failure | undefined

let pieces = 0
const offer = (issuer: Signer, { piece = somePiece(`peers ${pieces++}`), did = issuer.did() } = {}) =>
  ask(at('aggregator'), {
    issuer,
    can: 'piece/offer',
    with: did as DID,
    nb: { piece, group: 'peers' },
  })

/** The longest time until a change is in force everywhere. */
const IN_FORCE_MS = 60_000

/** Starts a server that receives receipts as a storefront; see docs/run-a-storefront.md. */
const startReceiver = async (signer: Signer) => {
  const received: { can: string; task: string; receipt: Receipt }[] = []
  const handle = receiveReceipts({
    signer,
    senders: [at('aggregator').did, at('dealer').did],
    onReceipt: async (receipt, task) => {
      const { can } = task.capabilities[0]!
      if (can === 'piece/accept') expect(verifyInclusion(receipt.out.ok as never).error).toBeUndefined()
      received.push({ can, task: `${task.cid}`, receipt: receipt as never })
    },
  })
  const server = createServer(async (incoming, response) => {
    const { method, headers } = incoming
    const body = method === 'POST' ? await buffer(incoming) : null
    const request = new Request('http://storefront.example/', { method, headers, body } as RequestInit)
    const answer = await handle(request)
    response.writeHead(answer.status, Object.fromEntries(answer.headers)).end(await answer.bytes())
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return { url: `http://127.0.0.1:${port}`, received, stop: () => server.close() }
}

test.concurrent('a storefront that w3fil lists offers 1,000 pieces, gets their receipts delivered, and is refused within a minute after its removal', async () => {
  const signer = await ed25519.generate()
  const receiver = await startReceiver(signer as Signer)
  try {
    const { change } = await must('storefront', 'add', signer.did(), '--url', receiver.url)
    expect(change).toBe('added')
    const offered = Array.from({ length: 1_000 }, (_, n) => somePiece(`of a thousand ${n}`))
    const w3 = await connect(at('aggregator').url, { signer })
    const tasks = new Map<string, string>()
    const aggregated = new Set<string>()
    for await (const event of w3.offerAll(offered, { group: 'a thousand', until: 'aggregated' })) {
      if (event.stage === 'queued') tasks.set(`${event.piece}`, event.task)
      if (event.stage === 'aggregated') aggregated.add(`${event.piece}`)
    }
    expect([tasks.size, aggregated.size]).toEqual([1_000, 1_000])
    await vi.waitFor(
      () => {
        const delivered = new Set(receiver.received.map(({ task }) => task))
        expect([...tasks.values()].filter(task => !delivered.has(task))).toEqual([])
      },
      { timeout: 60_000, interval: 500 },
    )

    await must('storefront', 'rm', signer.did())
    const removedAt = Date.now()
    await vi.waitFor(async () => expect(errorOf(await offer(signer))?.name).toBe('UnknownStorefront'), {
      timeout: IN_FORCE_MS,
      interval: 1_000,
    })
    expect(Date.now() - removedAt).toBeLessThan(IN_FORCE_MS)
  } finally {
    receiver.stop()
  }
})

test.concurrent('a storefront that asked before it was listed is accepted within a minute', async () => {
  const signer = await ed25519.generate()
  const refusal = errorOf(await offer(signer))
  expect(refusal?.name).toBe('UnknownStorefront')
  expect(refusal?.message).toContain(`\`w3fil storefront add ${signer.did()}\``)
  await must('storefront', 'add', signer.did())
  await vi.waitFor(async () => expect(errorOf(await offer(signer))).toBeUndefined(), {
    timeout: IN_FORCE_MS,
    interval: 1_000,
  })
})

test.concurrent('a did:web is listed with its keys, and no other key signs for it', async () => {
  const did = 'did:web:keyed.example'
  const [key, other] = [await ed25519.generate(), await ed25519.generate()]
  await must('storefront', 'add', did, '--key', key.did())
  expect(errorOf(await offer(key.withDID(did)))).toBeUndefined()
  const forged = await offer(other.withDID(did))
  expect(errorOf(forged)).toBeDefined()
})

test.concurrent('a storefront with --pieces-per-day is refused beyond it, and a repeated offer does not count', async () => {
  const signer = await ed25519.generate()
  await must('storefront', 'add', signer.did(), '--pieces-per-day', '2')
  const [one, two, three] = [1, 2, 3].map(n => somePiece(`bounded ${n}`))
  for (const piece of [one, two, one, two]) expect(errorOf(await offer(signer, { piece }))).toBeUndefined()
  expect(errorOf(await offer(signer, { piece: three }))).toMatchObject({
    name: 'TooManyPieces',
    message: expect.stringContaining('piecesPerDay'),
    retryAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT00:00:00\.000Z$/),
  })
})

test.concurrent('a row that the schema rejects counts as absent, is shown by ls, and no other storefront notices', async () => {
  const [signer, well] = [await ed25519.generate(), await ed25519.generate()]
  const places = placesOf({ resources: aggregatorResources, service: 'aggregator', sqs: 'http://sqs' })
  const aws = bind(aggregatorResources, places, await openTables(system.local.engines.env))
  const row = { did: signer.did(), list: 'storefronts', url: 'ftp://odd', addedAt: 1, v: 1 }
  await aws.table('peer').putMany([row])
  await must('storefront', 'add', well.did())
  expect(errorOf(await offer(signer))?.name).toBe('UnknownStorefront')
  expect(errorOf(await offer(well))).toBeUndefined()
  const { peers } = await must('storefront', 'ls', '--limit', '10000')
  const shown = peers.find(({ did }: { did: string }) => did === signer.did())
  expect(shown.problem).toContain('url is "ftp://odd", but expected a URL')
})

const offerAggregate = (
  issuer: Signer,
  { storefront, proofs = [] }: { storefront: string; proofs?: never[] },
) =>
  invoke(at('dealer'), {
    issuer,
    can: 'aggregate/offer',
    with: (proofs.length > 0 ? storefront : issuer.did()) as DID,
    nb: { aggregate: somePiece('any aggregate'), pieces: linkOf(new TextEncoder().encode('any list')) },
    facts: [{ storefront }],
    proofs,
  })

test.concurrent('an aggregator that w3fil lists may name its tenants, and a storefront listed at the dealer authorizes its deals', async () => {
  const [signer, tenant, stranger, own] = await Promise.all(
    Array.from({ length: 4 }, () => ed25519.generate()),
  )
  await must('aggregator', 'add', signer!.did(), '--tenant', tenant!.did())
  // Authorized, and refused because the list of pieces is missing.
  const authorized = 'InvalidPiece'
  expect(errorOf(await offerAggregate(signer!, { storefront: tenant!.did() }))?.name).toBe(authorized)
  const refusal = errorOf(await offerAggregate(signer!, { storefront: stranger!.did() }))
  expect(refusal).toMatchObject({
    name: 'TenantNotListed',
    message: expect.stringContaining('w3fil aggregator add --tenant'),
  })
  expect(errorOf(await offerAggregate(stranger!, { storefront: stranger!.did() }))?.message).toContain(
    `\`w3fil aggregator add ${stranger!.did()}\``,
  )
  await must('storefront', 'add', own!.did(), '--at', 'dealer')
  const delegation = await Delegation.delegate({
    issuer: own!,
    audience: signer!,
    capabilities: [{ can: 'aggregate/offer', with: own!.did() }],
    expiration: Infinity,
  })
  const proofs = [delegation] as never[]
  expect(errorOf(await offerAggregate(signer!, { storefront: own!.did(), proofs }))?.name).toBe(authorized)
  // The list of the dealer is not that of the aggregator.
  expect(errorOf(await offer(own!))?.name).toBe('UnknownStorefront')
})

test.concurrent('a client that w3fil lists may ask the deal tracker', async () => {
  const [signer, stranger] = [await ed25519.generate(), await ed25519.generate()]
  const question = (issuer: Signer) =>
    invoke(at('dealTracker'), { issuer, can: 'deal/info', nb: { piece: somePiece('any') } })
  await must('client', 'add', signer.did())
  expect(errorOf(await question(signer))?.name).toBe('DealNotFound')
  expect(errorOf(await question(stranger))).toMatchObject({
    name: 'UnknownClient',
    message: expect.stringContaining(`\`w3fil client add ${stranger.did()}\``),
  })
})

test.concurrent('K14: a broker that w3fil lists reads the open offers, and reports places and failures', async () => {
  const [broker, stranger] = await Promise.all([ed25519.generate(), ed25519.generate()])
  await must('aggregator', 'add', brokered.did())
  await must('broker', 'add', broker.did())
  const connectAs = (signer: Signer) => connectDealer(at('dealer').url, { signer })
  const { ok } = buildAggregate({ pieces: [somePiece('brokered', 4)], size: 2 ** 15 })
  const { aggregate, pieces } = { aggregate: ok!.link, pieces: ok!.pieces }
  await (await connectAs(brokered)).offer(aggregate, pieces)

  const dealer = await connectAs(broker)
  const found: OpenOffer[] = []
  let after: string | undefined
  do {
    const page = await dealer.list({ after, limit: 10 })
    found.push(...page.aggregates)
    after = page.next
  } while (after !== undefined)
  const opened = found.find(offer => `${offer.aggregate}` === `${aggregate}`)!
  expect(opened).toMatchObject({
    tenant: brokered.did(),
    collection: opened.group,
    source: 'http://127.0.0.1:9/{piece}',
  })
  const block = new Uint8Array(await (await fetch(opened.piecesUrl)).arrayBuffer())
  expect(`${linkOf(block, 0x71)}`).toBe(`${opened.pieces}`)
  expect(decode(block)).toEqual(pieces)

  const place = { type: 'sector', miner: 'f01000', sector: 77 } as const
  expect(await dealer.reportPlace(opened.offer, place)).toMatchObject({
    stage: 'offered',
    asOf: expect.any(Array),
  })
  const refused = await connectAs(stranger)
  const fault = {
    message: 'One piece is invalid',
    invalid: [{ piece: pieces[0]!, message: 'No content has it' }],
  }
  for (const attempt of [() => refused.list(), () => refused.reportFault(opened.offer, fault)])
    await expect(attempt()).rejects.toMatchObject({
      code: 'UnknownBroker',
      message: expect.stringContaining(`\`w3fil broker add ${stranger.did()}\``),
    })
  expect(await dealer.reportFault(opened.offer, fault)).toEqual({ stage: 'offered' })
  await vi.waitFor(
    async () => expect(await dealer.reportFault(opened.offer, fault)).toEqual({ stage: 'failed' }),
    { timeout: 60_000, interval: 200 },
  )
})

test.concurrent('the commands report each change, and change nothing by accident', async () => {
  const did = (await ed25519.generate()).did()
  expect(await must('client', 'add', did)).toMatchObject({
    service: 'deal-tracker',
    list: 'clients',
    change: 'added',
    peer: { did },
  })
  expect((await must('client', 'add', did)).change).toBe('none')
  const key = (await ed25519.generate()).did()
  const differs = await run('client', 'add', did, '--key', key)
  expect([differs.code, differs.error.code, differs.error.hint]).toEqual([
    1,
    'AlreadyListed',
    expect.stringContaining('--replace'),
  ])
  expect((await must('client', 'add', did, '--key', key, '--replace')).change).toBe('replaced')
  const { peers } = await must('client', 'ls')
  expect(peers).toContainEqual({ did, keys: [key], addedAt: expect.any(Number) })
  const few = await must('client', 'ls', '--limit', '1')
  expect([few.peers.length, (await must('client', 'ls')).more]).toEqual([1, false])
  expect(await must('client', 'rm', did)).toMatchObject({ did, removed: true })
  const gone = await run('client', 'rm', did)
  expect([gone.code, gone.error.code]).toEqual([1, 'NotFound'])
})

test.concurrent.each([
  [
    'a text that is not a DID',
    ['client', 'add', 'storefront.example'],
    'did is "storefront.example", but expected a DID',
  ],
  ['a did:key that cannot be read', ['client', 'add', 'did:key:z6MkndP2'], 'is not a DID that can be read'],
  [
    'a text that is not a web address',
    ['storefront', 'add', 'did:key:z6MkndP2', '--url', 'ftp://x'],
    'url is "ftp://x"',
  ],
  [
    'a setting of the aggregator at the dealer',
    ['storefront', 'add', 'did:key:z6MkndP2', '--at', 'dealer', '--pieces-per-day', '1'],
    'The dealer has no setting piecesPerDay for its storefronts',
  ],
])('%s is a wrong command line', async (_, args, message) => {
  const { code, error } = await run(...args)
  expect([code, error.message]).toEqual([2, expect.stringContaining(message)])
})

test.concurrent.each([
  ['http://storefront.example', 'is not https'],
  ['https://127.0.0.1', 'has no public address'],
  ['https://[fd00::1]', 'has no public address'],
  ['https://localhost', 'has no public address'],
])('a stage does not take the address %s', async (url, reason) => {
  const { did } = at('storefront')
  const { code, error } = await w3fil('storefront', 'add', did, '--url', url, '--stage', 'production')
  expect([code, error.message]).toEqual([2, expect.stringContaining(reason)])
})

test.concurrent('a delegation of a storefront is checked when it is added', async () => {
  const [signer, other] = [await ed25519.generate(), await ed25519.generate()]
  const save = async (name: string, audience: string) => {
    const delegation = await Delegation.delegate({
      issuer: signer,
      audience: { did: () => audience as DID },
      capabilities: [{ can: 'aggregate/offer', with: signer.did() }],
      expiration: Infinity,
    } as never)
    const path = join(home, name)
    await writeFile(path, await encodeDelegation(delegation as never))
    return path
  }
  const wrong = await save('wrong.delegation', other.did())
  const refused = await run('storefront', 'add', signer.did(), '--delegation', wrong)
  expect([refused.code, refused.error.message]).toEqual([
    2,
    expect.stringContaining(
      `delegation is for ${other.did()}, but this aggregator is ${at('aggregator').did}`,
    ),
  ])
  const right = await save('right.delegation', at('aggregator').did)
  expect((await must('storefront', 'add', signer.did(), '--delegation', right)).change).toBe('added')
})
