import { isDeepStrictEqual } from 'node:util'
import {
  CAR,
  CBOR,
  createLink,
  DID as Dids,
  decodeLink,
  delegate,
  Invocation as Invocations,
  Signature as Signatures,
  UCAN,
} from '@ucanto/core'
import type { Block, Delegation, DID, Fact, Invocation, Signer } from '@ucanto/interface'
import { bytesOf, linkOf, p256Signer, signerOf, somePiece } from '@w3filecoin/testing'
import { Choices } from '@w3filecoin/testing/deterministic'
import { CID } from 'multiformats/cid'
import { create as createDigest } from 'multiformats/hashes/digest'
import { identity } from 'multiformats/hashes/identity'
import { describe, expect, it } from 'vitest'
import { decodeCommon, encodeCommon, UNCOMMON } from '../src/codec/cbor.ts'
import { readDid } from '../src/codec/did.ts'
import { decodeCbor, decodeUcan, encodeCar, encodeCbor, linkText, viewUcan } from '../src/codec/index.ts'
import { writePayload } from '../src/codec/payload.ts'
import { issueInvocation } from '../src/codec/ucan.ts'

/*
 * The published libraries are the oracle: for every value and every input the codec has the same bytes, the same value or the same
 * error. Each test runs the same generated cases every time. `CASES` may be raised to search for differences.
 */
const CASES = 4_000

/** The result of a call, or the message of its error. */
const outcomeOf = <T>(run: () => T): { ok: T } | { error: string } => {
  try {
    return { ok: run() }
  } catch (cause) {
    return { error: (cause as Error).message }
  }
}

/** Fails if two outcomes differ. `expect` would take most of the time. */
const expectSame = (ours: unknown, theirs: unknown, input: unknown): void => {
  if (!isDeepStrictEqual(ours, theirs)) expect({ input, outcome: ours }).toEqual({ input, outcome: theirs })
}

const plain = (bytes: Uint8Array): Uint8Array => new Uint8Array(bytes)

/** Generates values from a seed. */
class Values {
  readonly choices: Choices

  constructor(seed: number) {
    this.choices = new Choices(Math.imul(seed + 1, 0x9e37_79b1))
    // The first choices of similar seeds are similar.
    for (let n = 0; n < 10; n++) this.choices.fraction()
  }

  text(): string {
    const { choices } = this
    const ascii = () => String.fromCharCode(choices.between(0x20, 0x7e))
    const odd = () =>
      choices.one(['ü', '🗄', '\ud800', '\udc00x', '\u0000', '\n', '"', '\\', '\u2028', '\u007f', '\u0080'])
    const length = choices.one([0, 1, 2, 5, 23, 24, 25, 60, choices.between(0, 300)])
    return Array.from({ length }, () => (choices.chance(0.002) ? odd() : ascii())).join('')
  }

  key(): string {
    const { choices } = this
    if (choices.chance(0.02))
      return choices.one([
        '/',
        'asCID',
        '__proto__',
        'constructor',
        'toString',
        'bytes',
        'ü',
        '🗄',
        '1',
        '0',
        '',
      ])
    return choices.one(['a', 'b', 'nb', 'can', 'with', 'piece', 'group', 'aa', 'ab', 'Z', 'zz', this.text()])
  }

  integer(): number {
    const { choices } = this
    const edge = choices.one([
      0,
      23,
      24,
      255,
      256,
      65_535,
      65_536,
      2 ** 32 - 1,
      2 ** 32,
      2 ** 53 - 1,
      2 ** 53,
      choices.between(0, 1e9),
    ])
    return choices.chance(0.3) ? -1 - edge : edge
  }

  bytes(): Uint8Array {
    const { choices } = this
    const bytes = bytesOf(choices.between(0, 1e9), choices.one([0, 1, 23, 24, 32, 255, 256, 700]))
    return choices.chance(0.2) ? Buffer.from(bytes) : bytes
  }

