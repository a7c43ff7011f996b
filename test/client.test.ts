import { execFile } from 'node:child_process'
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import * as Storacha from '@storacha/filecoin-client'
import { connect as connectTo } from '@ucanto/client'
import type { Invocation, Receipt, Signer } from '@ucanto/interface'
import { ed25519 } from '@ucanto/principal'
import { CAR, HTTP } from '@ucanto/transport'
import {
  type AddEvent,
  aggregator,
  connect,
  dealer,
  dealTracker,
  decodeDelegation,
  delegate,
  encodeDelegation,
  followChain,
  type PieceEvent,
  Proof,
  receiveReceipts,
  type Service,
  verify,
} from '@w3filecoin/client'
import { buildAggregate } from '@w3filecoin/piece'
import { encodeMessage, issueReceipt } from '@w3filecoin/runtime'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { randomContent, upload } from './content.ts'
import { awaitReceipt } from './receipts.ts'
import { snippetsIn } from './snippets.ts'
import { useSystem } from './system.ts'

/** `@w3filecoin/client` against the running services, and its package as it is published. */

const CLIENT = fileURLToPath(new URL('../packages/client/', import.meta.url))

const [faulty, ...sound] = await Promise.all([1, 2, 3].map(n => randomContent(20_000 + n)))

/** A storefront of another author, which only receives receipts. */
const receiver = (await ed25519.generate()) as Signer
const received: { receipt: Receipt; task: Invocation }[] = []
let senders: string[] = []
const server = createServer(async (incoming, response) => {
  const handle = receiveReceipts({
    signer: receiver,
    senders,
    onReceipt: (receipt, task) => received.push({ receipt: receipt as Receipt, task }),
  })
  const answer = await handle(
    new Request('http://127.0.0.1/', {
      method: incoming.method!,
      headers: { 'content-type': incoming.headers['content-type'] ?? '' },
      ...(incoming.method === 'POST' && { body: await buffer(incoming) }),
    }),
  )
  response.writeHead(answer.status, Object.fromEntries(answer.headers)).end(await answer.bytes())
})
await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
afterAll(() => server.close())

const system = useSystem({
  faulty: [`${faulty!.piece}`],
  configure: (role, config) => {
    const own = { did: receiver.did(), url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }
    return role === 'aggregator' ? { ...config, storefronts: [...config.storefronts, own] } : config
  },
})
const { at } = system

const newSigner = async () => (await ed25519.generate()) as Signer
const connectHere = async (options: Parameters<typeof connect>[1] = {}) =>
  connect(at('storefront').url, { signer: await newSigner(), ...options })
const bytesOf = async (size: number) => (await randomContent(size)).bytes as Uint8Array<ArrayBuffer>

