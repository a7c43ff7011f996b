import { invoke } from '@ucanto/client'
import { Message, Receipt as Receipts } from '@ucanto/core'
import { isDelegation } from '@ucanto/core/delegation'
import type {
  AgentMessage,
  Receipt as AnyReceipt,
  Block,
  Delegation,
  DID,
  Fact,
  HTTPRequest,
  Invocation,
  Signer,
  Proof as UcanProof,
  Verifier,
} from '@ucanto/interface'
import { ed25519 } from '@ucanto/principal'
import { CAR } from '@ucanto/transport'
import type { Failure, Result } from '@w3filecoin/capabilities'
import type { AnyLink } from '@w3filecoin/piece'
import { parse as parseLink } from 'multiformats/link'
import { platform } from '#platform'
import type { Abilities, Ability } from './abilities.ts'
import { readCar } from './car.ts'
import { reasonOf, toError, W3Error } from './error.ts'
import { type Answer, type RequestOptions, type RetryEvent, request } from './http.ts'
import { didOf, Keyring, type Party, principalOf } from './keys.ts'
import type { Fetch } from './platform.ts'

/**
 * A signed receipt of a task, as a view of `@ucanto/core`. `out` is `{ ok }` or `{ error }`, `fx` has the promised tasks (`fork`,
 * `join`), and `ran` is the task.
 *
 * @example if (receipt.out.error) console.log(receipt.out.error.name)
 */
export type Receipt<Ok extends object = object> = Omit<AnyReceipt, 'out'> & {
  out: Result<Ok, Failure>
}

/** Options of every service. */
export interface ServiceOptions {
  /**
   * The agent: any UCAN signer, or a private key in the text form of `@ucanto/principal` (`MgCZ…`). The default is the key that
   * the client keeps for this user.
   */
  signer?: Signer | string | undefined
  /** Where the client keeps its key: in Node the path of a file, in a browser a name. */
  key?: string | undefined
  /** The resource that the agent acts on, e.g. the DID of a space. The default is the agent's own DID. */
  with?: string | undefined
  /** Delegations to the agent. */
  proofs?: readonly UcanProof[] | undefined
  /**
   * The DID of the service, and for a `did:web` its keys. The default is the DID that the service names at `GET /`: then the
   * connection to the URL vouches for it.
   */
  service?: Party | undefined
  /** Sends the requests. The default is the global `fetch`. */
  fetch?: Fetch | undefined
  /**
   * Called when a request failed and is repeated.
   *
   * @param event the attempt, its failure, and the pause before the next one
   */
  onRetry?: ((event: RetryEvent) => void) | undefined
  /** Ends the connecting. */
  signal?: AbortSignal | undefined
}

/** Options of one invocation. */
export interface InvokeOptions {
  /** The resource, instead of the one of the connection. */
  with?: string | undefined
  /** Delegations to the agent, instead of those of the connection. */
  proofs?: readonly UcanProof[] | undefined
  /** Makes a new task: without a nonce, an equal invocation gets the earlier receipt. */
  nonce?: string | undefined
  /** Facts of the UCAN. */
  facts?: readonly Fact[] | undefined
  /** Blocks that travel with the invocation. The arguments or the facts must link to each of them. */
  attach?: readonly Block[] | undefined
  /** Ends the call with the reason of the signal. */
  signal?: AbortSignal | undefined
}

/** One invocation of a message. */
export interface Task<A extends Ability = Ability> extends Omit<InvokeOptions, 'signal'> {
  /** The ability, e.g. `piece/offer`. */
  can: A
  /** Its arguments. */
  nb: Abilities[A]['nb']
}

/**
 * The state of a task: its signed receipt, or its progress while there is none.
 *
 * @example { stage: 'queued', since: '2026-11-26T17:40:00.000Z', promised: true, retryAfterMs: 60_000 }
 */