  link(): CID {
    const { choices } = this
    const bytes = bytesOf(choices.between(0, 1e9), 40)
    switch (choices.between(0, 5)) {
      case 0:
        return somePiece(choices.between(0, 1e9)) as unknown as CID
      case 1:
        return CID.createV0(createDigest(0x12, bytes.subarray(0, 32)) as never) as unknown as CID
      case 2:
        return CID.createV1(
          0x55,
          identity.digest(bytes.subarray(0, choices.between(0, 40))),
        ) as unknown as CID
      case 3:
        return createLink(0x71, createDigest(0x12, bytes.subarray(0, 32)) as never) as unknown as CID
      default:
        return linkOf(bytes) as unknown as CID
    }
  }

  /** A value of the kinds that messages have. */
  common(depth = 0): unknown {
    const { choices } = this
    const size = () => choices.one([0, 1, 2, 3, 5, depth === 0 ? choices.between(0, 40) : 1])
    const kind = choices.between(0, depth > 4 ? 5 : 8)
    if (kind === 0) return choices.one([null, true, false])
    if (kind === 1) return this.integer()
    if (kind === 2) return this.bytes()
    if (kind === 3) return this.link()
    if (kind <= 5) return this.text()
    if (kind === 6) return Array.from({ length: size() }, () => this.value(depth + 1))
    return Object.fromEntries(Array.from({ length: size() }, () => [this.key(), this.value(depth + 1)]))
  }

  /** Any value, also such as cannot be encoded. */
  value(depth = 0): unknown {
    const { choices } = this
    return choices.chance(depth === 0 ? 0.1 : 0.01) ? this.odd() : this.common(depth)
  }

  odd(): unknown {
    const { choices } = this
    const circular: unknown[] = []
    circular.push(circular)
    const nested = Array.from({ length: choices.between(60, 70) }).reduce<unknown>(inner => [inner], 1)
    const bytes = this.bytes()
    return choices.one<unknown>([
      -0,
      1.5,
      -2.25e300,
      Number.NaN,
      Number.POSITIVE_INFINITY,
      10n ** 18n,
      -(2n ** 64n),
      2n ** 64n,
      undefined,
      Symbol('x'),
      () => 1,
      new Map([
        ['b', 1],
        ['a', 2],
      ]),
      new Map([[1, 1]]),
      new Date(0),
      new Set([1]),
      new Float64Array([1, 2]),
      new DataView(new ArrayBuffer(3)),
      new ArrayBuffer(2),
      Object.create(null),
      Object.create({ inherited: 1 }),
      { toJSON: () => ({ a: bytes }) },
      { '/': bytes, bytes },
      { asCID: 1 },
      { ['__proto__']: 1 },
      Array(2),
      circular,
      nested,
      JSON.parse('{"__proto__":{"a":1}}'),
    ])
  }

  /** Changes some bytes. */
  mutated(bytes: Uint8Array): Uint8Array {
    const { choices } = this
    const list = [...bytes]
    for (let n = choices.between(1, 3); n > 0; n--) {
      const at = choices.between(0, Math.max(0, list.length - 1))
      const byte = choices.one([
        choices.between(0, 255),
        0x00,
        0x5f,
        0x7f,
        0x9f,
        0xbf,
        0xd8,
        0xf7,
        0xf9,
        0xfb,
        0xff,
        0x18,
        0x1b,
        0x3b,
      ])
      if (choices.chance(0.4)) list[at] = byte
      else if (choices.chance(0.3)) list.splice(at, choices.between(1, 4))
      else if (choices.chance(0.5)) list.splice(at, 0, byte)
      else list.splice(at, 0, ...list.slice(at, at + choices.between(1, 20)))
    }
    return Uint8Array.from(list)
  }
}

