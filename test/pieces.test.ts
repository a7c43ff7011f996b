import { parsePiece, pieceOf, recompute, toV1 } from '@w3filecoin/piece'
import { expect, test } from 'vitest'
import { randomContent, upload } from './content.ts'
import { follow } from './follow.ts'
import { createAgent, offer } from './invoke.ts'
import { readOfferDocuments } from './offer-documents.ts'
import { useSystem } from './system.ts'

const system = useSystem({ fetchesPieces: true })

interface Document {
  aggregate: string
  pieces: string[]
  source: string
}

test('a storage provider fetches every piece at the address in the offer document, and they make the aggregate', async () => {
  const contents = await Promise.all([1, 100_000, 300_000].map(randomContent))
  for (const content of contents) await upload(system.local, content)
  const agent = await createAgent()
  const offered = await Promise.all(
    contents.map(content => offer(system.at('storefront'), content, { agent })),
  )
  const ends = await Promise.all(offered.map(receipt => follow(system, receipt)))
  expect(ends.map(({ accepted }) => accepted.out.error)).toEqual([undefined, undefined, undefined])

  const documents = (await readOfferDocuments(system.local)) as unknown as Document[]
  const fetched: string[] = []
  for (const { aggregate, pieces, source } of documents) {
    expect(source).toContain(`${system.at('storefront').url}/piece/`)
    const links = await Promise.all(
      pieces.map(async piece => {
        const response = await fetch(source.replace('{piece}', piece))
        fetched.push(piece)
        return (await pieceOf(response.body!)).link
      }),
    )
    expect(`${recompute(links, parsePiece(aggregate).ok!.link).ok}`).toBe(aggregate)
  }
  expect(fetched.sort()).toEqual(contents.map(({ piece }) => `${piece}`).sort())

  const { bytes, piece } = contents[2]!
  const { source } = documents.find(({ pieces }) => pieces.includes(`${piece}`))!
  const url = source.replace('{piece}', `${piece}`)
  const head = await fetch(url, { method: 'HEAD' })
  expect([head.status, head.headers.get('content-length')]).toEqual([200, `${bytes.byteLength}`])
  const range = await fetch(url, { headers: { range: 'bytes=1000-1999' } })
  expect([range.status, new Uint8Array(await range.arrayBuffer())]).toEqual([
    206,
    new Uint8Array(bytes.subarray(1000, 2000)),
  ])
  const v1 = await fetch(source.replace('{piece}', `${toV1(piece).ok!.root}`))
  expect(new Uint8Array(await v1.arrayBuffer())).toEqual(new Uint8Array(bytes))

  const other = await fetch(source.replace('{piece}', `${(await randomContent(10)).piece}`))
  expect(other.status).toBe(404)
  const without = await fetch(`${system.at('storefront').url}/piece/${piece}`)
  expect(without.status).toBe(403)
})