export interface TaskState {
  /** The receipt, whose signature has been verified. */
  receipt?: Receipt
  /** When the service stored the receipt, ISO 8601. It is not signed. */
  issued?: string
  /** Whether the service promised the task. `unknown` if it cannot find out. */
  promised?: boolean | 'unknown'
  /** The stage of the workflow that promised the task, e.g. `queued`. */
  stage?: string
  /** The time at which the workflow reached the stage, ISO 8601. */
  since?: string
  /** The next step, as a sentence for people. */
  waitsFor?: string
  /** The time at which the service abandons this step, ISO 8601. */
  until?: string
  /** The problem that delays this step. */
  trouble?: { name: string; since?: string }
  /** The time after which the next question makes sense, in milliseconds. */
  retryAfterMs?: number
}

/** An entry of the answer to `POST /receipts`. Receipts have no `name`. */
interface Entry extends Omit<TaskState, 'receipt' | 'retryAfterMs'> {
  name?: string
  task?: string
  retryAfterSeconds?: number
}

const MEDIA_TYPE = 'application/vnd.ipld.car'
const JSON_TYPE = 'application/json'

/** Tasks of one `POST /receipts`. */
const MAX_TASKS = 1_000
/** Requests at a time to a service that answers about single tasks only. */
const MAX_REQUESTS = 8

/** Limits of an answer to invocations, and of a receipt. A receipt has an effect for each piece of a failed aggregate. */
const MAX_ANSWER_BYTES = 6 * 1024 * 1024
const MAX_ANSWER_BLOCKS = 20_000
const MAX_RECEIPT_BYTES = 64 * 1024 * 1024
const MAX_RECEIPT_BLOCKS = 200_000
const MAX_ABOUT_BYTES = 64 * 1024

/**
 * The answer of a service to `GET /`.
 *
 * @example { name: 'storefront', did: 'did:key:z6MkndP2…', version: '0.1.0', content: { from: 'bucket' } }
 */
export interface About {
  /** `storefront`, `aggregator`, `dealer` or `deal-tracker`. */
  name?: string
  /** The DID of the service. */
  did?: string
  /** The version of its code. */
  version?: string
  /**
   * How the storefront takes content: `from` is `bucket` or `gateway`, where it reads; `upload` is the URL template for a `PUT`,
   * with `{cid}`; `uploads` is `open` or `listed` if the storefront gives addresses for uploads, to every space or to those
   * that its operator listed.
   */
  content?: { from?: string; upload?: string; uploads?: string }
}

/** A service of the protocol: the storefront, the aggregator, the dealer or the deal tracker. */
export class Service {
  /** The address of the service. */
  readonly url: string
  /** The DID of the service. */
  readonly did: DID
  /** The key of the agent. */
  readonly signer: Signer
  /** The answer to `GET /`. */
  readonly about: About
  readonly #options: ServiceOptions
  readonly #party: Party
  readonly #keyring: Keyring
  /** `false` once the service has answered that it has no `POST /receipts`: earlier versions have none. */
  #answersMany = true

  /** @internal */
  constructor({ url, about, party, signer, options }: Opened) {
    this.url = url
    this.about = about
    this.#party = party
    this.did = didOf(party) as DID
    this.signer = signer
    this.#options = options
    this.#keyring = new Keyring(options.fetch ?? platform.fetch)
  }

  /** The DID of the agent. */
  get agent(): DID {
    return this.signer.did()
  }

  /** Sends a request with the settings of this service. */
  protected request(url: string, options: Omit<RequestOptions, 'fetch'>): Promise<Answer> {
    const { fetch = platform.fetch, onRetry } = this.#options
    return request(url, { fetch, onRetry, ...options })
  }

  /**
   * Invokes an ability. Returns the signed receipt, whether its result is a success or a failure.
   *
   * @param can the ability, e.g. `filecoin/info`
   * @param nb its arguments
   * @param options resource, proofs, nonce, facts and blocks of the invocation, and a signal
   * @example const { out } = await w3.invoke('filecoin/info', { piece })
   * @throws W3Error `UnsignedReceipt` or the name of the failure, if the service signed no receipt, e.g. `OutcomePending`
   */
  async invoke<A extends Ability>(
    can: A,
    nb: Abilities[A]['nb'],
    { signal, ...options }: InvokeOptions = {},
  ): Promise<Receipt<Abilities[A]['ok']>> {
    const [receipt] = await this.invokeAll([{ can, nb, ...options }], { signal })
    if (receipt!.error) throw receipt!.error
    return receipt!.ok as Receipt<Abilities[A]['ok']>
  }

