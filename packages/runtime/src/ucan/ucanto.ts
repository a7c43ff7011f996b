import { isExpired as isUcanExpired, verifySignature } from '@ipld/dag-ucan'
import { createNonStandard } from '@ipld/dag-ucan/signature'
import { CAR, Message as Messages } from '@ucanto/core'
import { extract } from '@ucanto/core/delegation'
import type {
  AgentMessageModel,
  Authorization as Authorized,
  Block,
  Capability,
  CapabilityParser,
  Delegation,
  DID,
  Invocation,
  Link,
  Match,
  ParsedCapability,
  PrincipalParser,
  Receipt,
  ReceiptModel,
  Result,
  Signer,
  Verifier,
} from '@ucanto/interface'
import { ed25519 } from '@ucanto/principal'
import { provideAdvanced } from '@ucanto/server'
import { Authorization, authorize, Schema } from '@ucanto/validator'
import type { Failure, Task } from '@w3filecoin/capabilities'
import {
  type AnyLink,
  type BlockMap,
  blockOf,
  decodeCbor,
  encodeCbor,
  findBlock,
  linkText,
  type Ucan,
  viewRoot,
  viewUcan,
} from '@w3filecoin/capabilities/codec'
import type { CID } from 'multiformats/cid'
import { isLink, parse as parseLink } from 'multiformats/link'
import { refuseUnknownCaveats } from './caveats.ts'
import { describeDenial } from './denial.ts'
import { blocksIn, ReceiptView } from './receipt-view.ts'

/**
 * The UCAN library with the types that this code needs. Every cast around it is in this file, for two reasons:
 *
 * - Its packages depend on three versions of `multiformats` and of `@ucanto/interface`. The links, blocks and views of
 *   these versions are the same objects at run time, but different types to the compiler.
 * - It infers the types of abilities and results from tuples written out in the code. Tasks and receipts that arrive over
 *   the network have no such types.
 *
 * Views decode lazily: a view of malformed bytes throws when the malformed part is read. No function here copies bytes.
 */

/** Pairs bytes with their CID. */
export const toBlock = (cid: CID, bytes: Uint8Array): Block => ({ cid, bytes }) as unknown as Block

/** The DIDs of a UCAN's issuer and audience, as bytes: to write a long `did:key` as text takes longer than a check of it. */
export const didBytes = ({ model }: Ucan): { issuer: Uint8Array; audience: Uint8Array } =>
  ({ issuer: model.iss, audience: model.aud }) as unknown as { issuer: Uint8Array; audience: Uint8Array }

/** Whether the bytes of a DID are those of a `did:key`: the multicodec of other DIDs is 0x0d1d, as a varint. */
export const hasKey = (did: Uint8Array): boolean => !(did[0] === 0x9d && did[1] === 0x1a)

/** Whether the time of a UCAN is over. */
export const isExpired = (ucan: Ucan): boolean => isUcanExpired(ucan as never)

/**
 * Returns the bytes that the issuer of a UCAN signed. They are the same in every form of the UCAN: anyone can write a UCAN
 * in another form, e.g. with its fields in another order, which has another CID and the same valid signature.
 */
export const signedBytes = (ucan: Ucan): Uint8Array => {
  let signed = new Uint8Array()
  const recorder = {
    did: () => ucan.issuer.did(),
    verify: (payload: Uint8Array<ArrayBuffer>) => {
      signed = payload
      return true
    },
  }
  void verifySignature(ucan as never, recorder as never)
  return signed
}

/** The proofs of a UCAN by their CIDs, and those of them that a view shows. */
interface ShownProofs {
  links: readonly string[]
  visible: ReadonlySet<string>
}

/** Hidden proofs of a UCAN that a check reports. `@ucanto/validator` creates an error for each. */
const MAX_REPORTED = 5

/**
 * Returns the invocation with this CID, with some of its proofs. Throws if its block is not there. An empty nonce is no nonce:
 * the signature does not contain it.
 *
 * @param proofsOf returns the proofs of a UCAN by its CID
 */
