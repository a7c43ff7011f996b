import { decode as decodeJson } from '@ipld/dag-json'
import { CAR } from '@ucanto/core'
import type { Receipt } from '@ucanto/interface'
import { ed25519 } from '@ucanto/principal'
import { base36 } from 'multiformats/bases/base36'
import { base58btc } from 'multiformats/bases/base58'
import { base64url } from 'multiformats/bases/base64'
import { CID } from 'multiformats/cid'
import { expect, test, vi } from 'vitest'
import manifest from '../packages/runtime/package.json' with { type: 'json' }
import { randomContent, upload } from './content.ts'
import { follow } from './follow.ts'
import { ask, offer, taskOf } from './invoke.ts'
import { awaitReceipt, effectOf, fetchReceipt, PATIENCE } from './receipts.ts'
import { useSystem } from './system.ts'

const system = useSystem()
const { at } = system

const ROLES = {
  storefront: 'storefront',
  aggregator: 'aggregator',
  dealer: 'dealer',
  dealTracker: 'deal-tracker',
}

/** Takes content to a deal. Returns the receipts of its workflow, each with the service that issued it. */
const completeWorkflow = async () => {
  const content = await randomContent(10_000)
  await upload(system.local, content)
  const offered = await offer(at('storefront'), content)
  const { submitted, queued, included, dealt, live, accepted } = await follow(system, offered)
  const steps = [
    ['storefront', offered],
    ['storefront', submitted],
    ['aggregator', queued],
    ['aggregator', included],
    ['dealer', dealt],
    ['dealer', live],
    ['storefront', accepted],
  ] as const
  return { steps, live }
}

/** Fetches the CAR that a service serves for a task, and returns the CIDs of its blocks. */
const fetchCar = async (role: string, { ran }: Receipt) => {
  const response = await fetch(`${at(role).url}/receipt/${ran.link()}`)
  const { blocks } = CAR.decode(new Uint8Array(await response.arrayBuffer()) as never)
  return { status: response.status, headers: response.headers, cids: [...blocks.keys()] }
}

test.concurrent('R1: the receipt of each task is served as a CAR with the blocks of its effects', async () => {
  const { steps, live } = await completeWorkflow()
  for (const [role, receipt] of steps) {
    const { status, headers, cids } = await fetchCar(role, receipt)
    expect(status).toBe(200)
    expect(headers.get('content-type')).toBe('application/vnd.ipld.car')
    expect(headers.get('cache-control')).toBe('public, max-age=3600')
    const { fork, join } = receipt.fx
    const effects = [...fork, ...(join ? [join] : [])].map(task => `${effectOf(task).cid}`)
    expect(cids).toEqual(expect.arrayContaining([`${receipt.root.cid}`, `${receipt.ran.link()}`, ...effects]))
    expect(receipt.issuer?.did()).toBe(at(role).did)
  }
  // The aggregator also serves the dealer's receipt to storefronts.
  const aggregateAccept = `${live.ran.link()}`
  expect((await fetchCar('aggregator', live)).cids).toContain(`${live.root.cid}`)
  expect(await fetchReceipt(at('dealTracker'), aggregateAccept)).toBeUndefined()
})

test.concurrent('R1: a promised task has no receipt before its end, even if it is invoked, and always the same one afterwards', async () => {
  const content = await randomContent(10_000)
  const { fx } = await offer(at('storefront'), content)
  const tasks = [
    [effectOf(fx.fork[0]), 'filecoin/submit'],
    [effectOf(fx.join), 'filecoin/accept'],
  ] as const
  const own = {
    issuer: system.signer('storefront'),
    nb: { content: content.content, piece: content.piece },
  }
  const { did, url } = at('storefront')
  for (const [{ cid }, can] of tasks) {
    expect(await taskOf(at('storefront'), { ...own, can })).toBe(`${cid}`)
    const early = await ask(at('storefront'), { ...own, can })
    expect(early.out.error).toMatchObject({ name: 'OutcomePending' })
    expect((await early.verifySignature(ed25519.Verifier.parse(did))).error).toBeDefined()
    expect((await fetch(`${url}/receipt/${cid}`)).status).toBe(404)
  }
  await upload(system.local, content)
  for (const [{ cid }, can] of tasks) {
    const receipt = await awaitReceipt(at('storefront'), `${cid}`)
    for (const again of [
      await ask(at('storefront'), { ...own, can }),
      await fetchReceipt(at('storefront'), `${cid}`),
    ])
      expect(`${again?.root.cid}`).toBe(`${receipt.root.cid}`)
  }
})

/** Asks for a receipt as JSON. */
const askJson = async (role: string, task: string) => {
  const response = await fetch(`${at(role).url}/receipt/${task}`, {
    headers: { accept: 'application/json' },
  })
  expect(response.headers.get('content-type')).toBe('application/json')
  expect(response.headers.get('vary')).toBe('Accept')
  return {
    status: response.status,
    retryAfter: response.headers.get('retry-after'),
    cache: response.headers.get('cache-control'),
    text: await response.clone().text(),
    body: (await response.json()) as Record<string, unknown>,
  }
}