  /**
   * Invokes abilities in one message, of at most 500. Returns for each the signed receipt, or an error if the service signed
   * none. The results have the order of the tasks.
   *
   * @param tasks abilities with their arguments and options
   * @param options a signal that ends the call
   * @throws W3Error `Unreachable`, `InvalidAnswer`
   * @example const [first] = await w3.invokeAll([{ can: 'filecoin/info', nb: { piece } }])
   */
  async invokeAll(
    tasks: readonly Task[],
    { signal }: { signal?: AbortSignal | undefined } = {},
  ): Promise<Result<Receipt, W3Error>[]> {
    const invocations = await Promise.all(tasks.map(task => this.#build(task)))
    const message = await Message.build({ invocations: invocations as never })
    const answer = await this.#post(await CAR.outbound.encode(message as never), signal)
    return Promise.all(
      invocations.map(async ({ cid }): Promise<Result<Receipt, W3Error>> => {
        const receipt = receiptIn(answer, `${cid}`)
        if (receipt && (await this.#isSigned(receipt, `${cid}`, this.#party))) return { ok: receipt }
        const error = receipt?.out.error
        return { error: error ? toError(error) : this.#unsigned(`${cid}`, this.did) }
      }),
    )
  }

  /**
   * Fetches the signed receipt of a task; `undefined` if the task has no outcome yet.
   *
   * @param task the CID of the task
   * @param options a signal that ends the call, and the signer
   * @param options.signer the service that ran the task, if it is another one: the aggregator also serves the dealer's receipts
   * @throws W3Error `UnsignedReceipt` if another key signed it; `InvalidAnswer` if it has more than 64 MiB
   */
  async receipt(
    task: string | AnyLink,
    { signer = this.#party, signal }: { signer?: Party; signal?: AbortSignal | undefined } = {},
  ): Promise<Receipt | undefined> {
    const answer = await this.request(new URL(`/receipt/${task}`, this.url).href, {
      // The answer that there is no receipt may be kept for hours.
      ...platform.uncached,
      signal,
      maxBytes: MAX_RECEIPT_BYTES,
      headers: { accept: MEDIA_TYPE },
    })
    if (answer.status === 404) return undefined
    if (answer.status !== 200) throw this.#refused(answer)
    const receipt = receiptIn(await this.#readReceipts(answer), `${task}`)
    if (receipt && (await this.#isSigned(receipt, `${task}`, signer))) return receipt
    throw this.#unsigned(`${task}`, didOf(signer))
  }

  /**
   * Fetches the signed receipts of many tasks, and the progress of those without one: with two requests for 1,000 tasks. A
   * service of an earlier version is asked about each task, and does not say the progress.
   *
   * @param tasks the CIDs of the tasks
   * @param options a signal that ends the call, and the signers
   * @param options.signerOf returns the service that ran a task, if it may be another one
   * @returns the states by the CIDs of the tasks
   * @throws W3Error `UnsignedReceipt` if another key signed a receipt; `InvalidAnswer`, `Unreachable`
   * @example const states = await w3.receipts(tasks)
   */
  async receipts(
    tasks: Iterable<string>,
    {
      signerOf = () => this.#party,
      signal,
    }: { signerOf?: (task: string) => Party; signal?: AbortSignal | undefined } = {},
  ): Promise<Map<string, TaskState>> {
    const distinct = [...new Set(tasks)]
    const states = new Map<string, TaskState>()
    for (let start = 0; start < distinct.length; start += MAX_TASKS) {
      const some = distinct.slice(start, start + MAX_TASKS)
      // The receipt of a single task takes one request, and its state another one.
      const found = some.length > 1 ? await this.stateOfMany(some, { signerOf, signal }) : undefined
      for (const [task, state] of found ?? []) states.set(task, state)
      if (found) continue
      await inParallel(some, async task => {
        const receipt = await this.receipt(task, { signer: signerOf(task), signal })
        states.set(task, receipt ? { receipt } : {})
      })
    }
    return states
  }

  /**
   * Asks for the states of at most 1,000 tasks in one request, and fetches their receipts. Returns `undefined` if the service does
   * not answer about many tasks.
   */
  protected async stateOfMany(
    tasks: readonly string[],
    {
      signerOf = () => this.#party,
      signal,
    }: { signerOf?: ((task: string) => Party) | undefined; signal?: AbortSignal | undefined } = {},
  ): Promise<Map<string, TaskState> | undefined> {
    if (!this.#answersMany) return undefined
    const answer = await this.#askMany(tasks, JSON_TYPE, signal)
    if (answer.status === 404 || answer.status === 405) {
      this.#answersMany = false
      return undefined
    }
    if (answer.status !== 200) throw this.#refused(answer)
    const entries = this.#readEntries(answer, tasks)
    const states = new Map(
      entries.map(({ name: _, task: __, retryAfterSeconds, ...state }, n): [string, TaskState] => [
        tasks[n]!,
        {
          ...pick(state, ['issued', 'promised', 'stage', 'since', 'waitsFor', 'until', 'trouble']),
          ...(retryAfterSeconds !== undefined && { retryAfterMs: retryAfterSeconds * 1000 }),
        },
      ]),
    )
    const named = (names: readonly (string | undefined)[]) =>
      tasks.filter((_, n) => names.includes(entries[n]!.name))
    const receipts = await this.#fetchMany(named([undefined, 'ReceiptOmitted']), { signerOf, signal })
    await inParallel(named(['ReceiptTooLarge']), async task => {
      const receipt = await this.receipt(task, { signer: signerOf(task), signal })
      if (receipt) receipts.set(task, receipt)
    })
    for (const [task, receipt] of receipts) states.set(task, { ...states.get(task), receipt })
    return states
  }

  #askMany(tasks: readonly string[], accept: string, signal: AbortSignal | undefined): Promise<Answer> {
    return this.request(new URL('/receipts', this.url).href, {
      method: 'POST',
      headers: { 'content-type': JSON_TYPE, accept },
      body: JSON.stringify({ tasks }),
      maxBytes: MAX_ANSWER_BYTES,
      signal,
    })
  }

  #readEntries({ body }: Answer, tasks: readonly string[]): Entry[] {
    try {
      const { receipts } = JSON.parse(new TextDecoder().decode(body)) as { receipts: Entry[] }
      if (receipts.length !== tasks.length || receipts.some(({ task }, n) => task !== tasks[n]))
        throw new Error('its entries are not those of the tasks')
      return receipts
    } catch (cause) {
      throw this.#invalid(cause)
    }
  }

  /** Fetches the CARs of receipts until there are no more of these, and verifies the signatures. */
  async #fetchMany(
    tasks: readonly string[],
    { signerOf, signal }: { signerOf: (task: string) => Party; signal: AbortSignal | undefined },
  ): Promise<Map<string, Receipt>> {
    const found = new Map<string, Receipt>()
    let remaining = tasks
    while (remaining.length > 0) {
      const answer = await this.#askMany(remaining, MEDIA_TYPE, signal)
      if (answer.status !== 200) throw this.#refused(answer)
      const message = await this.#readReceipts(answer)
      const before = found.size
      for (const task of remaining) {
        const receipt = receiptIn(message, task)
        if (receipt === undefined) continue
        if (!(await this.#isSigned(receipt, task, signerOf(task))))
          throw this.#unsigned(task, didOf(signerOf(task)))
        found.set(task, receipt)
      }
      if (answer.headers.get('retry-after') !== '0' || found.size === before) break
      remaining = remaining.filter(task => !found.has(task))
    }
    return found
  }

  /**
   * Returns the DID of the service with its present keys. Save them to verify proofs without a connection.
   *
   * @example await verify('photo.jpg.w3proof', { storefront: await w3.keys() })
   */
  async keys(): Promise<{ did: string; keys: string[] }> {
    const verifiers = await this.#keyring.verifiers(this.#party)
    return { did: this.did, keys: verifiers.map(verifier => verifier.toDIDKey()) }
  }

  /**
   * Revokes a delegation at this service. The agent must have issued it, or one that it rests on.
   *
   * @param delegation with its blocks
   * @param options a signal that ends the call, and the path
   * @param options.path the delegations from it to the one that the agent issued or received
   * @throws W3Error `Unauthorized` if the agent is not on its chain
   * @example await w3.revoke(delegation)
   */
  async revoke(
    delegation: Delegation,
    { path = [], signal }: { path?: readonly Delegation[]; signal?: AbortSignal } = {},
  ): Promise<void> {
    const { out } = await this.invoke(
      'ucan/revoke',
      {
        ucan: delegation.cid,
        ...(path.length > 0 && { proof: path.map(({ cid }) => cid) }),
      },
      {
        with: this.agent,
        proofs: [],
        signal,
        attach: [delegation, ...path].flatMap(({ root }) => [root as unknown as Block]),
      },
    )
    if (out.error) throw toError(out.error)
  }

  async #build({ can, nb, nonce, facts = [], attach = [], ...task }: Task): Promise<Invocation> {
    const { with: resource = this.agent, proofs = [] } = this.#options
    const invocation = invoke({
      issuer: this.signer,
      audience: principalOf(this.did),
      capability: { can, with: (task.with ?? resource) as DID, nb: withoutUndefined(nb) },
      expiration: Number.POSITIVE_INFINITY,
      proofs: [...(task.proofs ?? proofs)],
      facts: [...facts],
      ...(nonce !== undefined && { nonce }),
    } as Parameters<typeof invoke>[0])
    for (const block of attach) invocation.attach(block as never)
    return (await invocation.buildIPLDView()) as unknown as Invocation
  }

  async #post(
    { headers, body }: HTTPRequest<AgentMessage>,
    signal: AbortSignal | undefined,
  ): Promise<AgentMessage> {
    const answer = await this.request(this.url, {
      method: 'POST',
      headers: { ...headers, accept: MEDIA_TYPE },
      body: body as Uint8Array<ArrayBuffer>,
      maxBytes: MAX_ANSWER_BYTES,
      signal,
    })
    if (answer.status !== 200) throw this.#refused(answer)
    try {
      return await readMessage(answer.body, MAX_ANSWER_BLOCKS)
    } catch (cause) {
      throw this.#invalid(cause)
    }
  }

  async #readReceipts({ body }: Answer): Promise<AgentMessage> {
    try {
      return await readMessage(body, MAX_RECEIPT_BLOCKS)
    } catch (cause) {
      throw this.#invalid(cause)
    }
  }

  async #isSigned(receipt: Receipt, task: string, signer: Party): Promise<boolean> {
    if (`${receipt.ran.link()}` !== task) return false
    return this.#keyring.check(signer, verifiers => isSignedBy(receipt, verifiers))
  }

  #unsigned(task: string, did: string): W3Error {
    return new W3Error('UnsignedReceipt', `${did} signed no receipt of ${task}`)
  }

  #invalid(cause: unknown): W3Error {
    return new W3Error('InvalidAnswer', `The answer of ${this.url} cannot be read: ${reasonOf(cause)}`, {
      cause,
    })
  }

  #refused({ status, body }: Answer): W3Error {
    const text = new TextDecoder().decode(body.subarray(0, 500))
    return new W3Error('InvalidAnswer', `${this.url} answered ${status}: ${text}`)
  }
}

/** Reads the agent message in a CAR. Every block hashes to its CID. */
export const readMessage = async (body: Uint8Array, maxBlocks: number): Promise<AgentMessage> => {
  const { roots, blocks } = await readCar(body, maxBlocks)
  if (roots.length !== 1) throw new Error('the message does not have one root')
  const store = new Map(blocks.map(block => [`${block.cid}`, block]))
  return Message.view({ root: roots[0] as never, store: store as never })
}

/** Returns the receipt of a task in a message; `undefined` if there is none, or if it cannot be read. */
const receiptIn = (message: AgentMessage, task: string): Receipt | undefined => {
  try {
    const receipt = message.get(parseLink(task) as never, null as never) as unknown as Receipt | null
    // Views decode lazily, and throw when a malformed part is read.
    for (const part of receipt ? [receipt.ran, receipt.out, receipt.fx, receipt.signature] : []) void part
    return receipt ?? undefined
  } catch {
    return undefined
  }
}

/** Returns the receipt whose root has this CID among the blocks. Throws if its block is not there. */
export const viewReceipt = (root: AnyLink, blocks: ReadonlyMap<string, Block>): Receipt =>
  Receipts.view({ root: root as never, blocks: blocks as never }) as unknown as Receipt

/** Whether one of these keys signed the receipt. */
export const isSignedBy = async (receipt: Receipt, verifiers: readonly Verifier[]): Promise<boolean> => {
  for (const verifier of verifiers) if ((await receipt.verifySignature(verifier as never)).ok) return true
  return false
}

/** Returns the invocation of a task or effect; `undefined` if the receipt does not contain its blocks. */
export const invocationOf = (task: unknown): Invocation | undefined =>
  isDelegation(task as never) ? (task as Invocation) : undefined

/** Iterates over values of either kind. */
export async function* toAsync<T>(values: Iterable<T> | AsyncIterable<T>): AsyncGenerator<T, void> {
  yield* values
}

/** Runs some work for each item, for a few at a time. */
export const inParallel = async <T>(
  items: Iterable<T>,
  work: (item: T) => Promise<unknown>,
): Promise<void> => {
  const queue = [...items].values()
  const worker = async () => {
    for (const item of queue) await work(item)
  }
  await Promise.all(Array.from({ length: MAX_REQUESTS }, worker))
}

/** Returns these fields of a value, without those that are absent. */
const pick = <T extends object, K extends keyof T>(value: T, keys: readonly K[]): Pick<T, K> =>
  Object.fromEntries(keys.flatMap(key => (value[key] === undefined ? [] : [[key, value[key]]]))) as Pick<T, K>

const withoutUndefined = (fields: object): object =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined))