export const viewInvocation = (
  cid: string,
  blocks: BlockMap,
  proofsOf: (cid: string) => ShownProofs,
): Invocation => {
  const known = new Map<string, Delegation>()
  const hidden = new Set<string>()
  // A proof may be hidden at one UCAN, and shown at another.
  const shown = new Set<string>()
  const visibleBlocks: BlockMap = new VisibleBlocks(blocks, link => !hidden.has(link) || shown.has(link))
  const viewProof = (link: string): Delegation => {
    shown.add(link)
    const proof = known.get(link) ?? setProofs(viewUcan(parseLink(link), visibleBlocks) as Delegation, link)
    known.set(link, proof)
    return proof
  }
  const setProofs = <T extends Delegation>(view: T, cid: string): T => {
    const { links, visible } = proofsOf(cid)
    const others = links.filter(link => !visible.has(link))
    for (const link of others) hidden.add(link)
    const reported = others.slice(0, MAX_REPORTED).map(link => parseLink(link))
    return Object.defineProperty(view, 'proofs', { value: [...[...visible].map(viewProof), ...reported] })
  }
  const root = blocks.get(cid)
  if (root === undefined) throw new Error(`The block of ${cid} is missing`)
  const view = viewRoot(root, visibleBlocks)
  return Object.defineProperty(setProofs(view, cid), 'nonce', { value: view.nonce || undefined })
}

/** Some blocks of a map. Views look blocks up by their CIDs, and do nothing else with a map. */
class VisibleBlocks extends Map<string, Block> {
  readonly #blocks: BlockMap
  readonly #isVisible: (cid: string) => boolean

  constructor(blocks: BlockMap, isVisible: (cid: string) => boolean) {
    super()
    this.#blocks = blocks
    this.#isVisible = isVisible
  }

  override get(cid: string): Block | undefined {
    return this.#isVisible(cid) ? this.#blocks.get(cid) : undefined
  }

  override has(cid: string): boolean {
    return this.get(cid) !== undefined
  }
}

/** The blocks that arrived with an invocation. */
export const blocksOf = (invocation: Invocation): BlockMap =>
  (invocation as unknown as { blocks: BlockMap }).blocks

/** Returns another view of a task. A block that is attached to one of the views is not attached to the other one. */
export const viewAgain = (task: Task): Task =>
  viewRoot((task as unknown as { root: Block }).root, new Map(blocksOf(task))) as Task

/** Reads an archived task. Throws if it cannot be read. */
export const extractTask = async (archive: Uint8Array): Promise<Task> => {
  const task = await extract(archive)
  if (task.error) throw task.error
  const { cid, blocks } = task.ok as unknown as { cid: Link; blocks: BlockMap }
  return viewUcan(cid, blocks) as Task
}

/** A capability of the protocol, as its schema defines it. */
export type Parser = CapabilityParser<Match<ParsedCapability>>

/** The ability that a capability is for, e.g. `piece/offer`. */
export const abilityOf = (capability: Parser): string => (capability as unknown as { can: string }).can

/** The context in which `@ucanto/server` checks an invocation; see `Authority`. */
export interface Context {
  id: Verifier
  principal: PrincipalParser
  resolveDIDKey: (did: DID) => Promise<Result<DID[], Failure>>
  validateAuthorization: (authorization: Authorized) => Promise<{ ok?: unknown; error?: Failure }>
}

/** Returns a schema that accepts any of these texts. */
export const anyOf = (texts: readonly [string, ...string[]]): object => Schema.enum([...texts])

/** Returns the form of a delegation by which `@ucanto/validator` learns that `attestor` may attest for `service`. */
export const mayAttest = (service: string, attestor: string): object => ({
  capabilities: [{ can: 'ucan/attest', with: service }],
  audience: { did: () => attestor },
})

/**
/**
 * Returns a function that checks an invocation of the capability: audience, time, signature, schema, delegations. If
 * `@ucanto/server` rejects the invocation, it returns the reason: see {@link describeDenial}.
 */