describe('DAG-CBOR', () => {
  it('is encoded as by the published codec, and values that cannot be encoded have the same errors', () => {
    let common = 0
    let errors = 0
    for (let seed = 0; seed < CASES; seed++) {
      const value = new Values(seed).value()
      const theirs = outcomeOf(() => plain(CBOR.encode(value)))
      expectSame(
        outcomeOf(() => plain(encodeCbor(value))),
        theirs,
        value,
      )
      if (encodeCommon(value) !== UNCOMMON) common += 1
      if ('error' in theirs) errors += 1
    }
    expect(common).toBeGreaterThan(CASES / 2)
    expect(errors).toBeGreaterThan(CASES / 100)
  })

  it('is decoded as by the published codec, and bytes that are not valid have the same errors', () => {
    let common = 0
    let errors = 0
    for (let seed = 0; seed < CASES; seed++) {
      const values = new Values(seed)
      const encoded = outcomeOf(() => CBOR.encode(values.value()))
      if ('error' in encoded) continue
      for (const bytes of [encoded.ok, values.mutated(encoded.ok), values.mutated(encoded.ok)]) {
        const theirs = outcomeOf(() => CBOR.decode(bytes as never) as unknown)
        expectSame(
          outcomeOf(() => decodeCbor(bytes)),
          theirs,
          Buffer.from(bytes).toString('hex'),
        )
        if ('error' in theirs) {
          errors += 1
          expect(decodeCommon(bytes)).toBe(UNCOMMON)
        } else if (decodeCommon(bytes) !== UNCOMMON) common += 1
      }
    }
    expect(common).toBeGreaterThan(CASES / 2)
    expect(errors).toBeGreaterThan(CASES / 2)
  })

  it.each([
    ['a length in more bytes than necessary', '1817'],
    ['an integer in more bytes than necessary', '190001'],
    ['a list of indefinite length', '9f01ff'],
    ['a text of indefinite length', '7f6161ff'],
    ['a key twice', 'a2616101616102'],
    ['a key that is no text', 'a10101'],
    ['bytes after the value', '0101'],
    ['another tag than that of links', 'd82b4100'],
    ['a link without the zero before it', 'd82a4101'],
    ['a link that is no CID', 'd82a420001'],
    ['a list that ends too early', '8201'],
    ['a text that ends too early', '6361'],
    ['a length that does not end', '9bffffffffffffffff'],
    ['half a float', 'f97e00'],
    ['a simple value', 'f0'],
    ['nothing', ''],
  ])('is not decoded: %s', (_, hex) => {
    const bytes = new Uint8Array(Buffer.from(hex, 'hex'))
    const theirs = outcomeOf(() => CBOR.decode(bytes as never))
    expect(theirs).toHaveProperty('error')
    expect(decodeCommon(bytes)).toBe(UNCOMMON)
    expect(outcomeOf(() => decodeCbor(bytes))).toEqual(theirs)
  })

  it('copies the byte strings, so that a message does not change what was read from it', () => {
    const bytes = encodeCbor({ a: bytesOf(1, 3), link: linkOf(bytesOf(2, 3)) })
    for (const input of [bytes.slice(), Buffer.from(bytes)]) {
      const before = decodeCbor(input)
      const expected = structuredClone(Object.values(before as object)[0])
      input.fill(0)
      expect((before as { a: unknown }).a).toEqual(expected)
      expect(`${(before as { link: unknown }).link}`).toBe(`${linkOf(bytesOf(2, 3))}`)
      expect((before as { a: Uint8Array }).a.buffer.byteLength).toBe(3)
    }
  })
})

describe('the text of a CID', () => {
  it('is that of the published library', () => {
    for (let seed = 0; seed < CASES; seed++) {
      const link = new Values(seed).link()
      expectSame(linkText(link as never), `${decodeLink(link.bytes as never)}`, link)
    }
  })

  it('is written from the bytes, also of a CID that was parsed from another form of its text', () => {
    const text = `${linkOf(bytesOf(1, 3))}`
    expect(linkText(CID.parse(`${text}=`) as never)).toBe(text)
  })
})

describe('the text of a value that is no CID', () => {
  it.each([null, undefined, 1, 'x', {}, { version: 1, bytes: Uint8Array.of(1) }])(
    'is that of a template: %j',
    value => {
      expect(linkText(value as never)).toBe(`${value}`)
    },
  )
})

