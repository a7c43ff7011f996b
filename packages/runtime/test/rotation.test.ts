import type { Invocation } from '@ucanto/interface'
import { filecoinAccept, Tasks } from '@w3filecoin/capabilities'
import { bytesOf, linkOf, somePiece } from '@w3filecoin/testing'
import { expect, it } from 'vitest'
import {
  Authority,
  createHttpApp,
  decodeMessage,
  encodeMessage,
  generateKey,
  issueReceipt,
  MESSAGE_LIMITS,
  parseSigner,
  promisedTask,
  type ReceiptLog,
  Server,
} from '../src/index.ts'

/** A service that acts under a `did:web` changed its key. Tasks that it promised under the former key stay valid. */
const DID = 'did:web:storefront.example'
const [oldKey, newKey] = [await generateKey(), await generateKey()]
const [before, after] = [parseSigner(oldKey, DID), parseSigner(newKey, DID)]
type Key = `did:key:${string}`
const keys = [newKey, oldKey].map(key => parseSigner(key).did() as Key)
const everyKey = new Authority({ self: { did: DID, keys } })

const promised = await Tasks.filecoinAccept(before, {
  content: linkOf(bytesOf('c', 9)),
  piece: somePiece('p'),
})
const filed = await issueReceipt(before, promised, { out: { ok: { done: true } } })

const server = (keys: Key[], get: ReceiptLog['get']) =>
  new Server({
    id: after,
    authority: new Authority({ self: { did: DID, keys } }),
    handlers: [promisedTask(filecoinAccept, { get } as ReceiptLog, async () => `${promised.cid}`)],
    receipts: {} as ReceiptLog,
    log: () => {},
  })

const run = async (at: Server) => {
  const message = decodeMessage(
    await encodeMessage({ invocations: [promised as Invocation] }),
    MESSAGE_LIMITS,
  )
  return (await at.execute(message.ok!, MESSAGE_LIMITS))[0]!
}

it('answers a task that it promised under its former key with the stored receipt', async () => {
  const receipt = await run(server(keys, async () => filed))
  expect(receipt.root.cid).toEqual(filed.root.cid)
  await expect(everyKey.signed(receipt, after)).resolves.toBe(true)
})

it.each<[string, Server]>([
  ['a former key that is not listed', server([keys[0] as Key], async () => filed)],
  ['an unreachable store', server(keys, () => Promise.reject(new Error('throttled')))],
  ['no outcome yet', server(keys, async () => undefined)],
])('signs only the outcome of a promised task: %s', async (_, at) => {
  const receipt = await run(at)
  expect(receipt.out.error).toBeDefined()
  await expect(everyKey.signed(receipt, after)).resolves.toBe(false)
})

it('publishes all its keys, the present one first', async () => {
  const log = () => {}
  const app = createHttpApp({
    server: server(keys, async () => filed),
    receipts: {} as ReceiptLog,
    name: 'it',
    log,
  })
  const document = (await (await app.request('/.well-known/did.json')).json()) as Record<string, never[]>
  expect(document.verificationMethod).toMatchObject(
    keys.map(key => ({ controller: DID, publicKeyMultibase: key.slice('did:key:'.length) })),
  )
  expect(document.assertionMethod).toHaveLength(2)
})
