import type { PieceLink } from '@w3filecoin/capabilities'
import { decodePiece, encodePiece, toV1 } from '@w3filecoin/piece'
import { signPermit } from '@w3filecoin/runtime'
import { type Content, call, someContent, somePiece } from '@w3filecoin/testing'
import { create as createDigest } from 'multiformats/hashes/digest'
import { create as createLink } from 'multiformats/link'
import { beforeAll, describe, expect, it } from 'vitest'
import { createStorefront } from '../src/index.ts'
import {
  aggregateOf,
  aggregator,
  clock,
  conclude,
  dealer,
  dependencies,
  offer,
  queuePieces,
  recordOf,
  service,
  settle,
  storefront,
  sweepAfter,
  timing,
  upload,
} from './setup.ts'

const MINUTE = 60
const nowSeconds = () => clock.now / 1000

interface PermitOptions {
  signer?: typeof dealer
  at?: string
  expires?: number
}

const permitFor = (
  aggregate: unknown,
  { signer = dealer, at = storefront.did(), expires = nowSeconds() + MINUTE }: PermitOptions = {},
) => signPermit(signer, { storefront: at, aggregate: `${aggregate}`, expires })

const request = async (path: string, init?: RequestInit) => {
  const { status, headers, body } = await service.api.request(path, init)
  return { status, headers: Object.fromEntries(headers), text: body ? await new Response(body).text() : '' }
}

describe('the door to pieces', () => {
  let piece: Content
  let aggregate: PieceLink
  let path: string

  beforeAll(async () => {
    const [first] = await queuePieces('door')
    piece = first!
    const built = await aggregateOf([piece.piece])
    aggregate = built.link
    await conclude(await built.acceptPiece(piece.piece))
    await settle()
    path = `/piece/${await permitFor(aggregate)}/${piece.piece}`
  })

  it('redirects to the content of a piece', async () => {
    expect(await request(path)).toMatchObject({
      status: 302,
      headers: { location: `https://content.test/${piece.content}`, 'cache-control': 'no-store' },
    })
  })

  it('answers HEAD itself, with the length that the piece CID states', async () => {
    expect(await request(path, { method: 'HEAD' })).toMatchObject({
      status: 200,
      headers: { 'content-length': `${piece.bytes.byteLength}`, 'accept-ranges': 'bytes' },
      text: '',
    })
  })

  it('knows a piece by its CID v1', async () => {
    const v1 = toV1(piece.piece).ok!.root
    const { status, headers } = await request(`/piece/${await permitFor(aggregate)}/${v1}`)
    expect([status, headers.location]).toEqual([302, `https://content.test/${piece.content}`])
  })

  it('refuses a CID v1 that stands for pieces of several sizes', async () => {
    const { root, height } = decodePiece(piece.piece).ok!
    const other = {
      content: (await someContent('other size')).content,
      piece: encodePiece({ root, height, padding: 1n }),
    }
    await call(service.api, await offer(other))
    const v1 = toV1(piece.piece).ok!.root
    expect(await request(`/piece/${await permitFor(aggregate)}/${v1}`)).toMatchObject({ status: 400 })
    expect(await request(path)).toMatchObject({ status: 302 })
  })

  it.each<[string, PermitOptions]>([
    ['has expired', { expires: clock.now / 1000 }],
    ['another service signed', { signer: aggregator }],
    ['is for another storefront', { at: aggregator.did() }],
  ])('refuses a permit that %s', async (_, options) => {
    const url = `/piece/${await permitFor(aggregate, options)}/${piece.piece}`
    expect(await request(url)).toMatchObject({ status: 403 })
    expect(await request(url, { method: 'HEAD' })).toMatchObject({ status: 403 })
  })

  it('refuses a permit whose text was changed, and texts that are no permit', async () => {
    const permit = await permitFor(aggregate)
    const changed = [permit.replace(/^\d/, '9'), permit.replace('.', '..'), `${permit}x`, 'x', '1.a.b', '%00']
    for (const text of changed)
      expect(await request(`/piece/${text}/${piece.piece}`), text).toMatchObject({ status: 403 })
  })

  it('refuses requests without a permit', async () => {
    expect(await request(`/piece/${piece.piece}`)).toMatchObject({ status: 403 })
  })

  it('asks to come again while the aggregate of a piece is not known', async () => {
    const permit = await permitFor(somePiece('another aggregate', 24))
    expect(await request(`/piece/${permit}/${piece.piece}`)).toMatchObject({
      status: 429,
      headers: { 'retry-after': '60' },
    })
  })

  it('refuses a piece that has its end in another aggregate', async () => {
    const [ended] = await queuePieces('ended')
    const built = await aggregateOf([ended!.piece])
    await conclude(await built.acceptPiece(ended!.piece))
    await conclude(await built.acceptAggregate())
    await settle()
    const ask = async (aggregate: unknown) =>
      (await request(`/piece/${await permitFor(aggregate)}/${ended!.piece}`)).status
    expect(await ask(built.link)).toBe(302)
    expect(await ask(aggregate)).toBe(403)
  })

  it.each([
    ['a piece that was not offered', `${somePiece('unknown', 10)}`, 404],
    ['a CID that is no piece', 'bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy', 400],
    ['no CID', 'x', 400],
  ])('refuses %s', async (_, text, status) => {
    expect(await request(`/piece/${await permitFor(aggregate)}/${text}`)).toMatchObject({ status })
  })

  it('serves everybody, or nobody, if the configuration says so', async () => {
    const { api } = createStorefront({ ...dependencies, pieceAccess: 'open' })
    const { status, headers } = await api.request(`/piece/${piece.piece}`)
    expect([status, headers.get('location')]).toEqual([302, `https://content.test/${piece.content}`])
    const closed = createStorefront({ ...dependencies, pieceAccess: 'off' }).api
    for (const url of [path, `/piece/${piece.piece}`]) expect((await closed.request(url)).status).toBe(404)
  })

  describe('if it is open', () => {
    const get = (piece: PieceLink) =>
      createStorefront({ ...dependencies, pieceAccess: 'open' }).api.request(`/piece/${piece}`)

    it('asks to come again until the content has been checked', async () => {
      const late = await someContent('late')
      await call(service.api, await offer(late))
      await settle()
      const answer = await get(late.piece)
      expect([answer.status, answer.headers.get('retry-after')]).toEqual([429, '60'])
      upload(late)
      await sweepAfter(2 * timing.retryMs)
      expect((await get(late.piece)).status).toBe(302)
    })

    it('does not serve the content of a failed piece', async () => {
      const wrong = { ...(await someContent('wrong')), piece: somePiece('wrong', 10) }
      upload(wrong)
      await call(service.api, await offer(wrong))
      await settle()
      expect((await recordOf(wrong))!.stage).toBe('failed')
      expect((await get(wrong.piece)).status).toBe(404)
    })

    it('serves content that its CID contains', async () => {
      const { piece, bytes } = await someContent('in its CID', 100)
      const content = createLink(0x55, createDigest(0x00, bytes)) as never
      await call(service.api, await offer({ content, piece }))
      await settle()
      const answer = await get(piece)
      expect([answer.status, new Uint8Array(await answer.arrayBuffer())]).toEqual([
        200,
        new Uint8Array(bytes),
      ])
    })
  })
})
