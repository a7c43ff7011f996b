import * as CBOR from '@ipld/dag-cbor'
import { Message, UCAN } from '@ucanto/core'
import type { Block, Invocation, Signer } from '@ucanto/interface'
import { varint } from 'multiformats'
import { CID } from 'multiformats/cid'
import { sha256 } from 'multiformats/hashes/sha2'

/** The roots and blocks of a message, so that each can be changed. */
export interface MessageParts {
  roots: CID[]
  blocks: { cid: CID; bytes: Uint8Array }[]
}

export const unpackMessage = async (invocations: readonly Invocation[]): Promise<MessageParts> => {
  const message = await Message.build({ invocations } as never)
  const blocks = new Map(
    [...message.iterateIPLDBlocks()].map(block => [`${block.cid}`, block as never as Block]),
  )
  return {
    roots: [message.root.cid as never],
    blocks: [...blocks.values()].map(({ cid, bytes }) => ({ cid: cid as never, bytes })),
  }
}

/** Writes a CAR of any roots and blocks. It does not use a library, because libraries refuse invalid CARs. */
export const packMessage = ({ roots, blocks }: MessageParts): Uint8Array => {
  const header = CBOR.encode({ roots: roots as never, version: 1 })
  return Buffer.concat(
    [header, ...blocks.map(({ cid, bytes }) => Buffer.concat([cid.bytes, bytes]))].map(frame),
  )
}

const frame = (bytes: Uint8Array): Uint8Array => {
  const length = new Uint8Array(varint.encodingLength(bytes.byteLength))
  return Buffer.concat([varint.encodeTo(bytes.byteLength, length), bytes])
}

/**
 * Reads the blocks of a CAR by CID. A section without a valid CID is left out: the services ignore blocks whose hash function
 * they do not know, also where the published reader refuses the whole CAR.
 */
export const readBlocks = (car: Uint8Array): Map<string, Uint8Array> => {
  const blocks = new Map<string, Uint8Array>()
  const [, body] = splitFrame(car)
  for (let rest = body; rest.byteLength > 0; ) {
    const [section, remaining] = splitFrame(rest)
    rest = remaining
    try {
      const [cid, bytes] = CID.decodeFirst(section)
      blocks.set(`${cid}`, bytes)
    } catch {
      // Not a CID.
    }
  }
  return blocks
}

/** Reads a length at the start of the bytes, and splits off the part of that length after it. */
const splitFrame = (bytes: Uint8Array): [part: Uint8Array, rest: Uint8Array] => {
  const [length, size] = varint.decode(bytes)
  return [bytes.subarray(size, size + length), bytes.subarray(size + length)]
}

/** Changes the bytes of a block. */
export type Rewrite = (bytes: Uint8Array) => Uint8Array | Promise<Uint8Array>

/** Returns the signer for the DID of an issuer; `undefined` keeps the old signature. */
export type SignerOf = (issuer: string) => Signer | undefined

/** Returns a rewrite that decodes the block, edits its data and encodes it again. A UCAN is signed again. */
export const rewriteData =
  (edit: (data: unknown) => unknown, signerOf: SignerOf): Rewrite =>
  async bytes => {
    const data = edit(CBOR.decode(bytes as never))
    return (await signAgain(data, signerOf)) ?? CBOR.encode(data as never)
  }

/**
 * Changes one block, then the links to it in every block that leads to it, up to the root. UCANs among these are signed
 * again. Blocks that cannot be decoded stay as they are.
 */
export const change = async (
  parts: MessageParts,
  at: CID,
  rewrite: Rewrite,
  signerOf: SignerOf,
): Promise<MessageParts> => {
  const blocks = new Map(parts.blocks.map(block => [`${block.cid}`, block]))
  const newCids = new Map<string, CID>()
  const replace = async (cid: CID, rewrite: Rewrite): Promise<void> => {
    const block = blocks.get(`${cid}`)
    if (block === undefined) return
    const bytes = await rewrite(block.bytes)
    const newCid = CID.createV1(cid.code, await sha256.digest(bytes))
    if (newCid.equals(cid)) return
    blocks.delete(`${cid}`)
    blocks.set(`${newCid}`, { cid: newCid, bytes })
    newCids.set(`${cid}`, newCid)
    for (const { cid: above, bytes } of [...blocks.values()])
      if (above.code === CBOR.code && hasLinkTo(bytes, cid))
        await replace(
          above,
          rewriteData(data => relink(data, cid, newCid), signerOf),
        )
  }
  await replace(at, rewrite)
  return { roots: parts.roots.map(root => newCids.get(`${root}`) ?? root), blocks: [...blocks.values()] }
}