export const checkWith = (
  capability: Parser,
): ((
  invocation: Invocation,
  context: Context,
) => Promise<Result<{ capability: never; invocation: Invocation }, Failure>>) => {
  const check = provideAdvanced({
    capability: refuseUnknownCaveats(capability),
    handler: (async ({ capability, invocation }: { capability: never; invocation: Invocation }) => ({
      ok: { capability, invocation },
    })) as never,
  }) as unknown as (
    invocation: Invocation,
    context: Context,
  ) => Promise<Result<{ capability: never; invocation: Invocation }, Error>>
  return async (invocation, context) => {
    const answer = await check(invocation, context)
    return answer.error
      ? { error: describeDenial(answer.error, capability, invocation, context.id.did()) }
      : answer
  }
}

/**
 * Whether the issuer of an invocation could have invoked `claim` with the same proofs: they delegate it to the issuer, and no
 * delegation among them is revoked. The invocation itself must have been checked.
 *
 * @param context that of `Authority`
 */
export const authorizeFor = async (
  capability: Parser,
  invocation: Invocation,
  claim: Capability,
  context: Context,
): Promise<boolean> => {
  const parser = refuseUnknownCaveats(capability)
  const config = {
    ...context,
    authority: context.id,
    capability: parser,
    canIssue: ({ with: resource }: Capability, issuer: string) => resource === issuer,
    proofs: [],
  }
  const { matches } = parser.select([{ capability: claim, delegation: invocation }] as never)
  for (const match of matches) {
    const selector = match.prune(config as never)
    if (selector === null) return true
    const authorized = await authorize(selector as never, config as never)
    if (authorized.error) continue
    const authorization = Authorization.create(match as never, [authorized.ok as never])
    if (!(await context.validateAuthorization(authorization as never)).error) return true
  }
  return false
}

/** The result and the effects of a task, before they are signed. */
interface Signed {
  out: Result<object, Failure>
  fork?: readonly Task[] | undefined
  join?: Task | undefined
  meta?: object | undefined
}

/** Signs a receipt. */
export const signReceipt = async (
  issuer: Pick<Signer, 'did' | 'sign'>,
  ran: Invocation | Link,
  { out, fork = [], join, meta = {} }: Signed,
): Promise<Receipt> => {
  const blocks = new Map<string, Block>()
  for (const task of [ran, ...fork, ...(join ? [join] : [])])
    for (const block of blocksIn(task)) blocks.set(linkText(block.cid), block)
  const ocm = {
    ran: ran.link(),
    out,
    fx: { fork: fork.map(task => task.link()), ...(join && { join: join.link() }) },
    meta: { ...meta },
    iss: issuer.did(),
    prf: [],
  } as unknown as ReceiptModel['ocm']
  const sig = await issuer.sign(encodeCbor(ocm) as never)
  const root = await blockOf(encodeCbor({ ocm, sig }))
  blocks.set(linkText(root.cid), root)
  return new ReceiptView({ ...root, data: { ocm, sig: sig as never } }, blocks, ran) as unknown as Receipt
}

/** Returns a failure in the form of a receipt that clients can read, but without a signature: nothing was issued. */
export const unsignedReceipt = (id: Signer, ran: Invocation, error: Failure): Promise<Receipt> => {
  const withoutKey = { did: () => id.did(), sign: () => createNonStandard('', new Uint8Array()) }
  return signReceipt(withoutKey as never, ran, { out: { error } })
}

/** Returns the receipt whose root has this CID. Throws if its block is not there. */
export const viewReceipt = (root: AnyLink, blocks: BlockMap): Receipt => {
  const block = findBlock(root, blocks)
  if (block === undefined) throw new Error(`The block of ${root} is missing`)
  const data = decodeCbor(block.bytes) as ReceiptModel
  return new ReceiptView({ ...block, data }, blocks) as unknown as Receipt
}

/** An agent message: its root, and the blocks that arrived with it. */
export interface Message {
  root: Block & { data: AgentMessageModel<unknown> }
  store: BlockMap
}

