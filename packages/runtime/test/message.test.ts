import * as CarBufferWriter from '@ipld/car/buffer-writer'
import { CAR, CBOR, isDelegation, Message } from '@ucanto/core'
import type { Block, Invocation } from '@ucanto/interface'
import { Tasks } from '@w3filecoin/capabilities'
import { bytesOf, effectsOf, linkOf, signerOf, somePiece } from '@w3filecoin/testing'
import { CID } from 'multiformats/cid'
import { create as createDigest } from 'multiformats/hashes/digest'
import { describe, expect, it } from 'vitest'
import {
  decodeMessage,
  encodeAnswer,
  encodeMessage,
  hasEffectBlocks,
  issueReceipt,
  MESSAGE_LIMITS,
  readReceipt,
} from '../src/index.ts'

const signer = await signerOf('somebody')
const task = (nonce: string) =>
  Tasks.pieceAccept(signer, { piece: somePiece('piece'), group: 'g', nonce }) as Promise<Invocation>
const invocations = await Promise.all(['a', 'b', 'c'].map(task))
const car = await encodeMessage({ invocations })

/** A CAR with any roots and blocks. */
const carOf = (roots: CID[], blocks: { cid: unknown; bytes: Uint8Array }[]): Uint8Array => {
  const buffer = new ArrayBuffer(1_000_000)
  const writer = CarBufferWriter.createWriter(buffer, { roots: roots as never })
  for (const block of blocks) writer.write(block as never)
  return writer.close({ resize: true })
}
const raw = (bytes: Uint8Array) => ({ cid: linkOf(bytes) as unknown as CID, bytes })
const messageBlocks = async () => {
  const message = await Message.build({ invocations } as never)
  return {
    root: message.root.cid as unknown as CID,
    blocks: [...message.iterateIPLDBlocks()] as { cid: unknown; bytes: Uint8Array }[],
  }
}