interface Opened {
  url: string
  about: About
  party: Party
  signer: Signer
  options: ServiceOptions
}

/** Finds out the DID of the service at a URL, and opens the agent's key. */
export const openService = async (url: string | URL, options: ServiceOptions = {}): Promise<Opened> => {
  const address = URL.canParse(`${url}`) ? new URL(url) : undefined
  if (address === undefined || !/^https?:$/.test(address.protocol))
    throw new W3Error('Unreachable', `${url} is not the URL of a service`, {
      hint: 'Pass a URL such as https://storefront.example',
      retryable: false,
    })
  const [about, signer] = await Promise.all([
    fetchAbout(address, options),
    typeof options.signer === 'string'
      ? parseSigner(options.signer)
      : (options.signer ?? platform.openSigner(options.key)),
  ])
  const party = options.service ?? about.did
  if (typeof party === 'string' ? !party.startsWith('did:') : party === undefined)
    throw new W3Error('InvalidAnswer', `${address.href} does not name the DID of a service`)
  return { url: new URL('/', address).href, about, party: party as Party, signer, options }
}

const parseSigner = (key: string): Signer => {
  try {
    return ed25519.parse(key) as Signer
  } catch (cause) {
    // The message must not contain the key.
    throw new W3Error(
      'KeyUnavailable',
      'The signer is not a private key in the form of `@ucanto/principal`',
      {
        hint: 'Pass a text that begins with MgC, or a signer.',
        cause,
      },
    )
  }
}

const fetchAbout = async (
  url: URL,
  { fetch = platform.fetch, onRetry, signal }: ServiceOptions,
): Promise<About> => {
  const { status, body } = await request(url.href, { fetch, onRetry, signal, maxBytes: MAX_ABOUT_BYTES })
  try {
    if (status !== 200) throw new Error(`it answered ${status}`)
    const about: unknown = JSON.parse(new TextDecoder().decode(body))
    if (typeof about !== 'object' || about === null) throw new Error('it is not an object')
    return about
  } catch (cause) {
    throw new W3Error('InvalidAnswer', `The answer of ${url.href} cannot be read: ${reasonOf(cause)}`, {
      cause,
    })
  }
}