describe('a storefront', () => {
  test('takes bytes to a deal, and the proof is valid', async () => {
    const w3 = await connectHere()
    const bytes = await bytesOf(70_000)
    const events: AddEvent[] = []
    const proof = await w3.add(bytes, { onProgress: event => events.push(event) })

    const names = events.map(event => (event.type === 'stage' ? event.stage : event.type))
    const order = [...new Set(names)].filter(name => name !== 'retry')
    expect(order).toEqual([
      ...['hashing', 'identified', 'uploading', 'uploaded', 'offered'],
      ...['submitted', 'queued', 'aggregated', 'accepted'],
    ])
    const uploads = events.filter(event => event.type === 'uploading')
    expect(uploads.at(0)).toMatchObject({ sent: 0, bytes: bytes.length })
    expect(uploads.at(-1)).toMatchObject({ sent: bytes.length, bytes: bytes.length })
    const tracker = await dealTracker(at('dealTracker').url, { signer: system.local.agent.key })
    const report = await verify(proof, { storefront: w3.did, file: bytes, dealTracker: tracker })
    expect(report).toMatchObject({
      storefront: at('storefront').did,
      file: 'same',
      tracker: { by: at('dealTracker').did, status: 'Active', provider: expect.stringMatching(/^f0\d+$/) },
    })
    expect(report.doesNotProve.join()).not.toContain('on chain')
    await expect(verify(proof, { storefront: at('aggregator').did })).rejects.toMatchObject({
      code: 'InvalidProof',
    })

    for (const subject of [
      proof,
      { piece: proof.piece, accept: proof.task },
      proof.piece,
      `${proof.piece}`,
      proof.task,
    ])
      expect(await w3.status(subject)).toMatchObject({
        stage: 'accepted',
        accept: proof.task,
        deals: [{ status: 'Active' }],
        aggregates: [proof.aggregate],
      })
    // Another space does not see the workflow, but the deal.
    expect(await (await connectHere()).status(proof.piece)).toMatchObject({ stage: 'accepted', history: [] })
  })

  test('follows the chain of a workflow through the services, and verifies each receipt', async () => {
    const w3 = await connectHere()
    const proof = await w3.add(await bytesOf(3_000))
    const { task } = await w3.info(proof.piece, { task: proof.task })
    expect(`${task?.accept}`).toBe(proof.task)
    const follow = (from: Service) => Array.fromAsync(followChain(from, `${task?.submit}`))
    const links = await follow(w3)
    expect(links.map(({ can, service, receipt }) => [can, service, receipt?.out.error])).toEqual([
      ['filecoin/submit', at('storefront').did, undefined],
      ['piece/offer', at('aggregator').did, undefined],
      ['piece/accept', at('aggregator').did, undefined],
      ['aggregate/offer', at('dealer').did, undefined],
      ['aggregate/accept', at('dealer').did, undefined],
    ])
    expect(links.map(({ promisedBy }) => promisedBy)).toEqual([
      undefined,
      ...links.map(({ task }) => task).slice(0, -1),
    ])

    // A service between forges the receipt of `piece/accept`: it signs for the aggregator.
    const forger = ((await ed25519.generate()) as Signer).withDID(at('aggregator').did as never) as Signer
    const forged = links[2]!
    const answer = await encodeMessage({
      receipts: [await issueReceipt(forger, forged.receipt!.ran as never, { out: forged.receipt!.out })],
    })
    const lying = await connectHere({
      fetch: async (url, init) =>
        `${url}`.endsWith(forged.task) ? new Response(answer as Uint8Array<ArrayBuffer>) : fetch(url, init),
    })
    const seen = await follow(lying)
    expect(seen.map(({ can, receipt, error }) => [can, receipt !== undefined, error?.code])).toEqual([
      ['filecoin/submit', true, undefined],
      ['piece/offer', true, undefined],
      ['piece/accept', false, 'UnsignedReceipt'],
    ])
  })

  test('continues an interrupted add with the same tasks', async () => {
    const signer = await newSigner()
    const blob = new Blob([await bytesOf(30_000)])
    const controller = new AbortController()
    const reason = new Error('the user pressed Ctrl-C')
    let accept: string | undefined
    const interrupted = (await connectHere({ signer })).add(blob, {
      signal: controller.signal,
      onProgress: event => {
        if (event.type !== 'offered') return
        accept = event.accept
        controller.abort(reason)
      },
    })
    await expect(interrupted).rejects.toBe(reason)
    const proof = await (await connectHere({ signer })).add(blob)
    expect(proof.task).toBe(accept)
    const again = await (await connectHere()).add(blob)
    expect(again.bytes).toEqual(proof.bytes)
  })

  test('gets the same effects as from @storacha/filecoin-client with the same signer', async () => {
    const signer = await newSigner()
    const w3 = await connectHere({ signer })
    const { content, piece } = await randomContent(1_000)
    const audience = ed25519.Verifier.parse(w3.did)
    const published = () =>
      Storacha.Storefront.filecoinOffer(
        { issuer: signer, with: signer.did(), audience } as never,
        content as never,
        piece as never,
        {
          connection: connectTo({
            id: audience,
            codec: CAR.outbound,
            channel: HTTP.open<Record<string, never>>({ url: new URL(w3.url) }),
          }),
        } as never,
      )
    const theirs = await published()
    const ours = await w3.offer({ content, piece })
    expect(ours.submit).toBe(`${theirs.fx.fork[0]!.link()}`)
    expect(ours.accept).toBe(`${theirs.fx.join!.link()}`)
    // Also the invocation is the same, byte for byte, and so is the receipt.
    expect(`${ours.receipt.ran.link()}`).toBe(`${theirs.ran.link()}`)
    expect(`${ours.receipt.root.cid}`).toBe(`${theirs.root.cid}`)
    const withNonce = await w3.offer({ content, piece }, { nonce: 'again' })
    expect(withNonce.accept).not.toBe(ours.accept)
  })

  test('reports why a workflow failed', async () => {
    const w3 = await connectHere()
    const wrong = { ...(await randomContent(5_000)), piece: (await randomContent(5_000)).piece }
    const offered = await w3.offer(wrong)
    await expect(w3.proof(offered)).rejects.toMatchObject({ code: 'OutcomePending', retryable: true })
    await upload(system.local, wrong)
    const events = await Array.fromAsync(w3.watch(offered))
    expect(events.at(-1)).toMatchObject({ stage: 'failed', error: { name: 'InvalidContentPiece' } })
    await expect(w3.proof(offered)).rejects.toMatchObject({
      code: 'InvalidContentPiece',
      retryable: false,
      hint: expect.stringContaining('identify()'),
      failure: { name: 'InvalidContentPiece', content: wrong.content },
    })
    expect(await w3.status(offered.accept)).toMatchObject({ stage: 'failed' })
  })

  test('names errors of the call', async () => {
    const w3 = await connectHere()
    const { content, piece } = await randomContent(500)
    await expect(w3.status(piece)).rejects.toMatchObject({ code: 'RecordNotFound', retryable: false })
    await expect(w3.offer({ content: 'x', piece } as never)).rejects.toMatchObject({
      code: 'MalformedCapability',
    })
    await expect(w3.invoke('filecoin/submit', { content, piece })).resolves.toMatchObject({
      out: { error: { name: 'UnsupportedCapability' } },
    })
    await expect(connect('localhost:4001')).rejects.toMatchObject({ code: 'Unreachable', retryable: false })
    await expect(connect(system.local.engines.s3, { signer: await newSigner() })).rejects.toMatchObject({
      code: 'InvalidAnswer',
    })
    // A storefront that another key answers for is not the expected one.
    const other = await connectHere({ service: at('aggregator').did })
    await expect(other.info(piece)).rejects.toMatchObject({ code: 'InvalidAudience' })
  })

  test('says how a storefront takes content that takes no uploads', async () => {
    const { url, did } = at('storefront')
    const about = (content?: object) => async (to: string, init?: RequestInit) =>
      to === `${url}/` && init?.method === undefined ? Response.json({ did, content }) : fetch(to, init)
    const bytes = await bytesOf(10)
    for (const [content, place] of [
      [{ from: 'gateway' }, /reads content from a gateway/],
      [{ from: 'bucket' }, /reads content from its bucket, under its CID/],
      [undefined, /its bucket or a gateway/],
    ] as const)
      await expect((await connectHere({ fetch: about(content) })).add(bytes)).rejects.toMatchObject({
        code: 'UploadUnavailable',
        message: expect.stringMatching(place),
        hint: expect.stringMatching(/^Store the file as bafkrei.* call offer\(\)/),
        retryable: false,
      })
    const stored: string[] = []
    const w3 = await connectHere({
      fetch: about(),
      upload: async ({ content, blob }) => {
        stored.push(`${content} ${blob.size}`)
        await upload(system.local, { content, bytes: new Uint8Array(await blob.arrayBuffer()) })
      },
    })
    expect((await w3.add(bytes)).content).toBeDefined()
    expect(stored).toEqual([expect.stringMatching(/^bafkrei\w+ 10$/)])
  })

  test('accepts an agent of a space, until the space revokes its delegation', async () => {
    const space = await newSigner()
    const agent = await newSigner()
    const issued = await delegate(space, { audience: agent.did(), abilities: ['filecoin/*'], seconds: 3600 })
    const delegation = await decodeDelegation(await encodeDelegation(issued))
    const w3 = await connectHere({ signer: agent, with: space.did(), proofs: [delegation] })
    const { content, piece } = await randomContent(100)
    const { accept } = await w3.offer({ content, piece })
    expect(await w3.status(piece)).toMatchObject({ accept })
    expect((await w3.info(piece)).workflows).toHaveLength(1)
    const owner = await connectHere({ signer: space })
    await owner.revoke(delegation)
    await expect(w3.info(piece)).rejects.toMatchObject({
      code: 'Unauthorized',
      hint: expect.stringContaining('proofs'),
    })
  })
})

