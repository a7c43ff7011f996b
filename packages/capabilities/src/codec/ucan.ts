import type { View as UcanModelView } from '@ipld/dag-ucan'
// @ts-expect-error: the package names a file of types for this module that does not exist.
import { from as viewModel } from '@ipld/dag-ucan/codec/cbor'
import {
  createLink,
  Invocation as Invocations,
  isDelegation,
  Signature as Signatures,
  UCAN,
} from '@ucanto/core'
import type {
  Block,
  Capability,
  Delegation,
  Fact,
  Invocation,
  Link,
  Principal,
  Proof,
  Signature,
  Signer,
} from '@ucanto/interface'
import { create as createDigest } from 'multiformats/hashes/digest'
import { sha256 } from '#sha256'
import { encodeCar } from './car.ts'
import { decodeCommon, encodeCbor, encodeCommon, isCid, UNCOMMON, type Uncommon } from './cbor.ts'
import { parseDid, readDid } from './did.ts'
import { type AnyLink, linkText } from './link-text.ts'
import { type Payload, writePayload } from './payload.ts'

/**
 * UCANs, as `@ucanto/core` and `@ipld/dag-ucan` build, decode and view them, but decoded once. What is not common, is not valid or has
 * another form (e.g. that of a JWT) is left to these libraries.
 */

/** Blocks by their CIDs as text. */
export type BlockMap = ReadonlyMap<string, Block>

/** A UCAN (delegation or invocation) as its own bytes say it, without its proofs. */
export type Ucan = UcanModelView<[Capability, ...Capability[]]>

/** The data model of a UCAN. */
interface Model extends Payload {
  v: string
  s: Signature
}

const decoded = new WeakMap<Uint8Array, Ucan>()

/** Decodes a UCAN; the same bytes once. Throws if the bytes are not one. */
export const decodeUcan = (bytes: Uint8Array): Ucan => {
  const known = decoded.get(bytes)
  if (known) return known
  const model = readModel(decodeCommon(bytes))
  const ucan = model === UNCOMMON ? (UCAN.decode(bytes as never) as unknown as Ucan) : view(model)
  decoded.set(bytes, ucan)
  return ucan
}

/**
 * Returns the view of a model. `signaturePayload` has the bytes that were signed: `verifySignature` of `@ipld/dag-ucan` is patched to
 * use it, and writes them itself where it is `undefined`.
 */
const view = (model: Model): Ucan => {
  let payload: Uint8Array | Uncommon | undefined
  const signaturePayload = () => {
    payload ??= writePayload(model, (model.s as unknown as { algorithm: string }).algorithm, model.v)
    return payload === UNCOMMON ? undefined : payload
  }
  return Object.defineProperty(viewModel(model as never), 'signaturePayload', {
    get: signaturePayload,
  }) as unknown as Ucan
}

/** Reads a decoded UCAN, if it has the common form. */
const readModel = (value: unknown): Model | Uncommon => {
  if (!isMap(value)) return UNCOMMON
  const { iss, aud, att, prf = [], exp, nbf, fct = [], nnc, v, s } = value
  const isCommon =
    iss instanceof Uint8Array &&
    aud instanceof Uint8Array &&
    s instanceof Uint8Array &&
    v === UCAN.VERSION &&
    Array.isArray(att) &&
    att.every(isCapability) &&
    Array.isArray(prf) &&
    prf.every(isLink) &&
    (exp === null || Number.isInteger(exp)) &&
    (nbf === undefined || Number.isInteger(nbf)) &&
    Array.isArray(fct) &&
    fct.every(isObject) &&
    (nnc === undefined || typeof nnc === 'string')
  if (!isCommon) return UNCOMMON
  try {
    const signature = Signatures.decode(s as never)
    return { iss: readDid(iss), aud: readDid(aud), att, prf, exp, nbf, fct, nnc, v, s: signature } as Model
  } catch {
    return UNCOMMON
  }
}

const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null
const isLink = (value: unknown): boolean => isObject(value) && isCid(value)
const isMap = (value: unknown): value is Record<string, unknown> =>
  isObject(value) && Object.getPrototypeOf(value) === Object.prototype

/** The libraries write abilities in lower case. */
const ABILITY = /^(?:\*|[a-z0-9*][a-z0-9*._-]*(?:\/[a-z0-9*._-]+)+)$/

/** Whether a value is a capability that the libraries accept and do not change. */
const isCapability = (value: unknown): boolean =>
  isMap(value) &&
  typeof value.can === 'string' &&
  ABILITY.test(value.can) &&
  typeof value.with === 'string' &&
  URL.canParse(value.with)

/** The content of an invocation. It never expires. */
export interface InvocationOptions {
  issuer: Signer
  audience: Principal
  capability: Capability
  proofs: readonly Proof[]
  facts: readonly Fact[]
  nonce?: string | undefined
}

/** Signs an invocation. */
export const issueInvocation = async (options: InvocationOptions): Promise<Invocation> => {
  const root = await sign(options)
  if (root === UNCOMMON) return issueByLibrary(options)
  const { proofs } = options
  const blocks = new Map<string, Block>()
  for (const proof of proofs)
    if (isDelegation(proof as never))
      for (const block of (proof as Delegation).iterateIPLDBlocks())
        blocks.set(linkText(block.cid), block as Block)
  return Object.defineProperty(new UcanView(root, blocks), 'proofs', {
    value: proofs,
  }) as unknown as Invocation
}

