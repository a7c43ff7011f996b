import { bytesOf, linkOf, somePiece } from '@w3filecoin/testing'
import { CID } from 'multiformats/cid'
import { describe, expect, it } from 'vitest'
import { parsePieceLink } from '../src/index.ts'

describe('parsePieceLink', () => {
  it('returns the link of a piece CID', () => {
    const piece = somePiece('piece')
    const link = parsePieceLink(`${piece}`)
    expect(link.equals(piece)).toBe(true)
    expect([link.version, link.code, link.multihash.code]).toEqual([1, 0x55, 0x1011])
  })

  it.each([
    ['text that is not a CID', 'piece'],
    ['an empty text', ''],
    ['a CID with another multihash', `${linkOf(bytesOf('content', 10))}`],
    ['a piece CID with another codec', `${CID.createV1(0x71, CID.parse(`${somePiece('piece')}`).multihash)}`],
    ['a piece CID v1', 'baga6ea4seaqao7s73y24kcutaosvacpdjgfe5pw76ooefnyqw4ynr3d2y6x2mpq'],
    ['a CIDv0', 'QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1n'],
  ])('throws an error that names %s', (_, text) => {
    expect(() => parsePieceLink(text)).toThrow(`Not a piece CID: '${text}'. Pass a CIDv1 with codec 0x55`)
  })
})