/** Builds an agent message with these invocations and receipts. Returns its root and its blocks in their order. */
export const buildMessage = async ({
  invocations = [],
  receipts = [],
}: {
  invocations?: readonly Invocation[]
  receipts?: readonly Receipt[]
}): Promise<{ root: Block; blocks: BlockMap }> => {
  const blocks = new Map<string, Block>()
  for (const view of [...invocations, ...receipts])
    for (const block of view.iterateIPLDBlocks()) blocks.set(linkText(block.cid), block as Block)
  const report: Record<string, Link> = {}
  for (const { ran, root } of receipts) report[linkText(ran.link())] ??= root.cid
  const root = await blockOf(
    encodeCbor({
      'ucanto/message@7.0.0': {
        ...(invocations.length > 0 && { execute: invocations.map(({ cid }) => cid) }),
        ...(receipts.length > 0 && { report }),
      },
    }),
  )
  blocks.set(linkText(root.cid), root)
  return { root, blocks }
}

/** Returns the agent message whose root has this CID. Throws if its block is not there, or is not that of a message. */
export const viewMessage = (root: AnyLink, blocks: BlockMap): Message => {
  const block = findBlock(root, blocks)
  const data = block && decodeCbor(block.bytes)
  if (block && isMessage(data)) return { root: { ...block, data: data as never }, store: blocks }
  // The library also accepts less common forms, and its errors name the part that is not valid.
  const view = Messages.view({ root: root as never, store: blocks as never })
  return { root: view.root as never, store: blocks }
}

/** Whether data has the form of a message with invocations and receipts. Receipts are read later. */
const isMessage = (data: unknown): boolean => {
  if (!isMap(data) || Object.keys(data).length !== 1) return false
  const content = data['ucanto/message@7.0.0']
  if (!isMap(content) || content.delegate !== undefined) return false
  const { execute = [] } = content
  return Array.isArray(execute) && execute.every(link => isLink(link))
}

const isMap = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype

/** The links in a message, without a view of the blocks that they lead to. */
export const linksIn = ({
  root: { data },
}: Pick<Message, 'root'>): { invocations: Link[]; receipts: Link<ReceiptModel>[] } => {
  const { execute = [], report = {} } = data['ucanto/message@7.0.0'] as {
    execute?: Link[]
    report?: Record<string, Link<ReceiptModel>>
  }
  return { invocations: execute, receipts: Object.values(report) }
}

/** Returns the receipts in a message. Throws if a block is not there. */
export const receiptsIn = (message: Message): Receipt[] =>
  linksIn(message).receipts.map(link => viewReceipt(link, message.store))

/** Returns the receipt of a task; `undefined` if the message has none. */
export const receiptIn = ({ root, store }: Message, task: string): Receipt | undefined => {
  const { report = {} } = root.data['ucanto/message@7.0.0'] as { report?: Record<string, Link> }
  const link = Object.hasOwn(report, task) ? report[task] : report[`${parseLink(task)}`]
  return link && viewReceipt(link, store)
}

/** Decodes a CAR from a trusted source: neither its size nor its hashes are checked. */
export const decodeCar = (car: Uint8Array): { roots: Block[]; blocks: BlockMap } => CAR.decode(car as never)

/** An Ed25519 key pair. */
export type EdSigner = Signer & { secret: Uint8Array; verifier: Verifier }

/**
 * Returns the Ed25519 key pair with this private key, and its archive as `@ucanto/principal` reads it.
 *
 * @param secret 32 bytes. If others know them, its signatures prove nothing.
 * @example { id: 'did:key:z6Mk…', keys: { 'did:key:z6Mk…': Uint8Array } }
 */
export const deriveSigner = async (secret: Uint8Array): Promise<{ signer: Signer; archive: object }> => {
  const signer = await ed25519.derive(secret as never)
  return { signer: signer as unknown as Signer, archive: signer.toArchive() }
}

/** Reads a private key as `@ucanto/principal` formats it, e.g. `MgCZ…`. */
export const parseEdSigner = (key: string): EdSigner => ed25519.parse(key) as unknown as EdSigner
