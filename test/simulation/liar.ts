import { CBOR, invoke } from '@ucanto/core'
import type { Receipt, Signer } from '@ucanto/interface'
import { type PieceLink, parsePieceLink, Tasks } from '@w3filecoin/capabilities'
import { encodeMessage, issueReceipt, principal, readReceipt, unpackTask } from '@w3filecoin/runtime'
import type { Choices, DeterministicWorld } from '@w3filecoin/testing/deterministic'
import type { Link } from 'multiformats'
import { parse as parseLink } from 'multiformats/link'
import { receiptsOf } from './receipts.ts'
import { signers, stranger } from './scenario.ts'
import type { Simulated, System } from './services.ts'

const HOUR = 3_600_000

type Task = Awaited<ReturnType<typeof Tasks.conclude>>

/** An aggregate of a storefront that the liar attacks. */
interface Target {
  storefront: Simulated
  aggregator: Simulated
  /** The aggregator's record. */
  record: Record<string, unknown>
}

/**
 * A process with the keys of the aggregators. It delivers receipts that are signed by the right service, but that nothing
 * waits for. All of them must be without effect: a receipt counts only for the task that was promised.
 */
export class Liar {
  readonly #world: DeterministicWorld
  readonly #choices: Choices
  readonly #system: System
  readonly #aggregatorOf: ReadonlyMap<string, string>
  readonly #attacked = new Set<string>()

  constructor(world: DeterministicWorld, system: System, aggregatorOf: ReadonlyMap<string, string>) {
    this.#world = world
    this.#choices = world.choices
    this.#system = system
    this.#aggregatorOf = aggregatorOf
  }

  /** Schedules some lies about an aggregate, when its storefront learns of it. */
  wrote(storefrontName: string, { id, aggregate }: Record<string, unknown>): void {
    const key = `${storefrontName} ${id}`
    if (this.#attacked.has(key)) return
    this.#attacked.add(key)
    for (let n = this.#choices.between(1, 4); n > 0; n--)
      this.#world.timeline.after(this.#choices.between(0, 40 * HOUR), () => {
        const storefront = this.#service(storefrontName)
        const aggregator = this.#service(this.#aggregatorOf.get(storefrontName) as string)
        const record = [...aggregator.tables.aggregate!.items.values()].find(
          item => item.aggregate === aggregate && item.storefront === storefront.id.did(),
        )
        const lie = this.#choices.one(this.#lies)
        if (record) void this.#tell(lie, { storefront, aggregator, record })
      })
  }