describe('a CAR', () => {
  it('is encoded as by the published codec', () => {
    for (let seed = 0; seed < CASES / 10; seed++) {
      const values = new Values(seed)
      const blocks = new Map<string, Block>()
      const sizes = [0, 1, 90, 91, 92, 127, 128, 16_346, 16_347, 16_384]
      for (let n = values.choices.between(1, 6); n > 0; n--) {
        const bytes = bytesOf(`${seed} ${n}`, values.choices.one(sizes))
        const cid = linkOf(bytes, values.choices.one([0x55, 0x71]))
        blocks.set(`${cid}`, { cid, bytes } as never)
      }
      const root = [...blocks.values()].at(-1)!
      expectSame(
        plain(encodeCar(root.cid, blocks.values())),
        plain(CAR.encode({ roots: [root], blocks } as never)),
        seed,
      )
    }
  })
})

const signers: Signer[] = [
  await signerOf('alice'),
  await signerOf('bob', 'did:web:bob.example'),
  await p256Signer(),
]

const didBytes = (did: string): Uint8Array => plain(Dids.parse(did as DID) as unknown as Uint8Array)

const DIDS = [
  ...signers.map(signer => didBytes(signer.did())),
  didBytes('did:mailto:example.com:alice'),
  didBytes('did:web:grüße.example'),
  ...Array<Uint8Array>(20).fill(didBytes(signers[0]!.did())),
  Uint8Array.of(1, 2, 3),
  Uint8Array.of(),
]

const SIGNATURES = [
  ...Array<Uint8Array>(20).fill(plain(Signatures.create(0xd0ed, bytesOf('signature', 64)))),
  plain(Signatures.create(0xd01205, bytesOf('signature', 256))),
  plain(Signatures.createNonStandard('custom', bytesOf('signature', 3))),
  plain(Signatures.createNonStandard('', Uint8Array.of())),
  bytesOf('no signature', 10),
  Uint8Array.of(),
]

/** Returns the data model of some UCAN, which is not always valid. */
const someModel = (values: Values): Record<string, unknown> => {
  const { choices } = values
  const oddly = (value: unknown, chance = 0.02) => (choices.chance(chance) ? values.value(3) : value)
  const did = () => oddly(choices.one(DIDS), 0.01)
  const ability = () =>
    choices.one([
      'piece/offer',
      'piece/*',
      '*',
      'a/b/c',
      'Piece/Offer',
      'piece',
      '/',
      'x/',
      'ü/x',
      'ſ/K',
      values.text(),
    ])
  const resource = () =>
    choices.one(['did:web:a.example', 'ucan:*', 'https://a.example/x', 'no uri', 'did:', values.text()])
  const capability = () => ({
    can: oddly(choices.chance(0.8) ? 'piece/offer' : ability()),
    with: oddly(choices.chance(0.8) ? 'did:web:a.example' : resource()),
    ...(choices.chance(0.8) && { nb: values.common(2) }),
    ...(choices.chance(0.05) && { [values.key()]: values.common(3) }),
  })
  const list = (item: () => unknown) => Array.from({ length: choices.one([0, 1, 1, 2]) }, item)
  return {
    iss: did(),
    aud: did(),
    att: oddly(
      list(() => oddly(capability())),
      0.01,
    ),
    prf: oddly(
      list(() => oddly(values.link())),
      0.01,
    ),
    exp: oddly(choices.one([null, 0, 1, 1_800_000_000])),
    v: oddly(choices.one(['0.9.1', '0.9.1', '0.9.1', '0.10.0', '1'])),
    s: oddly(choices.one(SIGNATURES)),
    ...(choices.chance(0.3) && {
      fct: oddly(
        list(() => values.common(2)),
        0.1,
      ),
    }),
    ...(choices.chance(0.3) && { nnc: oddly(choices.one(['', 'n', values.text()])) }),
    ...(choices.chance(0.3) && { nbf: oddly(choices.one([0, 1, 1_700_000_000])) }),
    ...(choices.chance(0.02) && { other: 1 }),
  }
}

