import { hash } from 'node:crypto'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import type { Receipt } from '@ucanto/interface'
import { pieceOf } from '@w3filecoin/piece'
import { bytesOf, somePiece } from '@w3filecoin/testing'
import { CID } from 'multiformats/cid'
import { create as createDigest } from 'multiformats/hashes/digest'
import { afterAll, describe, expect, test, vi } from 'vitest'
import { type Content, randomContent, upload } from './content.ts'
import { offer } from './invoke.ts'
import { awaitReceipt, effectOf, PATIENCE } from './receipts.ts'
import { useSystem } from './system.ts'

/** The storefront reads content from sources that may fail, and checks it against its CID. */

/** The answers of the gateway to HEAD, and to GET of the first byte, by the CID of the content. */
const answers = new Map<string, { head: number; get: number; bytes?: Uint8Array }>()
/** What the storefront asked the gateway, e.g. `HEAD bafk…` and `GET bafk… bytes=0-0`. */
const asked: string[] = []
/** Bodies of the gateway that the storefront neither read to the end nor closed. */
let open = 0

const gateway = createServer((request, response) => {
  const cid = (request.url as string).slice(1)
  const { range } = request.headers
  asked.push(`${request.method} ${cid}${range === undefined ? '' : ` ${range}`}`)
  const { head, get, bytes } = answers.get(cid) ?? { head: 404, get: 404 }
  if (request.method === 'HEAD') return void response.writeHead(head).end()
  if (range === undefined) return void response.writeHead(bytes ? 200 : 404).end(bytes)
  response.writeHead(get)
  if (get !== 200) return void response.end(bytes?.subarray(0, 1))
  // It ignores the range, and never ends.
  open++
  const timer = setInterval(() => response.write(new Uint8Array(1024)), 10)
  response.on('close', () => {
    clearInterval(timer)
    open--
  })
})
await once(gateway.listen(0, '127.0.0.1'), 'listening')
const { port } = gateway.address() as AddressInfo
afterAll(() => gateway.close())

const system = useSystem({
  storefronts: ['impatient', 'behindGateway'],
  configure: (role, config) =>
    role === 'impatient'
      ? { ...config, contentWaitSeconds: 8 }
      : role === 'behindGateway'
        ? {
            ...config,
            missingContent: 'refuse',
            gateway: `http://127.0.0.1:${port}/{cid}`,
            uploads: 'off',
            didWeb: { allowPrivate: true },
          }
        : config,
})

const submitOf = ({ fx }: Receipt) => `${effectOf(fx.fork[0]).cid}`
const errorOf = ({ out }: Receipt) => out.error as { name: string; message: string } | undefined

const RAW = 0x55
const CAR = 0x0202
const DAG_PB = 0x70

const digestOf = (name: string, bytes: Uint8Array): Uint8Array => hash(name, bytes, 'buffer')

const cidOf = (codec: number, code: number, digest: Uint8Array) =>
  CID.createV1(codec, createDigest(code, digest))

const contentOf = async (bytes: Uint8Array, content: CID): Promise<Content> => ({
  bytes,
  content,
  piece: (await pieceOf([bytes])).link,
})

/** CIDs that are the hash of bytes, each computed in another way. The storefront's own tests have all hashes. */
const CIDS: Record<string, (bytes: Uint8Array) => CID> = {
  'sha2-512 of a CAR': bytes => cidOf(CAR, 0x13, digestOf('sha512', bytes)),
  'blake2b-512': bytes => cidOf(RAW, 0xb240, digestOf('blake2b512', bytes)),
  'dbl-sha2-256': bytes => cidOf(RAW, 0x56, digestOf('sha256', digestOf('sha256', bytes))),
  'sha2-256, truncated to 160 bits': bytes => cidOf(RAW, 0x12, digestOf('sha256', bytes).subarray(0, 20)),
}

test.concurrent('K9: content whose CID is the hash of its bytes ends at once with an error if its piece is wrong', async () => {
  const at = system.at('storefront')
  await Promise.all(
    Object.entries(CIDS).map(async ([name, cidOf]) => {
      const bytes = bytesOf(name, 1000)
      const content = await contentOf(bytes, cidOf(bytes))
      await upload(system.local, content)
      const wrong = somePiece(name, 5)
      const error = errorOf(
        await awaitReceipt(at, submitOf(await offer(at, { content: content.content, piece: wrong }))),
      )
      const message = `The content ${content.content} hashes to ${content.piece}, not to ${wrong}`
      expect(error, name).toMatchObject({ name: 'InvalidPieceCID', message })
    }),
  )
})

