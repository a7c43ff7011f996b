import { bytesOf, linkOf, somePiece } from '@w3filecoin/testing'
import { CID } from 'multiformats/cid'
import { describe, expect, it } from 'vitest'
import { covers } from '../src/index.ts'

const [alice, bob] = ['did:key:zAlice', 'did:key:zBob'] as const
const [piece, other] = [somePiece(1), somePiece(2)]
const content = linkOf(bytesOf('content', 10))

describe('covers', () => {
  it.each<[string, object, object, boolean]>([
    ['the same resource, no caveats', { piece }, {}, true],
    ['the same piece', { piece, content }, { piece }, true],
    ['the same piece, as another object', { piece }, { piece: CID.parse(`${piece}`) }, true],
    ['all caveats equal', { piece, content }, { piece, content }, true],
    ['an undefined caveat', { piece }, { piece: undefined }, true],
    ['the same group', { piece, group: 'g' }, { group: 'g' }, true],
    ['another piece', { piece: other, content }, { piece }, false],
    ['another piece, the other caveats equal', { piece: other, content }, { piece, content }, false],
    ['another group', { piece, group: 'h' }, { piece, group: 'g' }, false],
    ['a group where the delegated one is empty', { piece, group: 'g' }, { group: '' }, false],
    ['no group where the delegation names one', { piece }, { group: 'g' }, false],
  ])('%s → %s from %s: %s', (_, claimed, delegated, expected) => {
    const result = covers({ with: alice, nb: claimed }, { with: alice, nb: delegated })
    expect('ok' in result).toBe(expected)
  })

  it('never covers another resource', () => {
    const result = covers({ with: alice, nb: { piece } }, { with: bob, nb: {} })
    expect(result).toMatchObject({
      error: { message: `it is for the resource ${bob}, not for ${alice}` },
    })
  })

  it('names the violated caveat', () => {
    const result = covers({ with: alice, nb: { piece: other } }, { with: alice, nb: { piece } })
    expect(result).toMatchObject({
      error: { message: `it allows only ${piece} as piece, and the invocation has ${other}` },
    })
  })
})