/** Everything that a view of a UCAN says. */
const readUcan = (ucan: ReturnType<typeof decodeUcan>) => {
  const { model, issuer, audience, code, proofs, signature, ...rest } = {
    model: ucan.model as unknown as Record<string, unknown>,
    issuer: ucan.issuer.did(),
    audience: ucan.audience.did(),
    code: ucan.code,
    proofs: ucan.proofs.map(String),
    signature: [plain(ucan.signature), ucan.signature.algorithm],
    version: ucan.version,
    capabilities: ucan.capabilities,
    expiration: ucan.expiration,
    notBefore: ucan.notBefore,
    nonce: ucan.nonce,
    facts: ucan.facts,
  }
  const { iss, aud, s, ...fields } = model
  return {
    ...rest,
    issuer,
    audience,
    code,
    proofs,
    signature,
    fields,
    bytes: [iss, aud, s].map(part => plain(part as Uint8Array)),
  }
}

/** The bytes that are signed, as the published library writes them: the JWT without its last part. */
const signedPart = (ucan: ReturnType<typeof decodeUcan>): string =>
  UCAN.format(ucan as never)
    .split('.')
    .slice(0, 2)
    .join('.')

describe('a UCAN', () => {
  it('is decoded as by the published library, with the same signed bytes, or has the same error', () => {
    let [valid, invalid, fast] = [0, 0, 0]
    for (let seed = 0; seed < CASES; seed++) {
      const values = new Values(seed)
      const model = someModel(values)
      const encoded = outcomeOf(() => CBOR.encode(model))
      if ('error' in encoded) continue
      const isMutated = values.choices.chance(0.2)
      const bytes = plain(isMutated ? values.mutated(encoded.ok) : encoded.ok)
      const theirs = outcomeOf(() => readUcan(UCAN.decode(bytes as never) as never))
      const ours = outcomeOf(() => readUcan(decodeUcan(bytes)))
      expectSame(ours, theirs, { model, hex: Buffer.from(bytes).toString('hex') })
      if ('error' in theirs) {
        invalid += 1
        continue
      }
      valid += 1
      const ucan = decodeUcan(bytes)
      const { signaturePayload } = ucan as { signaturePayload?: Uint8Array }
      if (signaturePayload === undefined) continue
      fast += 1
      expectSame(
        Buffer.from(signaturePayload).toString(),
        signedPart(UCAN.decode(bytes as never) as never),
        model,
      )
    }
    expect(Math.min(valid, invalid, fast)).toBeGreaterThan(CASES / 10)
  })

  it.each([1.5, 2 ** 53, -(2 ** 53), Number.NaN, 1n, undefined, { '/': 1 }, new Date(0)])(
    'with %s in it has no signed bytes of this codec',
    value => {
      const [iss, aud] = [readDid(DIDS[0]!), readDid(DIDS[1]!)]
      const payload = { iss, aud, att: [{ value }], prf: [], exp: null, fct: [] }
      expect(writePayload(payload, 'EdDSA', '0.9.1')).toBe(UNCOMMON)
      expect(writePayload({ ...payload, att: [{ value: 2 ** 53 - 1 }] }, 'EdDSA', '0.9.1')).not.toBe(UNCOMMON)
    },
  )

  it('in the form of a JWT is decoded by the published library', async () => {
    const task = await issueInvocation({
      issuer: signers[0]!,
      audience: signers[1]!,
      capability: { can: 'piece/offer', with: 'did:web:a.example' },
      proofs: [],
      facts: [],
    })
    const jwt = new TextEncoder().encode(UCAN.format(task.data as never))
    const ucan = decodeUcan(jwt)
    expect(ucan.code).toBe(0x55)
    expect(readUcan(ucan)).toEqual(readUcan(UCAN.decode(jwt as never) as never))
    expect((ucan as { signaturePayload?: Uint8Array }).signaturePayload).toBeUndefined()
  })

  it('is verified by the bytes that the view has: the published library is patched', async () => {
    const task = await issueInvocation({
      issuer: signers[0]!,
      audience: signers[1]!,
      capability: { can: 'piece/offer', with: 'did:web:a.example', nb: { piece: somePiece(1) } as never },
      proofs: [],
      facts: [],
    })
    const ucan = decodeUcan(task.bytes) as unknown as { signaturePayload: Uint8Array }
    let verified: unknown
    const verifier = { did: () => signers[0]!.did(), verify: (payload: Uint8Array) => (verified = payload) }
    UCAN.verifySignature(ucan as never, verifier as never)
    expect(verified).toBe(ucan.signaturePayload)
  })
})