test.concurrent('K9: content whose CID is the hash of its bytes is not accepted if the source returns other bytes, although they hash to the piece', async () => {
  const at = system.at('impatient')
  await Promise.all(
    Object.entries(CIDS).map(async ([name, cidOf]) => {
      const bytes = bytesOf(name, 1000)
      const damaged = await contentOf(bytes.with(999, bytes[999]! ^ 1), cidOf(bytes))
      // An upload of these bytes is refused, so the object is damaged on the disk.
      await upload(system.local, { ...damaged, bytes }, 'impatient')
      writeFileSync(join(system.data, 's3', 'impatient-content', `${damaged.content}`), damaged.bytes)
      const error = errorOf(await awaitReceipt(at, submitOf(await offer(at, damaged))))
      const message = expect.stringContaining('do not hash to it')
      expect(error, name).toMatchObject({ name: 'ContentNotFound', message })
    }),
  )
})

test.concurrent.each(['storefront', 'behindGateway'])(
  'K9: content in an identity CID needs no upload: %s',
  async role => {
    const at = system.at(role)
    const bytes = bytesOf(`identity ${role}`, 100)
    const content = await contentOf(bytes, cidOf(RAW, 0x00, bytes))
    const { out } = await awaitReceipt(at, submitOf(await offer(at, content)))
    expect(out).toEqual({ ok: { piece: content.piece } })
    const wrong = await offer(at, { content: content.content as CID, piece: somePiece(role, 5) })
    expect(errorOf(await awaitReceipt(at, submitOf(wrong)))).toMatchObject({
      name: 'InvalidPieceCID',
      message: expect.stringContaining(`hashes to ${content.piece}`),
    })
    expect(asked.filter(request => request.includes(`${content.content}`))).toEqual([])
  },
)

test.concurrent('K9: content with another CID is held to its piece only, by two reads that agree', async () => {
  const at = system.at('storefront')
  const bytes = bytesOf('a DAG', 1000)
  const content = await contentOf(bytes, cidOf(DAG_PB, 0x12, digestOf('sha256', bytesOf('its root', 100))))
  await upload(system.local, content)
  const wrong = await offer(at, { content: content.content, piece: somePiece('a DAG', 5) })
  expect(errorOf(await awaitReceipt(at, submitOf(wrong)))).toMatchObject({
    name: 'InvalidPieceCID',
    message: expect.stringContaining('two reads agree'),
  })
  const right = await awaitReceipt(at, submitOf(await offer(at, content)))
  expect(right.out).toEqual({ ok: { piece: content.piece } })
})

describe('a gateway that does not answer HEAD', () => {
  test.concurrent.each([
    ['HEAD 403, GET 206', 403, 206],
    ['HEAD 405, GET 200', 405, 200],
    ['HEAD 501, GET 206', 501, 206],
  ] as const)(
    'S4: a storefront that refuses missing content asks a gateway without HEAD for the first byte: %s',
    async (_, head, get) => {
      const at = system.at('behindGateway')
      const content = await randomContent(2_000)
      answers.set(`${content.content}`, { head, get, bytes: content.bytes })
      const offered = await offer(at, content)
      expect(offered.out).toEqual({ ok: { piece: content.piece } })
      expect((await awaitReceipt(at, submitOf(offered))).out).toEqual({ ok: { piece: content.piece } })
      expect(asked.filter(request => request.includes(`${content.content}`)).slice(0, 2)).toEqual([
        `HEAD ${content.content}`,
        `GET ${content.content} bytes=0-0`,
      ])
      await vi.waitFor(() => expect(open).toBe(0), PATIENCE)
    },
  )

  test.concurrent.each([
    ['HEAD 403, GET 403', 403, 403],
    ['HEAD 405, GET 404', 405, 404],
    ['HEAD 501, GET 410', 501, 410],
  ] as const)(
    'S4: content that a gateway without HEAD does not serve is refused, and accepted once it does: %s',
    async (_, head, get) => {
      const at = system.at('behindGateway')
      const content = await randomContent(2_000)
      answers.set(`${content.content}`, { head, get })
      const refused = await offer(at, content)
      expect(refused.out.error).toMatchObject({ name: 'ContentNotFound', content: content.content })
      answers.set(`${content.content}`, { head, get: 206, bytes: content.bytes })
      expect((await offer(at, content)).out).toEqual({ ok: { piece: content.piece } })
    },
  )

  test.concurrent('S4: an offer fails without a verdict on its content if the gateway fails', async () => {
    const at = system.at('behindGateway')
    const content = await randomContent(2_000)
    answers.set(`${content.content}`, { head: 405, get: 503 })
    expect(errorOf(await offer(at, content))).toMatchObject({ name: 'HandlerExecutionError' })
  })
})
