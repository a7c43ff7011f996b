import type { Blocks } from '@w3filecoin/runtime'
import { beforeAll, describe, expect, it } from 'vitest'
import { bytesOf, linkOf } from '../pieces.ts'

/** What every implementation of the port `Blocks` must do. */
export const blocksContract = (make: () => Promise<Blocks> | Blocks): void => {
  describe('holds blocks', () => {
    let blocks: Blocks
    beforeAll(async () => {
      blocks = await make()
    })

    it.each([
      ['no bytes', 0],
      ['a few', 100],
      ['8 MiB', 8 * 1024 * 1024],
    ])('gives back %s under their CID', async (name, length) => {
      const bytes = bytesOf(name, length)
      const link = await blocks.put(bytes, 0x55)
      expect(`${link}`).toBe(`${linkOf(bytes)}`)
      const found = await blocks.get(link)
      expect(Buffer.compare(found!, bytes)).toBe(0)
    })

    it('names a block by its codec too, and takes it again', async () => {
      const bytes = bytesOf('twice', 10)
      const [raw, cbor] = [await blocks.put(bytes, 0x55), await blocks.put(bytes, 0x71)]
      expect([raw.code, cbor.code]).toEqual([0x55, 0x71])
      expect(`${await blocks.put(bytes, 0x71)}`).toBe(`${cbor}`)
      expect(await blocks.get(cbor)).toEqual(bytes)
    })

    it('tells an address where anybody can fetch a block', async () => {
      const bytes = bytesOf('for anybody', 1000)
      const response = await fetch(await blocks.locate(await blocks.put(bytes, 0x55), 'text/plain'))
      expect(response.headers.get('content-type')).toBe('text/plain')
      expect(Buffer.from(await response.arrayBuffer()).equals(bytes)).toBe(true)
    })

    it('has no block that nobody put', async () => {
      expect(await blocks.get(linkOf(bytesOf('nobody', 10)))).toBeUndefined()
    })
  })
}
