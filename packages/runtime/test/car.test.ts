import { CAR, CBOR } from '@ucanto/core'
import { bytesOf, linkOf } from '@w3filecoin/testing'
import { describe, expect, it } from 'vitest'
import { readCar } from '../src/ucan/car.ts'

const blocks = ['a', 'b', 'c'].map(seed => ({ cid: linkOf(bytesOf(seed, 300)), bytes: bytesOf(seed, 300) }))
const car = CAR.encode({
  roots: [blocks[0]],
  blocks: new Map(blocks.map(block => [`${block.cid}`, block])),
} as never) as Uint8Array

const frame = (bytes: Uint8Array) => Buffer.concat([new Uint8Array([bytes.byteLength]), bytes])
const header = (value: unknown) => frame(CBOR.encode(value as never))
const HEADER = header({ roots: [], version: 1 })
const read = (...parts: Uint8Array[]) => [...readCar(Buffer.concat(parts)).sections]

describe('readCar', () => {
  it('reads a CAR that the published library wrote', () => {
    const { roots, sections } = readCar(car)
    expect(roots.map(String)).toEqual([`${blocks[0]!.cid}`])
    const read = [...sections].map(({ cid, bytes }) => [`${cid}`, Buffer.from(bytes)])
    expect(read.toSorted()).toEqual(blocks.map(({ cid, bytes }) => [`${cid}`, Buffer.from(bytes)]).toSorted())
  })

  it('reads only as many sections as the caller iterates', () => {
    const [first] = readCar(Buffer.concat([car, new Uint8Array([0xff, 0xff])])).sections
    expect(first).toBeDefined()
  })

  it('returns no sections for a CAR without blocks', () => {
    expect(read(HEADER)).toEqual([])
  })

  it.each<[string, Uint8Array[]]>([
    // A CID of five bytes in a section of one: `@ipld/car` continues two bytes further on, and so on to the end.
    ['sections shorter than their CIDs', [HEADER, new Uint8Array(1000).fill(1)]],
    ['empty sections', [HEADER, new Uint8Array(10)]],
    ['a section longer than the CAR', [HEADER, new Uint8Array([0xff, 0xff, 0xff, 0xff, 0x0f, 1])]],
    ['a length without an end', [HEADER, new Uint8Array(20).fill(0xff)]],
    ['version 2', [header({ version: 2 }), new Uint8Array(40), HEADER]],
    ['version 3', [header({ roots: [], version: 3 })]],
    ['no version', [header({ roots: [] })]],
    ['no roots', [header({ version: 1 })]],
    ['a root that is not a CID', [header({ roots: ['a'], version: 1 })]],
    ['a header that is not a map', [header(7)]],
  ])('throws on %s', (_, parts) => {
    expect(() => read(...parts)).toThrow()
  })

  it('throws on a large header', () => {
    const roots = Array(100).fill(blocks[0]!.cid)
    expect(() =>
      readCar(
        CAR.encode({ roots: roots.map(cid => ({ ...blocks[0], cid })), blocks: new Map() } as never) as never,
      ),
    ).toThrow('header')
  })
})