  async #tell(lie: (target: Target) => Promise<unknown>, target: Target): Promise<void> {
    this.#world.count('lie')
    try {
      await lie(target)
    } catch {
      // A service is unreachable. The liar does not try again.
    }
  }

  readonly #lies: ((target: Target) => Promise<unknown>)[] = [
    /** The dealer's answer to a stranger who invokes `aggregate/accept`. */
    async target => {
      const { record } = target
      const refused = await this.#run(
        'dealer',
        await strangersTask('aggregate/accept', this.#service('dealer').id, {
          aggregate: linkOf(record.aggregate),
          pieces: parseLink(record.pieces as string),
        }),
      )
      await this.#pass(target, refused)
    },
    /** The dealer's answer to a stranger's offer of the aggregate. */
    async target => {
      const { record } = target
      const refused = await this.#run(
        'dealer',
        await strangersTask('aggregate/offer', this.#service('dealer').id, {
          aggregate: linkOf(record.aggregate),
          pieces: parseLink(record.pieces as string),
        }),
      )
      await this.#pass(target, refused)
    },
    /** The aggregator's answer to a stranger who invokes the `piece/accept` of a piece. */
    async target => {
      const { aggregator, record } = target
      const piece = this.#choices.one(await piecesOf(target))
      const task = await strangersTask('piece/accept', aggregator.id, { piece, group: record.group })
      await this.#pass(target, await this.#run(aggregator.name, task))
    },
    /**
     * Another aggregator offers the same aggregate, for itself. The dealer's answer has a join that leads elsewhere, and the
     * receipt of the join is of another offer.
     */
    async target => {
      const { record, aggregator } = target
      const other = signers[aggregator.name === 'another' ? 'aggregator' : 'another'] as Signer
      const cid = parseLink(record.pieces as string) as Link
      const bytes = aggregator.blocks.blocks.get(`${cid}`) as Uint8Array
      const offer = await Tasks.aggregateOffer(other, principal(this.#service('dealer').id.did()), {
        aggregate: linkOf(record.aggregate),
        pieces: cid,
        nonce: record.nonce as string | undefined,
        tenant: { storefront: other.did(), group: 'liar', label: 'liar' },
        block: { cid, bytes } as never,
      })
      const taken = await this.#run('dealer', offer)
      await this.#pass(target, taken)
      await new Promise<void>(resolve =>
        this.#world.timeline.after(this.#choices.between(HOUR, 60 * HOUR), resolve),
      )
      const promised = receiptsOf(this.#service('dealer')).get(`${taken?.fx.join?.link()}`)
      await this.#pass(target, promised)
    },
    /** Any receipt that a service ever issued, of another task, another aggregate, or long ago. */
    async target => {
      const issued = [...receiptsOf(this.#choices.one([target.aggregator, this.#service('dealer')])).values()]
      if (issued.length > 0) await this.#pass(target, this.#choices.one(issued))
    },
    /** A `piece/accept` that was not promised, with the proof of another piece and a join that leads elsewhere. */
    async target => {
      const { aggregator, record } = target
      const piece = this.#choices.one(await piecesOf(target))
      const group = record.group as string
      const task = await Tasks.pieceAccept(aggregator.id, { piece, group, nonce: 'a lie' })
      const proofs = [...receiptsOf(aggregator).values()].filter(({ out }) => out.ok && 'inclusion' in out.ok)
      const offer = await unpackTask(record.offer as Uint8Array)
      const ok = proofs.length > 0 ? this.#choices.one(proofs).out.ok : { piece }
      await this.#pass(
        target,
        await issueReceipt(aggregator.id, task, { out: { ok: ok as object }, fx: { join: offer } }),
      )
    },
  ]

  /** Hands a receipt to the storefront, or to the aggregator with the key of the dealer. */
  async #pass({ storefront, aggregator }: Target, receipt: Receipt | undefined): Promise<void> {
    if (receipt === undefined) return
    const toAggregator = this.#choices.chance(0.2)
    const [from, to] = toAggregator ? [this.#service('dealer'), aggregator] : [aggregator, storefront]
    const blocks = [...receipt.iterateIPLDBlocks()]
    await this.#run(
      to.name,
      await Tasks.conclude(from.id, principal(to.id.did()), { root: receipt.root, blocks }),
    )
  }

  /** Has a service run a task. Returns the receipt. */
  async #run(name: string, task: unknown): Promise<Receipt | undefined> {
    const invocation = task as Task
    const response = await this.#system.fetch(`${this.#service(name).url}/`, {
      method: 'POST',
      headers: { 'content-type': 'application/vnd.ipld.car' },
      body: (await encodeMessage({ invocations: [invocation] })) as never,
    })
    return response.ok
      ? readReceipt(`${invocation.cid}`, new Uint8Array(await response.arrayBuffer()))
      : undefined
  }

  #service(name: string): Simulated {
    return this.#system.services.get(name) as Simulated
  }
}

const linkOf = (piece: unknown): PieceLink => parsePieceLink(piece as string)

const piecesOf = ({ aggregator, record }: Target): Promise<PieceLink[]> =>
  CBOR.decode(aggregator.blocks.blocks.get(record.pieces as string) as never) as never

const strangersTask = async (can: `${string}/${string}`, audience: Signer, nb: object) =>
  invoke({
    issuer: stranger,
    audience,
    capability: { can, with: stranger.did(), nb },
    expiration: Infinity,
  } as never).buildIPLDView()