const issueByLibrary = async ({
  proofs,
  facts,
  nonce,
  ...options
}: InvocationOptions): Promise<Invocation> => {
  const invocation = Invocations.invoke({
    ...options,
    expiration: Number.POSITIVE_INFINITY,
    proofs: [...proofs],
    facts: [...facts],
    ...(nonce === undefined ? {} : { nonce }),
  } as Parameters<typeof Invocations.invoke>[0])
  const { root, blocks, proofs: issued } = (await invocation.buildIPLDView()) as unknown as UcanView
  return Object.defineProperty(new UcanView(root, blocks), 'proofs', {
    value: issued,
  }) as unknown as Invocation
}

/** Signs and encodes an invocation, if it has only common parts. */
const sign = async ({
  issuer,
  audience,
  capability,
  proofs,
  facts,
  nonce,
}: InvocationOptions): Promise<Block | Uncommon> => {
  if (!isCapability(capability)) return UNCOMMON
  const payload: Payload = {
    iss: parseDid(issuer.did()),
    aud: parseDid(audience.did()),
    att: [capability],
    prf: proofs.map(proof => proof.link()),
    exp: null,
    nbf: undefined,
    fct: facts,
    nnc: nonce,
  }
  const signed = writePayload(payload, issuer.signatureAlgorithm, UCAN.VERSION)
  if (signed === UNCOMMON) return UNCOMMON
  const { nbf, fct, nnc, ...fields } = payload
  const model: Model = { ...payload, v: UCAN.VERSION, s: (await issuer.sign(signed)) as Signature }
  const bytes = encodeCommon({
    ...(fct.length > 0 && { fct }),
    ...(nnc !== undefined && { nnc }),
    ...fields,
    v: model.v,
    s: model.s,
  })
  if (bytes === UNCOMMON) return UNCOMMON
  decoded.set(bytes, view(model))
  return blockOf(bytes)
}

const DAG_CBOR = 0x71

const SHA2_256 = 0x12

/** Returns the block with these bytes of DAG-CBOR. */
export const blockOf = async (bytes: Uint8Array): Promise<Block> => {
  const digest = createDigest(SHA2_256, await sha256(bytes))
  return { cid: createLink(DAG_CBOR, digest as never), bytes } as unknown as Block
}

const IDENTITY = 0x00

/** Returns the block with this CID; `undefined` if it is not there. The identity hash is the block itself. */
export const findBlock = (cid: AnyLink, blocks: BlockMap): Block | undefined => {
  const { multihash } = cid as unknown as { multihash: { code: number; digest: Uint8Array } }
  return multihash.code === IDENTITY
    ? ({ cid, bytes: multihash.digest } as unknown as Block)
    : blocks.get(linkText(cid))
}

/** The published view of an invocation or delegation. */
const View = Invocations.Invocation as unknown as new (
  root: Block,
  blocks: BlockMap,
) => Omit<Invocation, 'data' | 'proofs' | 'export' | 'iterateIPLDBlocks' | 'archive'> & {
  root: Block
  blocks: Map<string, Block>
  get data(): Ucan
  get proofs(): Proof[]
  get attachedLinks(): Set<string>
  export(): IterableIterator<Block>
  iterateIPLDBlocks(): IterableIterator<Block>
  archive(): Promise<{ ok: Uint8Array; error?: undefined } | { ok?: undefined; error: Error }>
}

/** The published view of an invocation or delegation, which decodes its block once and finds its attached blocks once. */
export class UcanView extends View {
  #attachedLinks: Set<string> | undefined

  override get data(): Ucan {
    return decodeUcan(this.root.bytes)
  }

  override get proofs(): Proof[] {
    const proofs = this.data.proofs.map((link: Link) => {
      const root = this.blocks.get(linkText(link))
      return (root ? new UcanView(root, this.blocks) : link) as Proof
    })
    Object.defineProperty(this, 'proofs', { value: proofs })
    return proofs
  }

  override get attachedLinks(): Set<string> {
    this.#attachedLinks ??= super.attachedLinks
    return this.#attachedLinks
  }

  override export(): IterableIterator<Block> {
    return this.iterateIPLDBlocks()
  }

  /** Iterates over the blocks of the proofs, then the attached blocks, then the root. */
  override iterateIPLDBlocks(): IterableIterator<Block> {
    const blocks: Block[] = []
    for (const link of this.data.proofs) addChain(link, this.blocks, blocks)
    for (const link of this.attachedLinks) {
      const block = this.blocks.get(link)
      if (block) blocks.push(block)
    }
    blocks.push(this.root)
    return blocks.values()
  }

  override async archive() {
    try {
      const blocks = new Map<string, Block>()
      for (const block of this.iterateIPLDBlocks()) blocks.set(linkText(block.cid), block)
      const variant = await blockOf(encodeCbor({ [`ucan@${this.data.version}`]: this.root.cid }))
      blocks.set(linkText(variant.cid), variant)
      return { ok: encodeCar(variant.cid, blocks.values()) }
    } catch (cause) {
      return { error: cause as Error }
    }
  }
}

/** Adds the blocks of a UCAN with those of its proofs, the proofs first. */
const addChain = (link: Link, from: BlockMap, blocks: Block[]): void => {
  const root = from.get(linkText(link))
  if (root === undefined) return
  for (const proof of decodeUcan(root.bytes).proofs) addChain(proof, from, blocks)
  blocks.push(root)
}

/** Returns a view of the UCAN with this CID; `undefined` if its block is not there. It decodes lazily. */
export const viewUcan = (cid: AnyLink, blocks: BlockMap): Invocation | undefined => {
  const root = findBlock(cid, blocks)
  return root && viewRoot(root, blocks)
}

/** Returns a view of the UCAN in this block. It decodes lazily. */
export const viewRoot = (root: Block, blocks: BlockMap): Invocation =>
  new UcanView(root, blocks) as unknown as Invocation