describe('the other services', () => {
  test('answer every ability of the protocol', async () => {
    const as = (role: string) => ({ signer: system.signer(role) })
    const [storefront, aggregated, deals, tracker] = [
      await connect(at('storefront').url, as('storefront')),
      await aggregator(at('aggregator').url, as('storefront')),
      await dealer(at('dealer').url, as('aggregator')),
      await dealTracker(at('dealTracker').url, as('dealer')),
    ]
    const { bytes, content, piece } = await randomContent(2_000)
    const proof = await (await connectHere()).add(bytes as Uint8Array<ArrayBuffer>)
    const group = 'local'

    for (const can of ['filecoin/submit', 'filecoin/accept'] as const)
      expect((await storefront.invoke(can, { content, piece })).out.ok).toMatchObject({ piece })
    const { out } = await (await connectHere()).invoke('filecoin/offer', {
      content,
      piece,
      PDP: proof.receipt.ran.link() as never,
    })
    expect(out).toEqual({ ok: { piece } })
    expect((await aggregated.invoke('piece/offer', { piece, group })).out).toEqual({ ok: { piece } })
    expect(await aggregated.info(piece, { group })).toMatchObject({
      aggregate: { aggregate: proof.aggregate },
    })
    const self = await aggregator(at('aggregator').url, as('aggregator'))
    expect((await self.invoke('piece/accept', { piece, group })).out.ok).toMatchObject({
      aggregate: proof.aggregate,
    })

    const built = buildAggregate({ pieces: [piece, (await randomContent(5_000)).piece], size: 2 ** 20 }).ok!
    const offered = await deals.offer(built.link, built.pieces)
    await awaitReceipt(at('dealer'), `${offered.fx.join!.link()}`)
    const [{ nb }] = (offered.ran as Invocation).capabilities as [{ nb: { pieces: never } }]
    const own = await dealer(at('dealer').url, as('dealer'))
    const accepted = await own.invoke('aggregate/accept', { aggregate: built.link, pieces: nb.pieces })
    expect(accepted.out.ok).toMatchObject({ aggregate: built.link, dataType: 0 })

    expect(Object.values((await tracker.info(proof.aggregate)).deals)).toMatchObject([{ status: 'Active' }])
    await expect(tracker.info(piece)).rejects.toMatchObject({
      code: 'DealNotFound',
      failure: { asOf: expect.any(Array) },
    })
    expect(await tracker.find(piece)).toMatchObject({ deals: {}, asOf: [{ source: 'local' }] })
    const stranger = await dealTracker(at('dealTracker').url, { signer: await newSigner() })
    await expect(stranger.info(piece)).rejects.toMatchObject({ code: 'UnknownClient' })

    const blocks = [...proof.receipt.iterateIPLDBlocks()]
    const delivered = await (await connect(at('storefront').url, as('aggregator'))).invoke(
      'ucan/conclude',
      { receipt: proof.receipt.root.cid },
      { attach: blocks, facts: [Object.fromEntries(blocks.map(({ cid }, n) => [n, cid]))] },
    )
    expect(delivered.out.error).toMatchObject({ name: 'UnknownTask' })
  })

  test('an aggregator is followed with each piece, also into a later aggregate', async () => {
    senders = [at('aggregator').did, at('dealer').did]
    const w3 = await aggregator(at('aggregator').url, { signer: receiver })
    const events = new Map<string, PieceEvent[]>()
    const pieces = [faulty!, ...sound].map(({ piece }) => piece)
    const offered = w3.offerAll([...pieces, 'not a piece'], { group: 'offer-all' })
    for await (const event of offered)
      events.set(`${event.piece}`, [...(events.get(`${event.piece}`) ?? []), event])

    const stagesOf = (piece: unknown) => events.get(`${piece}`)?.map(({ stage }) => stage)
    expect(events.get('not a piece')).toMatchObject([{ stage: 'failed', error: { code: 'InvalidPieceCID' } }])
    expect(stagesOf(faulty!.piece)).toEqual(['queued', 'aggregated', 'failed'])
    expect(events.get(`${faulty!.piece}`)!.at(-1)).toMatchObject({ error: { code: 'InvalidPiece' } })
    for (const { piece } of sound) {
      expect(stagesOf(piece)).toEqual(['queued', 'aggregated', 'retried', 'aggregated', 'accepted'])
      const [, first, retried, second, accepted] = events.get(`${piece}`) as Extract<
        PieceEvent,
        { aggregate: unknown }
      >[]
      expect(retried).toMatchObject({ aggregate: first!.aggregate, error: { code: 'InvalidPiece' } })
      expect(`${second!.aggregate}`).not.toBe(`${first!.aggregate}`)
      expect(accepted).toMatchObject({
        aggregate: second!.aggregate,
        deal: { dataSource: { dealID: expect.any(Number) } },
      })
    }

    // The receipts are also delivered to the storefront, by aggregator and dealer.
    const abilities = new Set(received.map(({ task }) => task.capabilities[0]?.can))
    expect([...abilities].sort()).toEqual(['aggregate/accept', 'aggregate/offer', 'piece/accept'])
  })

  test('an aggregator repeats its answers to pieces that were offered before', async () => {
    const w3 = await aggregator(at('aggregator').url, { signer: receiver })
    const pieces = await Promise.all(
      Array.from({ length: 120 }, async (_, n) => (await randomContent(200 + n)).piece),
    )
    const tasksOf = async () => {
      const tasks = new Map<string, string>()
      for await (const event of w3.offerAll(pieces, { group: 'many', until: 'queued' }))
        tasks.set(`${event.piece}`, event.stage === 'queued' ? event.task : event.stage)
      return tasks
    }
    const first = await tasksOf()
    expect(first.size).toBe(120)
    expect([...first.values()].every(task => task.startsWith('bafyrei'))).toBe(true)
    expect(await tasksOf()).toEqual(first)
  })
})