describe('decodeMessage', () => {
  it('reads the invocations of a message in their order', () => {
    const { ok, error } = decodeMessage(car, MESSAGE_LIMITS)
    expect(error).toBeUndefined()
    expect(ok?.invocations.map(String)).toEqual(invocations.map(({ cid }) => `${cid}`))
  })

  const blocks = (CAR.decode(car as never).blocks as Map<string, unknown>).size

  it.each([
    ['bytes', { bytes: car.byteLength }, { bytes: car.byteLength - 1 }],
    ['blocks', { blocks }, { blocks: blocks - 1 }],
    ['invocations', { invocations: 3 }, { invocations: 2 }],
  ])('accepts %s up to the limit, and no more', (_, enough, tooFew) => {
    expect(decodeMessage(car, { ...MESSAGE_LIMITS, ...enough }).ok).toBeDefined()
    expect(decodeMessage(car, { ...MESSAGE_LIMITS, ...tooFew }).error?.name).toBe('MessageTooLarge')
  })

  it.each<[string, () => Promise<Uint8Array> | Uint8Array]>([
    ['no bytes', () => new Uint8Array()],
    ['random bytes', () => bytesOf('garbage', 2000)],
    ['text', () => Buffer.from('{"hello": "world"}')],
    ['a header that claims to be endless', () => new Uint8Array(10).fill(0xff)],
    ['no blocks', () => carOf([CID.parse(`${linkOf(new Uint8Array())}`)], [])],
    [
      'a block that does not hash to its CID',
      async () => {
        const { root, blocks } = await messageBlocks()
        const bad = { cid: linkOf(bytesOf(1, 10)), bytes: bytesOf(2, 10) }
        return carOf([root], [...blocks, bad])
      },
    ],
    [
      'an invocation under the CID of another one',
      async () => {
        const { root, blocks } = await messageBlocks()
        const other = await task('other')
        return carOf(
          [root],
          blocks.map(block =>
            `${block.cid}` === `${invocations[0]!.cid}` ? { cid: block.cid, bytes: other.root.bytes } : block,
          ),
        )
      },
    ],
    [
      'an identity hash of other bytes',
      async () => {
        const { root, blocks } = await messageBlocks()
        const cid = CID.createV1(0x55, createDigest(0x00, new Uint8Array([1, 2])))
        return carOf([root], [...blocks, { cid, bytes: new Uint8Array([1, 3]) }])
      },
    ],
    [
      'a very long link of an invocation',
      async () => {
        const long = CID.createV1(0x71, createDigest(0x00, bytesOf('long', 200)))
        const root = await CBOR.write({ 'ucanto/message@7.0.0': { execute: [long] } })
        return carOf([root.cid as never], [root])
      },
    ],
    ['no root', async () => carOf([], (await messageBlocks()).blocks)],
    [
      'two roots',
      async () => {
        const { root, blocks } = await messageBlocks()
        return carOf([root, root], blocks)
      },
    ],
    ['a missing root', async () => carOf([raw(bytesOf('absent', 4)).cid], (await messageBlocks()).blocks)],
    ['a root that is not a message', () => carOf([raw(new Uint8Array([1])).cid], [raw(new Uint8Array([1]))])],
    [
      'a root of another kind',
      async () => {
        const block = await CBOR.write({ 'ucanto/message@99.0.0': { execute: [] } })
        return carOf([block.cid as never], [block])
      },
    ],
    [
      'an execution list that is not a list',
      async () => {
        const root = await CBOR.write({ 'ucanto/message@7.0.0': { execute: 7, report: 'x' } })
        return carOf([root.cid as never], [root as Block])
      },
    ],
  ])('fails with MalformedMessage: %s', async (_, make) => {
    const result = decodeMessage(await make(), MESSAGE_LIMITS)
    expect(result.error).toMatchObject({ name: 'MalformedMessage', message: expect.any(String) })
  })

  it('reads blocks with identity hashes, and leaves out blocks with hash functions that it does not know', async () => {
    const { root, blocks } = await messageBlocks()
    const bytes = bytesOf('small', 20)
    const [identity, unknown] = [0x00, 0x1e].map(code => CID.createV1(0x55, createDigest(code, bytes))) as [
      CID,
      CID,
    ]
    const { ok } = decodeMessage(
      carOf([root], [...blocks, { cid: identity, bytes }, { cid: unknown, bytes }]),
      MESSAGE_LIMITS,
    )
    expect(ok?.invocations).toHaveLength(3)
    expect(ok?.ucans.blocks.get(`${identity}`)?.bytes).toEqual(bytes)
    expect(ok?.ucans.blocks.has(`${unknown}`)).toBe(false)
    expect(ok?.ucans.read(`${unknown}`).error).toMatchObject({ name: 'UnsupportedHash' })
  })

  it('never throws on a CAR that is truncated anywhere', () => {
    for (let length = 0; length < car.byteLength; length++) {
      const { error } = decodeMessage(car.subarray(0, length), MESSAGE_LIMITS)
      expect(error?.name, `${length} bytes`).toBe('MalformedMessage')
    }
  })

  it('never throws on a CAR with any byte changed', () => {
    for (let at = 0; at < car.byteLength; at++) {
      const { ok, error } = decodeMessage(car.with(at, car[at]! ^ 0xff), MESSAGE_LIMITS)
      // The hash reveals a changed byte of a block. A changed byte of the header may result in another valid header.
      if (ok) expect(ok.invocations).toHaveLength(3)
      else expect(error?.name).toBe('MalformedMessage')
    }
  })
})

describe('encodeAnswer', () => {
  /** Receipts of the invocations: the second one with many effects, the third one with very many. */
  const receipts = async () => {
    const effects = (count: number) =>
      Promise.all(Array.from({ length: count }, (_, n) => task(`effect ${n} of ${count}`)))
    const forks = [[], await effects(100), await effects(101)]
    return Promise.all(
      invocations.map((ran, n) => issueReceipt(signer, ran, { out: { ok: {} }, fx: { fork: forks[n]! } })),
    )
  }

  it('leaves out the invocations if it must, then the blocks of very many effects, and nothing else', async () => {
    const answered = await receipts()
    const asked = decodeMessage(car, MESSAGE_LIMITS).ok!.ucans.blocks
    const within = (answer: number) => encodeAnswer(answered, asked, { ...MESSAGE_LIMITS, answer })
    let most = MESSAGE_LIMITS.answer
    for (const [ran, whole] of [
      [true, [true, true, true]],
      [false, [true, true, true]],
      [false, [true, true, false]],
    ] as const) {
      const { ok } = await within(most)
      expect(ok!.byteLength).toBeLessThanOrEqual(most)
      const read = answered.map(({ ran }) => readReceipt(`${ran.link()}`, ok!)!)
      expect(read.map(receipt => isDelegation(receipt.ran as never))).toEqual([ran, ran, ran])
      expect(read.map(hasEffectBlocks)).toEqual(whole)
      // The list of effects is signed.
      expect(read.map(effectsOf)).toEqual(answered.map(effectsOf))
      most = ok!.byteLength - 1
    }
    expect((await within(most)).error).toMatchObject({ name: 'AnswerTooLarge' })
  })
})
