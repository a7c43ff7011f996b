import type { Capability } from '@ucanto/interface'
import { bytesOf, linkOf, somePiece } from '@w3filecoin/testing'
import { Piece } from '@web3-storage/data-segment'
import { CID } from 'multiformats/cid'
import { describe, expect, it } from 'vitest'
import * as capabilities from '../src/index.ts'
import { describeValue, escapeControls, findInvalidArgument } from '../src/index.ts'

const alice = 'did:key:z6MkpTHR8VNsBxYAAWHut2Geadd9jSwuBV8xRoAnwWsdvktH'
const content = linkOf(bytesOf('content', 10))
const piece = somePiece('piece')
const v1 = CID.parse('baga6ea4seaqao7s73y24kcutaosvacpdjgfe5pw76ooefnyqw4ynr3d2y6x2mpq')

type Ability = { can: string; descriptor: { nb: { shape: Record<string, unknown> } } }
const isAbility = (value: unknown): value is Ability =>
  typeof value === 'object' && value !== null && 'can' in value && 'descriptor' in value
const abilities = Object.values<unknown>(capabilities).filter(isAbility)

/** Valid values of all fields. */
const VALID: Record<string, unknown> = {
  content,
  piece,
  aggregate: piece,
  pieces: content,
  PDP: content,
  group: 'group',
  nonce: 'nonce',
  task: content,
  after: 'after',
  receipt: content,
  ucan: content,
  proof: [content],
  blob: { digest: content.multihash.bytes, size: 10 },
  index: content,
  root: content,
  shards: [content],
  limit: 100,
  dealID: 1,
  source: 'market',
  offer: `${piece}/id.json`,
  place: 'sector:f01000/77',
  fault: { message: 'No provider accepted it', invalid: [{ piece, message: 'No content has it' }] },
}
/** The fields that may be an empty list. */
const LISTS = new Set(['proof', 'shards'])
/** The fields that are numbers. */
const NUMBERS = new Set(['limit', 'dealID'])
const validNb = ({ descriptor }: Ability) =>
  Object.fromEntries(Object.keys(descriptor.nb.shape).map(name => [name, VALID[name]]))
const find = (ability: Ability, nb: unknown, resource: unknown = alice) =>
  findInvalidArgument(ability, { with: resource, nb } as Capability)

const OPTIONAL = new Set([
  'filecoin/offer PDP',
  'deal/info aggregate',
  'deal/info piece',
  'filecoin/info task',
  'filecoin/info after',
  'piece/info nonce',
  'ucan/revoke proof',
  'space/index/add content',
  'upload/add shards',
  'aggregate/list after',
  'aggregate/list limit',
  'deal/report place',
  'deal/report fault',
  'deal/watch source',
])
const fields = abilities.flatMap(ability =>
  Object.keys(ability.descriptor.nb.shape).map(name => [ability.can, name, ability] as const),
)

describe('findInvalidArgument', () => {
  it('knows all abilities of the protocol', () => {
    expect(abilities.map(({ can }) => can).toSorted()).toEqual([
      'aggregate/accept',
      'aggregate/list',
      'aggregate/offer',
      'deal/info',
      'deal/report',
      'deal/watch',
      'filecoin/accept',
      'filecoin/info',
      'filecoin/offer',
      'filecoin/submit',
      'piece/accept',
      'piece/info',
      'piece/offer',
      'space/blob/add',
      'space/index/add',
      'ucan/conclude',
      'ucan/revoke',
      'upload/add',
    ])
  })

  it.each(fields)('%s: names the field %s, its value, and the expected value', (can, name, ability) => {
    const valid = validNb(ability)
    expect(find(ability, valid)).toBeUndefined()
    const number = NUMBERS.has(name) ? 0.5 : 5
    const values = [{ a: 1 }, number, true, null, [], new Uint8Array(3), { '/': `${v1}` }]
    for (const value of values.filter(value => !(LISTS.has(name) && Array.isArray(value)))) {
      const error = find(ability, { ...valid, [name]: value })
      expect(error).toMatchObject({
        name: 'MalformedCapability',
        field: `nb.${name}`,
        found: describeValue(value),
        expected: expect.stringMatching(
          /, (as a link|each, as a link|as text|as integer|as \{ digest, size \}|as \{ message, .*\})$/,
        ),
      })
      expect(error?.message).toContain(
        `nb.${name} of ${can} is ${error?.found}. Expected ${error?.expected}.`,
      )
      expect(JSON.stringify(error)).not.toContain('[object')
    }
    const missing = find(ability, { ...valid, [name]: undefined })
    if (OPTIONAL.has(`${can} ${name}`)) expect(missing).toBeUndefined()
    else {
      expect(missing).toMatchObject({ name: 'MalformedCapability', field: `nb.${name}`, found: 'nothing' })
      expect(missing?.message).toContain(`nb.${name} of ${can} is missing. Expected `)
    }
  })

  it.each(abilities.map(ability => [ability.can, ability] as const))(
    '%s: names a resource that is not a DID, and arguments that are not a map',
    (can, ability) => {
      expect(find(ability, validNb(ability), 'https://example.com')).toMatchObject({
        name: 'MalformedCapability',
        field: 'with',
        found: '"https://example.com"',
        message: expect.stringContaining(`with of ${can} is "https://example.com". Expected a DID`),
      })
      for (const nb of ['text', 5, ['a']])
        expect(find(ability, nb)).toMatchObject({ name: 'MalformedCapability', field: 'nb' })
    },
  )

  it('describes every invalid argument, and has the fields of the first one', () => {
    const error = find(capabilities.filecoinOffer as never, { content: 'text' })
    expect(error).toMatchObject({ field: 'nb.content', found: '"text"' })
    expect(error?.message).toMatch(/^nb\.content of .* nb\.piece of filecoin\/offer is missing\. /)
  })

  it('names the index of an invalid value in a list', () => {
    expect(find(capabilities.revoke as never, { ucan: content, proof: [content, 7] })).toMatchObject({
      field: 'nb.proof[1]',
      found: '7',
    })
  })

  it.each([
    [capabilities.aggregateList, { limit: 0 }],
    [capabilities.aggregateList, { limit: 101 }],
    [capabilities.dealWatch, { dealID: 0 }],
    [capabilities.dealWatch, { dealID: -1 }],
    [capabilities.dealReport, { offer: 'a', place: '0' }],
    [capabilities.dealReport, { offer: 'a', place: '007' }],
    [capabilities.dealReport, { offer: 'a', place: 'sector:f01000' }],
    [
      capabilities.dealReport,
      { offer: 'a', fault: { message: 'No', invalid: [{ piece: `${piece}`, message: 'No' }] } },
    ],
  ])('%o refuses the arguments %o, which are out of range', (ability, nb) => {
    const field = Object.keys(nb).at(-1)
    expect(find(ability as never, nb)).toMatchObject({ name: 'MalformedCapability', field: `nb.${field}` })
  })

  it('ignores missing arguments of a delegation, and no others', () => {
    const check = (nb: object) =>
      findInvalidArgument(capabilities.filecoinOffer, { with: alice, nb } as never, { partial: true })
    expect(check({ content })).toBeUndefined()
    expect(check({ content, piece: content })?.field).toBe('nb.piece')
  })
})