describe('an invocation', () => {
  it('is issued, attached and archived with the same blocks as by the published library', async () => {
    const [issuer, audience] = signers as [Signer, Signer]
    const delegationWith = async (more: object) =>
      (await delegate({
        issuer: audience,
        audience: issuer,
        capabilities: [{ can: 'piece/*', with: audience.did() }],
        expiration: Number.POSITIVE_INFINITY,
        ...more,
      } as never)) as unknown as Delegation
    const proof = await delegationWith({})
    const proofs = [proof, await delegationWith({ proofs: [proof], nonce: 'x' }), proof.cid]
    let compared = 0
    for (let seed = 0; seed < CASES / 10; seed++) {
      const values = new Values(seed)
      const { choices } = values
      const block = { cid: linkOf(bytesOf(seed, 9)), bytes: bytesOf(seed, 9) } as unknown as Block
      const options = {
        issuer: choices.one(signers.slice(0, 2)),
        audience: choices.one(signers),
        capability: {
          can: choices.chance(0.95) ? 'piece/offer' : choices.one(['Piece/Offer', 'piece', '*', 'ü/x']),
          with: choices.chance(0.95) ? issuer.did() : choices.one(['no uri', 'https://a.example', 'did:']),
          nb: { block: block.cid, more: values.value(2) },
        } as never,
        proofs: proofs.slice(choices.between(0, 3)) as never[],
        facts: choices.chance(0.5)
          ? []
          : ([{ block: block.cid, more: values.value(3) }] as unknown as Fact[]),
        ...(choices.chance(0.5) && { nonce: choices.one(['', 'n', values.text()]) }),
      }
      const describeTask = async (issue: () => Promise<Invocation>) => {
        try {
          const task = await issue()
          task.attach(block)
          const blocks = [...task.iterateIPLDBlocks()].map(({ cid, bytes }) => [`${cid}`, plain(bytes)])
          const archive = await task.archive()
          const exported = [...task.export()].length
          return { blocks, archive: plain(archive.ok!), exported, proofs: task.proofs.length }
        } catch (cause) {
          return { error: (cause as Error).message }
        }
      }
      const theirs = await describeTask(
        async () =>
          (await Invocations.invoke({
            ...options,
            expiration: Number.POSITIVE_INFINITY,
          } as never).buildIPLDView()) as unknown as Invocation,
      )
      expectSame(await describeTask(() => issueInvocation(options)), theirs, options)
      if (theirs.blocks === undefined) continue
      compared += 1
      // Read from its blocks again, its proofs and attached blocks are found again.
      const blocks = new Map(
        theirs.blocks.map(([cid, bytes]) => [cid, { cid: CID.parse(cid as string), bytes }]),
      )
      const [root] = theirs.blocks.at(-1) as [string]
      const read = viewUcan(CID.parse(root) as never, blocks as never)!
      const published = Invocations.view({ root: CID.parse(root) as never, blocks: blocks as never })
      const textsOf = (view: { iterateIPLDBlocks(): Iterable<{ cid: unknown }>; proofs: unknown[] }) => [
        ...[...view.iterateIPLDBlocks()].map(({ cid }) => `${cid}`),
        ...view.proofs.map(proof => `${(proof as Delegation).cid ?? proof}`),
      ]
      expectSame(textsOf(read), textsOf(published as never), options)
    }
    expect(compared).toBeGreaterThan(CASES / 20)
  })
})
