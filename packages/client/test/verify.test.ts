import { mkdtempDisposableSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { decode, encode } from '@ipld/dag-cbor'
import type { Signer } from '@ucanto/interface'
import { ed25519 } from '@ucanto/principal'
import { failure, type Place, Tasks, toMetadata } from '@w3filecoin/capabilities'
import { base58btc } from 'multiformats/bases/base58'
import { CID } from 'multiformats/cid'
import { sha256 } from 'multiformats/hashes/sha2'
import { beforeAll, describe, expect, it } from 'vitest'
import { readCar, writeCar } from '../src/car.ts'
import { Proof, type Report, type VerifyOptions, verify } from '../src/index.ts'
import { createWorld, type World } from './world.ts'

let world: World
let proof: Proof

beforeAll(async () => {
  // The size of real aggregates, and the longest paths.
  world = await createWorld({ size: 2 ** 35 })
  proof = await world.issue()
})

const verifyHere = (source: Parameters<typeof verify>[0], options: Partial<VerifyOptions> = {}) =>
  verify(source, { storefront: world.storefront.did(), ...options })

const invalid = (message: RegExp) => ({ code: 'InvalidProof', message: expect.stringMatching(message) })

describe('verify', () => {
  it('reports the claims of a valid proof, and what they do not prove', async () => {
    const { content, piece } = world.offered
    expect(await verifyHere(proof)).toEqual({
      storefront: world.storefront.did(),
      key: world.storefront.did(),
      task: `${world.task.cid}`,
      content: `${content}`,
      piece: `${piece}`,
      aggregate: `${proof.aggregate}`,
      pieceBytes: 256,
      aggregateBytes: 2 ** 35,
      deal: { dataType: 0, dataSource: { dealID: 42 } },
      place: 'deal 42',
      file: 'not checked',
      proves: [
        expect.stringContaining(`${piece}`),
        expect.stringContaining('deal 42 contains the aggregate'),
      ],
      doesNotProve: [
        expect.stringContaining('deal 42 exists on chain now'),
        expect.stringContaining('pass the file'),
        expect.stringContaining('serves the content'),
        expect.stringContaining('When the receipt was signed'),
      ],
    } satisfies Report)
  })

  it('reads a proof from a file, a blob and bytes, and writes the same bytes', async () => {
    using directory = mkdtempDisposableSync(join(tmpdir(), 'w3proof-'))
    const path = join(directory.path, 'photo.w3proof')
    await proof.save(path)
    expect(new Uint8Array(readFileSync(path))).toEqual(proof.bytes)
    const report = await verifyHere(proof)
    for (const source of [path, new Blob([proof.bytes]), proof.bytes])
      expect(await verifyHere(source)).toEqual(report)
    expect((await Proof.read(path)).bytes).toEqual(proof.bytes)
    expect(proof.bytes.byteLength).toBeLessThan(3_500)
  })

  it('has exactly the two blocks that verification needs', async () => {
    const { roots, blocks } = await readCar(proof.bytes, 10)
    expect(blocks.map(({ cid }) => `${cid}`)).toEqual([`${proof.receipt.root.cid}`, `${world.task.cid}`])
    expect(roots.map(String)).toEqual([`${proof.receipt.root.cid}`])
  })

  it('fails, or reports the same, whichever bit of a proof is flipped', async () => {
    const report = JSON.stringify(await verifyHere(proof))
    const passed: string[] = []
    for (let at = 0; at < proof.bytes.byteLength; at++)
      for (const mask of [0x01, 0x80, 0xff]) {
        const changed = proof.bytes.slice()
        changed[at]! ^= mask
        await verifyHere(changed).then(
          found => passed.push(JSON.stringify(found)),
          error => expect(error.code, `byte ${at}: ${error.stack}`).toBe('InvalidProof'),
        )
      }
    expect(passed.filter(found => found !== report)).toEqual([])
  })

  it('rejects a proof that is cut off anywhere, or has bytes behind its end', async () => {
    for (let length = 0; length < proof.bytes.byteLength; length += 7)
      await expect(verifyHere(proof.bytes.slice(0, length))).rejects.toMatchObject({ code: 'InvalidProof' })
    await expect(verifyHere(new Blob([proof.bytes, proof.bytes]))).rejects.toMatchObject({
      code: 'InvalidProof',
    })
    await expect(verifyHere(new Blob([proof.bytes, '\0']))).rejects.toMatchObject({ code: 'InvalidProof' })
    await expect(verifyHere(new Uint8Array(70_000))).rejects.toMatchObject(invalid(/70000 bytes/))
  })

  it('rejects a proof of another storefront, and one that another key signed', async () => {
    const other = (await ed25519.generate()) as Signer
    await expect(verifyHere(proof, { storefront: other.did() })).rejects.toMatchObject(
      invalid(new RegExp(`about a task of ${world.storefront.did()}`)),
    )
    await expect(verifyHere(await world.issue({ issuer: other }))).rejects.toMatchObject(
      invalid(new RegExp(`about a task of ${other.did()}`)),
    )
    const posing = other.withDID(world.storefront.did() as never)
    await expect(verifyHere(await world.issue({ issuer: posing as Signer }))).rejects.toMatchObject(
      invalid(/did not sign the receipt/),
    )
    const task = await Tasks.filecoinAccept(posing as Signer, world.offered)
    await expect(verifyHere(await world.issue({ task }))).rejects.toMatchObject(
      invalid(/did not sign the task/),
    )
    const foreign = await Tasks.filecoinAccept(other, world.offered)
    await expect(verifyHere(await world.issue({ task: foreign }))).rejects.toMatchObject(
      invalid(new RegExp(`about a task of ${other.did()}`)),
    )
  })

  it('rejects a receipt of another task, and a receipt of a failure', async () => {
    const submit = await Tasks.filecoinSubmit(world.storefront, world.offered)
    await expect(world.issue({ task: submit })).rejects.toMatchObject(invalid(/of filecoin\/submit/))
    const error = failure('InvalidContentPiece', 'The content does not match the piece')
    await expect(world.issue({ out: { error } })).rejects.toMatchObject(
      invalid(/failed with InvalidContentPiece/),
    )
  })

  it('rejects a signed receipt whose result does not prove the piece of its task', async () => {
    const { ok } = world as unknown as {
      ok: { inclusion: { subtree: [bigint, Uint8Array[]]; index: unknown } }
    }
    const { subtree, index } = ok.inclusion
    const changes: [object, RegExp][] = [
      [{ piece: proof.aggregate }, /the receipt is for the piece/],
      [{ inclusion: { subtree: [subtree[0] + 1n, subtree[1]], index } }, /proof leads to/],
      [{ inclusion: { subtree, index: subtree } }, /proof leads to/],
      [{ inclusion: { subtree: [subtree[0], subtree[1].slice(1)], index } }, /proof leads to/],
      [{ inclusion: {} }, /malformed/],
      [{ aggregate: world.offered.piece }, /proof leads to/],
      [{ aux: { dataType: 0, dataSource: {} } }, /names no place/],
      [{ aux: { dataType: 0, dataSource: { dealID: -1 } } }, /names no place/],
      [{ aux: null }, /names no place/],
    ]
    for (const [change, message] of changes)
      await expect(
        verifyHere(await world.issue({ out: { ok: { ...ok, ...change } } })),
      ).rejects.toMatchObject(invalid(message))
  })

  it('rejects blocks that are valid by themselves, but not the form of a proof', async () => {
    const { blocks } = await readCar(proof.bytes, 2)
    const [receipt, task] = blocks as [(typeof blocks)[0], (typeof blocks)[0]]
    const cases: [Uint8Array, RegExp][] = [
      [writeCar([receipt, task, task]), /more than 2 blocks/],
      [writeCar([task, receipt]), /root is not a receipt/],
      [writeCar([receipt]), /does not have two blocks/],
      [writeCar([receipt, receipt]), /not the task of the receipt/],
    ]
    for (const [bytes, message] of cases)
      await expect(verifyHere(bytes)).rejects.toMatchObject(invalid(message))
  })

  it('rejects another form of the same blocks', async () => {
    // A length in a longer form: the same number, with a zero behind it.
    const [length, ...rest] = proof.bytes
    const longer = Uint8Array.from([length! | 0x80, 0, ...rest])
    expect((await readCar(longer, 2)).blocks).toHaveLength(2)
    await expect(verifyHere(longer)).rejects.toMatchObject(invalid(/form in which proofs are written/))
  })

  it('accepts a place of a kind that it does not know, and says so', async () => {
    const aux = { dataType: 3, dataSource: { sector: 7 } }
    const report = await verifyHere(await world.issue({ out: { ok: { ...world.ok, aux } } }))
    expect(report.deal).toEqual(aux)
    expect(report.proves.at(-1)).toContain('a place on chain')
  })

  const verifier = `0x${'ab'.repeat(20)}`
  it.each([
    [{ type: 'market', dealID: 42 }, 'deal 42'],
    [{ type: 'sector', miner: 'f020378', sector: 77 }, 'sector 77 of f020378'],
    [
      { type: 'pdp', chain: 314, verifier, dataSet: 12, piece: 0 },
      'piece 0 of PDP data set 12 (eip155:314, 0xabab…abab)',
    ],
  ] satisfies [Place, string][])('accepts %j, and refuses it with any other field', async (place, words) => {
    const aux = toMetadata(place, 6_543_210)
    const issue = (aux: object) => world.issue({ out: { ok: { ...world.ok, aux } } })
    const read = await issue(aux)
    expect(read.place).toEqual(place)
    const report = await verifyHere(read)
    expect(report).toMatchObject({ deal: aux, place: words })
    expect(report.proves.join()).toContain(`that ${words} contains the aggregate`)

    // Changed after it was signed.
    const forged = Buffer.from(read.bytes)
    const field = place.type === 'market' ? 'dealID' : place.type === 'sector' ? 'sector' : 'dataSet'
    const at = forged.lastIndexOf(field) + field.length
    forged[at]! ^= 1
    await expect(verifyHere(new Uint8Array(forged))).rejects.toMatchObject({ code: 'InvalidProof' })
    // Signed, and no place.
    for (const name of Object.keys(aux.dataSource))
      for (const value of [undefined, -1, 1.5, 'f0x', null]) {
        const dataSource = Object.fromEntries(
          Object.entries({ ...aux.dataSource, [name]: value }).filter(([, value]) => value !== undefined),
        )
        await expect(
          verifyHere(await issue({ ...aux, dataSource })),
          `${name}: ${value}`,
        ).rejects.toMatchObject({ code: 'InvalidProof', message: expect.stringContaining('names no place') })
      }
  })

  it('compares a file with the proof', async () => {
    expect(await verifyHere(proof, { file: world.bytes })).toMatchObject({ file: 'same' })
    using directory = mkdtempDisposableSync(join(tmpdir(), 'w3proof-'))
    const path = join(directory.path, 'other.bin')
    writeFileSync(path, new Uint8Array(200).fill(9))
    await expect(verifyHere(proof, { file: path })).rejects.toMatchObject({ code: 'FileMismatch' })
    // Zeros at the end of a piece are padding: such a file has the same root, but other padding.
    await expect(
      verifyHere(proof, { file: new Blob([world.bytes, new Uint8Array(1)]) }),
    ).rejects.toMatchObject({ code: 'FileMismatch' })
  })
})

describe('verify with a did:web', () => {
  const did = 'did:web:storefront.example'
  let key: Signer
  let proof: Proof

  beforeAll(async () => {
    key = (await ed25519.generate()) as Signer
    proof = await (await createWorld({ storefront: key.withDID(did) as Signer })).issue()
  })

  const method = (change: object = {}) => ({
    id: `${did}#key-0`,
    type: 'Multikey',
    controller: did,
    publicKeyMultibase: key.did().slice('did:key:'.length),
    ...change,
  })
  const document = (...methods: object[]) => ({
    id: did,
    verificationMethod: methods,
    assertionMethod: methods.map(({ id }: { id?: string }) => id ?? '#x'),
  })

  it('is given its keys, or its document', async () => {
    const other = (await ed25519.generate()).did()
    for (const options of [
      { keys: [key.did()] },
      { keys: [other, key.did()] },
      { document: document(method()) },
    ])
      expect(await verify(proof, { storefront: { did, ...options } })).toMatchObject({
        storefront: did,
        key: key.did(),
      })
    await expect(verify(proof, { storefront: { did, keys: [other] } })).rejects.toMatchObject(
      invalid(/did not sign the receipt/),
    )
  })

  it('does not look for keys by itself', async () => {
    await expect(verify(proof, { storefront: did })).rejects.toMatchObject({
      code: 'UnknownKeys',
      hint: expect.stringContaining('`document`'),
    })
  })

  it('reads the forms of keys that the services read', async () => {
    const raw = base58btc.decode(key.did().slice('did:key:'.length)).slice(2)
    const x = Buffer.from(raw).toString('base64url')
    const publicKeyBase58 = base58btc.baseEncode(raw)
    for (const form of [
      { type: 'Ed25519VerificationKey2020' },
      { type: 'Ed25519VerificationKey2018', publicKeyBase58 },
      { type: 'JsonWebKey2020', publicKeyJwk: { kty: 'OKP', crv: 'Ed25519', x } },
      { id: '#key-0' },
      { controller: undefined },
    ])
      expect(await verify(proof, { storefront: { did, document: document(method(form)) } })).toBeDefined()
    const embedded = { id: did, authentication: method() }
    expect(await verify(proof, { storefront: { did, document: embedded } })).toBeDefined()
  })

  it('does not accept keys that are not the those of the storefront, have ended, or for encryption', async () => {
    const documents: unknown[] = [
      { ...document(method()), id: 'did:web:other.example' },
      document(method({ controller: 'did:web:other.example' })),
      document(method({ revoked: '2020-01-01T00:00:00Z' })),
      document(method({ expires: '2020-01-01T00:00:00Z' })),
      document(method({ expires: 'soon' })),
      document(method({ publicKeyMultibase: 'z6Mk' })),
      document(method({ type: 'JsonWebKey2020', publicKeyJwk: null })),
      document(...Array.from({ length: 33 }, () => method())),
      { id: did, verificationMethod: [method()], keyAgreement: [`${did}#key-0`] },
      { id: did, keyAgreement: [method()] },
      null,
      'text',
    ]
    for (const document of documents)
      await expect(
        verify(proof, { storefront: { did, document } }),
        JSON.stringify(document),
      ).rejects.toMatchObject({ code: 'UnknownKeys' })
  })

  it('rejects a root with anything beside the signed outcome', async () => {
    const { blocks } = await readCar(proof.bytes, 2)
    const data = decode(blocks[0]!.bytes) as object
    const bytes = encode({ ...data, note: 'the deal is eternal' })
    const root = { cid: CID.createV1(0x71, await sha256.digest(bytes)), bytes }
    // The signature still holds, so it would be a valid proof with two names.
    const report = verify(writeCar([root, blocks[1]!]), { storefront: { did, keys: [key.did()] } })
    await expect(report).rejects.toMatchObject(invalid(/root is not a receipt/))
  })
})