describe('the package', () => {
  const home = mkdtempSync(join(tmpdir(), 'client-'))
  const installed = join(home, 'node_modules', '@w3filecoin', 'client')
  const run = (file: string, args: string[], options: object = {}) =>
    promisify(execFile)(file, args, { cwd: home, ...options })

  beforeAll(async () => {
    // Installs it as npm would, but its dependencies from here.
    await run('npm', ['pack', '--pack-destination', home], { cwd: CLIENT })
    const [tarball] = readdirSync(home).filter(name => name.endsWith('.tgz'))
    await run('tar', ['-xzf', tarball!])
    mkdirSync(join(home, 'node_modules', '@w3filecoin'), { recursive: true })
    cpSync(join(home, 'package'), installed, { recursive: true })
    const { dependencies } = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8'))
    for (const name of [...Object.keys(dependencies), '@types/node']) {
      const from =
        name === '@types/node'
          ? fileURLToPath(new URL('../node_modules/', import.meta.url))
          : join(CLIENT, 'node_modules')
      mkdirSync(join(home, 'node_modules', name, '..'), { recursive: true })
      symlinkSync(join(from, name), join(home, 'node_modules', name))
    }
    writeFileSync(join(home, 'package.json'), '{ "type": "module" }')
  })
  afterAll(() => rmSync(home, { recursive: true, force: true }))

  test('contains plain JavaScript, types, a README and licences, and depends on published packages', () => {
    const files = readdirSync(installed, { recursive: true }) as string[]
    for (const name of ['dist/node.js', 'dist/browser.js', 'README.md', 'LICENSE-MIT', 'LICENSE-APACHE'])
      expect(files).toContain(name)
    expect(files.filter(name => /\.ts$/.test(name) && !/\.d\.ts$/.test(name))).toEqual([])
    const manifest = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8'))
    expect(manifest.private).toBeUndefined()
    const { dependencies, optionalDependencies, exports } = manifest
    expect(
      Object.values({ ...dependencies, ...optionalDependencies }).filter(range => !/^\^/.test(`${range}`)),
    ).toEqual([])
    for (const file of Object.values<string>(exports['.'])) expect(files).toContain(file.slice(2))
    expect(readFileSync(join(installed, 'dist/browser.js'), 'utf8')).not.toMatch(/["']node:/)
  })

  test('has types for users', async () => {
    const program = `import { connect, identify, verify, type AddEvent, type Report } from '@w3filecoin/client'
      const w3 = await connect('https://storefront.example')
      const proof = await w3.add('photo.jpg', { onProgress: (event: AddEvent) => event.type === 'stage' && event.stage })
      const report: Report = await verify(proof, { storefront: w3.did })
      const id: number | undefined = report.deal.dataType === 0 ? report.deal.dataSource.dealID : undefined
      // @ts-expect-error a sector and a PDP data set have no id of a deal
      report.deal.dataSource.dealID
      const { content, piece } = await identify('photo.jpg')
      // @ts-expect-error the content is missing
      await w3.invoke('filecoin/offer', { piece })
      const { out } = await w3.invoke('filecoin/offer', { content, piece })
      // @ts-expect-error the piece is a link, not a number
      const wrong: number = out.ok!.piece
      export { id, wrong }\n`
    writeFileSync(join(home, 'program.ts'), program)
    const options = [
      '--noEmit',
      '--strict',
      '--module',
      'nodenext',
      '--target',
      'es2024',
      '--types',
      'node',
      'program.ts',
    ]
    const { stdout } = await run('tsc', options, {
      env: {
        ...process.env,
        PATH: `${fileURLToPath(new URL('../node_modules/.bin', import.meta.url))}:${process.env.PATH}`,
      },
    }).catch(error => error)
    // The types of some dependencies do not compile.
    expect(stdout.split('\n').filter((line: string) => /^program|@w3filecoin/.test(line))).toEqual([])
  })

  test('runs the program of its README, which keeps a proof', async () => {
    const readme = readFileSync(join(installed, 'README.md'), 'utf8')
    const program = snippetsIn(readme).find(({ language }) => language === 'js')!.code
    expect(program.trim().split('\n').length).toBeLessThanOrEqual(5)
    writeFileSync(join(home, 'program.js'), program.replace('http://127.0.0.1:4001', at('storefront').url))
    writeFileSync(join(home, 'photo.jpg'), await bytesOf(40_000))
    const env = { PATH: process.env.PATH, HOME: home, XDG_CONFIG_HOME: join(home, 'config') }
    const first = await run(process.execPath, ['program.js'], { env })
    expect(first.stdout).toContain("file: 'same'")
    expect(first.stderr).toBe('')
    expect(statSync(join(home, 'config', 'w3filecoin', 'agent.key')).mode & 0o777).toBe(0o600)
    const proof = await Proof.read(join(home, 'photo.jpg.w3proof'))
    expect(
      await verify(proof, { storefront: at('storefront').did, file: join(home, 'photo.jpg') }),
    ).toMatchObject({
      file: 'same',
    })
    await run(process.execPath, ['program.js'], { env })
    expect((await Proof.read(join(home, 'photo.jpg.w3proof'))).bytes).toEqual(proof.bytes)
  })
})