describe('InvalidPieceCID', () => {
  const pieceFields = fields.filter(([, name]) => name === 'piece' || name === 'aggregate')

  it.each(pieceFields)('%s: explains a piece CID v1 as %s', (can, name, ability) => {
    const error = find(ability, { ...validNb(ability), [name]: v1 })
    expect(error).toMatchObject({ name: 'InvalidPieceCID', field: `nb.${name}`, piece: v1, found: `${v1}` })
    expect(error?.message).toContain('This is a piece CID v1. The v2 also needs the size')
    const isAggregate = can.startsWith('aggregate/') || can === 'deal/info'
    expect(error?.message).toContain(
      isAggregate ? 'Piece.fromInfo({ link, size }).link' : 'Piece.fromPayload(bytes).link',
    )
  })

  it('recommends functions that return the piece CID v2', () => {
    const aggregate = somePiece('aggregate', 30)
    const { link } = Piece.fromLink(aggregate as never).toInfo()
    expect(`${Piece.fromInfo({ link, size: 34359738368n }).link}`).toBe(`${aggregate}`)
    const { link: fromPayload } = Piece.fromPayload(bytesOf('content', 200))
    expect(find(capabilities.filecoinOffer as never, { content, piece: fromPayload })).toBeUndefined()
  })

  it.each<[string, unknown, RegExp]>([
    ['the CID of the content', content, /This is not the CID of a piece\. Compute the v2 from the content/],
    ['the text of a piece CID v2', `${piece}`, /as a link\. Send the link instead of its text: CID\.parse/],
    ['the text of a piece CID v1', `${v1}`, /piece CID v1.* Send the link instead of its text/],
    ['other text', 'piece', /is "piece"\. Expected a piece CID v2 .*as a link\.$/],
  ])('explains %s', (_, value, message) => {
    const error = find(capabilities.pieceOffer as never, { piece: value, group: 'g' })
    expect(error).toMatchObject({
      name: 'InvalidPieceCID',
      piece: value,
      message: expect.stringMatching(message),
    })
  })

  it('cuts a long text', () => {
    const error = find(capabilities.dealInfo as never, { piece: 'x'.repeat(1_000) })
    expect(`${error?.piece}`.length).toBeLessThan(200)
    expect(error?.found.length).toBeLessThan(200)
    expect(error?.message.length).toBeLessThan(400)
  })
})

describe('describeValue', () => {
  it.each<[unknown, string]>([
    [undefined, 'nothing'],
    [null, 'null'],
    [0, '0'],
    [2n ** 60n, '1152921504606846976'],
    [false, 'false'],
    ['say "a"\n', '"say \\"a\\"\\n"'],
    [content, `${content}`],
    [new Uint8Array([1, 255]), '2 bytes (0x01ff)'],
    [new Uint8Array(17), `17 bytes (0x${'00'.repeat(16)}…)`],
    [[1, {}], 'a list of 2 values'],
    [{}, 'an empty map'],
    [{ a: 1, b: {} }, 'a map with the keys "a", "b"'],
    [{ a: 1, b: 2, c: 3, d: 4, e: 5 }, 'a map with the keys "a", "b", "c", "d", …'],
    [{ '/': 'x', bytes: 'x' }, 'a map with the keys "/", "bytes"'],
  ])('describes %o as %s', (value, expected) => {
    expect(describeValue(value)).toBe(expected)
  })

  it('escapes characters that a terminal or a reader of right-to-left text obeys', () => {
    const text = describeValue('\u001b[31m\u009b2J\u202egnp\u2028\ud800')
    expect(text).not.toMatch(/[\p{C}\u2028]/u)
    expect(escapeControls('a\u001bb')).toBe('a\\u{1b}b')
  })

  it('bounds its result, whatever the value', () => {
    const long = 'x'.repeat(5_000)
    const map = Object.fromEntries(Array.from({ length: 100 }, (_, n) => [`${long}${n}`, long]))
    for (const value of [long, '\u001b'.repeat(5_000), map, new Uint8Array(5_000), Array(5_000).fill(long)])
      expect(describeValue(value).length).toBeLessThan(1_000)
    expect(describeValue(`${'x'.repeat(149)}😀`).isWellFormed()).toBe(true)
  })
})
