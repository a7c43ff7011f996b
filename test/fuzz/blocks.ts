import * as CBOR from '@ipld/dag-cbor'
import { CAR, Message, UCAN } from '@ucanto/core'
import type { Block, Invocation, Signer } from '@ucanto/interface'
import { varint } from 'multiformats'
import { CID } from 'multiformats/cid'
import { sha256 } from 'multiformats/hashes/sha2'

/** A message taken apart, so that any part of it can be changed. */
export interface Parts {
  roots: CID[]
  blocks: { cid: CID; bytes: Uint8Array }[]
}

export const takeApart = async (invocations: readonly Invocation[]): Promise<Parts> => {
  const message = await Message.build({ invocations } as never)
  const blocks = new Map(
    [...message.iterateIPLDBlocks()].map(block => [`${block.cid}`, block as never as Block]),
  )
  return {
    roots: [message.root.cid as never],
    blocks: [...blocks.values()].map(({ cid, bytes }) => ({ cid: cid as never, bytes })),
  }
}

/** The CAR of whatever parts, written by hand: writers of libraries refuse odd ones. */
export const putTogether = ({ roots, blocks }: Parts): Uint8Array => {
  const header = CBOR.encode({ roots: roots as never, version: 1 })
  return Buffer.concat(
    [header, ...blocks.map(({ cid, bytes }) => Buffer.concat([cid.bytes, bytes]))].map(framed),
  )
}

const framed = (bytes: Uint8Array): Uint8Array => {
  const length = new Uint8Array(varint.encodingLength(bytes.byteLength))
  return Buffer.concat([varint.encodeTo(bytes.byteLength, length), bytes])
}

/** Reads a CAR as the published library does. */
export const readParts = (car: Uint8Array): Map<string, Uint8Array> =>
  new Map([...CAR.decode(car as never).blocks.values()].map(({ cid, bytes }) => [`${cid}`, bytes]))

/** Makes other bytes of a block's bytes. */
export type Rewrite = (bytes: Uint8Array) => Uint8Array | Promise<Uint8Array>

/** Finds who signs for an issuer; nobody, and the old signature stays. */
export type SignerOf = (issuer: string) => Signer | undefined

/** A rewrite of what the bytes hold. UCANs are signed again. */
export const ofData =
  (edit: (data: unknown) => unknown, signerOf: SignerOf): Rewrite =>
  async bytes => {
    const data = edit(CBOR.decode(bytes as never))
    return (await signAgain(data, signerOf)) ?? CBOR.encode(data as never)
  }

/**
 * Changes one block, and the links to it in all blocks above, up to the message, as far as these can be read. UCANs
 * above are signed again.
 */
export const change = async (parts: Parts, at: CID, rewrite: Rewrite, signerOf: SignerOf): Promise<Parts> => {
  const blocks = new Map(parts.blocks.map(block => [`${block.cid}`, block]))
  const renamed = new Map<string, CID>()
  const replace = async (cid: CID, rewrite: Rewrite): Promise<void> => {
    const block = blocks.get(`${cid}`)
    if (block === undefined) return
    const bytes = await rewrite(block.bytes)
    const made = CID.createV1(cid.code, await sha256.digest(bytes))
    if (made.equals(cid)) return
    blocks.delete(`${cid}`)
    blocks.set(`${made}`, { cid: made, bytes })
    renamed.set(`${cid}`, made)
    for (const { cid: above, bytes } of [...blocks.values()])
      if (above.code === CBOR.code && linksTo(bytes, cid))
        await replace(
          above,
          ofData(data => relinked(data, cid, made), signerOf),
        )
  }
  await replace(at, rewrite)
  return { roots: parts.roots.map(root => renamed.get(`${root}`) ?? root), blocks: [...blocks.values()] }
}

const signAgain = async (data: unknown, signerOf: SignerOf): Promise<Uint8Array | undefined> => {
  try {
    const ucan = UCAN.decode(CBOR.encode(data as never) as never)
    const signer = signerOf(ucan.issuer.did())
    if (signer === undefined) return undefined
    const { audience, capabilities, facts, expiration, notBefore, nonce, proofs } = ucan
    const issued = await UCAN.issue({
      issuer: { ...namedAs(signer, ucan.issuer.did()) },
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
    // It is no UCAN, or none any more.
    return undefined
  }
}

/** The key of one under the name of another. */
const namedAs = (signer: Signer, did: string) => ({
  did: () => did,
  signatureCode: signer.signatureCode,
  signatureAlgorithm: signer.signatureAlgorithm,
  sign: (payload: Uint8Array) => signer.sign(payload),
})

const linksTo = (bytes: Uint8Array, cid: CID): boolean => Buffer.from(bytes).includes(Buffer.from(cid.bytes))

const relinked = (data: unknown, from: CID, to: CID): unknown =>
  mapParts(data, part => (CID.asCID(part)?.equals(from) ? to : part))

/** The same tree with every part replaced by what `map` makes of it. */
const mapParts = (data: unknown, map: (part: unknown) => unknown): unknown => {
  const part = map(data)
  if (part !== data || typeof part !== 'object' || part === null) return part
  if (part instanceof Uint8Array || CID.asCID(part)) return part
  if (Array.isArray(part)) return part.map(item => mapParts(item, map))
  return Object.fromEntries(Object.entries(part).map(([name, value]) => [name, mapParts(value, map)]))
}

/** Replaces, removes or adds the n-th part of a tree, counted through it. */
export const editPart = (
  data: unknown,
  n: number,
  op: 'replace' | 'remove' | 'add',
  value: unknown,
): unknown => {
  const parts: { holder: Record<string, unknown> | unknown[]; name: string }[] = []
  const root = { data: structuredCopy(data) }
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

/** Names that mean something to JavaScript, or to UCANs. */
const NAMES = ['__proto__', 'constructor', 'toString', 'then', 'nb', 'with', 'prf', 'ok', '']

/** As a property of its own, whatever it is called. */
const set = (holder: object, name: string, value: unknown) =>
  Object.defineProperty(holder, name, { value, enumerable: true, configurable: true, writable: true })

const structuredCopy = (data: unknown): unknown => CBOR.decode(CBOR.encode(data as never))