test.concurrent('R1: the receipt of each task is served as JSON, with the claims of its CAR', async () => {
  const { steps } = await completeWorkflow()
  for (const [role, receipt] of steps) {
    const { status, cache, text, body } = await askJson(role, `${receipt.ran.link()}`)
    expect(status).toBe(200)
    expect(cache).toBe('public, max-age=3600')
    const { fork, join } = receipt.fx
    const { can, with: resource } = effectOf(receipt.ran).capabilities[0]
    const { out, issued, ...claims } = body
    expect(claims).toEqual({
      task: `${receipt.ran.link()}`,
      receipt: `${receipt.root.cid}`,
      service: at(role).did,
      can,
      with: resource,
      fork: fork.map(task => `${task.link()}`),
      ...(join && { join: `${join.link()}` }),
    })
    expect(Math.abs(Date.parse(issued as string) - Date.now())).toBeLessThan(300_000)
    expect((decodeJson(new TextEncoder().encode(text)) as { out: unknown }).out).toEqual(receipt.out)
  }
})

test.concurrent('R1: while a promised task has no receipt, JSON has its stage, its next step and when to ask again, and nothing of its content', async () => {
  const content = await randomContent(10_000)
  const nonce = `nonce-${content.content}`
  const { fx } = await offer(at('storefront'), content, { nonce })
  for (const [effect, can] of [
    [fx.fork[0], 'filecoin/submit'],
    [fx.join, 'filecoin/accept'],
  ] as const) {
    const task = `${effectOf(effect).cid}`
    const waiting = await vi.waitFor(async () => {
      const answer = await askJson('storefront', task)
      expect(answer.body.trouble).toEqual({ name: 'ContentUnreadable' })
      return answer
    }, PATIENCE)
    expect(waiting.status).toBe(404)
    const { since, until, retryAfterSeconds } = waiting.body as Record<string, string>
    expect(waiting.body).toEqual({
      name: 'ReceiptNotFound',
      message: `Task ${task} has no receipt yet`,
      task,
      promised: true,
      can,
      piece: `${content.piece}`,
      stage: 'offered',
      since,
      until,
      waitsFor: `The content must be read and checked; abandoned on ${until}`,
      trouble: { name: 'ContentUnreadable' },
      retryAfterSeconds,
    })
    expect(Date.parse(until!)).toBeGreaterThan(Date.parse(since!))
    expect(retryAfterSeconds).toBeGreaterThanOrEqual(1)
    expect(retryAfterSeconds).toBeLessThanOrEqual(Math.ceil((Date.now() - Date.parse(since!)) / 1000) + 2)
    expect(waiting.retryAfter).toBe(`${retryAfterSeconds}`)
    expect(waiting.cache).toBe(`public, max-age=${retryAfterSeconds}`)
    for (const secret of [content.content, nonce]) expect(waiting.text).not.toContain(`${secret}`)
  }
})

test.concurrent('R1: of a task that a service did not promise, JSON says so, or that the service does not know', async () => {
  const { ran } = await offer(at('storefront'), await randomContent(100))
  const other = CID.parse(`${ran.link()}`)
  const task = `${CID.createV1(0x55, other.multihash)}`
  for (const [role, promised] of [
    // Here it speaks dialects, so it redirects to the aggregator.
    ['storefront', 'unknown'],
    ['aggregator', 'unknown'],
    ['dealer', 'unknown'],
    ['dealTracker', false],
  ] as const) {
    const { status, body, cache } = await askJson(role, task)
    expect(status).toBe(404)
    expect(body).toMatchObject({ name: 'ReceiptNotFound', task, promised, retryAfterSeconds: 5 })
    expect(cache).toBe('public, max-age=5')
  }
})

test.concurrent('R1: a task that was not promised and a CID that no task has are not found (404), and a text that is not a CID is a bad request (400)', async () => {
  const { url } = at('aggregator')
  const { content, piece } = await randomContent(100)
  for (const path of [content, piece, `b${'a'.repeat(2_100)}`, `z${'1'.repeat(4_000)}`]) {
    const response = await fetch(`${url}/receipt/${path}`)
    expect(response.status, `${path}`).toBe(404)
    expect((await response.text()).length).toBeLessThan(300)
  }
  expect((await fetch(`${url}/receipt/nothing`)).status).toBe(400)
})

test.concurrent('R1: a receipt is found by its CID in another multibase encoding, and by its CIDv0', async () => {
  const content = await randomContent(10_000)
  const { ran } = await offer(at('storefront'), content)
  const task = CID.parse(`${ran.link()}`)
  const forms = [base58btc, base36, base64url].map(({ encoder }) => task.toString(encoder as never))
  for (const form of [...forms, `${CID.createV0(task.multihash as never)}`])
    expect((await fetch(`${at('storefront').url}/receipt/${form}`)).status, form).toBe(200)
})

test.each(Object.entries(ROLES))(
  'R1: GET / and the DID document name the service and its key: %s',
  async (role, name) => {
    const { url, did } = at(role)
    const upload = `${system.local.engines.s3}/storefront-content/{cid}`
    expect(await (await fetch(url)).json()).toEqual({
      name,
      did,
      version: manifest.version,
      ...(role === 'storefront' && { content: { from: 'bucket', upload, uploads: 'open' } }),
    })
    const document = await (await fetch(`${url}/.well-known/did.json`)).json()
    const key = `${did}#key-0`
    expect(document).toEqual({
      '@context': ['https://www.w3.org/ns/did/v1', 'https://w3id.org/security/multikey/v1'],
      id: did,
      verificationMethod: [
        { id: key, type: 'Multikey', controller: did, publicKeyMultibase: did.slice('did:key:'.length) },
      ],
      authentication: [key],
      assertionMethod: [key],
    })
  },
)
