import type { Blocks } from '@w3filecoin/runtime'
import { beforeAll, describe, expect, it } from 'vitest'
import { bytesOf, linkOf } from '../pieces.ts'

/** Tests that every implementation of the port `Blocks` must pass. */
export const blocksContract = (make: () => Promise<Blocks> | Blocks): void => {
  describe('holds blocks', () => {
    let blocks: Blocks
    beforeAll(async () => {
      blocks = await make()
    })

    it.each([
      ['no bytes', 0],
      ['a few bytes', 100],
      ['8 MiB', 8 * 1024 * 1024],
    ])('returns %s by their CID', async (name, length) => {
      const bytes = bytesOf(name, length)
      const link = await blocks.put(bytes, 0x55)
      expect(`${link}`).toBe(`${linkOf(bytes)}`)
      const found = await blocks.get(link)
      expect(Buffer.compare(found!, bytes)).toBe(0)
    })

    it('includes the codec in the CID, and accepts a block again', async () => {
      const bytes = bytesOf('twice', 10)
      const [raw, cbor] = [await blocks.put(bytes, 0x55), await blocks.put(bytes, 0x71)]
      expect([raw.code, cbor.code]).toEqual([0x55, 0x71])
      expect(`${await blocks.put(bytes, 0x71)}`).toBe(`${cbor}`)
      expect(await blocks.get(cbor)).toEqual(bytes)
    })

    it('returns a public URL of a block', async () => {
      const bytes = bytesOf('public', 1000)
      const response = await fetch(await blocks.locate(await blocks.put(bytes, 0x55), 'text/plain'))
      expect(response.headers.get('content-type')).toBe('text/plain')
      expect(Buffer.from(await response.arrayBuffer()).equals(bytes)).toBe(true)
    })

    it('returns undefined for a block that was never put', async () => {
      expect(await blocks.get(linkOf(bytesOf('missing', 10)))).toBeUndefined()
    })
  })
}