const signAgain = async (data: unknown, signerOf: SignerOf): Promise<Uint8Array | undefined> => {
  try {
    const ucan = UCAN.decode(CBOR.encode(data as never) as never)
    const signer = signerOf(ucan.issuer.did())
    if (signer === undefined) return undefined
    const { audience, capabilities, facts, expiration, notBefore, nonce, proofs } = ucan
    const issued = await UCAN.issue({
      issuer: { ...signUnderName(signer, ucan.issuer.did()) },
      audience,
      capabilities,
      facts,
      expiration,
      ...(notBefore === undefined ? {} : { notBefore }),
      ...(nonce === undefined ? {} : { nonce }),
      proofs,
    } as never)
    return UCAN.encode(issued as never)
  } catch {
    // The data is not a UCAN, or the edit made it invalid.
    return undefined
  }
}

/** Returns a signer that signs with its own key under the DID of another principal. */
const signUnderName = (signer: Signer, did: string) => ({
  did: () => did,
  signatureCode: signer.signatureCode,
  signatureAlgorithm: signer.signatureAlgorithm,
  sign: (payload: Uint8Array) => signer.sign(payload),
})

const hasLinkTo = (bytes: Uint8Array, cid: CID): boolean =>
  Buffer.from(bytes).includes(Buffer.from(cid.bytes))

const relink = (data: unknown, from: CID, to: CID): unknown =>
  mapParts(data, part => (CID.asCID(part)?.equals(from) ? to : part))

/** Returns a copy of the tree in which `map` replaces every part. */
const mapParts = (data: unknown, map: (part: unknown) => unknown): unknown => {
  const part = map(data)
  if (part !== data || typeof part !== 'object' || part === null) return part
  if (part instanceof Uint8Array || CID.asCID(part)) return part
  if (Array.isArray(part)) return part.map(item => mapParts(item, map))
  return Object.fromEntries(Object.entries(part).map(([name, value]) => [name, mapParts(value, map)]))
}

/** Replaces or removes the nth part of a tree in depth-first order, or adds a part beside it. */
export const editPart = (
  data: unknown,
  n: number,
  op: 'replace' | 'remove' | 'add',
  value: unknown,
): unknown => {
  const parts: { holder: Record<string, unknown> | unknown[]; name: string }[] = []
  const root = { data: copy(data) }
  const walk = (holder: Record<string, unknown> | unknown[]): void => {
    for (const [name, part] of Object.entries(holder)) {
      parts.push({ holder, name })
      if (typeof part === 'object' && part !== null && !(part instanceof Uint8Array) && !CID.asCID(part))
        walk(part as Record<string, unknown>)
    }
  }
  walk(root)
  const { holder, name } = parts[n % parts.length]!
  if (op === 'replace') set(holder, name, value)
  else if (Array.isArray(holder)) op === 'add' ? holder.push(value) : holder.splice(Number(name), 1)
  else if (op === 'add') set(holder, `${NAMES[n % NAMES.length]}`, value)
  else if (holder !== root) delete holder[name]
  return root.data
}

/** Names with a meaning in JavaScript or in UCANs. */
const NAMES = ['__proto__', 'constructor', 'toString', 'then', 'nb', 'with', 'prf', 'ok', '']

/** Defines the property, because assignment to `__proto__` would set the prototype. */
const set = (holder: object, name: string, value: unknown) =>
  Object.defineProperty(holder, name, { value, enumerable: true, configurable: true, writable: true })

const copy = (data: unknown): unknown => CBOR.decode(CBOR.encode(data as never))
